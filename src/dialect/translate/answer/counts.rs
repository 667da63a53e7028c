//! What an answer used, out of a chat server's usage object and into the client's.

use std::fmt::Write as _;

use crate::domain::json::fields::{count, pick_from};

/// The counts, and the cost where it stands among them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    prompt: u64,
    cached: u64,
    written: u64,
    completion: u64,
    reasoning: u64,
    cost_micro_usd: Option<i64>,
}

impl Counts {
    /// Reads a usage object, under the names that chat servers give.
    pub fn read(usage: &str) -> Self {
        let [prompt, completion, details, output, hit, cached, num_cached, read, created, reasoning, cost] = pick_from(
            Some(usage),
            [
                "prompt_tokens",
                "completion_tokens",
                "prompt_tokens_details",
                "completion_tokens_details",
                "prompt_cache_hit_tokens",
                "cached_tokens",
                "num_cached_tokens",
                "cache_read_input_tokens",
                "cache_creation_input_tokens",
                "reasoning_tokens",
                "cost_micro_usd",
            ],
        );
        let [in_details, written] = pick_from(details, ["cached_tokens", "cache_write_tokens"]);
        let [in_output] = pick_from(output, ["reasoning_tokens"]);
        let first = |places: &[Option<&str>]| places.iter().find_map(|place| count(*place)).unwrap_or(0);
        Self {
            prompt: first(&[prompt]),
            cached: first(&[in_details, hit, cached, num_cached, read]),
            written: first(&[written, created]),
            completion: first(&[completion]),
            reasoning: first(&[in_output, reasoning]),
            cost_micro_usd: cost.and_then(|cost| cost.parse().ok()),
        }
    }

    /// As the Responses dialect says it.
    pub fn in_responses(&self) -> String {
        let Self { prompt, cached, completion, reasoning, .. } = self;
        let total = prompt.saturating_add(*completion);
        self.with_cost(format!(
            "{{\"input_tokens\":{prompt},\"input_tokens_details\":{{\"cached_tokens\":{cached}}},\
             \"output_tokens\":{completion},\"output_tokens_details\":{{\"reasoning_tokens\":{reasoning}}},\
             \"total_tokens\":{total}"
        ))
    }

    /// As the Messages dialect says it: what came from the cache, or went into it, is apart.
    pub fn in_messages(&self) -> String {
        let Self { prompt, cached, written, completion, .. } = self;
        let input = prompt.saturating_sub(*cached).saturating_sub(*written);
        self.with_cost(format!(
            "{{\"input_tokens\":{input},\"cache_creation_input_tokens\":{written},\
             \"cache_read_input_tokens\":{cached},\"output_tokens\":{completion}"
        ))
    }

    fn with_cost(&self, mut object: String) -> String {
        if let Some(cost) = self.cost_micro_usd {
            // Writing to a string does not fail.
            let _ = write!(object, ",\"cost_micro_usd\":{cost}");
        }
        object.push('}');
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_said_in_both_dialects() {
        let rows = [
            (
                r#"{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":3},"cost_micro_usd":7}"#,
                r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":4},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":14,"cost_micro_usd":7}"#,
                r#"{"input_tokens":5,"cache_creation_input_tokens":0,"cache_read_input_tokens":4,"output_tokens":5,"cost_micro_usd":7}"#,
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":5,"cached_tokens":2,"cache_creation_input_tokens":1}"#,
                r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":2},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":14}"#,
                r#"{"input_tokens":6,"cache_creation_input_tokens":1,"cache_read_input_tokens":2,"output_tokens":5}"#,
            ),
            (
                "null",
                r#"{"input_tokens":0,"input_tokens_details":{"cached_tokens":0},"output_tokens":0,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":0}"#,
                r#"{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}"#,
            ),
        ];
        for (usage, responses, messages) in rows {
            let counts = Counts::read(usage);
            assert_eq!((counts.in_responses().as_str(), counts.in_messages().as_str()), (responses, messages));
        }
    }
}
