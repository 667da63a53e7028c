//! What a model wrote as it is, and the most of it that a number of tokens can be.

use crate::dialect::standing::Standing;

/// Twice the longest token of the vocabularies in use (128 bytes: a run of blanks with OpenAI, Llama and Qwen).
const LONGEST_TOKEN: u64 = 256;
/// A server may cut its text anew, even into single characters, which are four or five to a token.
const MOST_PIECES: u64 = 16;
/// How many pieces more prove nothing.
const FREE_PIECES: u64 = 256;

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

    /// The strings that they came in.
    pub const fn pieces(self) -> u64 {
        self.pieces
    }

    /// Adds this many bytes, in this many strings, if they are words.
    pub fn add(&mut self, bytes: usize, pieces: u64, standing: Standing) {
        if standing == Standing::Words {
            self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
            self.pieces = self.pieces.saturating_add(pieces);
        }
    }

    /// Takes this many bytes away.
    pub const fn without(self, bytes: u64) -> Self {
        Self { bytes: self.bytes.saturating_sub(bytes), pieces: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::OutputText;
    use crate::domain::endpoint::Endpoint::{ChatCompletions as Chat, Completions, Messages, Responses};

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
}
