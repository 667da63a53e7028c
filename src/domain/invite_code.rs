//! The text of invite codes: `DB-XXXX-XXXX-XXXX-XXXX`, base32, 80 random bits.

use super::base32;
use super::keys::NoEntropy;

/// A new code.
///
/// # Errors
/// The operating system has no random bytes: a code is money, and never made of weaker ones.
pub fn generate() -> Result<String, NoEntropy> {
    let mut code = "DB".to_owned();
    for _ in 0..2 {
        let digits = base32::encode(getrandom::u64().map_err(|_| NoEntropy)?, 8).to_ascii_uppercase();
        let (left, right) = digits.split_at_checked(4).unwrap_or_default();
        code += &format!("-{left}-{right}");
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_differ_and_can_be_read_aloud() {
        let (Ok(a), Ok(b)) = (generate(), generate()) else { panic!("no entropy") };
        assert_ne!(a, b);
        assert_eq!(a.len(), "DB-XXXX-XXXX-XXXX-XXXX".len());
        assert!(a.starts_with("DB-") && a.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'-'));
    }

    #[test]
    fn every_digit_of_a_code_is_random() {
        let codes: Vec<String> = (0..256).map(|_| generate().unwrap_or_default()).collect();
        for place in (3..22).filter(|place| place % 5 != 2) {
            let seen: BTreeSet<_> = codes.iter().filter_map(|code| code.as_bytes().get(place)).collect();
            // Of 32. Fewer than 17 means that a bit of it does not change.
            assert!(seen.len() > 16, "place {place}: {seen:?}");
        }
    }
}
