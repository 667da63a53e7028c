//! OpenAI's chat completions, `POST /v1/chat/completions`.

use serde_json::json;

use super::marks::MARKS;
use super::standing::Standing;
use super::{
    AnswerFields, Below, Dialect, EventText, FileReferences, LongText, Probe, RequestFields, StoredReferences,
    StreamEvents, openai,
};

/// The keys under which generated text stands in a message or a delta.
const TEXT: &[&[u8]] = &[b"content", b"reasoning_content", b"reasoning", b"refusal", b"name", b"arguments"];

const CHUNK: &str = "chat.completion.chunk";

/// What the dialect says.
pub static DIALECT: Dialect = Dialect {
    request: RequestFields {
        content: "messages",
        check_content: must_be_messages,
        prompt: &["messages", "tools", "functions", "response_format"],
        has_messages: true,
        refused: &[],
        stored: StoredReferences { files: FileReferences::AnyKey, items: false },
        output_bound: Some("max_tokens"),
        output_trials: &["max_tokens", "max_completion_tokens"],
        takes_bound: true,
        generates: true,
        streams: true,
        echoes: false,
        is_rare: false,
        translation: None,
    },
    probe: Probe {
        body: |model, stream| json!({"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": stream}),
        output_bound: 1,
    },
    answer: AnswerFields { output: "choices", text: TEXT, has_objects: false, read_usage: openai::read_usage },
    stream: StreamEvents {
        read: openai::read_chunk,
        text: |_| Some(EventText { mark: &MARKS.delta, keys: TEXT, bare: Standing::Words }),
        long_text: LongText { keys: TEXT, below: Below::OneOf(&[b"delta"]) },
        usage_is_asked_for: true,
        is_numbered: false,
        usage_chunk: Some(|identity, receipt| openai::usage_chunk(CHUNK, identity, receipt)),
        last_event: openai::DONE,
        cut: |made_up| openai::cut(CHUNK, "\"delta\":{}", made_up),
        broken: None,
    },
    receipt: openai::RECEIPT,
    errors: openai::ERRORS,
};

/// A conversation is a list of messages.
pub fn must_be_messages(raw: &str) -> Result<(), &'static str> {
    if raw.starts_with('[') { Ok(()) } else { Err("must be a list of messages") }
}
