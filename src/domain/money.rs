//! Money: whole micro-USD, checked arithmetic, exact text. No float comes near it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount of micro-USD (1 USD = 1,000,000). A balance is never negative; a movement may be.
///
/// There is no `+`: every sum is checked and says so, because an overflow here is money.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MicroUsd(i64);

/// Micro-USD in one USD.
const PER_USD: i64 = 1_000_000;

/// Why a text is not an amount of USD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAmount {
    /// Not `digits` or `digits.digits`: a sign, an exponent, a comma, a blank or a letter is in it.
    #[error("an amount is digits, with a dot (no comma) before its decimals: like 10 or 0.125")]
    Shape,
    /// More than six decimals: finer than a micro-USD.
    #[error("an amount has at most six decimals")]
    TooFine,
    /// More than the ledger can hold.
    #[error("the amount is too large")]
    TooLarge,
}

impl MicroUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount of `micro` micro-USD.
    pub const fn new(micro: i64) -> Self {
        Self(micro)
    }

    /// The amount in micro-USD.
    pub const fn micro(self) -> i64 {
        self.0
    }

    /// The sum, or `None` on overflow.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, or `None` on overflow. May be negative.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// The difference, or zero where `other` is the larger one.
    pub fn minus_floor_zero(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0).max(0))
    }

    /// Below zero.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Reads a decimal USD amount exactly: `10`, `10.00`, `0.000001`.
    ///
    /// # Errors
    /// A sign, an exponent, blanks, more than six decimals, or more than an `i64` of micro-USD.
    pub fn parse_usd(text: &str) -> Result<Self, BadAmount> {
        let (whole, fraction) = match text.split_once('.') {
            Some((_, "")) => return Err(BadAmount::Shape),
            Some(parts) => parts,
            None => (text, ""),
        };
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) {
            return Err(BadAmount::Shape);
        }
        if fraction.len() > 6 {
            return Err(BadAmount::TooFine);
        }
        let whole: i64 = whole.parse().map_err(|_| BadAmount::TooLarge)?;
        let micro: i64 = format!("{fraction:0<6}").parse().map_err(|_| BadAmount::Shape)?;
        whole.checked_mul(PER_USD).and_then(|w| w.checked_add(micro)).map(Self).ok_or(BadAmount::TooLarge)
    }

    /// The exact decimal USD text with at least `min_decimals` (at most 6) decimals.
    pub fn to_usd(self, min_decimals: usize) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        let per_usd = PER_USD.unsigned_abs();
        let mut text = format!("{sign}{}.{:06}", magnitude / per_usd, magnitude % per_usd);
        let shortest = text.len() - 6 + min_decimals.min(6);
        while text.len() > shortest && text.ends_with('0') {
            text.pop();
        }
        text
    }
}

impl fmt::Display for MicroUsd {
    /// `$5.00`, `$4.999813`, `-$0.01`: for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_usd(2).strip_prefix('-') {
            Some(magnitude) => write!(f, "-${magnitude}"),
            None => write!(f, "${}", self.to_usd(2)),
        }
    }
}

impl fmt::Debug for MicroUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}µ$", self.0)
    }
}

/// An amount for people, as a JSON number in USD: exact, with at least two decimals, never a float.
#[derive(Debug, Clone, Copy)]
pub struct Usd(pub MicroUsd);

impl Serialize for Usd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = serde_json::value::RawValue::from_string(self.0.to_usd(2)).map_err(serde::ser::Error::custom)?;
        number.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usd_text_is_read_exactly_or_refused() {
        let good = [
            ("10", 10_000_000),
            ("10.00", 10_000_000),
            ("0.000001", 1),
            ("0", 0),
            ("007.5", 7_500_000),
            ("9223372036854.775807", i64::MAX),
        ];
        for (text, micro) in good {
            assert_eq!(MicroUsd::parse_usd(text), Ok(MicroUsd(micro)), "{text}");
        }
        assert_eq!(format!("{:?}", MicroUsd(188)), "188µ$");
        let bad = [
            ("", BadAmount::Shape),
            (".", BadAmount::Shape),
            (".5", BadAmount::Shape),
            ("5.", BadAmount::Shape),
            ("-1", BadAmount::Shape),
            ("+1", BadAmount::Shape),
            ("1e3", BadAmount::Shape),
            (" 1", BadAmount::Shape),
            ("1,000", BadAmount::Shape),
            ("0,125", BadAmount::Shape),
            ("$1", BadAmount::Shape),
            ("1.2.3", BadAmount::Shape),
            ("١", BadAmount::Shape),
            ("NaN", BadAmount::Shape),
            ("0.0000001", BadAmount::TooFine),
            ("9223372036854.775808", BadAmount::TooLarge),
            ("99999999999999999999", BadAmount::TooLarge),
        ];
        for (text, why) in bad {
            assert_eq!(MicroUsd::parse_usd(text), Err(why), "{text}");
        }
    }

    #[test]
    fn usd_text_is_written_exactly() {
        let rows = [
            (0, "0.00", "$0.00"),
            (5_000_000, "5.00", "$5.00"),
            (4_999_813, "4.999813", "$4.999813"),
            (1, "0.000001", "$0.000001"),
            (1_500_000, "1.50", "$1.50"),
            (-10_000, "-0.01", "-$0.01"),
            (i64::MIN, "-9223372036854.775808", "-$9223372036854.775808"),
        ];
        for (micro, usd, display) in rows {
            assert_eq!(MicroUsd(micro).to_usd(2), usd);
            assert_eq!(MicroUsd(micro).to_string(), display);
        }
    }

    #[test]
    fn a_json_number_is_exact() {
        for (micro, json) in
            [(5_000_000, "5.00"), (4_999_813, "4.999813"), (0, "0.00"), (i64::MAX, "9223372036854.775807")]
        {
            assert_eq!(serde_json::to_string(&Usd(MicroUsd(micro))).ok().as_deref(), Some(json));
        }
    }

    #[test]
    fn sums_are_checked() {
        let max = MicroUsd(i64::MAX);
        assert_eq!(max.checked_add(MicroUsd(1)), None);
        assert_eq!(MicroUsd(i64::MIN).checked_sub(MicroUsd(1)), None);
        assert_eq!(MicroUsd(2).checked_add(MicroUsd(3)), Some(MicroUsd(5)));
        assert_eq!(MicroUsd(2).checked_sub(MicroUsd(3)), Some(MicroUsd(-1)));
        assert_eq!(MicroUsd(2).minus_floor_zero(MicroUsd(3)), MicroUsd::ZERO);
        assert_eq!(MicroUsd(3).minus_floor_zero(MicroUsd(2)), MicroUsd(1));
        assert!(MicroUsd(-1).is_negative() && !MicroUsd::ZERO.is_negative());
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(micro in 0..=i64::MAX) {
            proptest::prop_assert_eq!(MicroUsd::parse_usd(&MicroUsd(micro).to_usd(2)), Ok(MicroUsd(micro)));
        }
    }
}
