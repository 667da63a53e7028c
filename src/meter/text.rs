//! The output text of an answer, kept for an estimate.

use super::dense;
use super::tokens;
use super::walk;
use super::words::Words;
use crate::dialect::marks::MARKS;
use crate::dialect::standing::Standing;
use crate::dialect::{Below, EventText};
use crate::domain::endpoint::Endpoint;
use crate::domain::json::scan::{JsonPart, Mark, Parts, RawText};

/// Text beyond this is folded into a count. Most answers are shorter and are never tokenised, since
/// their provider says what they used.
const FOLD_AT: usize = 16 << 10;
/// A longer string is taken in pieces, in bytes.
const LONG: usize = 64 << 10;
/// Space for so little is not made in advance, in bytes.
const SMALL: usize = 64;

/// The output of one answer: some text, and the count of what came before it.
#[derive(Debug, Default)]
pub struct OutputText {
    text: Vec<u8>,
    folded: u64,
    /// What was folded has so many tokens more where each digit is one.
    joined_digits: u64,
    words: Words,
    last: Standing,
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
        let Some(EventText { mark, keys, bare }) = (endpoint.dialect().stream.text)(kind) else {
            return Taken::Nothing;
        };
        let take = |taken, value| self.take_strings(Parts::of(value), keys, bare, taken);
        let taken = mark.values(data).fold(Taken::Nothing, take);
        self.fold_if_long();
        taken
    }

    /// Makes space for about this many bytes more.
    pub fn expect(&mut self, bytes: usize) {
        let bytes = bytes.min(FOLD_AT.saturating_sub(self.text.len()));
        // One small string after the other finds some space by itself.
        if bytes > SMALL {
            self.text.reserve(bytes);
        }
    }

    /// Takes in one string, which is what the last one of the event before it was; true if it had any text.
    pub fn take_text(&mut self, text: RawText<'_>, is_escaped: bool, standing: Standing) -> bool {
        if is_escaped || text.inner.len() > LONG {
            self.append(text, standing);
        } else {
            self.last = standing;
            self.text.extend_from_slice(text.inner);
            self.words.add(text.inner.len(), u64::from(!text.inner.is_empty()), standing);
        }
        self.fold_if_long();
        !text.inner.is_empty()
    }

    /// Takes in a piece of a string that passes, without its escapes.
    pub fn take_piece(&mut self, mut text: &[u8], standing: Standing) {
        // How it is cut says nothing.
        self.words.add(text.len(), 0, standing);
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
        let text = &endpoint.dialect().stream.long_text;
        let is_output = text.keys.contains(&key)
            && match text.below {
                Below::Anything => true,
                Below::Nothing => keys.next().is_none(),
                Below::OneOf(above) => keys.any(|k| above.contains(&k)),
            };
        if is_output { Standing::of(key) } else { Standing::Nothing }
    }

    /// What the model wrote as it is, so far.
    pub const fn words(&self) -> Words {
        self.words
    }

    fn append(&mut self, text: RawText<'_>, standing: Standing) {
        self.last = standing;
        if text.inner.len() > LONG
            && let Ok(inner) = std::str::from_utf8(text.inner)
        {
            // It may be as long as the whole answer: it is never decoded as a whole.
            self.words.add(0, 1, standing);
            return walk::pieces(inner, |piece| {
                self.take_piece(piece.as_bytes(), standing);
                true
            });
        }
        let before = self.text.len();
        text.append_to(&mut self.text);
        let grew = self.text.len() - before;
        self.words.add(grew, u64::from(grew > 0), standing);
    }

    /// There is text in the field of a whole answer that holds its output.
    pub fn is_in(endpoint: Endpoint, output: &str) -> bool {
        let keys = endpoint.dialect().answer.text;
        let mut key: &[u8] = b"";
        let mut is_text = |part| match part {
            JsonPart::Key(name) => {
                key = name;
                false
            }
            JsonPart::Text(raw) => keys.contains(&key) && !raw.inner.is_empty(),
            JsonPart::Bare(_) => false,
        };
        Parts::of(output.as_bytes()).any(&mut is_text)
            || (endpoint.dialect().answer.has_objects && MARKS.input.values(output.as_bytes()).next().is_some())
    }

    /// Takes in the field of a whole answer that holds its output.
    pub fn take_whole(&mut self, endpoint: Endpoint, output: &str) {
        let keys = endpoint.dialect().answer.text;
        self.take_strings(Parts::of(output.as_bytes()), keys, Standing::Words, Taken::Nothing);
        if endpoint.dialect().answer.has_objects {
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

    /// The tokenizer's count. It joins digits; a server that does not is seen by the many pieces that it sent them in.
    pub fn count(&mut self) -> u64 {
        self.fold();
        let apart = self.folded.saturating_add(self.joined_digits);
        self.folded.max(apart.min(self.words.pieces()))
    }

    fn fold(&mut self) {
        let text = String::from_utf8_lossy(&self.text);
        self.folded = self.folded.saturating_add(tokens::count(&text));
        self.joined_digits = self.joined_digits.saturating_add(dense::joined_digits(&text));
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
                JsonPart::Key(name) => key = name,
                JsonPart::Text(raw) if keys.contains(&key) => {
                    taken = taken.and(raw);
                    // vLLM writes the same reasoning under two keys.
                    if !(key.starts_with(b"reasoning") && raw.inner == last) {
                        self.append(raw, if key.is_empty() { bare } else { Standing::of(key) });
                        last = raw.inner;
                    }
                }
                JsonPart::Text(_) | JsonPart::Bare(_) => {}
            }
        }
        taken
    }
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
            assert!(OutputText::is_in(endpoint, json));
        }
        for (endpoint, json) in [
            (Chat, r#"[{"message":{"role":"assistant","content":""}}]"#),
            (Messages, "[]"),
            (Endpoint::Embeddings, "[1]"),
        ] {
            assert!(!OutputText::is_in(endpoint, json), "{json}");
        }
    }

    #[test]
    fn a_long_string_is_never_kept_whole() {
        let word = r" \u0077ord";
        for times in [10, 200_000] {
            let mut output = OutputText::default();
            output.take_whole(Chat, &format!(r#"[{{"message":{{"content":"{}"}}}}]"#, word.repeat(times)));
            assert!(output.text.capacity() < 2 * LONG, "{}", output.text.capacity());
            let (tokens, times) = (output.count(), times as u64);
            assert!((times..times + times / 100 + 1).contains(&tokens), "{tokens}");
        }
    }

    #[test]
    fn digits_that_came_one_by_one_are_a_token_each() {
        // a piece, how often → tokens
        for (piece, times, expected) in [("7", 600, 600), ("777", 200, 200), ("7 word", 200, 400), ("7777777", 3, 7)] {
            let mut output = OutputText::default();
            let data = format!(r#"{{"choices":[{{"delta":{{"content":"{piece}"}}}}]}}"#);
            (0..times).for_each(|_| {
                output.take_event(Chat, b"", data.as_bytes());
            });
            let tokens = output.count();
            assert!(tokens.abs_diff(expected) <= expected / 8, "{tokens} of {times} × {piece}");
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
