//! Until when a certificate is valid: the two times of its DER, and nothing else of it (RFC 5280, 4.1.2.5).

use time::{Date, Month, PrimitiveDateTime, Time};

use crate::domain::time::Timestamp;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// From when until when a certificate is valid; `None` if it cannot be read.
pub fn of(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (certificate, _) = inside(der, SEQUENCE)?;
    let (mut rest, _) = inside(certificate, SEQUENCE)?;
    if let Some((_, behind)) = inside(rest, VERSION) {
        rest = behind;
    }
    // The serial number, the algorithm of the signature, the issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (validity, _) = inside(rest, SEQUENCE)?;
    let (kind, from, rest) = element(validity)?;
    let (kind_until, until, _) = element(rest)?;
    Some((time(kind, from)?, time(kind_until, until)?))
}

/// What an element of this kind holds, and what stands behind it.
fn inside(der: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    element(der).filter(|(found, ..)| *found == kind).map(|(_, content, rest)| (content, rest))
}

/// The first element: its kind, what it holds, and what stands behind it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&kind, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let (digits, behind) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        length = digits.iter().fold(0, |sum, &digit| sum << 8 | usize::from(digit));
        rest = behind;
    }
    let (content, behind) = rest.split_at_checked(length)?;
    Some((kind, content, behind))
}

/// `YYMMDDHHMMSSZ` (of 1950 to 2049) or `YYYYMMDDHHMMSSZ`.
fn time(kind: u8, text: &[u8]) -> Option<Timestamp> {
    let digits = text.strip_suffix(b"Z")?;
    let number = |part: &[u8]| std::str::from_utf8(part).ok()?.parse::<u16>().ok();
    let (year, rest) = match kind {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    let mut parts = rest.chunks(2).map(|part| number(part).and_then(|n| u8::try_from(n).ok()));
    let mut next = || parts.next().flatten();
    let date = Date::from_calendar_date(year.into(), Month::try_from(next()?).ok()?, next()?).ok()?;
    let time = Time::from_hms(next()?, next()?, next()?).ok()?;
    let seconds = PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp();
    Some(Timestamp::from_millis(seconds.checked_mul(1_000)?))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn both_times_are_read_in_both_forms() {
        for (from, until, expected) in [
            ((1999, 2, 3), (2031, 12, 30), ("1999-02-03T00:00:00Z", "2031-12-30T00:00:00Z")),
            ((2026, 11, 26), (2080, 1, 1), ("2026-11-26T00:00:00Z", "2080-01-01T00:00:00Z")),
        ] {
            let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            params.not_before = date_time_ymd(from.0, from.1, from.2);
            params.not_after = date_time_ymd(until.0, until.1, until.2);
            let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
            let (from, until) = of(&der).unwrap();
            assert_eq!((from.to_string().as_str(), until.to_string().as_str()), expected);
            for cut in 0..der.len().min(200) {
                assert_eq!(of(&der[..cut]), None, "{cut}");
            }
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_times() {
        for der in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x80", b"hello", &[0x30; 100]] {
            assert_eq!(of(der), None);
        }
        assert_eq!(time(UTC_TIME, b"991332000000Z"), None);
        assert_eq!(time(UTC_TIME, b"9912310000Z"), None);
        assert_eq!(time(GENERALIZED_TIME, b"20261126120000"), None);
    }
}
