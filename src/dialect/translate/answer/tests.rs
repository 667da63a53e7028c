//! Answers in both dialects: recorded streams, single habits of servers, and any stream at all.

mod told;
mod recorded;
mod habits;
mod any;

use std::sync::Arc;

use serde_json::{Value, json};
use told::{Told, read};

use crate::dialect::translate::ClientDialect::{self, Messages, Responses};
use crate::dialect::translate::{Answering, Broken, Context, StreamTranslator, WholeTranslation, request};

const BOTH: [ClientDialect; 2] = [Responses, Messages];
const ANSWERING: Answering<'static> = Answering { id: "1", model: "public", think_tags: false };

/// What the answer to a request with these fields must know.
fn context(dialect: ClientDialect, mut fields: Value) -> Arc<Context> {
    let object = fields.as_object_mut().unwrap();
    object.insert("model".into(), json!("m"));
    match dialect {
        Responses => object.insert("input".into(), json!("hi")),
        Messages => object.insert("messages".into(), json!([{"role": "user", "content": "hi"}])),
    };
    request(dialect, fields.to_string().as_bytes(), usize::MAX).unwrap().context
}

/// The whole translation of a stream that comes in pieces of this size.
fn translated(
    context: &Arc<Context>,
    answering: &Answering<'_>,
    stream: &[u8],
    step: usize,
) -> Result<Vec<u8>, Broken> {
    let (mut translator, mut out) = (StreamTranslator::new(context, answering), Vec::new());
    for piece in stream.chunks(step.max(1)) {
        translator.push(piece, &mut out)?;
    }
    translator.end(&mut out);
    Ok(out)
}

/// The translation of a whole answer.
fn whole(context: &Arc<Context>, answering: &Answering<'_>, answer: &[u8]) -> Result<Vec<u8>, Broken> {
    WholeTranslation::read(context, answering, answer).map(|read| read.told(None))
}

/// A stream of these chunks, each the delta of one.
fn stream_of(deltas: &[Value], finish: &str, usage: Value) -> Vec<u8> {
    let mut out = Vec::new();
    let mut chunk = |chunk: Value| out.extend_from_slice(format!("data: {chunk}\n\n").as_bytes());
    for delta in deltas {
        chunk(json!({"id": "c", "object": "chat.completion.chunk", "created": 5, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": null}], "usage": null}));
    }
    chunk(json!({"created": 5, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}));
    chunk(json!({"created": 5, "choices": [], "usage": usage}));
    out.extend_from_slice(b"data: [DONE]\n\n");
    out
}

fn usage() -> Value {
    json!({"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14, "prompt_tokens_details": {"cached_tokens": 4}})
}

/// What a client of this dialect is told by a stream of these deltas.
fn told(dialect: ClientDialect, deltas: &[Value], finish: &str) -> Told {
    let stream = stream_of(deltas, finish, usage());
    let out = translated(&context(dialect, json!({})), &ANSWERING, &stream, usize::MAX).unwrap();
    read(dialect, &out)
}
