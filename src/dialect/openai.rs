//! What OpenAI's older dialects have in common: the chunks of their streams, the words of their usage, their errors.

use super::counts::Counts;
use super::event::{EventMeaning, Withhold, error_event, fields, identity};
use super::failure::StreamFailure;
use super::marks::MARKS;
use super::receipt::{self, CountNames, Receipt, with_cost};
use super::usage;
use super::{Envelope, ErrorForm, MadeUp, ReceiptForm};
use crate::domain::json::fields::{given, object};
use crate::domain::sse::Event;
use crate::domain::usage::{Reported, Usage};

/// The last event of a stream.
pub const DONE: &str = "data: [DONE]\n\n";

/// What usage calls its counts.
pub(super) const NAMES: CountNames = CountNames {
    prompt: "prompt_tokens",
    completion: "completion_tokens",
    total: "total_tokens",
    details: "prompt_tokens_details",
    generates: true,
};

/// How the cost is said.
pub const RECEIPT: ReceiptForm = ReceiptForm {
    holder: None,
    usage_object,
    as_billed: |usage, receipt| receipt::counts_as_billed(usage, receipt, &NAMES),
};

/// How errors are said.
pub const ERRORS: ErrorForm =
    ErrorForm { envelope: Envelope::OpenAi, event_line: "", failed: None, sign_of_life: ": keep-alive\n\n" };

/// Reads a usage object.
pub fn read_usage(usage: &str) -> Reported {
    Counts::read(usage).reported()
}

/// Reads a chunk.
pub fn read_chunk<'a>(event: &'a Event<'_>, finished: bool) -> Result<EventMeaning<'a>, StreamFailure> {
    let data: &[u8] = &event.data;
    let marks = &*MARKS;
    let others = [&marks.finish_reason, &marks.timings, &marks.error];
    if !marks.usage.iter().chain(others).any(|mark| mark.is_in(data)) {
        return Ok(EventMeaning::default());
    }
    let keys = ["error", "choices", "usage", "timings", "id", "created", "model"];
    let [error, choices, usage, timings, id, created, model] = fields(data, keys)?;
    if given(error).is_some() {
        return Err(error_event(data));
    }
    let no_choices = choices.is_none_or(|raw| raw.bytes().all(|b| matches!(b, b'[' | b']') || b.is_ascii_whitespace()))
        || choices == Some("null");
    let finishes = choices.is_some_and(|raw| marks.finish_reason.is_in(raw.as_bytes()));
    let usage = object(usage).or_else(|| usage::elsewhere(std::str::from_utf8(data).ok()?, choices));
    let withhold = match usage {
        Some(_) if no_choices || finishes || finished => Withhold::Usage { alone: no_choices },
        _ => Withhold::No,
    };
    Ok(EventMeaning {
        usage: usage.map(read_usage),
        timings: object(timings).map(usage::read_timings),
        identity: identity([("id", id), ("created", created)], model),
        finishes,
        withhold,
        ..EventMeaning::default()
    })
}

/// The usage chunk of a stream whose provider sent none. `chunk`: what a chunk calls itself; `identity`: as in the
/// chunks before it.
pub fn usage_chunk(chunk: &str, identity: &str, receipt: &Receipt) -> String {
    let usage = usage_object(receipt);
    format!("data: {{{identity}\"object\":\"{chunk}\",\"choices\":[],\"usage\":{usage}}}\n\n")
}

/// A chunk that says that the answer was cut at the bound. `nothing`: the output in it.
pub fn cut(chunk: &str, nothing: &str, made_up: &MadeUp<'_>) -> String {
    let identity = made_up.identity;
    format!(
        "data: {{{identity}\"object\":\"{chunk}\",\"choices\":[{{\"index\":0,{nothing},\"finish_reason\":\"length\"}}]}}\n\n"
    )
}

fn usage_object(receipt: &Receipt) -> String {
    let Usage { prompt_tokens: prompt, cached_tokens: cached, completion_tokens: completion, .. } = receipt.usage;
    let total = receipt.total();
    let counts = format!(
        "\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\"total_tokens\":{total},\
         \"prompt_tokens_details\":{{\"cached_tokens\":{cached}}}"
    );
    with_cost(&counts, receipt)
}
