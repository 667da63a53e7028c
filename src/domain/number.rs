//! Whole numbers as JSON may write them: `4096`, `4096.0`, `4.096e3`. Read from the text, so that no float
//! comes near what is charged.

/// What the text of a JSON value says where a whole number is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// Zero or more.
    Natural(u64),
    /// -1, which several servers take for "no limit".
    MinusOne,
    /// Another negative number, a fraction, more than 64 bits, or no number at all.
    Other,
}

/// Reads the raw text of a JSON value.
pub fn whole(raw: &str) -> Whole {
    // The ordinary case.
    if let Ok(n) = raw.parse::<u64>() {
        return Whole::Natural(n);
    }
    let (negative, unsigned) = raw.strip_prefix('-').map_or((false, raw), |rest| (true, rest));
    match (negative, natural(unsigned)) {
        (_, Some(0)) => Whole::Natural(0),
        (false, Some(n)) => Whole::Natural(n),
        (true, Some(1)) => Whole::MinusOne,
        _ => Whole::Other,
    }
}

/// The value of an unsigned JSON number, if it is whole and fits.
fn natural(text: &str) -> Option<u64> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (int, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || int.bytes().chain(fraction.bytes());
    if int.is_empty() || !digits().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Without the zeros at its end the number is `significant` digits, followed by `zeros` zeros if that is
    // positive; if it is negative, some of the digits stand after the point.
    let length = int.len() + fraction.len();
    let trailing = fraction.bytes().rev().chain(int.bytes().rev()).take_while(|b| *b == b'0').count();
    if trailing == length {
        return Some(0);
    }
    let zeros =
        exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(i64::try_from(trailing).ok()?)?;
    let zeros = u32::try_from(zeros).ok()?;
    let significant = digits()
        .take(length - trailing)
        .try_fold(0_u64, |n, digit| n.checked_mul(10)?.checked_add(u64::from(digit - b'0')))?;
    significant.checked_mul(10_u64.checked_pow(zeros)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_has_many_shapes() {
        use Whole::{MinusOne, Natural, Other};
        let rows = [
            ("0", Natural(0)),
            ("4096", Natural(4_096)),
            ("4096.0", Natural(4_096)),
            ("4096.000", Natural(4_096)),
            ("1e3", Natural(1_000)),
            ("1E+3", Natural(1_000)),
            ("4.096e3", Natural(4_096)),
            ("40960e-1", Natural(4_096)),
            ("1000000e-6", Natural(1)),
            ("0.0", Natural(0)),
            ("-0", Natural(0)),
            ("0e999999999999999999", Natural(0)),
            ("0e99999999999999999999", Other),
            ("0e99", Natural(0)),
            ("18446744073709551615", Natural(u64::MAX)),
            ("18446744073709551616", Other),
            ("1e19", Natural(10_000_000_000_000_000_000)),
            ("1e20", Other),
            ("1e999999999", Other),
            ("1e-999999999", Other),
            ("6000.5", Other),
            ("1e-1", Other),
            ("5.12e1", Other),
            ("-1", MinusOne),
            ("-1.0", MinusOne),
            ("-10e-1", MinusOne),
            ("-2", Other),
            ("-1.5", Other),
            ("\"512\"", Other),
            ("true", Other),
            ("[1]", Other),
            ("{}", Other),
            ("null", Other),
        ];
        for (raw, expected) in rows {
            assert_eq!(whole(raw), expected, "{raw}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_shifted_point_changes_nothing(n in 0..u64::from(u32::MAX), shift in 0..9_u32) {
            let power = 10_u64.pow(shift);
            let width = usize::try_from(shift).unwrap_or(0);
            let written = if shift == 0 { format!("{n}e0") } else {
                format!("{}.{:0width$}e{shift}", n / power, n % power)
            };
            proptest::prop_assert_eq!(whole(&written), Whole::Natural(n), "{}", written);
        }
    }
}
