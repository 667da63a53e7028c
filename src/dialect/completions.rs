//! OpenAI's legacy completions, `POST /v1/completions`.

use serde_json::json;
use serde_json::value::RawValue;

use super::marks::MARKS;
use super::standing::Standing;
use super::{
    AnswerFields, Below, Dialect, EventText, FileReferences, LongText, Probe, RequestFields, StoredReferences,
    StreamEvents, openai,
};

const CHUNK: &str = "text_completion";

/// What the dialect says.
pub static DIALECT: Dialect = Dialect {
    request: RequestFields {
        content: "prompt",
        check_content: must_be_one_prompt,
        prompt: &["prompt", "suffix"],
        has_messages: false,
        refused: &[],
        stored: StoredReferences { files: FileReferences::Nowhere, items: false },
        output_bound: Some("max_tokens"),
        output_trials: &[],
        takes_bound: true,
        generates: true,
        streams: true,
        echoes: true,
        is_rare: false,
        translation: None,
    },
    probe: Probe {
        body: |model, stream| json!({"model": model, "prompt": "Hi", "max_tokens": 1, "stream": stream}),
        output_bound: 1,
    },
    answer: AnswerFields { output: "choices", text: &[b"text"], has_objects: false, read_usage: openai::read_usage },
    stream: StreamEvents {
        read: openai::read_chunk,
        text: |_| Some(EventText { mark: &MARKS.text, keys: &[b""], bare: Standing::Words }),
        long_text: LongText { keys: &[b"text"], below: Below::Anything },
        usage_is_asked_for: true,
        is_numbered: false,
        usage_chunk: Some(|identity, receipt| openai::usage_chunk(CHUNK, identity, receipt)),
        last_event: openai::DONE,
        cut: |made_up| openai::cut(CHUNK, "\"text\":\"\"", made_up),
        broken: None,
    },
    receipt: openai::RECEIPT,
    errors: openai::ERRORS,
};

/// Servers report the usage of one prompt for all of them.
fn must_be_one_prompt(raw: &str) -> Result<(), &'static str> {
    // llama.cpp takes an object too: a text with its pictures.
    if !raw.starts_with(['[', '"', '{']) {
        return Err("must be a string or a list");
    }
    if raw.starts_with('[') && !is_one_prompt(raw) {
        return Err("must be one prompt: send a request for each");
    }
    Ok(())
}

/// A list is one prompt if it holds token numbers alone, or one prompt.
fn is_one_prompt(list: &str) -> bool {
    let parts: Vec<&RawValue> = serde_json::from_str(list).unwrap_or_default();
    let numbers = |part: &&RawValue| part.get().starts_with(|c: char| c.is_ascii_digit());
    match parts.as_slice() {
        [one] if one.get().starts_with('[') => is_one_prompt_of_numbers(one.get()),
        [_] => true,
        parts => parts.iter().all(numbers),
    }
}

fn is_one_prompt_of_numbers(list: &str) -> bool {
    serde_json::from_str::<Vec<u64>>(list).is_ok_and(|numbers| !numbers.is_empty())
}
