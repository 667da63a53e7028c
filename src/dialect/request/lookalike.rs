//! Keys that another program may take for one of ours.
//!
//! Go reads `"Max_Tokens"` as `max_tokens`, with the Kelvin sign for a `k` too, and takes the last of two;
//! others read `maxTokens`. Such a key beside ours, or in its place, would be a second request inside the
//! one that was read.

/// A longer key looks like none of ours.
const LONGEST: usize = 40;

/// The key of `ours` that a server could read `key` as, though it is written in another way.
pub fn lookalike<'k>(key: &str, ours: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let folded = fold(key)?;
    ours.into_iter().find(|our| *our != key && fold(our).is_some_and(|our| our == folded))
}

/// The letters and digits of a key without their case; `None` for a long one.
fn fold(key: &str) -> Option<Folded> {
    let mut folded = Folded { bytes: [0; LONGEST], length: 0 };
    for c in key.chars() {
        let byte = match c {
            // Simple case folding of Unicode: the only characters outside ASCII that fold into it.
            '\u{212a}' => b'k',
            '\u{17f}' => b's',
            // The dotless and the dotted i: Java's `equalsIgnoreCase` takes both for an i.
            '\u{131}' | '\u{130}' => b'i',
            c if c.is_ascii_alphanumeric() => u8::try_from(c).unwrap_or_default().to_ascii_lowercase(),
            // `max-tokens`, `max tokens`, `maxTokens`, `max_tokens\0`.
            c if c.is_ascii() => continue,
            _ => return None,
        };
        *folded.bytes.get_mut(folded.length)? = byte;
        folded.length += 1;
    }
    Some(folded)
}

#[derive(PartialEq)]
struct Folded {
    bytes: [u8; LONGEST],
    length: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_in_every_spelling() {
        let ours = ["model", "max_tokens", "top_k", "stream"];
        let rows = [
            ("model", None),
            ("Model", Some("model")),
            ("MODEL", Some("model")),
            ("max_tokens", None),
            ("Max_Tokens", Some("max_tokens")),
            ("max_to\u{212a}ens", Some("max_tokens")),
            ("max_token\u{17f}", Some("max_tokens")),
            ("\u{17f}tream", Some("stream")),
            ("maxTokens", Some("max_tokens")),
            ("max-tokens", Some("max_tokens")),
            ("max_tokens\0", Some("max_tokens")),
            (" model", Some("model")),
            ("top_\u{212a}", Some("top_k")),
            ("models", None),
            ("m\u{f6}del", None),
            ("", None),
            ("a_very_long_key_that_is_nothing_of_ours_but_goes_on_and_on", None),
        ];
        for (key, expected) in rows {
            assert_eq!(lookalike(key, ours), expected, "{key:?}");
        }
        assert_eq!(lookalike("max_complet\u{131}on_tokens", ["max_completion_tokens"]), Some("max_completion_tokens"));
    }
}
