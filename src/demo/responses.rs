//! `POST /v1/responses`.

use serde_json::{Value, json};

use super::ask::{Ask, Unanswerable};
use super::generate::Finish;
use super::sse::{Script, event};
use super::{Demo, Dialect, Imitate, Job, imitate, reading};

/// OpenAI Responses.
pub struct Responses;

impl Dialect for Responses {
    const MAX_FIELDS: &[&str] = &["max_output_tokens"];

    fn job(demo: &Demo, ask: Ask) -> Result<Job, Unanswerable> {
        let turns = reading::turns(&ask.body, Some("instructions"), "input")?;
        let want = reading::want(&ask.body, ask.body.get("text").and_then(|t| t.get("format")), &turns)?;
        let prompt = reading::prompt(&turns, &ask.body);
        Ok(demo.job(ask, &prompt, &want))
    }

    fn whole(job: &Job) -> Value {
        response(job, status(job), vec![item(job, status(job), &job.answer.text())])
    }

    fn script(job: Job) -> Script {
        let mut sequence = Sequence { next: 0, shown: job.style != Imitate::LlamaCpp };
        let started = response(&job, "in_progress", Vec::new());
        let head = [
            ("response.created", json!({"response": started})),
            ("response.in_progress", json!({"response": started})),
            ("response.output_item.added", json!({"output_index": 0, "item": item(&job, "in_progress", "")})),
        ];
        let mut head: Vec<String> = head.into_iter().map(|(name, fields)| sequence.event(name, fields)).collect();
        let name = if job.answer.tool.is_some() {
            "response.function_call_arguments.delta"
        } else {
            head.push(sequence.event("response.content_part.added", of_part(&job, json!({"part": part("")}))));
            "response.output_text.delta"
        };
        // The events after the pieces are numbered as if those had gone out.
        let mut later = Sequence { next: sequence.next.saturating_add(job.answer.pieces.len()), ..sequence };
        let tail = tail(&job, &mut later).into();
        let pieces = job.answer.pieces.clone().into();
        let wrap = move |piece: &super::tokens::Piece| {
            let fields = json!({"delta": piece.text});
            if job.answer.tool.is_some() {
                sequence.event(name, of_item(&job, fields))
            } else {
                sequence.event(name, of_part(&job, with(fields, "logprobs", json!([]))))
            }
        };
        Script { head: head.into(), pieces, wrap: Box::new(wrap), tail }
    }
}

/// Numbers the events of a stream; llama.cpp does not.
struct Sequence {
    next: usize,
    shown: bool,
}

impl Sequence {
    fn event(&mut self, name: &str, fields: Value) -> String {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        let fields = with(fields, "type", json!(name));
        event(name, &if self.shown { with(fields, "sequence_number", json!(number)) } else { fields })
    }
}

fn tail(job: &Job, sequence: &mut Sequence) -> Vec<String> {
    let text = job.answer.text();
    let mut frames = Vec::new();
    if let Some(name) = &job.answer.tool {
        let done = of_item(job, json!({"name": name, "arguments": text}));
        frames.push(sequence.event("response.function_call_arguments.done", done));
    } else {
        let done = of_part(job, json!({"text": text, "logprobs": []}));
        frames.push(sequence.event("response.output_text.done", done));
        frames.push(sequence.event("response.content_part.done", of_part(job, json!({"part": part(&text)}))));
    }
    let status = status(job);
    let item = item(job, status, &text);
    frames.push(sequence.event("response.output_item.done", json!({"output_index": 0, "item": item})));
    let mut last = json!({"response": response(job, status, vec![item])});
    if job.style == Imitate::LlamaCpp {
        last = with(last, "timings", imitate::timings(job));
    }
    frames.push(sequence.event(&format!("response.{status}"), last));
    frames
}

/// llama.cpp calls an answer cut by its limit completed.
fn status(job: &Job) -> &'static str {
    if job.answer.finish == Finish::Length && job.style != Imitate::LlamaCpp { "incomplete" } else { "completed" }
}

fn item_id(job: &Job) -> String {
    let prefix = if job.answer.tool.is_some() { "fc" } else { "msg" };
    format!("{prefix}_{}", job.id)
}

fn item(job: &Job, status: &str, text: &str) -> Value {
    match &job.answer.tool {
        Some(name) => json!({"id": item_id(job), "type": "function_call", "status": status,
            "call_id": format!("call_{}", job.id), "name": name, "arguments": text}),
        None => {
            let content = if status == "in_progress" { json!([]) } else { json!([part(text)]) };
            json!({"id": item_id(job), "type": "message", "status": status, "role": "assistant", "content": content})
        }
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn of_item(job: &Job, fields: Value) -> Value {
    with(with(fields, "item_id", json!(item_id(job))), "output_index", json!(0))
}

fn of_part(job: &Job, fields: Value) -> Value {
    with(of_item(job, fields), "content_index", json!(0))
}

fn with(mut fields: Value, name: &str, value: Value) -> Value {
    if let Value::Object(map) = &mut fields {
        map.insert(name.to_owned(), value);
    }
    fields
}

/// The response object; its usage comes with its end.
fn response(job: &Job, status: &str, output: Vec<Value>) -> Value {
    let asked = |name: &str, otherwise: Value| job.ask.body.get(name).cloned().unwrap_or(otherwise);
    let reason = if status == "incomplete" { json!({"reason": "max_output_tokens"}) } else { Value::Null };
    let mut usage = Value::Null;
    if status != "in_progress" {
        usage = json!({"input_tokens": job.prompt, "input_tokens_details": {"cached_tokens": job.cached},
            "output_tokens": job.answer.tokens, "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": job.prompt.saturating_add(job.answer.tokens)});
    }
    json!({
        "id": format!("resp_{}", job.id), "object": "response", "created_at": job.created, "status": status,
        "error": null, "incomplete_details": reason, "instructions": asked("instructions", Value::Null),
        "max_output_tokens": asked("max_output_tokens", Value::Null), "metadata": asked("metadata", json!({})),
        "model": job.ask.model, "output": output, "parallel_tool_calls": asked("parallel_tool_calls", json!(true)),
        "previous_response_id": null, "reasoning": {"effort": null, "summary": null}, "store": false,
        "temperature": asked("temperature", json!(1.0)), "text": asked("text", json!({"format": {"type": "text"}})),
        "tool_choice": asked("tool_choice", json!("auto")), "tools": asked("tools", json!([])),
        "top_p": asked("top_p", json!(1.0)), "truncation": "disabled", "usage": usage, "user": null,
    })
}

#[cfg(test)]
mod tests {
    use super::super::sse::documents;
    use super::super::test_job;
    use super::*;

    fn docs(style: Imitate, more: Value) -> Vec<Value> {
        let mut body = json!({"model": "m", "input": "hi", "max_output_tokens": 3});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let text = Responses::script(test_job::<Responses>(style, &body)).text();
        assert!(!text.contains("[DONE]"));
        documents(&text)
    }

    fn kinds(docs: &[Value]) -> Vec<&str> {
        docs.iter().map(|d| d["type"].as_str().unwrap().strip_prefix("response.").unwrap()).collect()
    }

    #[test]
    fn a_text_comes_in_the_real_order_and_numbered() {
        let docs = docs(Imitate::Plain, json!({}));
        let d = "output_text.delta";
        #[rustfmt::skip]
        assert_eq!(kinds(&docs), ["created", "in_progress", "output_item.added", "content_part.added", d, d, d,
            "output_text.done", "content_part.done", "output_item.done", "incomplete"]);
        let numbers: Vec<_> = docs.iter().map(|d| d["sequence_number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..11).collect::<Vec<_>>());
        let response = &docs[10]["response"];
        assert_eq!(response["usage"]["output_tokens"], 3);
        assert_eq!(response["incomplete_details"]["reason"], "max_output_tokens");
        assert_eq!(response["output"][0]["content"][0]["text"], docs[7]["text"]);
    }

    #[test]
    fn a_tool_call_has_its_own_events() {
        let tools = json!([{"type": "function", "name": "t", "parameters": {}}]);
        let docs = docs(Imitate::Plain, json!({"tools": tools, "tool_choice": "required", "max_output_tokens": 50}));
        let d = "function_call_arguments.delta";
        #[rustfmt::skip]
        assert_eq!(kinds(&docs), ["created", "in_progress", "output_item.added", d,
            "function_call_arguments.done", "output_item.done", "completed"]);
        assert_eq!(docs[6]["response"]["output"][0]["arguments"], "{}");
    }

    #[test]
    fn llama_cpp_completes_without_numbers_and_with_timings() {
        let docs = docs(Imitate::LlamaCpp, json!({}));
        let last = docs.last().unwrap();
        assert_eq!((&last["type"], last.get("sequence_number")), (&json!("response.completed"), None));
        assert_eq!(last["timings"]["predicted_n"], 3);
    }

    #[test]
    fn json_is_answered_when_the_text_format_says_so() {
        let text = json!({"format": {"type": "json_schema", "name": "x", "schema": {"type": "object",
            "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}}});
        let body = json!({"model": "m", "input": "hi", "text": text});
        let whole = Responses::whole(&test_job::<Responses>(Imitate::Plain, &body));
        assert_eq!(whole["output"][0]["content"][0]["text"], r#"{"ok":true}"#);
        assert_eq!(whole["status"], "completed");
    }
}
