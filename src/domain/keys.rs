//! API keys: `sk-db-<key id>-<secret><crc>`.
//!
//! 12 base32 digits of id (60 bits), 52 of secret (256 bits), 7 of CRC-32 over all before it. The CRC
//! lets a typo, or a flood of junk, be refused without a database read.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::base32;

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
        let id = KeyId((getrandom::u64().map_err(|_| NoEntropy)? >> 4).cast_signed());
        let mut secret = String::with_capacity(SECRET_DIGITS);
        for digits in [12, 12, 12, 12, 4] {
            secret += &base32::encode(getrandom::u64().map_err(|_| NoEntropy)?, digits);
        }
        let body = format!("{PREFIX}{}-{secret}", id.digits());
        Ok(Self { id, text: format!("{body}{}", crc(&body)) })
    }

    /// Reads a key that a client presents: shape and CRC, no database. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != KEY_LENGTH || !text.is_ascii() {
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
        assert!(!format!("{key:?}").contains(key.expose()));
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
        for bad in ["key_", "key_abc", "key_iiiiiiiiiiii", "acct_000000000000", "key_0000000000000"] {
            assert_eq!(KeyId::parse(bad), None, "{bad}");
        }
    }
}
