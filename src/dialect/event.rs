//! What one event of a stream means for the bill.
//!
//! Most events mean nothing and are told by the absence of a few keys; the others are parsed.

use super::failure::Failure;
use super::marks::MARKS;
use super::usage::{self, Pieces};
use crate::domain::endpoint::Endpoint;
use crate::domain::json::fields::{error_text, given, object, pick, pick_from};
use crate::domain::sse::Event;
use crate::domain::usage::Reported;

/// What one event means. The default is an event that only brings output.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sight<'a> {
    /// The event's type, in the dialects that have types.
    pub kind: &'a [u8],
    /// The usage object of a dialect that reports in one.
    pub usage: Option<Reported>,
    /// The usage object of the messages dialect.
    pub pieces: Option<Pieces>,
    /// llama.cpp's own counters.
    pub timings: Option<Reported>,
    /// What an event is part of, for one that has to be made up.
    pub identity: Option<Identity<'a>>,
    /// The event keeps a connection up and is no progress.
    pub is_ping: bool,
    /// A finish reason, a stop reason, or a terminal event.
    pub finishes: bool,
    /// From here on nothing may be sent before the request is settled.
    pub hold: Hold,
    /// The last event of the stream.
    pub is_last: bool,
}

/// What all events of an answer say of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// `"id":…,"created":…,` or `"id":…,"created_at":…,`.
    pub others: String,
    /// The raw name of the model.
    pub model: &'a str,
}

impl Sight<'_> {
    /// Nothing matters in the event but its output, whatever the output is. Where the type of an event had
    /// to be parsed out of its data, the output decides whether it could be.
    pub fn is_plain(&self, event: &Event<'_>) -> bool {
        let kind_is_told = self.kind.is_empty() || event.name.is_some() || leading_type(&event.data).is_some();
        kind_is_told && *self == Sight { kind: self.kind, ..Sight::default() }
    }
}

/// Whether an event is held back until the request is settled.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It goes to the client at once.
    #[default]
    No,
    /// Held.
    Yes,
    /// Held, and its usage object takes the receipt.
    Usage {
        /// There is nothing else in it, so a client that asked for no usage does not get it.
        alone: bool,
    },
}

/// Reads an event that has data. `finished`: a finish reason was seen before.
///
/// # Errors
/// The event is an error, not JSON, or a failed response without usage.
pub fn read<'a>(endpoint: Endpoint, event: &'a Event<'_>, finished: bool) -> Result<Sight<'a>, Failure> {
    let data: &[u8] = &event.data;
    if data == b"[DONE]" {
        return Ok(Sight { hold: Hold::Yes, is_last: true, ..Sight::default() });
    }
    if event.name == Some(b"error") {
        return Err(error_event(data));
    }
    if !(data.starts_with(b"{") && data.ends_with(b"}")) {
        fields::<1>(data, [""])?;
    }
    match endpoint {
        Endpoint::ChatCompletions | Endpoint::Completions | Endpoint::Embeddings => {
            read_chunk(endpoint, data, finished)
        }
        Endpoint::Responses | Endpoint::Compact => read_response_event(kind_of(event), data),
        Endpoint::Messages => read_message_event(kind_of(event), data),
    }
}

fn read_chunk(endpoint: Endpoint, data: &[u8], finished: bool) -> Result<Sight<'_>, Failure> {
    let marks = &*MARKS;
    let others = [&marks.finish_reason, &marks.timings, &marks.error];
    if !marks.usage.iter().chain(others).any(|mark| mark.is_in(data)) {
        return Ok(Sight::default());
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
    let hold = match usage {
        Some(_) if no_choices || finishes || finished => Hold::Usage { alone: no_choices },
        _ => Hold::No,
    };
    Ok(Sight {
        usage: usage.map(|raw| usage::read(endpoint, raw)),
        timings: object(timings).map(usage::read_timings),
        identity: identity([("id", id), ("created", created)], model),
        finishes,
        hold,
        ..Sight::default()
    })
}

fn identity<'a>(others: [(&str, Option<&str>); 2], model: Option<&'a str>) -> Option<Identity<'a>> {
    let others = others.iter().map(|(key, raw)| raw.map(|raw| format!("\"{key}\":{raw},")));
    Some(Identity { others: others.collect::<Option<Vec<_>>>()?.concat(), model: model? })
}

fn read_response_event<'a>(kind: &'a [u8], data: &'a [u8]) -> Result<Sight<'a>, Failure> {
    match kind {
        b"response.completed" | b"response.incomplete" | b"response.failed" => {}
        b"error" => return Err(error_event(data)),
        b"" => return read_untyped(data),
        b"response.created" => {
            let [response] = fields(data, ["response"])?;
            let [id, created, model] = pick_from(object(response), ["id", "created_at", "model"]);
            let identity = identity([("id", id), ("created_at", created)], model);
            return Ok(Sight { kind, identity, ..Sight::default() });
        }
        _ => return Ok(Sight { kind, ..Sight::default() }),
    }
    let [response, timings] = fields(data, ["response", "timings"])?;
    let [usage, error] = pick_from(object(response), ["usage", "error"]);
    let usage = object(usage);
    if kind == b"response.failed" && usage.is_none() {
        return Err(Failure::ResponseFailed(error_text(error.unwrap_or("null"))));
    }
    Ok(Sight {
        kind,
        usage: usage.map(|raw| usage::read(Endpoint::Responses, raw)),
        timings: object(timings).map(usage::read_timings),
        finishes: true,
        hold: Hold::Usage { alone: false },
        is_last: true,
        ..Sight::default()
    })
}

fn read_message_event<'a>(kind: &'a [u8], data: &'a [u8]) -> Result<Sight<'a>, Failure> {
    match kind {
        b"message_start" => {
            let [message] = fields(data, ["message"])?;
            let [usage] = pick_from(object(message), ["usage"]);
            let pieces = object(usage).map(|raw| Pieces::read(raw).without_output());
            Ok(Sight { kind, pieces, ..Sight::default() })
        }
        b"message_delta" => {
            let [delta, usage] = fields(data, ["delta", "usage"])?;
            let [stop_reason] = pick_from(object(delta), ["stop_reason"]);
            let finishes = given(stop_reason).is_some();
            let hold = if finishes { Hold::Usage { alone: false } } else { Hold::No };
            Ok(Sight { kind, pieces: object(usage).map(Pieces::read), finishes, hold, ..Sight::default() })
        }
        b"message_stop" => Ok(Sight { kind, hold: Hold::Yes, is_last: true, ..Sight::default() }),
        b"ping" => Ok(Sight { kind, is_ping: true, ..Sight::default() }),
        b"error" => Err(error_event(data)),
        b"" => read_untyped(data),
        _ => Ok(Sight { kind, ..Sight::default() }),
    }
}

/// An event without a type in a dialect that has types: llama.cpp sends its errors so.
fn read_untyped(data: &[u8]) -> Result<Sight<'_>, Failure> {
    let [error] = fields(data, ["error"])?;
    if given(error).is_some() { Err(error_event(data)) } else { Ok(Sight::default()) }
}

/// The type of an event: as the data says if it comes first there, else by the event's name, else as
/// the data says. Empty if nothing says it.
fn kind_of<'a>(event: &'a Event<'_>) -> &'a [u8] {
    let data: &[u8] = &event.data;
    if let Some(kind) = leading_type(data) {
        return kind;
    }
    if let Some(name) = event.name {
        return name;
    }
    let [kind] = pick_from(std::str::from_utf8(data).ok(), ["type"]);
    kind.map_or(b"", |raw| raw.trim_matches('"').as_bytes())
}

/// `x` of `{"type":"x"`.
fn leading_type(data: &[u8]) -> Option<&[u8]> {
    let rest = data.strip_prefix(b"{")?.trim_ascii_start().strip_prefix(b"\"type\"")?;
    let rest = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    rest.get(..memchr::memchr(b'"', rest)?)
}

fn fields<'a, const N: usize>(data: &'a [u8], keys: [&str; N]) -> Result<[Option<&'a str>; N], Failure> {
    let text = std::str::from_utf8(data).map_err(|e| Failure::Malformed(e.to_string()))?;
    pick(text, keys).map_err(|e| Failure::Malformed(e.to_string()))
}

/// The failure that an error event tells of.
pub fn error_event(data: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(data);
    let [error] = pick_from(Some(&*text), ["error"]);
    Failure::ErrorEvent(error_text(given(error).unwrap_or(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(data: &str) -> Result<Hold, Failure> {
        let block = format!("data: {data}\n\n");
        read(Endpoint::ChatCompletions, &Event::read(block.as_bytes()), false).map(|sight| sight.hold)
    }

    #[test]
    fn a_chunk_is_held_for_its_last_usage_only() {
        let rows = [
            (r#"{"choices":[{"delta":{"content":"a"},"finish_reason":null}],"usage":null}"#, Hold::No),
            (r#"{"choices":[{"delta":{"content":"a"},"finish_reason":null}],"usage":{"prompt_tokens":1}}"#, Hold::No),
            (r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, Hold::No),
            (r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{}}"#, Hold::Usage { alone: false }),
            (r#"{"choices":[],"usage":{}}"#, Hold::Usage { alone: true }),
            (r#"{"choices": [ ],"usage":{}}"#, Hold::Usage { alone: true }),
            (r#"{"choices":null,"usage":{}}"#, Hold::Usage { alone: true }),
            (r#"{"usage":{}}"#, Hold::Usage { alone: true }),
            (r#"{"choices":[],"usage":7}"#, Hold::No),
            (r#"{"choices":[],"usage":null,"prompt_filter_results":[]}"#, Hold::No),
            (r#"{"choices":[{"delta":{"content":"\"usage\":{}"}}]}"#, Hold::No),
            ("[DONE]", Hold::Yes),
        ];
        for (data, expected) in rows {
            assert_eq!(chunk(data), Ok(expected), "{data}");
        }
    }

    #[test]
    fn an_error_is_an_error_in_every_dialect() {
        let rows = [
            (Endpoint::ChatCompletions, "data: {\"error\":{\"message\":\"m\"}}", "m"),
            (Endpoint::ChatCompletions, "data: {\"error\":\"m\"}", "m"),
            (Endpoint::ChatCompletions, "event: error\ndata: {\"message\":\"m\"}", "m"),
            (Endpoint::ChatCompletions, "event: error\ndata: m", "m"),
            (Endpoint::Messages, "data: {\"type\":\"error\",\"error\":{\"type\":\"t\",\"message\":\"m\"}}", "m"),
            (Endpoint::Messages, "data: {\"error\":{\"message\":\"m\"}}", "m"),
            (Endpoint::Responses, "data: {\"type\":\"error\",\"code\":null,\"message\":\"m\"}", "m"),
            (Endpoint::Responses, "data: {\"sequence_number\":1,\"type\":\"error\",\"message\":\"m\"}", "m"),
            (Endpoint::Responses, "data: {\"error\":{\"message\":\"m\"}}", "m"),
        ];
        for (endpoint, block, message) in rows {
            let event = Event::read(block.as_bytes());
            assert_eq!(read(endpoint, &event, false), Err(Failure::ErrorEvent(message.to_owned())), "{block}");
        }
        for fine in [r#"{"error":null,"choices":[]}"#, r#"{"choices":[{"delta":{"content":"error"}}]}"#] {
            assert_eq!(chunk(fine), Ok(Hold::No), "{fine}");
        }
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        let rows = ["ping", "null", "[]", "{\"usage\":{}", "{\"usage\":{},}", "{\"usage\":{\"a\"}}", "\"x\""];
        for data in rows {
            assert!(matches!(chunk(data), Err(Failure::Malformed(_))), "{data}");
        }
        let event = Event::read(b"data: {\"usage\":{},\"x\":\"\xff\"}\n\n");
        assert!(matches!(read(Endpoint::ChatCompletions, &event, false), Err(Failure::Malformed(_))));
    }
}
