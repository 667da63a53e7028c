//! OpenAI's compaction of a response, `POST /v1/responses/compact`: a long conversation made shorter. In the words of
//! [`responses`], never streamed, and without a bound for the output.

use serde_json::json;

use super::{Dialect, Probe, RequestFields, responses};

/// What the dialect says.
pub static DIALECT: Dialect = Dialect {
    request: RequestFields {
        refused: &[responses::BACKGROUND, ("stream", "a compaction is not streamed")],
        output_bound: None,
        takes_bound: false,
        streams: false,
        is_rare: true,
        translation: None,
        ..responses::REQUEST
    },
    probe: Probe {
        body: |model, _| json!({"model": model, "input": [{"role": "user", "content": "Hi"}]}),
        output_bound: 1,
    },
    answer: responses::ANSWER,
    stream: responses::STREAM,
    receipt: responses::RECEIPT,
    errors: responses::ERRORS,
};
