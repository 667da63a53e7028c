//! What one event of a stream means for the bill.
//!
//! Most events mean nothing, which the absence of a few keys shows; the others are parsed.

use super::failure::StreamFailure;
use super::usage::Pieces;
use crate::domain::endpoint::Endpoint;
use crate::domain::json::fields::{error_text, given, pick, pick_from};
use crate::domain::sse::Event;
use crate::domain::usage::Reported;

/// What one event means. The default is an event that only brings output.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct EventMeaning<'a> {
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
    pub withhold: Withhold,
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

impl EventMeaning<'_> {
    /// Nothing matters in the event but its output, whatever the output is. Where the type of an event had
    /// to be parsed out of its data, the output decides whether it could be.
    pub fn is_plain(&self, event: &Event<'_>) -> bool {
        let kind_is_told = self.kind.is_empty() || event.name.is_some() || leading_type(&event.data).is_some();
        kind_is_told && *self == EventMeaning { kind: self.kind, ..EventMeaning::default() }
    }
}

/// Whether an event is withheld until the request is settled.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Withhold {
    /// It goes to the client at once.
    #[default]
    No,
    /// Withheld.
    Yes,
    /// Withheld, and its usage object takes the receipt.
    Usage {
        /// There is nothing else in it, so a client that asked for no usage does not get it.
        alone: bool,
    },
}

/// Reads an event that has data. `finished`: a finish reason was seen before.
///
/// # Errors
/// The event is an error, not JSON, or a failed response without usage.
pub fn read<'a>(endpoint: Endpoint, event: &'a Event<'_>, finished: bool) -> Result<EventMeaning<'a>, StreamFailure> {
    let data: &[u8] = &event.data;
    if data == b"[DONE]" {
        return Ok(EventMeaning { withhold: Withhold::Yes, is_last: true, ..EventMeaning::default() });
    }
    if event.name == Some(b"error") {
        return Err(error_event(data));
    }
    if !(data.starts_with(b"{") && data.ends_with(b"}")) {
        fields::<1>(data, [""])?;
    }
    (endpoint.dialect().stream.read)(event, finished)
}

/// What all chunks say of their answer, if this one says it all.
pub(super) fn identity<'a>(others: [(&str, Option<&str>); 2], model: Option<&'a str>) -> Option<Identity<'a>> {
    let others = others.iter().map(|(key, raw)| raw.map(|raw| format!("\"{key}\":{raw},")));
    Some(Identity { others: others.collect::<Option<Vec<_>>>()?.concat(), model: model? })
}

/// An event without a type in a dialect that has types: llama.cpp sends its errors so.
pub(super) fn read_untyped(data: &[u8]) -> Result<EventMeaning<'_>, StreamFailure> {
    let [error] = fields(data, ["error"])?;
    if given(error).is_some() { Err(error_event(data)) } else { Ok(EventMeaning::default()) }
}

/// The type of an event: as the data says if it comes first there, else by the event's name, else as
/// the data says. Empty if nothing says it.
pub(super) fn kind_of<'a>(event: &'a Event<'_>) -> &'a [u8] {
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

/// Named fields of an event's object.
pub(super) fn fields<'a, const N: usize>(
    data: &'a [u8],
    keys: [&str; N],
) -> Result<[Option<&'a str>; N], StreamFailure> {
    let text = std::str::from_utf8(data).map_err(|e| StreamFailure::Malformed(e.to_string()))?;
    pick(text, keys).map_err(|e| StreamFailure::Malformed(e.to_string()))
}

/// The failure that an error event tells of.
pub fn error_event(data: &[u8]) -> StreamFailure {
    let text = String::from_utf8_lossy(data);
    let [error] = pick_from(Some(&*text), ["error"]);
    StreamFailure::ErrorEvent(error_text(given(error).unwrap_or(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(data: &str) -> Result<Withhold, StreamFailure> {
        let block = format!("data: {data}\n\n");
        read(Endpoint::ChatCompletions, &Event::read(block.as_bytes()), false).map(|meaning| meaning.withhold)
    }

    #[test]
    fn a_chunk_is_held_for_its_last_usage_only() {
        let rows = [
            (r#"{"choices":[{"delta":{"content":"a"},"finish_reason":null}],"usage":null}"#, Withhold::No),
            (
                r#"{"choices":[{"delta":{"content":"a"},"finish_reason":null}],"usage":{"prompt_tokens":1}}"#,
                Withhold::No,
            ),
            (r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, Withhold::No),
            (r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{}}"#, Withhold::Usage { alone: false }),
            (r#"{"choices":[],"usage":{}}"#, Withhold::Usage { alone: true }),
            (r#"{"choices": [ ],"usage":{}}"#, Withhold::Usage { alone: true }),
            (r#"{"choices":null,"usage":{}}"#, Withhold::Usage { alone: true }),
            (r#"{"usage":{}}"#, Withhold::Usage { alone: true }),
            (r#"{"choices":[],"usage":7}"#, Withhold::No),
            (r#"{"choices":[],"usage":null,"prompt_filter_results":[]}"#, Withhold::No),
            (r#"{"choices":[{"delta":{"content":"\"usage\":{}"}}]}"#, Withhold::No),
            ("[DONE]", Withhold::Yes),
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
            assert_eq!(read(endpoint, &event, false), Err(StreamFailure::ErrorEvent(message.to_owned())), "{block}");
        }
        for fine in [r#"{"error":null,"choices":[]}"#, r#"{"choices":[{"delta":{"content":"error"}}]}"#] {
            assert_eq!(chunk(fine), Ok(Withhold::No), "{fine}");
        }
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        let rows = ["ping", "null", "[]", "{\"usage\":{}", "{\"usage\":{},}", "{\"usage\":{\"a\"}}", "\"x\""];
        for data in rows {
            assert!(matches!(chunk(data), Err(StreamFailure::Malformed(_))), "{data}");
        }
        let event = Event::read(b"data: {\"usage\":{},\"x\":\"\xff\"}\n\n");
        assert!(matches!(read(Endpoint::ChatCompletions, &event, false), Err(StreamFailure::Malformed(_))));
    }
}
