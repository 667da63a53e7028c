//! The cost, written into an answer.

use std::borrow::Cow;
use std::ops::Range;

use super::counts::Counts;
use crate::domain::endpoint::Endpoint;
use crate::domain::json::fields::{count, object, pick_from, place_of, replaced, with_field, with_field_at};
use crate::domain::money::MicroUsd;
use crate::domain::sse::{self, Event};
use crate::domain::usage::{MeteredBy, Usage};

/// What a settled request used and cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The tokens billed.
    pub usage: Usage,
    /// What they cost.
    pub cost: MicroUsd,
    /// Who counted them.
    pub metered_by: MeteredBy,
}

impl Receipt {
    /// All tokens.
    pub(super) const fn total(&self) -> u64 {
        self.usage.prompt_tokens.saturating_add(self.usage.completion_tokens)
    }
}

/// What a dialect calls the counts of a usage object.
#[derive(Debug)]
pub(super) struct CountNames {
    pub prompt: &'static str,
    pub completion: &'static str,
    pub total: &'static str,
    /// The object that holds `cached_tokens`.
    pub details: &'static str,
    /// Answers have a completion.
    pub generates: bool,
}

/// The field of a usage object that holds the cost.
pub(super) const COST: &str = "cost_micro_usd";

/// An object with the cost in its `usage`. An answer without one gets one, in its dialect's words.
pub fn in_object(endpoint: Endpoint, json: &str, receipt: &Receipt) -> String {
    let [usage] = pick_from(Some(json), ["usage"]);
    let (place, by) = edit(endpoint, json, usage, receipt);
    replaced(json, place, &by)
}

/// What is to be put where in an object for [`in_object`]. `usage`: what stands there under that name, if anything.
pub fn edit(endpoint: Endpoint, json: &str, usage: Option<&str>, receipt: &Receipt) -> (Range<usize>, String) {
    let by = billed(endpoint, usage, receipt);
    match usage {
        Some(usage) => (place_of(json.as_bytes(), usage.as_bytes()), by),
        None => {
            let open = json.find('{').map_or(0, |at| at + 1);
            let is_empty = json.get(open..).is_some_and(|rest| rest.trim_ascii_start().starts_with('}'));
            let comma = if is_empty { "" } else { "," };
            (open..open, format!("\"usage\":{by}{comma}"))
        }
    }
}

/// The usage that [`in_object`] writes where `usage` stands, if anything does.
pub fn billed(endpoint: Endpoint, usage: Option<&str>, receipt: &Receipt) -> String {
    match object(usage) {
        Some(usage) => as_billed(endpoint, usage, receipt),
        None => (endpoint.dialect().receipt.usage_object)(receipt),
    }
}

/// The usage object of an event that ends an answer.
pub fn usage_in(endpoint: Endpoint, json: &str) -> Option<&str> {
    let holder = match endpoint.dialect().receipt.holder {
        Some(name) => {
            let [holder] = pick_from(Some(json), [name]);
            object(holder)?
        }
        None => json,
    };
    let [usage] = pick_from(Some(holder), ["usage"]);
    object(usage)
}

/// Where in an event the usage stands that the client is not to see: it asked for none, or this says nothing. Servers
/// are asked for usage whoever asks us, and some then say it in every chunk, zeros among them.
pub fn hidden_usage(endpoint: Endpoint, block: &[u8], client_wants_usage: bool) -> Option<Range<usize>> {
    if !endpoint.usage_is_asked_for() {
        return None;
    }
    let Cow::Borrowed(data) = Event::read(block).data else { return None };
    let usage = usage_in(endpoint, std::str::from_utf8(data).ok()?)?;
    let said = (endpoint.dialect().answer.read_usage)(usage);
    let is_said = [said.prompt_tokens, said.completion_tokens].into_iter().flatten().any(|tokens| tokens > 0);
    (!client_wants_usage || !is_said).then(|| place_of(block, usage.as_bytes()))
}

/// A usage object with the cost in it. What it says is left as it is where that was billed, and set right where
/// something else was.
pub fn as_billed(endpoint: Endpoint, usage: &str, receipt: &Receipt) -> String {
    (endpoint.dialect().receipt.as_billed)(usage, receipt)
}

/// [`as_billed`] where the counts of the prompt and of the completion stand side by side.
pub(super) fn counts_as_billed(usage: &str, receipt: &Receipt, words: &CountNames) -> String {
    let Usage { prompt_tokens: prompt, cached_tokens: cached, completion_tokens: completion, .. } = receipt.usage;
    let total = receipt.total();
    let names = [words.prompt, words.completion, words.total];
    let mut edited = Cow::Borrowed(usage);
    if Counts::read(usage).cache_read().unwrap_or(0) != cached {
        let [details] = pick_from(Some(usage), [words.details]);
        let details = with_field(object(details).unwrap_or("{}"), "cached_tokens", &cached.to_string());
        edited = with_field(&edited, words.details, &details).into();
    }
    let [said_prompt, said_completion, said_total, cost] =
        pick_from(Some(usage), [words.prompt, words.completion, words.total, COST]);
    let [said_prompt, said_completion, said_total] = [said_prompt, said_completion, said_total].map(count);
    let is_right = [said_prompt == Some(prompt), said_completion == Some(completion)];
    // Whoever says what it bills need not add it up.
    let generates = words.generates;
    let totals = said_total.is_some() || !is_right[0] || (generates && !is_right[1]);
    let owed =
        [totals && said_total != Some(total), !is_right[1] && (generates || said_completion.is_some()), !is_right[0]];
    for ((name, billed), is_owed) in names.iter().zip([prompt, completion, total]).rev().zip(owed) {
        if is_owed {
            edited = with_field(&edited, name, &billed.to_string()).into();
        }
    }
    let billed = receipt.cost.micro().to_string();
    match edited {
        // Nothing had to be set right, as with most: then the cost's place is known already.
        Cow::Borrowed(usage) => with_field_at(usage, cost, COST, &billed),
        Cow::Owned(edited) => with_field(&edited, COST, &billed),
    }
}

/// An event that ends an answer, with the cost in its usage; and whether it had to be written anew.
/// An event that cannot be read stays as it is.
pub fn in_block(endpoint: Endpoint, block: &[u8], receipt: &Receipt) -> (Vec<u8>, bool) {
    let event = Event::read(block);
    let Ok(json) = std::str::from_utf8(&event.data) else { return (block.to_vec(), false) };
    let edited = in_event(endpoint, json, receipt);
    match event.data {
        Cow::Borrowed(data) => {
            let place = place_of(block, data);
            let (before, after) = (block.get(..place.start), block.get(place.end..));
            let whole = [before.unwrap_or_default(), edited.as_bytes(), after.unwrap_or_default()].concat();
            (whole, false)
        }
        Cow::Owned(_) => (sse::render(event.name, edited.as_bytes()), true),
    }
}

fn in_event(endpoint: Endpoint, json: &str, receipt: &Receipt) -> String {
    let Some(holder) = endpoint.dialect().receipt.holder else { return in_object(endpoint, json, receipt) };
    let [held] = pick_from(Some(json), [holder]);
    match object(held) {
        Some(held) => {
            let place = place_of(json.as_bytes(), held.as_bytes());
            replaced(json, place, &in_object(endpoint, held, receipt))
        }
        None => json.to_owned(),
    }
}

/// A usage object of these counts, with the cost in it.
pub(super) fn with_cost(counts: &str, receipt: &Receipt) -> String {
    let cost = receipt.cost.micro();
    format!("{{{counts},\"{COST}\":{cost}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_WRITES: crate::domain::usage::CacheWrites = crate::domain::usage::CacheWrites { short: 0, hour: 0 };
    const RECEIPT: Receipt = Receipt {
        usage: Usage { prompt_tokens: 9, cached_tokens: 4, completion_tokens: 2, cache_writes: NO_WRITES },
        cost: MicroUsd::new(7),
        metered_by: MeteredBy::Estimate,
    };

    #[test]
    fn the_cost_goes_into_the_usage_and_nothing_else_moves() {
        let rows = [
            (
                Endpoint::ChatCompletions,
                r#"{ "usage" : { "prompt_tokens":9,"completion_tokens":2.0,"prompt_cache_hit_tokens":4 },"x":"y" }"#,
                r#"{ "usage" : {"cost_micro_usd":7, "prompt_tokens":9,"completion_tokens":2.0,"prompt_cache_hit_tokens":4 },"x":"y" }"#,
            ),
            // What was billed is shown, whatever was said.
            (
                Endpoint::ChatCompletions,
                r#"{"usage":{}}"#,
                r#"{"usage":{"cost_micro_usd":7,"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":4}}}"#,
            ),
            (
                Endpoint::ChatCompletions,
                r#"{"usage":{"prompt_tokens":0,"completion_tokens":1,"total_tokens":11,"prompt_tokens_details":{"a":1,"cached_tokens":4}}}"#,
                r#"{"usage":{"cost_micro_usd":7,"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{"a":1,"cached_tokens":4}}}"#,
            ),
            // A provider may be a coordinator too: its cost is not the client's.
            (
                Endpoint::Responses,
                r#"{"usage":{"input_tokens":9,"output_tokens":2,"input_tokens_details":{"cached_tokens":4},"cost_micro_usd":99}}"#,
                r#"{"usage":{"input_tokens":9,"output_tokens":2,"input_tokens_details":{"cached_tokens":4},"cost_micro_usd":7}}"#,
            ),
            (
                Endpoint::Messages,
                r#"{"usage":{"input_tokens":0,"output_tokens":2}}"#,
                r#"{"usage":{"cost_micro_usd":7,"cache_read_input_tokens":4,"input_tokens":5,"output_tokens":2}}"#,
            ),
            (
                Endpoint::Messages,
                r#"{"usage":{"input_tokens":3,"cache_creation_input_tokens":2,"cache_read_input_tokens":4,"output_tokens":1}}"#,
                r#"{"usage":{"cost_micro_usd":7,"input_tokens":3,"cache_creation_input_tokens":2,"cache_read_input_tokens":4,"output_tokens":2}}"#,
            ),
            (
                Endpoint::ChatCompletions,
                r#"{"x":{"usage":{}},"usage":null}"#,
                r#"{"x":{"usage":{}},"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":4},"cost_micro_usd":7}}"#,
            ),
            (Endpoint::Embeddings, "{}", r#"{"usage":{"prompt_tokens":9,"total_tokens":11,"cost_micro_usd":7}}"#),
            (
                Endpoint::Messages,
                r#"{"a":1}"#,
                r#"{"usage":{"input_tokens":5,"cache_read_input_tokens":4,"output_tokens":2,"cost_micro_usd":7},"a":1}"#,
            ),
            (
                Endpoint::Responses,
                r#"{}"#,
                r#"{"usage":{"input_tokens":9,"input_tokens_details":{"cached_tokens":4},"output_tokens":2,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":11,"cost_micro_usd":7}}"#,
            ),
        ];
        for (endpoint, json, expected) in rows {
            assert_eq!(in_object(endpoint, json, &RECEIPT), expected, "{json}");
        }
    }

    #[test]
    fn an_event_keeps_its_other_lines() {
        let rows = [
            (
                Endpoint::Responses,
                "id: 5\r\nevent: e\r\ndata: {\"response\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":2,\"cached_tokens\":4}},\"usage\":{}}\r\n\r\n",
                "id: 5\r\nevent: e\r\ndata: {\"response\":{\"usage\":{\"cost_micro_usd\":7,\"input_tokens\":9,\"output_tokens\":2,\"cached_tokens\":4}},\"usage\":{}}\r\n\r\n",
                false,
            ),
            (
                Endpoint::ChatCompletions,
                "event: e\ndata: {\ndata: \"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"cached_tokens\":4\ndata: }}\n\n",
                "event: e\ndata: {\ndata:  \"usage\":{\"cost_micro_usd\":7,\"prompt_tokens\":9,\"completion_tokens\":2,\"cached_tokens\":4\ndata:  }}\n\n",
                true,
            ),
        ];
        for (endpoint, block, expected, anew) in rows {
            let (edited, was_anew) = in_block(endpoint, block.as_bytes(), &RECEIPT);
            assert_eq!((String::from_utf8_lossy(&edited).as_ref(), was_anew), (expected, anew));
        }
    }
}
