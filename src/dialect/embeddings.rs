//! OpenAI's embeddings, `POST /v1/embeddings`. Nothing is generated, and nothing is streamed.

use serde_json::json;

use super::counts::Counts;
use super::receipt::{self, CountNames, Receipt, with_cost};
use super::{
    AnswerFields, Below, Dialect, FileReferences, LongText, Probe, ReceiptForm, RequestFields, StoredReferences,
    StreamEvents, openai,
};

/// What the dialect says.
pub static DIALECT: Dialect = Dialect {
    request: RequestFields {
        content: "input",
        check_content: must_be_an_input,
        prompt: &["input"],
        has_messages: false,
        refused: &[],
        stored: StoredReferences { files: FileReferences::Nowhere, items: false },
        output_bound: None,
        output_trials: &[],
        takes_bound: true,
        generates: false,
        streams: false,
        echoes: false,
        is_rare: false,
        translation: None,
    },
    probe: Probe { body: |model, _| json!({"model": model, "input": "Hi"}), output_bound: 1 },
    answer: AnswerFields {
        output: "data",
        text: &[],
        has_objects: false,
        read_usage: |usage| Counts::read(usage).reported_of_embeddings(),
    },
    stream: StreamEvents {
        read: openai::read_chunk,
        text: |_| None,
        long_text: LongText { keys: &[], below: Below::Anything },
        usage_is_asked_for: false,
        is_numbered: false,
        usage_chunk: None,
        last_event: openai::DONE,
        cut: |_| String::new(),
        broken: None,
    },
    receipt: ReceiptForm {
        holder: None,
        usage_object,
        // An embedding has no completion.
        as_billed: |usage, receipt| receipt::counts_as_billed(usage, receipt, &NAMES),
    },
    errors: openai::ERRORS,
};

const NAMES: CountNames = CountNames { generates: false, ..openai::NAMES };

fn must_be_an_input(raw: &str) -> Result<(), &'static str> {
    if raw == "\"\"" { Err("must not be empty") } else { must_be_text_or_list(raw) }
}

/// A text, or a list of whatever the dialect takes.
pub fn must_be_text_or_list(raw: &str) -> Result<(), &'static str> {
    if raw.starts_with(['[', '"']) { Ok(()) } else { Err("must be a string or a list") }
}

fn usage_object(receipt: &Receipt) -> String {
    let (prompt, total) = (receipt.usage.prompt_tokens, receipt.total());
    with_cost(&format!("\"prompt_tokens\":{prompt},\"total_tokens\":{total}"), receipt)
}
