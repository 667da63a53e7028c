//! Where a prompt may have more tokens than its request has bytes: what a tokenizer spells out before it cuts, and what
//! a template indents.

use std::iter::once;
use std::sync::LazyLock;

use icu_normalizer::ComposingNormalizerBorrowed;
use memchr::memmem::Finder;

use super::prompt::holds_parts;
use super::walk::{Value, decoded_letters};
use crate::dialect::request::InferenceRequest;

/// A template writes an element in a line of its own, four blanks deeper a level. Down to here the element's own bytes
/// cover that.
const SHALLOW: u64 = 8;
/// This many levels of blanks are a token with those who have none for longer runs of them.
const LEVELS_A_TOKEN: u64 = 4;

/// The tokens that a prompt may have beyond a token a byte; nearly always none.
pub fn beyond_bytes(request: &InferenceRequest<'_>) -> u64 {
    request.prompt_fields().fold(0_u64, |sum, (name, raw)| {
        let indented = match Value::of(raw) {
            Value::List(_) | Value::Object(_) if !holds_parts(name) => indentation(raw),
            _ => 0,
        };
        sum.saturating_add(spelled_out(raw)).saturating_add(indented)
    })
}

/// The bytes that a text grows by as it is normalised: XLM-R and T5 read U+FDFA as 33 bytes (NFKC), Qwen reads U+1D160
/// as 12 (NFC, which never makes more of a character than NFKC does).
fn spelled_out(raw: &str) -> u64 {
    /// Made once: making a searcher costs more than searching a short prompt.
    static ESCAPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\\u"));
    if raw.is_ascii() && ESCAPE.find(raw.as_bytes()).is_none() {
        return 0;
    }
    let normalizer = ComposingNormalizerBorrowed::new_nfkc();
    let grown = |(letter, bytes): (char, usize)| {
        if keeps_its_length(letter) {
            return 0;
        }
        let normal: usize = normalizer.normalize_iter(once(letter)).map(char::len_utf8).sum();
        u64::try_from(normal.saturating_sub(bytes)).unwrap_or(u64::MAX)
    };
    decoded_letters(raw).map(grown).fold(0, u64::saturating_add)
}

/// The letters that texts are made of: no normalisation makes more of one.
const fn keeps_its_length(letter: char) -> bool {
    matches!(letter, '\0'..='\u{9f}' | '\u{c0}'..='\u{131}' | '\u{400}'..='\u{52f}' | '\u{3041}'..='\u{3096}'
        | '\u{30a1}'..='\u{30fa}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
}

/// The tokens of the blanks before deep elements, where a template writes JSON in lines (`tojson(indent=4)`).
fn indentation(json: &str) -> u64 {
    let (mut depth, mut tokens) = (0_u64, 0_u64);
    let mut rest = json.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => rest = behind_string(rest),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => {}
            _ => continue,
        }
        if byte != b'"' {
            tokens = tokens.saturating_add(depth.saturating_sub(SHALLOW) / LEVELS_A_TOKEN);
        }
    }
    tokens
}

/// What follows the quote that ends a string.
fn behind_string(mut text: &[u8]) -> &[u8] {
    while let Some(at) = memchr::memchr2(b'"', b'\\', text) {
        let is_end = text.get(at) == Some(&b'"');
        text = text.get(at + if is_end { 1 } else { 2 }..).unwrap_or_default();
        if is_end {
            return text;
        }
    }
    b""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::endpoint::Endpoint;

    fn beyond(body: &str) -> u64 {
        match InferenceRequest::read(Endpoint::ChatCompletions, body.as_bytes()) {
            Ok(request) => beyond_bytes(&request),
            Err(e) => panic!("{body}: {e}"),
        }
    }

    fn saying(text: &str) -> u64 {
        beyond(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#))
    }

    #[test]
    fn what_is_spelled_out_counts_as_long_as_it_gets() {
        let rows = [
            ("Plain words, 42 of them.\\n\\\"", 0),
            ("Größe, Ελληνικά, Привет, 漢字かな, 한국어, 🎉, é", 0),
            ("\\u00e9\\u6f22\\ud83c\\udf89", 0),
            ("\u{fdfa}", 30),
            ("\\ufdfa", 27),
            ("\u{fdfa}\u{fdfa}x", 60),
            ("\u{3316}", 15),
            ("\u{1d160}", 8),
            ("\u{2057}", 9),
            ("\u{958}", 3),
            ("\u{2026}", 0),
            ("½", 3),
            ("\\ud800", 0),
        ];
        for (text, expected) in rows {
            assert_eq!(saying(text), expected, "{text}");
        }
        // A name is no prompt.
        assert_eq!(beyond("{\"model\":\"m\",\"user\":\"\u{fdfa}\",\"messages\":[1]}"), 0);
    }

    #[test]
    fn no_letter_that_keeps_its_length_grows() {
        let normalizer = ComposingNormalizerBorrowed::new_nfkc();
        for letter in (0..=0x10_FFFF).filter_map(char::from_u32).filter(|letter| keeps_its_length(*letter)) {
            let normal: usize = normalizer.normalize_iter(once(letter)).map(char::len_utf8).sum();
            assert!(normal <= letter.len_utf8(), "U+{:04X}", u32::from(letter));
        }
    }

    #[test]
    fn deep_elements_are_indented() {
        let tools = |depth: usize, elements: usize| {
            let list = vec!["1"; elements].join(",");
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            beyond(&format!(r#"{{"model":"m","messages":[1],"documents":{open}{list}{close}}}"#))
        };
        assert_eq!((tools(1, 1_000), tools(11, 1_000)), (0, 0), "ordinary schemas cost nothing more");
        // 100 levels are 400 blanks: 25 tokens of 16 each.
        assert!((24_000..26_000).contains(&tools(100, 1_000)), "{}", tools(100, 1_000));
        let quoted = format!(r#"{{"model":"m","messages":[1],"documents":["{}\\\"["]}}"#, "[[[{{{,,,".repeat(50));
        assert_eq!(beyond(&quoted), 0, "what stands in a string is no structure");
    }
}
