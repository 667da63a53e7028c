//! Ids: 63 bits, ordered by time, written as a kind and 13 base32 digits (`req_01kb…`).
//!
//! The upper 43 bits are milliseconds since 1970, the lower 20 start at random within each
//! millisecond. An id is the row's own primary key, so no second index on a random id is needed.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::base32;
use super::time::Timestamp;

const DIGITS: usize = 13;
const RANDOM_BITS: u32 = 20;

/// A map by ids. They are made here, half of them at random, so nobody can choose them to fall together: a
/// multiplication does for a hash.
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// The hash of an [`IdMap`].
#[derive(Debug, Clone, Copy, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, id: u64) {
        /// 2^64 divided by the golden ratio (Knuth, vol. 3, 6.4).
        const GOLDEN: u128 = 0x9e37_79b9_7f4a_7c15;
        let [low, high] = [0, 64].map(|by| (u128::from(self.0 ^ id) * GOLDEN) >> by & u128::from(u64::MAX));
        self.0 = u64::try_from(low ^ high).unwrap_or_default();
    }

    fn write_i64(&mut self, id: i64) {
        self.write_u64(id.cast_unsigned());
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(i64);

        impl $name {
            /// What its text begins with.
            pub const PREFIX: &'static str = $prefix;

            /// The id with this value, as the database holds it.
            pub const fn from_i64(value: i64) -> Self {
                Self(value)
            }

            /// The value, as the database holds it.
            pub const fn to_i64(self) -> i64 {
                self.0
            }

            /// A fresh one.
            pub fn generate(now: Timestamp) -> Self {
                Self(next(now))
            }

            /// When it was generated.
            pub const fn time(self) -> Timestamp {
                Timestamp::from_millis(self.0 >> RANDOM_BITS)
            }

            /// The smallest id of that time: a bound for queries.
            pub fn first_at(time: Timestamp) -> Self {
                Self(time.millis().clamp(0, i64::MAX >> RANDOM_BITS) << RANDOM_BITS)
            }

            /// Reads the text form; `None` for anything but the canonical text of this kind.
            pub fn parse(text: &str) -> Option<Self> {
                let digits = text.strip_prefix($prefix).filter(|d| d.len() == DIGITS)?;
                i64::try_from(base32::decode(digits)?).ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, base32::encode(self.0.unsigned_abs(), DIGITS))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom(concat!("not an id that begins with ", $prefix)))
            }
        }
    };
}

id!(
    /// An account: who owns money.
    AccountId, "acct_"
);
id!(
    /// A provider: who serves and earns.
    ProviderId, "prov_"
);
id!(
    /// A request, and its usage row.
    RequestId, "req_"
);
id!(
    /// A ledger entry: a movement of money that is not a usage charge.
    LedgerId, "led_"
);
id!(
    /// A withdrawal: earnings that are to be paid out.
    WithdrawalId, "wd_"
);
id!(
    /// An invite code, as the database knows it.
    InviteId, "inv_"
);
id!(
    /// A version of a model's price.
    PriceId, "price_"
);
id!(
    /// An admin: who may add credit.
    AdminId, "adm_"
);
id!(
    /// An alert: by it a receiver knows one that comes twice.
    AlertId, "alert_"
);

/// The highest value given out by this process: ids never repeat or go back within it, whatever the
/// wall clock does.
static LAST: AtomicI64 = AtomicI64::new(0);

/// Makes every id generated from now on larger than `last`: for ids that are in the database already,
/// which a clock that was set back must not meet again.
pub fn stay_above(last: i64) {
    LAST.fetch_max(last, Ordering::Relaxed);
}

fn next(now: Timestamp) -> i64 {
    let millis = now.millis().clamp(0, i64::MAX >> RANDOM_BITS);
    let random = random_part();
    match LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(after(last, millis, random))) {
        Ok(last) | Err(last) => after(last, millis, random),
    }
}

/// The id that follows `last`: at random in a new millisecond, else the next number.
const fn after(last: i64, millis: i64, random: i64) -> i64 {
    if last >> RANDOM_BITS < millis { (millis << RANDOM_BITS) + random } else { last.saturating_add(1) }
}

/// The lower bits of a fresh id. The top two of them stay 0, so that a busy millisecond has room to
/// count up in.
fn random_part() -> i64 {
    i64::from(random_u32() >> (32 - (RANDOM_BITS - 2)))
}

/// Random enough to keep two processes apart: a counter scrambled by a key that is random in each. An id
/// is no secret, and a system call for each request would be felt.
fn random_u32() -> u32 {
    static SCRAMBLER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicI64 = AtomicI64::new(0);
    let hash = SCRAMBLER.hash_one(COUNT.fetch_add(1, Ordering::Relaxed));
    u32::try_from(hash >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_canonical_and_of_its_kind() {
        let id = RequestId::generate(Timestamp::from_millis(1_777_559_321_000));
        let text = id.to_string();
        assert_eq!(text.len(), 17);
        assert_eq!(RequestId::parse(&text), Some(id));
        let upper = text.to_uppercase();
        let long = format!("{text}0");
        for bad in ["", "req_", "req_abc", "acct_0123456789abc", upper.as_str(), long.as_str(), "req_zzzzzzzzzzzzz"] {
            assert_eq!(RequestId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn ids_go_up_even_when_the_clock_does_not() {
        let at = |ms| RequestId::generate(Timestamp::from_millis(ms));
        let mut last = at(2_000_000_000_000);
        for ms in [2_000_000_000_000; 1_000].into_iter().chain([1_000, 0, -5]) {
            let id = at(ms);
            assert!(id > last, "{id} after {last}");
            last = id;
        }
    }

    #[test]
    fn an_id_is_after_the_last_whatever_the_clock_says() {
        let at = |millis: i64, low: i64| (millis << RANDOM_BITS) + low;
        // last, millis, random → id
        let rows = [
            (0, 5, 7, at(5, 7)),
            (at(4, 900_000), 5, 7, at(5, 7)),
            (at(5, 2), 5, 7, at(5, 3)),
            (at(5, 9), 5, 7, at(5, 10)),
            (at(6, 0), 5, 7, at(6, 1)),
            (at(5, (1 << RANDOM_BITS) - 1), 5, 7, at(6, 0)),
            (i64::MAX, 5, 7, i64::MAX),
        ];
        for (last, millis, random, id) in rows {
            assert_eq!(after(last, millis, random), id, "{last} {millis}");
        }
        let drawn: Vec<i64> = (0..64).map(|_| random_part()).collect();
        assert!(drawn.iter().all(|n| (0..1 << 18).contains(n)) && drawn.iter().any(|n| *n > 1 << 12), "{drawn:?}");
    }

    #[test]
    fn ids_stay_above_those_in_the_database() {
        let last = LedgerId::generate(Timestamp::from_millis(0)).to_i64() + (1 << 19);
        stay_above(last);
        assert!(LedgerId::generate(Timestamp::from_millis(0)).to_i64() > last);
    }

    #[test]
    fn a_time_bound_is_below_every_id_of_that_time() {
        let time = Timestamp::from_millis(2_100_000_000_000);
        let id = AccountId::generate(time);
        assert!(AccountId::first_at(time) <= id);
        assert!(AccountId::first_at(Timestamp::from_millis(2_100_000_000_001)) > id);
        assert_eq!(id.time(), time);
    }
}
