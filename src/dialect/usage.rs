//! What a provider says it used: where it stands, in which pieces it comes, and llama.cpp's `timings`.

use super::counts::{Counts, later};
use super::marks::MARKS;
use crate::domain::endpoint::Endpoint;
use crate::domain::json::fields::{count, object, pick_from};

use crate::domain::usage::{CacheWrites, Reported};

/// Reads a usage object of a whole answer, or of an OpenAI stream.
pub fn read(endpoint: Endpoint, usage: &str) -> Reported {
    (endpoint.dialect().answer.read_usage)(usage)
}

/// Where a usage object stands if not under `usage` at the top of a chunk or an answer, in the order to look.
/// Each path goes through one of [`super::marks::USAGE_KEYS`], without which no event is read.
const ELSEWHERE: [(&str, Option<&str>); 8] = [
    // Groq.
    ("x_groq", Some("usage")),
    // Gemini's own, and as Python's libraries spell it.
    ("usageMetadata", None),
    ("usage_metadata", None),
    // Cohere's `billed_units` and `tokens`.
    ("meta", None),
    // Bedrock.
    ("metadata", Some("usage")),
    ("amazon-bedrock-invocationMetrics", None),
    // Another dialect's events.
    ("response", Some("usage")),
    ("message", Some("usage")),
];

/// The usage object of a chunk or an answer that has none under `usage`. Moonshot has it in the choice.
pub fn elsewhere<'a>(json: &'a str, choices: Option<&'a str>) -> Option<&'a str> {
    if !MARKS.usage.iter().any(|mark| mark.is_in(json.as_bytes())) {
        return None;
    }
    let in_choice = choices.filter(|raw| MARKS.usage.iter().any(|mark| mark.is_in(raw.as_bytes())));
    let in_choice = in_choice.and_then(|raw| serde_json::from_str::<Vec<&serde_json::value::RawValue>>(raw).ok());
    let mut in_choice = in_choice.unwrap_or_default().into_iter().filter_map(|choice| {
        let [usage] = pick_from(Some(choice.get()), ["usage"]);
        object(usage)
    });
    in_choice.next().or_else(|| {
        let tops = pick_from(Some(json), ELSEWHERE.map(|(top, _)| top));
        ELSEWHERE.iter().zip(tops).find_map(|((_, inner), top)| match inner {
            Some(key) => {
                let [usage] = pick_from(object(top), [key]);
                object(usage)
            }
            None => object(top),
        })
    })
}

/// llama.cpp's own counters. A server too old to say what came from its cache does not say how long
/// the prompt was either.
pub fn read_timings(timings: &str) -> Reported {
    let [cached, processed, predicted] = pick_from(Some(timings), ["cache_n", "prompt_n", "predicted_n"]).map(count);
    let prompt_tokens = cached.zip(processed).and_then(|(cached, processed)| cached.checked_add(processed));
    Reported { prompt_tokens, cached_tokens: cached, cache_writes: None, completion_tokens: predicted }
}

/// A usage object of the messages dialect, where the prompt comes in three pieces, spread over two
/// events of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pieces {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_creation: Option<u64>,
    /// The part of `cache_creation` that is kept for an hour.
    kept_an_hour: Option<u64>,
    output: Option<u64>,
}

impl Pieces {
    /// Reads one usage object.
    pub fn read(usage: &str) -> Self {
        let counts = Counts::read(usage);
        let (cache_read, cache_creation) = (counts.cache_read(), counts.cache_written);
        let kept_an_hour = counts.written_for_an_hour;
        Self { input: counts.apart(), cache_read, cache_creation, kept_an_hour, output: counts.completion }
    }

    /// The pieces of the prompt alone. In `message_start` the output is a placeholder: nothing is
    /// generated yet.
    pub const fn without_output(mut self) -> Self {
        self.output = None;
        self
    }

    /// These pieces, replaced by those of a later event. Its zeros replace no prompt piece: gateways
    /// send `input_tokens: 0` in `message_delta` for what they said in `message_start`.
    pub fn then(self, then: Self) -> Self {
        Self {
            input: later(self.input, then.input),
            cache_read: later(self.cache_read, then.cache_read),
            cache_creation: later(self.cache_creation, then.cache_creation),
            kept_an_hour: later(self.kept_an_hour, then.kept_an_hour),
            output: then.output.or(self.output),
        }
    }

    /// The tokens, the prompt in one number.
    pub fn reported(self) -> Reported {
        let cached = self.cache_read.unwrap_or(0);
        let created = self.cache_creation.unwrap_or(0);
        let prompt = |input: u64| input.checked_add(cached)?.checked_add(created);
        Reported {
            prompt_tokens: self.input.and_then(prompt),
            cached_tokens: self.cache_read,
            cache_writes: CacheWrites::of(self.cache_creation, self.kept_an_hour),
            completion_tokens: self.output,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::marks::USAGE_KEYS;

    #[test]
    fn no_place_of_a_usage_object_goes_unmarked() {
        for (top, inner) in ELSEWHERE.iter().chain(&[("usage", None), ("choices", Some("usage"))]) {
            let keys = ["billed_units"];
            let inner = inner.or_else(|| (*top == "meta").then_some(keys[0]));
            let marked = [Some(*top), inner].into_iter().flatten().any(|key| USAGE_KEYS.contains(&key));
            assert!(marked, "{top}: an event with this alone would be passed unread");
        }
    }

    fn said(prompt: Option<u64>, cached: Option<u64>, completion: Option<u64>) -> Reported {
        Reported { prompt_tokens: prompt, cached_tokens: cached, completion_tokens: completion, ..Reported::default() }
    }

    fn wrote(said: Reported, short: u64, hour: u64) -> Reported {
        Reported { cache_writes: Some(CacheWrites { short, hour }), ..said }
    }

    #[test]
    fn every_dialect_says_it_in_its_own_words() {
        use Endpoint::{ChatCompletions as Chat, Completions, Embeddings, Messages, Responses};
        let rows = [
            // llama.cpp, vLLM, LM Studio, Ollama.
            (
                Chat,
                r#"{"completion_tokens":6,"prompt_tokens":22,"total_tokens":28,"prompt_tokens_details":{"cached_tokens":21}}"#,
                said(Some(22), Some(21), Some(6)),
            ),
            (
                Chat,
                r#"{"prompt_tokens":9,"completion_tokens":0,"prompt_tokens_details":null}"#,
                said(Some(9), None, Some(0)),
            ),
            // SGLang and MLX: the cache at the top; reasoning is in the completion already.
            (
                Completions,
                r#"{"prompt_tokens":9,"completion_tokens":8,"reasoning_tokens":5,"cached_tokens":4}"#,
                said(Some(9), Some(4), Some(8)),
            ),
            (Chat, r#"{"prompt_tokens":-1,"completion_tokens":1.5}"#, said(None, None, None)),
            (Chat, r#"{"prompt_tokens":"7","completion_tokens":1e400}"#, said(None, None, None)),
            (Chat, r#"{"prompt_tokens":1,"prompt_tokens":2}"#, said(Some(2), None, None)),
            (Chat, "{}", said(None, None, None)),
            (Chat, "7", said(None, None, None)),
            (Embeddings, r#"{"prompt_tokens":3,"total_tokens":3}"#, said(Some(3), None, Some(0))),
            (
                Responses,
                r#"{"input_tokens":14,"output_tokens":6,"input_tokens_details":{"cached_tokens":13}}"#,
                said(Some(14), Some(13), Some(6)),
            ),
            (
                Messages,
                r#"{"cache_read_input_tokens":21,"input_tokens":1,"output_tokens":6,"cache_creation_input_tokens":2}"#,
                wrote(said(Some(24), Some(21), Some(6)), 2, 0),
            ),
            (
                Messages,
                r#"{"input_tokens":1,"cache_creation_input_tokens":50,"output_tokens":6,"cache_creation":{"ephemeral_5m_input_tokens":20,"ephemeral_1h_input_tokens":30}}"#,
                wrote(said(Some(51), None, Some(6)), 20, 30),
            ),
            (
                Messages,
                r#"{"input_tokens":1,"output_tokens":6,"cache_creation":{"ephemeral_1h_input_tokens":30}}"#,
                wrote(said(Some(31), None, Some(6)), 0, 30),
            ),
            (
                Chat,
                r#"{"prompt_tokens":50,"completion_tokens":6,"prompt_tokens_details":{"cached_tokens":9,"cache_write_tokens":40}}"#,
                wrote(said(Some(50), Some(9), Some(6)), 40, 0),
            ),
            (
                Chat,
                r#"{"prompt_tokens":50,"completion_tokens":6,"cache_creation_input_tokens":40}"#,
                wrote(said(Some(50), None, Some(6)), 40, 0),
            ),
            (Messages, r#"{"input_tokens":5,"cache_read_input_tokens":null}"#, said(Some(5), None, None)),
            (Messages, r#"{"cache_read_input_tokens":5}"#, said(None, Some(5), None)),
            (
                Messages,
                r#"{"input_tokens":18446744073709551615,"cache_read_input_tokens":5}"#,
                said(None, Some(5), None),
            ),
        ];
        for (endpoint, usage, expected) in rows {
            assert_eq!(read(endpoint, usage), expected, "{endpoint} {usage}");
        }
    }

    #[test]
    fn timings_count_the_prompt_in_two_parts() {
        let rows = [
            (r#"{"cache_n":21,"prompt_n":1,"predicted_n":6,"prompt_ms":1.0}"#, said(Some(22), Some(21), Some(6))),
            (r#"{"prompt_n":1,"predicted_n":6}"#, said(None, None, Some(6))),
            (r#"{"cache_n":18446744073709551615,"prompt_n":1}"#, said(None, Some(u64::MAX), None)),
            ("[]", said(None, None, None)),
        ];
        for (timings, expected) in rows {
            assert_eq!(read_timings(timings), expected, "{timings}");
        }
    }

    #[test]
    fn pieces_of_two_events_make_one_prompt() {
        let start = Pieces::read(r#"{"cache_read_input_tokens":13,"input_tokens":1,"output_tokens":0}"#);
        let rows = [
            (r#"{"output_tokens":6}"#, said(Some(14), Some(13), Some(6))),
            (r#"{"output_tokens":6,"input_tokens":0}"#, said(Some(14), Some(13), Some(6))),
            (r#"{"output_tokens":6,"input_tokens":2,"cache_read_input_tokens":12}"#, said(Some(14), Some(12), Some(6))),
        ];
        for (delta, expected) in rows {
            assert_eq!(start.then(Pieces::read(delta)).reported(), expected, "{delta}");
        }
    }
}
