//! A real tokenizer, for what no provider counted.
//!
//! It is OpenAI's `cl100k_base`, whatever the model: what it counts is labelled an estimate.

use super::dense;
use super::media::Medium;
use super::prompt::{Flow, PromptPiece, take_apart};
use super::vocabulary::tokenizer;
use super::walk::{self, TextOrRest};
use super::{enlarge, growth};
use crate::dialect::request::InferenceRequest;

/// What the chat templates in use put around a message, its role not counted.
const TOKENS_PER_MESSAGE: u64 = 4;
/// What they put at the end of the prompt, where the answer begins.
const TOKENS_PER_CHAT: u64 = 3;
/// The most that they do, over that: Harmony's and Llama 3's take eight.
const MORE_PER_MESSAGE: u64 = 4;
/// A text is counted in pieces of this many bytes, so that a count can stop and memory is bounded.
const PIECE: usize = 64 << 10;

/// The tokens of a text. The first call makes the tokenizer, which takes half a second; time is linear in
/// the text, whatever it is.
pub fn count(text: &str) -> u64 {
    u64::try_from(tokenizer().count(text)).unwrap_or(u64::MAX)
}

/// What was counted of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PromptCount {
    /// Tokens, those of its media as usual for their kinds.
    pub tokens: u64,
    /// The most that the tokenizers in use make of it, and the processors of its media.
    pub most: u64,
    /// What [`Self::tokens`] has less than a tokenizer for which each digit is a token: Qwen's, Gemma's and Mistral's.
    /// Ours makes one of three.
    pub joined_digits: u64,
    /// The bytes of its text.
    pub text_bytes: u64,
    /// It has pictures, sounds, films or files.
    pub has_media: bool,
}

/// The tokens of a request's prompt: every string of it but known settings, what a chat template adds to each
/// message, and one for every token that is given by its number. Above `most` it stops counting.
pub fn prompt_estimate(request: &InferenceRequest<'_>, most: u64) -> PromptCount {
    let mut counter = Counter { most, ..Counter::default() };
    let _ = take_apart(request, &mut |piece| {
        counter.add(piece);
        if counter.is_over() { Flow::Break(()) } else { Flow::Continue(()) }
    });
    counter.flush();
    let largest = if counter.media.is_empty() { 0 } else { enlarge::largest(request) };
    let media = counter.media.iter().map(|medium| enlarge::most_tokens(*medium, largest));
    let media = media.fold(0, u64::saturating_add);
    counter.most(media);
    counter.most(growth::beyond_bytes(request));
    // A server that reads a grammar or a schema into its prompt tells no untruth.
    counter.most(u64::try_from(request.settings_size()).unwrap_or(u64::MAX));
    counter.count
}

#[derive(Debug, Default)]
struct Counter {
    text: String,
    media: Vec<Medium>,
    count: PromptCount,
    most: u64,
    has_messages: bool,
}

impl Counter {
    fn add(&mut self, piece: PromptPiece<'_>) {
        match piece {
            PromptPiece::Message => {
                self.tokens(TOKENS_PER_MESSAGE);
                self.most(TOKENS_PER_MESSAGE + MORE_PER_MESSAGE);
                if !std::mem::replace(&mut self.has_messages, true) {
                    self.tokens(TOKENS_PER_CHAT);
                    self.most(TOKENS_PER_CHAT);
                }
            }
            PromptPiece::Text(raw) => {
                self.string(raw);
                self.flush();
            }
            PromptPiece::Json(json) => {
                for part in walk::parts(json) {
                    match part {
                        TextOrRest::Text(raw) => {
                            self.push("\"");
                            self.string(raw);
                            self.push("\"");
                        }
                        TextOrRest::Other(other) => self.push(other),
                    }
                    if self.is_over() {
                        break;
                    }
                }
                self.flush();
            }
            PromptPiece::Token => {
                self.tokens(1);
                self.most(1);
            }
            PromptPiece::Medium { medium, size, is_text } => {
                self.count.has_media = true;
                self.media.push(medium);
                let usual = size.map(|size| medium.usual_tokens(u64::try_from(size).unwrap_or(u64::MAX), is_text));
                self.tokens(usual.unwrap_or(0));
                // What may be a text may have as many as it has bytes, beside its bound as a medium.
                if is_text || medium == Medium::File {
                    self.most(size.map_or(0, |size| u64::try_from(size).unwrap_or(u64::MAX)));
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.count.tokens > self.most
    }

    fn tokens(&mut self, tokens: u64) {
        self.count.tokens = self.count.tokens.saturating_add(tokens);
    }

    fn most(&mut self, tokens: u64) {
        self.count.most = self.count.most.saturating_add(tokens);
    }

    fn string(&mut self, raw: &str) {
        walk::pieces(raw, |piece| {
            self.push(piece);
            !self.is_over()
        });
    }

    fn push(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() && !self.is_over() {
            let mut end = rest.len().min(PIECE);
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            let (piece, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
            self.text.push_str(piece);
            if self.text.len() >= PIECE {
                self.flush();
            }
            rest = after;
        }
    }

    fn flush(&mut self) {
        let counted = count(&self.text);
        self.tokens(counted);
        self.most(dense::most_tokens(&self.text, counted));
        self.count.joined_digits = self.count.joined_digits.saturating_add(dense::joined_digits(&self.text));
        let bytes = u64::try_from(self.text.len()).unwrap_or(u64::MAX);
        self.count.text_bytes = self.count.text_bytes.saturating_add(bytes);
        self.text.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::endpoint::Endpoint;

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

    fn estimate(endpoint: Endpoint, body: &str) -> u64 {
        match InferenceRequest::read(endpoint, body.as_bytes()) {
            Ok(request) => prompt_estimate(&request, u64::MAX).tokens,
            Err(e) => panic!("{body:.200}: {e}"),
        }
    }

    #[test]
    fn a_prompt_is_counted_by_its_text_and_its_template() {
        let long = format!(r#"{{"model":"m","prompt":"{}"}}"#, "word ".repeat(1000));
        let numbers = r#"{"model":"m","prompt":[1,2,3,40000]}"#;
        let tools = r#"[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]"#;
        let with_tools = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],"tools":{tools}}}"#);
        let rows = [
            (Endpoint::ChatCompletions, r#"{"model":"m","messages":[{"role":"user","content":"hello world"}]}"#, 10),
            (Endpoint::ChatCompletions, &with_tools, 9 + count(tools)),
            (Endpoint::Completions, r#"{"model":"m","prompt":"hello\nworld"}"#, 3),
            (Endpoint::Completions, numbers, 4),
            (Endpoint::Completions, &long, 1001),
            (Endpoint::Embeddings, r#"{"model":"m","input":["hello world","hello"]}"#, 3),
            (Endpoint::Responses, r#"{"model":"m","input":"hello","instructions":"be brief"}"#, 3 + 2 * 4 + 3),
            (Endpoint::Messages, r#"{"model":"m","system":"hello","messages":[{"role":"user","content":"hi"}]}"#, 14),
        ];
        for (endpoint, body, expected) in rows {
            assert_eq!(estimate(endpoint, body), expected, "{body:.80}");
        }
    }

    #[test]
    fn text_of_every_shape_is_counted_as_the_text_that_it_is() {
        let escaped: String = "Attack at dawn. ".repeat(500).chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
        // as JSON writes it, as it is meant
        let rows = [
            ("words_".repeat(2_000), "words_".repeat(2_000)),
            ("QUJDREVGabc+/=".repeat(1_000), "QUJDREVGabc+/=".repeat(1_000)),
            ("0123456789".repeat(2_000), "0123456789".repeat(2_000)),
            ("漢字かな交じり文".repeat(500), "漢字かな交じり文".repeat(500)),
            ("👩‍🚀🏳️‍🌈".repeat(500), "👩‍🚀🏳️‍🌈".repeat(500)),
            (r"\u0001\u001b\u0000".repeat(1_000), "\u{1}\u{1b}\0".repeat(1_000)),
            (escaped, "Attack at dawn. ".repeat(500)),
            (" ".repeat(200_000), " ".repeat(200_000)),
            (r"\n\t".repeat(20_000), "\n\t".repeat(20_000)),
            (r"\ud83d\ude00".repeat(1_000), "😀".repeat(1_000)),
            ("data:image/png;base64,QUJD".repeat(1_000), "data:image/png;base64,QUJD".repeat(1_000)),
        ];
        for (json, text) in rows {
            let exact = count(&text);
            let near = exact..=exact + exact / 50 + 8;
            let asked = |body: String| estimate(Endpoint::ChatCompletions, &body);
            let content = asked(format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{json}"}}]}}"#));
            assert!(near.contains(&content), "{content} for {exact}: {:.40}", text);
            let unknown = asked(format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":""}}],"documents":[{{"text":"{json}"}}]}}"#
            ));
            assert!((exact..=exact + exact / 50 + 24).contains(&unknown), "{unknown} for {exact}: {:.40}", text);
            let result = asked(format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"tool_result","content":"{json}"}}]}}]}}"#
            ));
            assert_eq!(result, content, "{:.40}", text);
            let setting =
                asked(format!(r#"{{"model":"m","messages":[{{"role":"user","content":""}}],"user":"{json}"}}"#));
            assert_eq!(setting, 8);
        }
    }

    #[test]
    fn pictures_count_one_by_one_and_not_by_their_letters() {
        let inline = format!("data:image/png;base64,{}", "QUJD".repeat(50_000));
        for url in [inline.as_str(), "https://example.com/a.png"] {
            let part = format!(r#"{{"type":"image_url","image_url":{{"url":"{url}"}}}}"#);
            let body = |parts: &[&str]| {
                format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{}]}}]}}"#, parts.join(","))
            };
            assert_eq!(estimate(Endpoint::ChatCompletions, &body(&[part.as_str()])), 8 + 1_600);
            assert_eq!(estimate(Endpoint::ChatCompletions, &body(&[part.as_str(); 20])), 8 + 20 * 1_600);
        }
    }

    #[test]
    fn the_most_of_a_prompt_is_what_no_server_reads_more_of() {
        let most = |body: &str| match InferenceRequest::read(Endpoint::ChatCompletions, body.as_bytes()) {
            Ok(request) => prompt_estimate(&request, u64::MAX).most,
            Err(e) => panic!("{body:.200}: {e}"),
        };
        let with = |content: &str, more: &str| format!(r#"{{"model":"m","messages":[{{"content":{content}}}]{more}}}"#);
        // 3 for the name of the model, as it stands, and 11 for a message and the chat
        let rows = [
            (with("\"\"", ""), 0),
            (with("\"7777777777\"", ""), 4 + 7),
            (with("\"漢字\"", ""), count("漢字") + 6),
            (with("\"\u{fdfa}\"", ""), 3 + 3 + 30),
            (with("[7,8]", ""), 2),
            (with("\"\"", ",\"grammar\":\"root\""), 6),
            (with("\"\"", ",\"prefix\":\"77\""), 1 + 2),
            (with(r#"[{"type":"image_url","image_url":{"url":"https://a/b.png"}}]"#, ""), 49_152),
            (with(r#"[{"type":"file","file":{"file_data":"data:text/plain;base64,QUJD"}}]"#, ""), 524_288 + 27),
        ];
        for (body, expected) in rows {
            assert_eq!(most(&body), 3 + 11 + expected, "{body}");
        }
    }

    #[test]
    fn a_count_stops_where_it_is_enough() {
        let body = format!(r#"{{"model":"m","prompt":"{}"}}"#, "a b ".repeat(1 << 20));
        match InferenceRequest::read(Endpoint::Completions, body.as_bytes()) {
            Ok(request) => {
                let count = prompt_estimate(&request, 1_000);
                assert!(count.tokens > 1_000 && count.text_bytes <= 2 * PIECE as u64, "{count:?}");
            }
            Err(e) => panic!("{e}"),
        }
    }
}
