//! The output text of an answer, kept for an estimate.

use super::scan::{MARKS, Mark, Part, Parts, RawText};
use super::tokens;
use crate::domain::request::Endpoint;

/// Text beyond this is folded into a count. Most answers are shorter and are never tokenised, since
/// their provider says what they used.
const FOLD_AT: usize = 16 << 10;

/// The keys under which generated text stands in a chat message or delta.
const CHAT: &[&[u8]] = &[b"content", b"reasoning_content", b"reasoning", b"refusal", b"name", b"arguments"];
/// In a choice of a legacy completion.
const COMPLETION: &[&[u8]] = &[b"text"];
/// In the output of a response.
const RESPONSES: &[&[u8]] = &[b"text", b"refusal", b"name", b"arguments", b"input"];
/// In a content block of a message; `input` is an object, its words stand under keys of their own.
const MESSAGES: &[&[u8]] = &[b"text", b"thinking", b"name", b"partial_json"];

/// Of these, what stands for a call of a tool: a server may write it otherwise than the model did.
const TOOLS: &[&[u8]] = &[b"name", b"arguments", b"partial_json", b"input"];
/// Twice the longest token of the vocabularies in use (128 bytes: a run of blanks with OpenAI, Llama and Qwen).
const LONGEST_TOKEN: u64 = 256;
/// A server may cut its text anew, even into single characters, which are four or five to a token.
const MOST_PIECES: u64 = 16;
/// So many pieces more are no proof of anything.
const FREE_PIECES: u64 = 256;

/// The output of one answer: some text, and the count of what came before it.
#[derive(Debug, Default)]
pub struct OutputText {
    text: Vec<u8>,
    folded: u64,
    words: Words,
    last: Standing,
}

/// Text that the model wrote as it is. Calls of tools do not count, for a server may write them otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Words {
    bytes: u64,
    /// The strings they came in.
    pieces: u64,
}

impl Words {
    /// They cannot be within `tokens` tokens. The bounds are wide, for nobody honest may be stopped.
    pub const fn are_beyond(self, tokens: u64) -> bool {
        self.bytes > tokens.saturating_mul(LONGEST_TOKEN)
            || self.pieces > tokens.saturating_mul(MOST_PIECES).saturating_add(FREE_PIECES)
    }

    /// So many bytes fewer.
    pub const fn without(self, bytes: u64) -> Self {
        Self { bytes: self.bytes.saturating_sub(bytes), pieces: 0 }
    }
}

/// What a string in an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// No output.
    #[default]
    Nothing,
    /// Text as the model wrote it.
    Words,
    /// A part of a call of a tool.
    Tool,
}

impl Standing {
    fn of(key: &[u8]) -> Self {
        if TOOLS.contains(&key) { Self::Tool } else { Self::Words }
    }
}

/// The strings that the text of one event stood in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken<'a> {
    /// There was none.
    Nothing,
    /// It was this one, which may be empty.
    One(RawText<'a>),
    /// They were several.
    Several {
        /// One of them was not empty.
        any_text: bool,
    },
}

impl<'a> Taken<'a> {
    /// There was text.
    pub const fn any_text(self) -> bool {
        match self {
            Self::Nothing => false,
            Self::One(text) => !text.inner.is_empty(),
            Self::Several { any_text } => any_text,
        }
    }

    fn and(self, text: RawText<'a>) -> Self {
        match self {
            Self::Nothing => Self::One(text),
            before => Self::Several { any_text: before.any_text() || !text.inner.is_empty() },
        }
    }
}

impl OutputText {
    /// Takes in the text of one event of a stream. `kind` is the type of the event in the dialects that
    /// have types.
    pub fn take<'a>(&mut self, endpoint: Endpoint, kind: &[u8], data: &'a [u8]) -> Taken<'a> {
        let (mark, keys): (&Mark, &[&[u8]]) = match endpoint {
            Endpoint::ChatCompletions | Endpoint::Embeddings => (&MARKS.delta, CHAT),
            Endpoint::Completions => (&MARKS.text, &[b""]),
            Endpoint::Responses if kind.ends_with(b".delta") => (&MARKS.delta, &[b""]),
            Endpoint::Responses if kind == b"response.output_item.added" => (&MARKS.item, &[b"name"]),
            Endpoint::Messages if kind == b"content_block_delta" => (&MARKS.delta, MESSAGES),
            Endpoint::Messages if kind == b"content_block_start" => (&MARKS.content_block, MESSAGES),
            Endpoint::Responses | Endpoint::Messages => return Taken::Nothing,
        };
        // A value that is itself a string stands under the key "".
        let bare = match endpoint {
            Endpoint::Responses if !writes_text(kind) => Standing::Tool,
            _ => Standing::Words,
        };
        let take = |taken, value| self.take_strings(Parts::of(value), keys, bare, taken);
        let taken = mark.values(data).fold(Taken::Nothing, take);
        self.fold_if_long();
        taken
    }

    /// Takes in one string, which is what the last one of the event before it was; true if it had any text.
    pub fn take_text(&mut self, text: RawText<'_>, standing: Standing) -> bool {
        self.append(text, standing);
        self.fold_if_long();
        !text.inner.is_empty()
    }

    /// Takes in a piece of a string that passes, without its escapes.
    pub fn take_piece(&mut self, mut text: &[u8], standing: Standing) {
        // How it is cut says nothing.
        let pieces = self.words.pieces;
        self.count_words(text.len(), standing);
        self.words.pieces = pieces;
        // Folded at the same places however it was cut, so that the count is the same.
        while !text.is_empty() {
            let room = FOLD_AT.saturating_sub(self.text.len()).min(text.len());
            let (now, rest) = text.split_at_checked(room).unwrap_or((text, b""));
            self.text.extend_from_slice(now);
            self.fold_if_long();
            text = rest;
        }
    }

    /// What the last string was that was taken.
    pub const fn last(&self) -> Standing {
        self.last
    }

    /// What a string of an event is that stands under `key`, below the `keys` of other objects.
    pub fn standing<'k>(endpoint: Endpoint, mut keys: impl Iterator<Item = &'k [u8]>, key: &[u8]) -> Standing {
        let is_output = match endpoint {
            Endpoint::ChatCompletions | Endpoint::Embeddings => CHAT.contains(&key) && keys.any(|k| k == b"delta"),
            Endpoint::Completions => key == b"text",
            Endpoint::Responses => key == b"delta" && keys.next().is_none(),
            Endpoint::Messages => MESSAGES.contains(&key) && keys.any(|k| matches!(k, b"delta" | b"content_block")),
        };
        if is_output { Standing::of(key) } else { Standing::Nothing }
    }

    /// What the model wrote as it is, so far.
    pub const fn words(&self) -> Words {
        self.words
    }

    fn append(&mut self, text: RawText<'_>, standing: Standing) {
        let before = self.text.len();
        text.append_to(&mut self.text);
        self.count_words(self.text.len() - before, standing);
        self.last = standing;
    }

    fn count_words(&mut self, bytes: usize, standing: Standing) {
        if standing == Standing::Words && bytes > 0 {
            self.words.bytes = self.words.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
            self.words.pieces += 1;
        }
    }

    /// Takes in the field of a whole answer that holds its output.
    pub fn take_whole(&mut self, endpoint: Endpoint, output: &str) {
        let keys = match endpoint {
            Endpoint::ChatCompletions => CHAT,
            Endpoint::Completions => COMPLETION,
            Endpoint::Responses => RESPONSES,
            Endpoint::Messages => MESSAGES,
            Endpoint::Embeddings => return,
        };
        self.take_strings(Parts::of(output.as_bytes()), keys, Standing::Words, Taken::Nothing);
        if endpoint == Endpoint::Messages {
            for input in Mark::values(&MARKS.input, output.as_bytes()) {
                let mut parts = Parts::of(input);
                parts.by_ref().for_each(drop);
                self.text.extend_from_slice(input.get(..parts.position()).unwrap_or_default());
            }
        }
    }

    /// There was some.
    pub const fn any(&self) -> bool {
        self.folded > 0 || !self.text.is_empty()
    }

    /// The tokenizer's count.
    pub fn count(&mut self) -> u64 {
        self.fold();
        self.folded
    }

    fn fold(&mut self) {
        self.folded = self.folded.saturating_add(tokens::count(&String::from_utf8_lossy(&self.text)));
        self.text.clear();
    }

    fn fold_if_long(&mut self) {
        if self.text.len() >= FOLD_AT {
            self.fold();
        }
    }

    /// Takes the strings under `keys`; one without a key is `bare`. `taken` is what was taken of this event before.
    fn take_strings<'a>(
        &mut self,
        parts: Parts<'a>,
        keys: &[&[u8]],
        bare: Standing,
        mut taken: Taken<'a>,
    ) -> Taken<'a> {
        let mut key: &[u8] = b"";
        let mut last: &[u8] = b"";
        for part in parts {
            match part {
                Part::Key(name) => key = name,
                Part::Text(raw) if keys.contains(&key) => {
                    taken = taken.and(raw);
                    // vLLM writes the same reasoning under two keys.
                    if !(key.starts_with(b"reasoning") && raw.inner == last) {
                        self.append(raw, if key.is_empty() { bare } else { Standing::of(key) });
                        last = raw.inner;
                    }
                }
                Part::Text(_) | Part::Bare(_) => {}
            }
        }
        taken
    }
}

/// The deltas of this event are text as the model wrote it: no arguments, code, or sound.
fn writes_text(kind: &[u8]) -> bool {
    [&b"text"[..], b"refusal", b"reasoning"].iter().any(|word| memchr::memmem::find(kind, word).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Endpoint::{ChatCompletions as Chat, Completions, Messages, Responses};

    impl OutputText {
        fn take_event(&mut self, endpoint: Endpoint, kind: &[u8], data: &[u8]) -> bool {
            self.take(endpoint, kind, data).any_text()
        }
    }

    #[test]
    fn the_text_of_an_event_is_found() {
        let rows = [
            (
                Chat,
                "",
                r#"{"choices":[{"delta":{"role":"assistant","content":"a\nb"},"logprobs":{"content":[{"token":"no"}]}}]}"#,
                "a\nb",
            ),
            (Chat, "", r#"{"choices":[{"delta":{"reasoning":"hm","reasoning_content":"hm","content":null}}]}"#, "hm"),
            (
                Chat,
                "",
                r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"x","function":{"name":"f","arguments":"{\"a\":1}"}}]}}]}"#,
                "f{\"a\":1}",
            ),
            (Chat, "", r#"{"choices":[{"delta":{"refusal":"no"}},{"delta":{"content":" way"}}]}"#, "no way"),
            (Chat, "", r#"{"choices":[{"delta":{}}],"model":"m"}"#, ""),
            (Completions, "", r#"{"choices":[{"text":" green","index":0}]}"#, " green"),
            (Responses, "response.output_text.delta", r#"{"delta":"x","item_id":"no"}"#, "x"),
            (Responses, "response.output_text.done", r#"{"text":"x"}"#, ""),
            (Responses, "response.output_item.added", r#"{"item":{"id":"no","name":"f","arguments":""}}"#, "f"),
            (Messages, "content_block_delta", r#"{"delta":{"type":"text_delta","text":"x"}}"#, "x"),
            (Messages, "content_block_delta", r#"{"delta":{"type":"thinking_delta","thinking":"x"}}"#, "x"),
            (Messages, "content_block_delta", r#"{"delta":{"type":"input_json_delta","partial_json":"{\"a"}}"#, "{\"a"),
            (Messages, "content_block_delta", r#"{"delta":{"type":"signature_delta","signature":"zz"}}"#, ""),
            (
                Messages,
                "content_block_start",
                r#"{"content_block":{"type":"tool_use","id":"no","name":"f","input":{}}}"#,
                "f",
            ),
        ];
        for (endpoint, kind, data, expected) in rows {
            let mut output = OutputText::default();
            let grew = output.take_event(endpoint, kind.as_bytes(), data.as_bytes());
            assert_eq!(String::from_utf8_lossy(&output.text), expected, "{data}");
            assert_eq!(grew, !expected.is_empty(), "{data}");
        }
    }

    #[test]
    fn the_text_of_a_whole_answer_is_found() {
        let rows = [
            (
                Chat,
                r#"[{"message":{"content":"a","tool_calls":[{"id":"no","function":{"name":"f","arguments":"{}"}}]}}]"#,
                "af{}",
            ),
            (Completions, r#"[{"text":"a","index":0},{"text":"b"}]"#, "ab"),
            (
                Responses,
                r#"[{"type":"message","content":[{"type":"output_text","text":"a"}]},{"name":"f","arguments":"{}"}]"#,
                "af{}",
            ),
            (
                Messages,
                r#"[{"type":"thinking","thinking":"a"},{"type":"text","text":"b"},{"type":"tool_use","name":"f","input":{"x":"y"}}]"#,
                "abf{\"x\":\"y\"}",
            ),
        ];
        for (endpoint, json, expected) in rows {
            let mut output = OutputText::default();
            output.take_whole(endpoint, json);
            assert_eq!(String::from_utf8_lossy(&output.text), expected, "{json}");
        }
    }

    #[test]
    fn nobody_honest_is_beyond_a_bound() {
        let beyond = |endpoint, kind: &str, data: &str, times: usize| {
            let mut output = OutputText::default();
            (0..times).for_each(|_| {
                output.take(endpoint, kind.as_bytes(), data.as_bytes());
            });
            output.words().are_beyond(10)
        };
        let chat = |delta: &str| format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#);
        let long = "x".repeat(1_000);
        let blanks = " ".repeat(128);
        let rows = [
            ("tokens of blanks", Chat, "", chat(&format!(r#"{{"content":"{blanks}"}}"#)), 10, false),
            ("a word of ten tokens", Chat, "", chat(r#"{"content":"word"}"#), 400, false),
            ("nothing", Chat, "", chat(r#"{"role":"assistant","content":""}"#), 10_000, false),
            (
                "arguments",
                Chat,
                "",
                chat(&format!(r#"{{"tool_calls":[{{"function":{{"arguments":"{long}"}}}}]}}"#)),
                1_000,
                false,
            ),
            ("escapes", Chat, "", chat(r#"{"content":"中文中文"}"#), 200, false),
            ("sound", Responses, "response.audio.delta", format!(r#"{{"delta":"{long}"}}"#), 100, false),
            (
                "arguments",
                Responses,
                "response.function_call_arguments.delta",
                format!(r#"{{"delta":"{long}"}}"#),
                100,
                false,
            ),
            ("text", Responses, "response.output_text.delta", format!(r#"{{"delta":"{long}"}}"#), 3, true),
            ("too many bytes", Chat, "", chat(&format!(r#"{{"content":"{long}"}}"#)), 3, true),
            ("too many pieces", Chat, "", chat(r#"{"content":"x"}"#), 417, true),
            ("a text", Completions, "", format!(r#"{{"choices":[{{"text":"{long}"}}]}}"#), 3, true),
            (
                "arguments",
                Messages,
                "content_block_delta",
                format!(r#"{{"delta":{{"partial_json":"{long}"}}}}"#),
                100,
                false,
            ),
            ("thoughts", Messages, "content_block_delta", format!(r#"{{"delta":{{"thinking":"{long}"}}}}"#), 3, true),
        ];
        for (what, endpoint, kind, data, times, expected) in rows {
            assert_eq!(beyond(endpoint, kind, &data, times), expected, "{what}");
        }
    }

    #[test]
    fn a_long_answer_is_folded() {
        let mut output = OutputText::default();
        for _ in 0..20_000 {
            output.take_event(Chat, b"", br#"{"choices":[{"delta":{"content":" word"}}]}"#);
            assert!(output.text.len() < FOLD_AT + 16);
        }
        let tokens = output.count();
        assert!((20_000..20_100).contains(&tokens), "{tokens}");
        assert_eq!(output.count(), tokens);
    }
}
