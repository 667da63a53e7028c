//! API keys: `sk-db-<key id>-<secret><crc>`.
//!
//! 12 base32 digits of id (60 bits), 52 of secret (256 bits), 7 of CRC-32 over all before it. The CRC
//! lets a typo, or a flood of junk, be refused without a database read.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::base32;
use super::time::Timestamp;

const PREFIX: &str = "sk-db-";
const ID_DIGITS: usize = 12;
const SECRET_DIGITS: usize = 52;
const CRC_DIGITS: usize = 7;
const KEY_LENGTH: usize = PREFIX.len() + ID_DIGITS + 1 + SECRET_DIGITS + CRC_DIGITS;

/// The public part of a key: 60 random bits, written `key_` and 12 digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(i64);

impl KeyId {
    /// What its text begins with.
    pub const PREFIX: &'static str = "key_";

    /// The id with this value, as the database holds it.
    pub const fn from_i64(value: i64) -> Self {
        Self(value)
    }

    /// The value, as the database holds it.
    pub const fn to_i64(self) -> i64 {
        self.0
    }

    /// Reads `key_` and 12 base32 digits.
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_digits(text.strip_prefix(Self::PREFIX)?)
    }

    fn from_digits(digits: &str) -> Option<Self> {
        let value = base32::decode(digits).filter(|_| digits.len() == ID_DIGITS)?;
        i64::try_from(value).ok().map(Self)
    }

    fn digits(self) -> String {
        base32::encode(self.0.unsigned_abs(), ID_DIGITS)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.digits())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an id that begins with key_"))
    }
}

/// A whole key in plain text. Printed only where it is handed out; its `Debug` shows the id alone.
#[derive(Clone, PartialEq, Eq)]
pub struct PlainKey {
    id: KeyId,
    text: String,
}

/// No randomness could be had from the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoEntropy;

impl PlainKey {
    /// A new key with a random id and secret.
    ///
    /// # Errors
    /// When the operating system has no random bytes: a key is never made of weaker ones.
    pub fn generate() -> Result<Self, NoEntropy> {
        Self::with_id(KeyId((getrandom::u64().map_err(|_| NoEntropy)? >> 4).cast_signed()))
    }

    /// As [`Self::generate`], for a key that is there already and gets a new secret.
    pub fn with_id(id: KeyId) -> Result<Self, NoEntropy> {
        let mut secret = String::with_capacity(SECRET_DIGITS);
        for digits in [12, 12, 12, 12, 4] {
            secret += &base32::encode(getrandom::u64().map_err(|_| NoEntropy)?, digits);
        }
        let body = format!("{PREFIX}{}-{secret}", id.digits());
        Ok(Self { id, text: format!("{body}{}", crc(&body)) })
    }

    /// Reads a key that a client presents: shape and CRC, no database. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != KEY_LENGTH {
            return None;
        }
        let (body, check) = text.split_at_checked(KEY_LENGTH - CRC_DIGITS)?;
        let (id, secret) = body.strip_prefix(PREFIX)?.split_once('-')?;
        let is_secret = secret.len() == SECRET_DIGITS && secret.bytes().all(|b| b.is_ascii_alphanumeric());
        let id = KeyId::from_digits(id)?;
        (is_secret && crc(body) == check).then(|| Self { id, text: text.to_owned() })
    }

    /// The public id inside it.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The secret text: for hashing, and for the one answer that hands the key out.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for PlainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlainKey({}, secret)", self.id)
    }
}

fn crc(body: &str) -> String {
    base32::encode(u64::from(crc32fast::hash(body.as_bytes())), CRC_DIGITS)
}

/// What a key may do: a set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes {
    /// Run models.
    pub inference: bool,
    /// Make and change keys, withdraw.
    pub manage: bool,
    /// Let machines join that serve for the account.
    pub provide: bool,
    /// Everything below `/v1/admin`; only an admin's key has it, and it has nothing else.
    pub admin: bool,
}

impl Scopes {
    /// What a key gets if nothing is asked for.
    pub const INFERENCE: Self = Self { inference: true, manage: false, provide: false, admin: false };
    /// What a machine joins with.
    pub const PROVIDE: Self = Self { inference: false, manage: false, provide: true, admin: false };
    /// An admin's key.
    pub const ADMIN: Self = Self { inference: false, manage: false, provide: false, admin: true };

    /// Reads names separated by blanks; `None` for a name that is no scope.
    pub fn parse(text: &str) -> Option<Self> {
        text.split_ascii_whitespace().try_fold(Self::default(), |scopes, name| match name {
            "inference" => Some(Self { inference: true, ..scopes }),
            "manage" => Some(Self { manage: true, ..scopes }),
            "provide" => Some(Self { provide: true, ..scopes }),
            "admin" => Some(Self { admin: true, ..scopes }),
            _ => None,
        })
    }

    /// The text in the database.
    pub const fn as_str(self) -> &'static str {
        match (self.admin, self.inference, self.manage, self.provide) {
            (true, ..) => "admin",
            (false, true, true, false) => "inference manage",
            (false, false, true, false) => "manage",
            (false, _, false, false) => "inference",
            (false, true, true, true) => "inference manage provide",
            (false, true, false, true) => "inference provide",
            (false, false, true, true) => "manage provide",
            (false, false, false, true) => "provide",
        }
    }

    /// The names in the set.
    pub fn names(self) -> Vec<&'static str> {
        self.as_str().split(' ').collect()
    }
}

/// How long the window of a key's spend limit is. Windows begin at midnight UTC, on Mondays, on the
/// first of the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimitReset {
    /// One window, for ever.
    #[default]
    None,
    /// A day.
    Daily,
    /// A week, from Monday.
    Weekly,
    /// A calendar month.
    Monthly,
}

impl LimitReset {
    /// The text in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }

    /// Reads the text form back.
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::None, Self::Daily, Self::Weekly, Self::Monthly].into_iter().find(|reset| reset.as_str() == text)
    }

    /// When the window that `now` lies in began.
    pub fn window_start(self, now: Timestamp) -> Timestamp {
        match self {
            Self::None => Timestamp::from_millis(0),
            Self::Daily => now.start_of_day(),
            Self::Weekly => now.start_of_week(),
            Self::Monthly => now.start_of_month(),
        }
    }

    /// When the window that `now` lies in ends; `None` if it never does.
    pub fn window_end(self, now: Timestamp) -> Option<Timestamp> {
        // As many days as the longest window of the kind has: its last moment lies in the next one.
        let days = match self {
            Self::None => return None,
            Self::Daily => 1,
            Self::Weekly => 7,
            Self::Monthly => 31,
        };
        let start = self.window_start(now);
        Some(self.window_start(start.plus_seconds(days * 86_400)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PlainKey {
        match PlainKey::generate() {
            Ok(key) => key,
            Err(e) => panic!("{e}"),
        }
    }

    #[test]
    fn a_key_is_read_back() {
        let key = key();
        assert_eq!(key.expose().len(), 78);
        assert_eq!(PlainKey::parse(key.expose()), Some(key.clone()));
        assert_eq!(KeyId::parse(&key.id().to_string()), Some(key.id()));
        assert_eq!(format!("{key:?}"), format!("PlainKey({:?}, secret)", key.id()));
        assert_eq!(format!("{:?}", key.id()), key.id().to_string());
    }

    #[test]
    fn every_single_character_changed_is_refused() {
        let text = key().expose().to_owned();
        for place in 0..text.len() {
            for other in ["0", "z", "-", "I", " "] {
                let mut changed = text.clone();
                changed.replace_range(place..=place, other);
                if changed != text {
                    assert_eq!(PlainKey::parse(&changed), None, "{changed}");
                }
            }
        }
    }

    #[test]
    fn scopes_and_windows_are_read_back() {
        for text in ["inference", "manage", "inference manage", "admin"] {
            assert_eq!(Scopes::parse(text).map(Scopes::as_str), Some(text));
        }
        assert_eq!(Scopes::parse("inference root"), None);
        assert_eq!(Scopes::parse("inference manage").map(Scopes::names), Some(vec!["inference", "manage"]));
        let now = Timestamp::parse("2026-04-30T14:22:01Z").unwrap_or(Timestamp::from_millis(0));
        let rows = [
            ("none", "1970-01-01T00:00:00Z"),
            ("daily", "2026-04-30T00:00:00Z"),
            ("weekly", "2026-04-27T00:00:00Z"),
            ("monthly", "2026-04-01T00:00:00Z"),
        ];
        for (text, start) in rows {
            let start_of = LimitReset::from_text(text).map(|reset| reset.window_start(now).to_string());
            assert_eq!(start_of.as_deref(), Some(start), "{text}");
        }
        assert_eq!(LimitReset::from_text("yearly"), None);
    }

    #[test]
    fn a_window_ends_where_the_next_begins() {
        let rows = [
            ("none", "2026-04-30T14:22:01Z", None),
            ("daily", "2026-04-30T14:22:01Z", Some("2026-05-01T00:00:00Z")),
            ("daily", "2026-12-31T23:59:59Z", Some("2027-01-01T00:00:00Z")),
            ("weekly", "2026-04-27T00:00:00Z", Some("2026-05-04T00:00:00Z")),
            ("weekly", "2026-05-03T23:59:59Z", Some("2026-05-04T00:00:00Z")),
            ("monthly", "2026-01-31T12:00:00Z", Some("2026-02-01T00:00:00Z")),
            ("monthly", "2026-02-01T00:00:00Z", Some("2026-03-01T00:00:00Z")),
            ("monthly", "2028-02-29T12:00:00Z", Some("2028-03-01T00:00:00Z")),
            ("monthly", "2026-12-01T00:00:00Z", Some("2027-01-01T00:00:00Z")),
        ];
        for (text, now, end) in rows {
            let now = Timestamp::parse(now).unwrap_or(Timestamp::from_millis(0));
            let found = LimitReset::from_text(text).and_then(|reset| reset.window_end(now)).map(|at| at.to_string());
            assert_eq!(found.as_deref(), end, "{text} {now}");
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        let key = key();
        let text = key.expose();
        let short = text.get(..text.len() - 1).unwrap_or_default();
        for bad in [
            "",
            "sk-",
            "sk-db-",
            "sk-proj-abc",
            short,
            &format!("{text}0"),
            &text.replace("sk-db", "sk-xx"),
            &"é".repeat(39),
        ] {
            assert_eq!(PlainKey::parse(bad), None, "{bad}");
        }
        // With a good checksum too.
        let body = format!("{PREFIX}{}-{}", key.id().digits(), "!".repeat(SECRET_DIGITS));
        assert_eq!(PlainKey::parse(&format!("{body}{}", crc(&body))), None);
        for bad in ["key_", "key_abc", "key_iiiiiiiiiiii", "acct_000000000000", "key_0000000000000"] {
            assert_eq!(KeyId::parse(bad), None, "{bad}");
        }
    }
}
