//! `POST /v1/completions`, the legacy dialect.

use serde_json::{Value, json};

use super::ask::{Ask, Unanswerable};
use super::generate::{Finish, Want};
use super::prompt::Prompt;
use super::sse::Script;
use super::{Demo, Dialect, Job, imitate};

const OBJECT: &str = "text_completion";

/// OpenAI legacy.
pub struct Completions;

impl Dialect for Completions {
    const MAX_FIELDS: &[&str] = &["max_tokens"];

    fn job(demo: &Demo, ask: Ask) -> Result<Job, Unanswerable> {
        let prompt = prompt(ask.body.get("prompt"))?;
        Ok(demo.job(ask, &prompt, &Want::Text))
    }

    fn whole(job: &Job) -> Value {
        imitate::whole(job, OBJECT, &choice(&job.answer.text(), Some(finish(job))))
    }

    fn script(job: Job) -> Script {
        let mut so_far = 0_usize;
        let head = imitate::opening(job.style).into_iter().collect();
        let tail = imitate::closing(&job, OBJECT, &choice("", Some(finish(&job)))).into();
        let pieces = job.answer.pieces.clone().into();
        let wrap = move |piece: &super::tokens::Piece| {
            so_far = so_far.saturating_add(piece.tokens);
            imitate::chunk(&job, OBJECT, &choice(&piece.text, None), so_far)
        };
        Script { head, pieces, wrap: Box::new(wrap), tail }
    }
}

/// One prompt: a text, its token ids, or a list of one of these.
fn prompt(value: Option<&Value>) -> Result<Prompt, Unanswerable> {
    match value {
        Some(Value::String(text)) => Ok(Prompt::of_text(text)),
        Some(Value::Array(list)) => match list.as_slice() {
            [one @ (Value::String(_) | Value::Array(_))] => prompt(Some(one)),
            ids if !ids.is_empty() && ids.iter().all(Value::is_u64) => Ok(Prompt::of_tokens(ids)),
            _ => Err(Unanswerable::field("prompt", "prompt must be one text or one list of token ids")),
        },
        _ => Err(Unanswerable::field("prompt", "prompt is required")),
    }
}

fn choice(text: &str, finish: Option<&str>) -> Value {
    json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish})
}

fn finish(job: &Job) -> &'static str {
    if job.answer.finish == Finish::Length { "length" } else { "stop" }
}

#[cfg(test)]
mod tests {
    use super::super::sse::documents;
    use super::super::{Imitate, test_job};
    use super::*;

    #[test]
    fn prompts_are_read() {
        for (value, tokens) in [
            (json!("Say hello."), Some(3)),
            (json!(["Say hello."]), Some(3)),
            (json!([1, 2, 3, 4]), Some(4)),
            (json!([[1, 2]]), Some(2)),
            (json!(["a", "b"]), None),
            (json!([]), None),
            (json!(1), None),
        ] {
            assert_eq!(prompt(Some(&value)).ok().map(|p| p.tokens), tokens, "{value}");
        }
    }

    #[test]
    fn llama_cpp_sends_usage_unasked_on_the_last_chunk_and_others_only_if_asked() {
        for (style, asked) in Imitate::ALL.into_iter().flat_map(|s| [(s, true), (s, false)]) {
            let body =
                json!({"model": "m", "prompt": "hi", "max_tokens": 3, "stream_options": {"include_usage": asked}});
            let text = Completions::script(test_job::<Completions>(style, &body)).text();
            assert!(text.ends_with("data: [DONE]\n\n"));
            let docs = documents(&text);
            let last = docs.last().unwrap();
            let llama = style == Imitate::LlamaCpp;
            assert_eq!(last["usage"]["completion_tokens"] == 3, asked || llama, "{text}");
            assert_eq!(last["choices"] == json!([]), asked && !llama);
            let said: String = docs.iter().filter_map(|d| d.pointer("/choices/0/text")?.as_str()).collect();
            assert_eq!(super::super::tokens::count(&said), 3);
        }
    }
}
