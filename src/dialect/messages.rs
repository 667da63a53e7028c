//! Anthropic's messages, `POST /v1/messages`.

use serde_json::json;

use super::chat::must_be_messages;
use super::event::{EventMeaning, Withhold, error_event, fields, kind_of, read_untyped};
use super::failure::StreamFailure;
use super::marks::MARKS;
use super::receipt::{COST, Receipt, with_cost};
use super::standing::Standing;
use super::translate::ClientDialect;
use super::usage::Pieces;
use super::{
    AnswerFields, Below, Dialect, Envelope, ErrorForm, EventText, FileReferences, LongText, MadeUp, Probe, ReceiptForm,
    RequestFields, StoredReferences, StreamEvents,
};
use crate::domain::json::fields::{given, object, pick_from, with_field};
use crate::domain::sse::Event;
use crate::domain::usage::{MeteredBy, Usage};

/// The keys under which generated text stands in a content block; `input` is an object, its words stand under keys of
/// their own.
const TEXT: &[&[u8]] = &[b"text", b"thinking", b"name", b"partial_json"];

/// What the dialect says.
pub static DIALECT: Dialect = Dialect {
    request: RequestFields {
        content: "messages",
        check_content: must_be_messages,
        prompt: &["system", "messages", "tools"],
        has_messages: true,
        refused: &[],
        stored: StoredReferences { files: FileReferences::Parts, items: false },
        output_bound: Some("max_tokens"),
        output_trials: &[],
        takes_bound: true,
        generates: true,
        streams: true,
        echoes: false,
        is_rare: false,
        translation: Some(ClientDialect::Messages),
    },
    probe: Probe {
        body: |model, stream| {
            let messages = json!([{"role": "user", "content": "Hi"}]);
            json!({"model": model, "messages": messages, "max_tokens": 1, "stream": stream})
        },
        output_bound: 1,
    },
    answer: AnswerFields {
        output: "content",
        text: TEXT,
        has_objects: true,
        read_usage: |usage| Pieces::read(usage).reported(),
    },
    stream: StreamEvents {
        read,
        text,
        long_text: LongText { keys: TEXT, below: Below::OneOf(&[b"delta", b"content_block"]) },
        usage_is_asked_for: false,
        is_numbered: false,
        usage_chunk: None,
        last_event: "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        cut,
        broken: None,
    },
    receipt: ReceiptForm { holder: None, usage_object, as_billed },
    errors: ErrorForm {
        envelope: Envelope::Anthropic,
        event_line: "event: error\n",
        failed: None,
        sign_of_life: "event: ping\ndata: {\"type\": \"ping\"}\n\n",
    },
};

fn read<'a>(event: &'a Event<'_>, _finished: bool) -> Result<EventMeaning<'a>, StreamFailure> {
    let (kind, data): (&[u8], &[u8]) = (kind_of(event), &event.data);
    match kind {
        b"message_start" => {
            let [message] = fields(data, ["message"])?;
            let [usage] = pick_from(object(message), ["usage"]);
            let pieces = object(usage).map(|raw| Pieces::read(raw).without_output());
            Ok(EventMeaning { kind, pieces, ..EventMeaning::default() })
        }
        b"message_delta" => {
            let [delta, usage] = fields(data, ["delta", "usage"])?;
            let [stop_reason] = pick_from(object(delta), ["stop_reason"]);
            let finishes = given(stop_reason).is_some();
            let withhold = if finishes { Withhold::Usage { alone: false } } else { Withhold::No };
            let pieces = object(usage).map(Pieces::read);
            Ok(EventMeaning { kind, pieces, finishes, withhold, ..EventMeaning::default() })
        }
        b"message_stop" => Ok(EventMeaning { kind, withhold: Withhold::Yes, is_last: true, ..EventMeaning::default() }),
        b"ping" => Ok(EventMeaning { kind, is_ping: true, ..EventMeaning::default() }),
        b"error" => Err(error_event(data)),
        b"" => read_untyped(data),
        _ => Ok(EventMeaning { kind, ..EventMeaning::default() }),
    }
}

fn text(kind: &[u8]) -> Option<EventText> {
    let mark = match kind {
        b"content_block_delta" => &MARKS.delta,
        b"content_block_start" => &MARKS.content_block,
        _ => return None,
    };
    Some(EventText { mark, keys: TEXT, bare: Standing::Words })
}

fn usage_object(receipt: &Receipt) -> String {
    let Usage { prompt_tokens: prompt, cached_tokens: cached, completion_tokens: completion, cache_writes } =
        receipt.usage;
    let written = cache_writes.all();
    let input = prompt.saturating_sub(cached).saturating_sub(written);
    let written = match written {
        0 => String::new(),
        written => format!("\"cache_creation_input_tokens\":{written},"),
    };
    let counts = format!(
        "\"input_tokens\":{input},{written}\"cache_read_input_tokens\":{cached},\"output_tokens\":{completion}"
    );
    with_cost(&counts, receipt)
}

/// The last event of a stream need not repeat what the first one said of the prompt.
fn as_billed(usage: &str, receipt: &Receipt) -> String {
    let Usage { prompt_tokens: prompt, cached_tokens: cached, cache_writes, completion_tokens: completion } =
        receipt.usage;
    let written = cache_writes.all();
    let mut edited = usage.to_owned();
    let said = Pieces::read(usage).reported();
    if said.completion_tokens != Some(completion) {
        edited = with_field(&edited, "output_tokens", &completion.to_string());
    }
    let tells = said.prompt_tokens.is_some() || said.cached_tokens.is_some();
    let differs = said.prompt_tokens != Some(prompt) || said.cached_tokens.unwrap_or(0) != cached;
    if (tells && differs) || (!tells && receipt.metered_by == MeteredBy::Estimate) {
        let input = prompt.saturating_sub(cached).saturating_sub(written);
        let names = ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];
        for (name, billed) in names.iter().zip([input, cached, written]) {
            let is_there = matches!(pick_from(Some(usage), [name]), [Some(_)]);
            if is_there || *name == "input_tokens" || billed > 0 {
                edited = with_field(&edited, name, &billed.to_string());
            }
        }
    }
    with_field(&edited, COST, &receipt.cost.micro().to_string())
}

fn cut(made_up: &MadeUp<'_>) -> String {
    let usage = made_up.receipt.map_or_else(|| "null".to_owned(), usage_object);
    format!(
        "event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"max_tokens\",\
         \"stop_sequence\":null}},\"usage\":{usage}}}\n\n"
    )
}
