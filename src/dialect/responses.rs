//! OpenAI's responses, `POST /v1/responses`.

use serde_json::json;

use super::embeddings::must_be_text_or_list;
use super::event::{EventMeaning, Withhold, error_event, fields, identity, kind_of, read_untyped};
use super::failure::StreamFailure;
use super::marks::MARKS;
use super::receipt::{self, CountNames, Receipt, with_cost};
use super::standing::Standing;
use super::translate::ClientDialect;
use super::{
    AnswerFields, Below, Cause, Dialect, Envelope, ErrorForm, EventText, FileReferences, LongText, MadeUp, Probe,
    ReceiptForm, RequestFields, StoredReferences, StreamEvents, openai, usage,
};
use crate::domain::json::fields::{error_text, object, pick_from};
use crate::domain::sse::Event;
use crate::domain::usage::Usage;

/// What the dialect says.
pub static DIALECT: Dialect = Dialect {
    request: REQUEST,
    probe: Probe {
        body: |model, stream| json!({"model": model, "input": "Hi", "max_output_tokens": 16, "stream": stream}),
        // OpenAI's take no bound below that.
        output_bound: 16,
    },
    answer: ANSWER,
    stream: STREAM,
    receipt: RECEIPT,
    errors: ERRORS,
};

/// A field that is refused, and why.
pub(super) const BACKGROUND: (&str, &str) = ("background", "background responses cannot be metered");

pub(super) const REQUEST: RequestFields = RequestFields {
    content: "input",
    check_content: must_be_text_or_list,
    prompt: &["input", "instructions", "tools", "text"],
    has_messages: true,
    refused: &[BACKGROUND],
    stored: StoredReferences { files: FileReferences::AnyKey, items: true },
    output_bound: Some("max_output_tokens"),
    output_trials: &[],
    takes_bound: true,
    generates: true,
    streams: true,
    echoes: false,
    is_rare: false,
    translation: Some(ClientDialect::Responses),
};

pub(super) const ANSWER: AnswerFields = AnswerFields {
    output: "output",
    text: &[b"text", b"refusal", b"name", b"arguments", b"input"],
    has_objects: false,
    read_usage: openai::read_usage,
};

pub(super) const STREAM: StreamEvents = StreamEvents {
    read,
    text,
    long_text: LongText { keys: &[b"delta"], below: Below::Nothing },
    usage_is_asked_for: false,
    is_numbered: true,
    usage_chunk: None,
    last_event: "",
    cut,
    broken: Some(broken),
};

pub(super) const RECEIPT: ReceiptForm = ReceiptForm {
    holder: Some("response"),
    usage_object,
    as_billed: |usage, receipt| receipt::counts_as_billed(usage, receipt, &NAMES),
};

pub(super) const ERRORS: ErrorForm = ErrorForm {
    envelope: Envelope::OpenAi,
    event_line: "",
    failed: Some(failed),
    sign_of_life: openai::ERRORS.sign_of_life,
};

const NAMES: CountNames = CountNames {
    prompt: "input_tokens",
    completion: "output_tokens",
    total: "total_tokens",
    details: "input_tokens_details",
    generates: true,
};

fn read<'a>(event: &'a Event<'_>, _finished: bool) -> Result<EventMeaning<'a>, StreamFailure> {
    let (kind, data): (&[u8], &[u8]) = (kind_of(event), &event.data);
    match kind {
        b"response.completed" | b"response.incomplete" | b"response.failed" => {}
        b"error" => return Err(error_event(data)),
        b"" => return read_untyped(data),
        b"response.created" => {
            let [response] = fields(data, ["response"])?;
            let [id, created, model] = pick_from(object(response), ["id", "created_at", "model"]);
            let identity = identity([("id", id), ("created_at", created)], model);
            return Ok(EventMeaning { kind, identity, ..EventMeaning::default() });
        }
        _ => return Ok(EventMeaning { kind, ..EventMeaning::default() }),
    }
    let [response, timings] = fields(data, ["response", "timings"])?;
    let [usage, error] = pick_from(object(response), ["usage", "error"]);
    let usage = object(usage);
    if kind == b"response.failed" && usage.is_none() {
        return Err(StreamFailure::ResponseFailed(error_text(error.unwrap_or("null"))));
    }
    Ok(EventMeaning {
        kind,
        usage: usage.map(openai::read_usage),
        timings: object(timings).map(usage::read_timings),
        finishes: true,
        withhold: Withhold::Usage { alone: false },
        is_last: true,
        ..EventMeaning::default()
    })
}

fn text(kind: &[u8]) -> Option<EventText> {
    let bare = if writes_text(kind) { Standing::Words } else { Standing::Tool };
    match kind {
        b"response.output_item.added" => Some(EventText { mark: &MARKS.item, keys: &[b"name"], bare }),
        kind if kind.ends_with(b".delta") => Some(EventText { mark: &MARKS.delta, keys: &[b""], bare }),
        _ => None,
    }
}

/// The deltas of this event are text as the model wrote it: no arguments, code, or sound.
fn writes_text(kind: &[u8]) -> bool {
    [&b"text"[..], b"refusal", b"reasoning"].iter().any(|word| memchr::memmem::find(kind, word).is_some())
}

fn usage_object(receipt: &Receipt) -> String {
    let Usage { prompt_tokens: prompt, cached_tokens: cached, completion_tokens: completion, .. } = receipt.usage;
    let total = receipt.total();
    let counts = format!(
        "\"input_tokens\":{prompt},\"input_tokens_details\":{{\"cached_tokens\":{cached}}},\
         \"output_tokens\":{completion},\"output_tokens_details\":{{\"reasoning_tokens\":0}},\
         \"total_tokens\":{total}"
    );
    with_cost(&counts, receipt)
}

fn cut(made_up: &MadeUp<'_>) -> String {
    let MadeUp { identity, sequence, receipt } = made_up;
    let usage = receipt.map_or_else(|| "null".to_owned(), usage_object);
    format!(
        "event: response.incomplete\ndata: {{\"type\":\"response.incomplete\",\"sequence_number\":{sequence},\
         \"response\":{{{identity}\"object\":\"response\",\"status\":\"incomplete\",\
         \"incomplete_details\":{{\"reason\":\"max_output_tokens\"}},\"error\":null,\"output\":[],\"usage\":{usage}}}}}\n\n"
    )
}

fn broken(said: &[u8], made_up: &MadeUp<'_>, cause: Cause<'_>) -> Vec<u8> {
    if memchr::memmem::find(said, b"response.failed").is_some() {
        return said.to_vec();
    }
    let MadeUp { identity, sequence, .. } = made_up;
    let error = json!({"code": cause.code, "message": cause.message});
    let failed = format!(
        "event: response.failed\ndata: {{\"type\":\"response.failed\",\"sequence_number\":{sequence},\"response\":{{{identity}\
         \"object\":\"response\",\"status\":\"failed\",\"error\":{error},\"output\":[],\"usage\":null}}}}\n\n"
    );
    [said, failed.as_bytes()].concat()
}

fn failed(id: &str, message: &str) -> String {
    let error = json!({"code": "server_error", "message": message});
    let response =
        json!({"id": id, "object": "response", "status": "failed", "error": error, "output": [], "usage": null});
    let failed = json!({"type": "response.failed", "sequence_number": 0, "response": response});
    format!("event: response.failed\ndata: {failed}\n\n")
}
