//! What a model may be called, by whoever names one: a price, a provider, a key, a request.

/// The longest name, in bytes.
pub const LONGEST: usize = 256;
/// The rule, for people.
pub const RULE: &str = "1 to 256 bytes without blanks";

/// The text can be a model's name.
pub fn is_model_name(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_in_one_piece() {
        let (longest, too_long) = ("m".repeat(LONGEST), "m".repeat(LONGEST + 1));
        let rows = [
            ("qwen3.5-27b", true),
            ("org/model:tag@4bit", true),
            ("größe", true),
            (&longest, true),
            ("", false),
            (&too_long, false),
            ("two words", false),
            ("tab\t", false),
            ("\u{a0}", false),
            ("nul\0", false),
        ];
        for (text, fine) in rows {
            assert_eq!(is_model_name(text), fine, "{text:?}");
        }
    }
}
