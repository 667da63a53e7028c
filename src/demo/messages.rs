//! `POST /v1/messages` and its `count_tokens`.

use serde_json::{Value, json};

use super::ask::{Ask, Unanswerable};
use super::generate::Finish;
use super::sse::{Script, event};
use super::{Demo, Dialect, Imitate, Job, reading};

/// Anthropic Messages.
pub struct Messages;

impl Dialect for Messages {
    const MAX_FIELDS: &[&str] = &["max_tokens"];
    const STOP_FIELD: &str = "stop_sequences";

    fn job(demo: &Demo, ask: Ask) -> Result<Job, Unanswerable> {
        if ask.limits.max.is_none() {
            return Err(Unanswerable::field("max_tokens", "max_tokens is required"));
        }
        let turns = reading::turns(&ask.body, Some("system"), "messages")?;
        let format = ask.body.get("output_config").and_then(|c| c.get("format"));
        let want = reading::want(&ask.body, format.or_else(|| ask.body.get("output_format")), &turns)?;
        let prompt = reading::prompt(&turns, &ask.body);
        Ok(demo.job(ask, &prompt, &want))
    }

    fn whole(job: &Job) -> Value {
        let (reason, stop) = stop_reason(job);
        let content = match &job.answer.tool {
            Some(name) => {
                // Arguments that the limit cut short are not JSON any more; Anthropic shows an empty object.
                let input: Value = serde_json::from_str(&job.answer.text()).unwrap_or_else(|_| json!({}));
                json!({"type": "tool_use", "id": call_id(job), "name": name, "input": input})
            }
            None => json!({"type": "text", "text": job.answer.text()}),
        };
        message(job, &json!([content]), reason, stop, job.answer.tokens)
    }

    fn script(job: Job) -> Script {
        let block = match &job.answer.tool {
            Some(name) => json!({"type": "tool_use", "id": call_id(&job), "name": name, "input": {}}),
            None => json!({"type": "text", "text": ""}),
        };
        let start = json!({"message": message(&job, &json!([]), None, None, 0)});
        let mut head = vec![
            named("message_start", start),
            named("content_block_start", json!({"index": 0, "content_block": block})),
        ];
        if job.style != Imitate::LlamaCpp {
            head.push(named("ping", json!({})));
        }
        let (reason, stop) = stop_reason(&job);
        // Anthropic's repeats the input, and there are clients that read it nowhere else.
        let mut used = usage(&job, job.answer.tokens);
        if job.style == Imitate::LlamaCpp {
            used = json!({"output_tokens": job.answer.tokens});
        }
        let tail = vec![
            named("content_block_stop", json!({"index": 0})),
            named("message_delta", json!({"delta": {"stop_reason": reason, "stop_sequence": stop}, "usage": used})),
            named("message_stop", json!({})),
        ];
        let tool = job.answer.tool.is_some();
        let wrap = move |piece: &super::tokens::Piece| {
            let delta = if tool {
                json!({"type": "input_json_delta", "partial_json": piece.text})
            } else {
                json!({"type": "text_delta", "text": piece.text})
            };
            named("content_block_delta", json!({"index": 0, "delta": delta}))
        };
        Script { head: head.into(), pieces: job.answer.pieces.into(), wrap: Box::new(wrap), tail: tail.into() }
    }
}

/// The answer to `count_tokens`: what the same request would report as its input.
///
/// # Errors
/// No messages.
pub fn count_tokens(ask: &Ask) -> Result<Value, Unanswerable> {
    let turns = reading::turns(&ask.body, Some("system"), "messages")?;
    Ok(json!({"input_tokens": reading::prompt(&turns, &ask.body).tokens}))
}

fn named(name: &str, mut fields: Value) -> String {
    if let Value::Object(map) = &mut fields {
        map.insert("type".into(), json!(name));
    }
    event(name, &fields)
}

fn call_id(job: &Job) -> String {
    format!("toolu_{}", job.id)
}

fn stop_reason(job: &Job) -> (Option<&'static str>, Option<&str>) {
    match &job.answer.finish {
        Finish::Stop => (Some("end_turn"), None),
        Finish::StopText(text) => (Some("stop_sequence"), Some(text)),
        Finish::Length => (Some("max_tokens"), None),
        Finish::Tool => (Some("tool_use"), None),
    }
}

fn message(job: &Job, content: &Value, reason: Option<&str>, stop: Option<&str>, output: usize) -> Value {
    json!({
        "id": format!("msg_{}", job.id), "type": "message", "role": "assistant", "model": job.ask.model,
        "content": content, "stop_reason": reason, "stop_sequence": stop,
        "usage": usage(job, output),
    })
}

fn usage(job: &Job, output: usize) -> Value {
    // `input_tokens` is without the cached part: unlike OpenAI's, the two add up to the prompt.
    json!({"input_tokens": job.prompt.saturating_sub(job.cached), "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": job.cached, "output_tokens": output})
}

#[cfg(test)]
mod tests {
    use super::super::sse::documents;
    use super::super::test_job;
    use super::*;

    fn body(more: Value) -> Value {
        let mut body = json!({"model": "m", "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    }

    fn docs(more: Value) -> Vec<Value> {
        documents(&Messages::script(test_job::<Messages>(Imitate::Plain, &body(more))).text())
    }

    fn kinds(docs: &[Value]) -> Vec<&str> {
        docs.iter().map(|d| d["type"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_text_comes_in_the_real_order() {
        let docs = docs(json!({"demo_cached_tokens": 2}));
        let d = "content_block_delta";
        #[rustfmt::skip]
        assert_eq!(kinds(&docs), ["message_start", "content_block_start", "ping", d, d, d, "content_block_stop",
            "message_delta", "message_stop"]);
        let input = &docs[0]["message"]["usage"];
        assert_eq!(input["cache_read_input_tokens"], 2);
        let counted = Ask::read(body(json!({})).to_string().as_bytes(), &["max_tokens"], "stop").unwrap();
        let counted = count_tokens(&counted).unwrap()["input_tokens"].as_u64().unwrap();
        assert_eq!(input["input_tokens"].as_u64().unwrap() + 2, counted);
        assert_eq!(docs[7]["usage"]["output_tokens"], 3);
        assert_eq!(docs[7]["usage"]["input_tokens"], input["input_tokens"]);
        assert_eq!(docs[7]["delta"]["stop_reason"], "max_tokens");
    }

    #[test]
    fn a_tool_is_used() {
        let tools = json!([{"name": "t", "input_schema": {"type": "object", "required": ["x"],
            "properties": {"x": {"type": "number"}}}}]);
        let more = json!({"tools": tools, "tool_choice": {"type": "any"}, "max_tokens": 50});
        let docs = docs(more.clone());
        assert_eq!(docs[1]["content_block"]["type"], "tool_use");
        let json: String = docs.iter().filter_map(|d| d.pointer("/delta/partial_json")?.as_str()).collect();
        assert_eq!(json, r#"{"x":1}"#);
        let whole = Messages::whole(&test_job::<Messages>(Imitate::Plain, &body(more)));
        assert_eq!((&whole["content"][0]["input"], &whole["stop_reason"]), (&json!({"x": 1}), &json!("tool_use")));
    }

    #[test]
    fn a_stop_sequence_is_named() {
        let more = json!({"stop_sequences": [" demo"], "max_tokens": 50});
        let whole = Messages::whole(&test_job::<Messages>(Imitate::Plain, &body(more)));
        assert_eq!((&whole["stop_reason"], &whole["stop_sequence"]), (&json!("stop_sequence"), &json!(" demo")));
    }
}
