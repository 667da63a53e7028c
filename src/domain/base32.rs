//! Crockford base32, lower case: the text form of ids and key secrets.
//! <https://www.crockford.com/base32.html>. Only the canonical form is read back.

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// `digits` characters for the lowest `5 · digits` bits of `value`, most significant first.
pub fn encode(value: u64, digits: usize) -> String {
    (0..digits)
        .rev()
        .map(|place| {
            let five_bits = u32::try_from(place * 5).ok().and_then(|s| value.checked_shr(s)).unwrap_or(0) & 31;
            usize::try_from(five_bits).ok().and_then(|i| ALPHABET.get(i)).map_or('0', |&b| char::from(b))
        })
        .collect()
}

/// The value of a text of base32 digits, or `None` for another character or more than 64 bits.
pub fn decode(text: &str) -> Option<u64> {
    text.bytes().try_fold(0_u64, |value, byte| {
        let digit = ALPHABET.iter().position(|&a| a == byte)?;
        value.checked_mul(32)?.checked_add(u64::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_back_and_nothing_else_is() {
        for value in [0, 1, 31, 32, u64::from(u32::MAX), (1 << 63) - 1] {
            assert_eq!(decode(&encode(value, 13)), Some(value));
        }
        assert_eq!(encode(0, 3), "000");
        assert_eq!(encode(1_023, 2), "zz");
        for text in ["i", "l", "o", "u", "A", "-", "é", "zzzzzzzzzzzzz"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
