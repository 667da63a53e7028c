//! The most tokens that the tokenizers in use make of a text, for money that is promised beside other money.
//!
//! The tokenizer here is one of many, and a caller chooses the text: digits are a token each for Llama, Gemma and Qwen
//! and a third of one for OpenAI; letters of other scripts up to a token a byte; lines, tabs and signs are joined by
//! some and by others not. So each kind of byte adds to the count what others make more of it. The weights are
//! measured: of prose, code, JSON, base64, hexadecimal, numbers, blanks, signs, scripts, and of the words and signs
//! that our tokenizer joins furthest and Llama 2's takes apart most, none had more tokens with Llama 2 and 3, Claude,
//! Gemma 3, DeepSeek V3 and Qwen 3. English and code come to about twice our count, half their bytes.
//!
//! Not covered: long runs of blanks for GPT-2's own vocabulary, whose models take 2,048 tokens at most, and models that
//! read bytes. `growth` says where a text gets longer than its bytes.

/// What weights are parts of: tokens.
const ONE: u64 = 20;
const LOWER: u64 = 7;
const UPPER: u64 = 10;
const DIGIT: u64 = 14;
/// Some join signs, and most join equal ones.
const SIGN: u64 = 10;
const SAME_SIGN: u64 = 20;
/// A blank before a word belongs to it; of a longer run, others make a token of fewer blanks.
const BLANK: u64 = 5;
const LINE_OR_TAB: u64 = 20;
const BYTE: u64 = 20;

/// The most tokens of a text that the tokenizer here counted. May be above its bytes.
pub fn most_tokens(text: &str, counted: u64) -> u64 {
    let is_blank = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_whitespace);
    let bytes = text.as_bytes();
    let mut before = None;
    let mut parts = 0_u64;
    for (at, byte) in bytes.iter().enumerate() {
        parts += match byte {
            b'a'..=b'z' => LOWER,
            b'A'..=b'Z' => UPPER,
            b'0'..=b'9' => DIGIT,
            b' ' if is_blank(before) || is_blank(bytes.get(at + 1)) => BLANK,
            b' ' => 0,
            b'\t'..=b'\r' => LINE_OR_TAB,
            // A token of its own with everybody.
            0..0x20 | 0x7f => 0,
            0x80.. => BYTE,
            _ if before == Some(byte) => SAME_SIGN,
            _ => SIGN,
        };
        before = Some(byte);
    }
    counted.saturating_add(parts.div_ceil(ONE))
}

/// How many tokens more a text has where each of its digits is one. The tokenizer here has a token for each number of
/// up to three digits, and joins no more.
pub fn joined_digits(text: &str) -> u64 {
    let runs = text.as_bytes().split(|byte| !byte.is_ascii_digit());
    let joined: usize = runs.map(|run| run.len() - run.len().div_ceil(3)).sum();
    u64::try_from(joined).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::tokens::count;

    #[test]
    fn each_digit_is_a_token_where_none_are_joined() {
        // text, its digits and what else is in it, each a token
        let rows =
            [("", 0), ("7", 1), ("12", 2), ("123", 3), ("1234", 4), ("0123456789", 10), ("12 345", 6), ("1.25", 4)];
        for (text, tokens) in rows {
            assert_eq!(count(text) + joined_digits(text), tokens, "{text}");
        }
        let long = "0123456789".repeat(100);
        assert_eq!(count(&long) + joined_digits(&long), 1_000);
    }

    /// Texts, and the most tokens that one of the six tokenizers made of them.
    #[test]
    fn no_tokenizer_in_use_makes_more_of_a_text() {
        let rows = [
            ("0123456789".repeat(100), 1_000),
            ("12 ".repeat(300), 900),
            ("\n".repeat(1_000), 1_000),
            ("\t".repeat(1_000), 1_000),
            ("\r\n".repeat(500), 1_000),
            ("=".repeat(1_600), 101),
            (" ".repeat(1_600), 100),
            ("漢字仮名交じり文".repeat(100), 1_200),
            ("Привет мир ".repeat(100), 700),
            (" acompanh diarrhea tertiary hydraulic longevity affidavit adulthood".repeat(20), 560),
            (" IDEOGRAPH POLITICO BUSINESS LANGUAGE DATABASE REQUIRED TEMPLATE".repeat(20), 620),
            ("the_quick_brown_fox_jumps".repeat(100), 1_198),
        ];
        for (text, most) in rows {
            let bound = most_tokens(&text, count(&text));
            assert!(bound >= most, "{bound} of {most}: {text:.20}");
        }
    }

    #[test]
    fn ordinary_text_is_bounded_by_about_half_its_bytes() {
        let prose = "Every request is held, metered and settled once, whatever becomes of it. ".repeat(100);
        let code = "    let left = balance.less(held.total);\n    if left < cost { return Err(refused) }\n".repeat(100);
        for text in [prose, code] {
            let (bytes, bound) = (text.len() as u64, most_tokens(&text, count(&text)));
            assert!((bytes / 3..bytes * 2 / 3).contains(&bound), "{bound} of {bytes}");
        }
    }

    #[test]
    fn each_kind_of_byte_has_its_weight() {
        // Of a text of which nothing was counted.
        let rows = [
            ("", 0),
            (&"ab".repeat(10), 7),
            (&"AB".repeat(10), 10),
            (&"07".repeat(10), 14),
            ("a b a b a b a b a b a", 4),
            (&" ".repeat(20), 5),
            (&"\n\t".repeat(10), 20),
            (&"+-".repeat(10), 10),
            (&"-".repeat(20), 20),
            (&"é".repeat(10), 20),
            (&"\u{1}".repeat(20), 0),
        ];
        for (text, tokens) in rows {
            assert_eq!(most_tokens(text, 0), tokens, "{text:?}");
        }
    }
}
