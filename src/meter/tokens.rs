//! A real tokenizer, for what no provider counted.
//!
//! It is OpenAI's `cl100k_base`, whatever the model: what it counts is labelled an estimate.

use super::scan::{Part, Parts};
use super::vocabulary::tokenizer;
use crate::domain::request::InferenceRequest;

/// What an image, sound or file inside the request counts as: its base64 is not what a model reads.
const INLINE_MEDIA_TOKENS: u64 = 1024;

/// The tokens of a text. The first call makes the tokenizer, which takes half a second; time is linear in
/// the text, whatever it is.
pub fn count(text: &str) -> u64 {
    u64::try_from(tokenizer().count(text)).unwrap_or(u64::MAX)
}

/// The tokens of a request's prompt: every string of it, its keys included (they stand for the marks
/// that a chat template puts around each message), and one for every number, so that a prompt of
/// token numbers is counted exactly.
pub fn prompt_estimate(request: &InferenceRequest<'_>) -> u64 {
    request.prompt_parts().map(count_json).sum()
}

fn count_json(json: &str) -> u64 {
    let mut tokens: u64 = 0;
    let mut text = Vec::new();
    for part in Parts::of(json.as_bytes()) {
        text.clear();
        match part {
            Part::Key(key) => text.extend_from_slice(key),
            Part::Text(raw) if is_inline_media(raw.inner) => tokens = tokens.saturating_add(INLINE_MEDIA_TOKENS),
            Part::Text(raw) => raw.append_to(&mut text),
            Part::Bare(bare) => {
                let is_number = bare.first().is_some_and(|b| matches!(b, b'-' | b'0'..=b'9'));
                tokens = tokens.saturating_add(u64::from(is_number));
            }
        }
        tokens = tokens.saturating_add(count(&String::from_utf8_lossy(&text)));
    }
    tokens
}

/// A data URL, or a long run of base64 alone (Anthropic's images, OpenAI's sounds).
fn is_inline_media(text: &[u8]) -> bool {
    const LONGEST_WORD: usize = 4096;
    let is_base64 = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-' | b'_');
    let is_url = text.starts_with(b"data:") && text.iter().take(128).any(|b| *b == b',');
    (is_url && !text.contains(&b' ')) || (text.len() > LONGEST_WORD && text.iter().all(is_base64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::request::Endpoint;

    #[test]
    fn text_is_counted_as_openai_counts_it() {
        let rows = [
            ("", 0),
            ("hello world", 2),
            ("The quick brown fox jumps over the lazy dog.", 10),
            ("supercalifragilistic", 7),
            ("\n\n", 1),
            ("0123456789", 4),
        ];
        for (text, expected) in rows {
            assert_eq!(count(text), expected, "{text:?}");
        }
        assert!(count(&"a".repeat(1 << 20)) > 1000, "one word of a mebibyte is counted too");
    }

    #[test]
    fn a_prompt_is_counted_by_its_text() {
        let long = format!(r#"{{"model":"m","prompt":"{}"}}"#, "word ".repeat(1000));
        let numbers = r#"{"model":"m","prompt":[1,2,3,40000]}"#;
        let image = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{}"}}}}]}}]}}"#,
            "QUJD".repeat(50_000)
        );
        let rows = [
            (Endpoint::ChatCompletions, r#"{"model":"m","messages":[{"role":"user","content":"hello world"}]}"#, 4..=8),
            (Endpoint::Completions, r#"{"model":"m","prompt":""}"#, 0..=0),
            (Endpoint::Completions, r#"{"model":"m","prompt":"hello\nworld"}"#, 3..=3),
            (Endpoint::Completions, numbers, 4..=4),
            (Endpoint::Completions, &long, 1000..=1001),
            (Endpoint::Embeddings, r#"{"model":"m","input":["hello world","hello"]}"#, 3..=3),
            (Endpoint::Responses, r#"{"model":"m","input":"hello","instructions":"be brief"}"#, 3..=3),
            (Endpoint::Messages, r#"{"model":"m","system":"hello","messages":[{}]}"#, 1..=1),
            (Endpoint::ChatCompletions, &image, 1024..=1050),
        ];
        for (endpoint, body, expected) in rows {
            match InferenceRequest::read(endpoint, body.as_bytes()) {
                Ok(request) => {
                    let tokens = prompt_estimate(&request);
                    assert!(expected.contains(&tokens), "{tokens} for {:.80}", body);
                }
                Err(e) => panic!("{body}: {e}"),
            }
        }
    }
}
