//! `POST /v1/chat/completions`.

use serde_json::{Value, json};

use super::ask::{Ask, Unanswerable};
use super::generate::Finish;
use super::sse::Script;
use super::{Demo, Dialect, Job, imitate, reading};

const OBJECT: &str = "chat.completion.chunk";

/// OpenAI Chat.
pub struct Chat;

impl Dialect for Chat {
    const MAX_FIELDS: &[&str] = &["max_tokens", "max_completion_tokens"];

    fn job(demo: &Demo, ask: Ask) -> Result<Job, Unanswerable> {
        let turns = reading::turns(&ask.body, None, "messages")?;
        let want = reading::want(&ask.body, ask.body.get("response_format"), &turns)?;
        let prompt = reading::prompt(&turns, &ask.body);
        Ok(demo.job(ask, &prompt, &want))
    }

    fn whole(job: &Job) -> Value {
        let mut message = json!({"role": "assistant", "content": job.answer.text(), "refusal": null});
        if let (Some(name), Some(fields)) = (&job.answer.tool, message.as_object_mut()) {
            let call = json!({"id": call_id(job), "type": "function",
                "function": {"name": name, "arguments": job.answer.text()}});
            fields.insert("content".into(), Value::Null);
            fields.insert("tool_calls".into(), json!([call]));
        }
        let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish(job)});
        imitate::whole(job, "chat.completion", &choice)
    }

    fn script(job: Job) -> Script {
        let mut head: Vec<String> = imitate::opening(job.style).into_iter().collect();
        head.push(imitate::chunk(
            &job,
            OBJECT,
            &choice(json!({"role": "assistant", "content": first_content(&job)})),
            0,
        ));
        let mut so_far = 0_usize;
        if let Some(name) = &job.answer.tool {
            let call = json!({"index": 0, "id": call_id(&job), "type": "function",
                "function": {"name": name, "arguments": ""}});
            head.push(imitate::chunk(&job, OBJECT, &choice(json!({"tool_calls": [call]})), 0));
        }
        let closing = json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": finish(&job)});
        let tail = imitate::closing(&job, OBJECT, &closing).into();
        let pieces = job.answer.pieces.clone().into();
        let wrap = move |piece: &super::tokens::Piece| {
            so_far = so_far.saturating_add(piece.tokens);
            let mut delta = if job.answer.tool.is_some() {
                json!({"tool_calls": [{"index": 0, "function": {"arguments": piece.text}}]})
            } else {
                json!({"content": piece.text})
            };
            if job.style.repeats_role()
                && let Some(fields) = delta.as_object_mut()
            {
                fields.insert("role".into(), json!("assistant"));
            }
            imitate::chunk(&job, OBJECT, &choice(delta), so_far)
        };
        Script { head: head.into(), pieces, wrap: Box::new(wrap), tail }
    }
}

fn choice(delta: Value) -> Value {
    json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": null})
}

fn first_content(job: &Job) -> Value {
    let none = job.style == super::Imitate::LlamaCpp || job.answer.tool.is_some();
    if none { Value::Null } else { json!("") }
}

fn call_id(job: &Job) -> String {
    format!("call_{}", job.id)
}

fn finish(job: &Job) -> &'static str {
    match job.answer.finish {
        Finish::Stop | Finish::StopText(_) => "stop",
        Finish::Length => "length",
        Finish::Tool => "tool_calls",
    }
}

#[cfg(test)]
mod tests {
    use super::super::sse::documents;
    use super::super::{Imitate, test_job};
    use super::*;
    use serde_json::json;

    fn ask(more: Value) -> Value {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    }

    fn stream(style: Imitate, more: Value) -> String {
        Chat::script(test_job::<Chat>(style, &ask(more))).text()
    }

    #[test]
    fn a_stream_ends_with_reason_usage_and_done() {
        let text = stream(Imitate::Plain, json!({"stream_options": {"include_usage": true}}));
        assert!(text.ends_with("data: [DONE]\n\n"));
        let docs = documents(&text);
        let said: String = docs.iter().filter_map(|d| d.pointer("/choices/0/delta/content")?.as_str()).collect();
        let [.., reason, usage] = docs.as_slice() else { panic!("{text}") };
        assert_eq!(docs[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(docs[0]["usage"], Value::Null);
        assert_eq!(reason["choices"][0]["finish_reason"], "length");
        assert_eq!((&usage["choices"], &usage["usage"]["completion_tokens"]), (&json!([]), &json!(5)));
        assert_eq!(super::super::tokens::count(&said), 5);
        let whole = Chat::whole(&test_job::<Chat>(Imitate::Plain, &ask(json!({}))));
        assert_eq!(whole["choices"][0]["message"]["content"], said);
        assert_eq!(whole["usage"], usage["usage"]);
    }

    #[test]
    fn nobody_sends_usage_unasked_but_llama_cpp_its_timings() {
        for style in Imitate::ALL {
            let text = stream(style, json!({}));
            assert!(!text.contains("\"usage\""), "{text}");
            assert!(documents(&text).iter().all(|d| d["choices"][0].is_object()));
            assert_eq!(text.contains("\"timings\""), style == Imitate::LlamaCpp);
            assert_eq!(text.starts_with(": keepalive 1/1\n\n"), style == Imitate::MlxLm);
        }
    }

    #[test]
    fn every_server_sends_usage_its_own_way() {
        for style in Imitate::ALL {
            let text = stream(style, json!({"stream_options": {"include_usage": true}}));
            let docs = documents(&text);
            let last = docs.last().unwrap();
            let usage = &last["usage"];
            assert_eq!(last["choices"], json!([]), "{style:?}");
            assert_eq!((&usage["completion_tokens"], usage["prompt_tokens"].as_u64() > Some(0)), (&json!(5), true));
            let object = if style == Imitate::MlxLm { "chat.completion" } else { OBJECT };
            assert_eq!(last["object"], object);
            match style {
                Imitate::Vllm => assert_eq!(usage.get("prompt_tokens_details"), Some(&Value::Null)),
                Imitate::Ollama => {
                    assert_eq!(usage.get("prompt_tokens_details"), None);
                    assert_eq!(docs[0]["usage"]["total_tokens"], 0);
                    assert_eq!(docs[2]["choices"][0]["delta"]["role"], "assistant");
                }
                Imitate::LmStudio => assert!(last["stats"].is_object()),
                Imitate::Sglang => assert_eq!(usage["reasoning_tokens"], 0),
                Imitate::LlamaCpp => assert_eq!(last["timings"]["predicted_n"], 5),
                Imitate::Plain | Imitate::MlxLm => {}
            }
        }
    }

    #[test]
    fn vllm_counts_as_it_goes_when_asked() {
        let options = json!({"stream_options": {"include_usage": true, "continuous_usage_stats": true}});
        let counts: Vec<_> = documents(&stream(Imitate::Vllm, options))
            .iter()
            .map(|d| d["usage"]["completion_tokens"].as_u64().unwrap())
            .collect();
        assert_eq!(counts, [0, 1, 2, 3, 4, 5, 5, 5]);
    }

    #[test]
    fn a_tool_call_streams_its_arguments() {
        let tools = json!([{"type": "function", "function": {"name": "t", "parameters": {"type": "object",
            "properties": {"unit": {"enum": ["c"]}}, "required": ["unit"]}}}]);
        let more = json!({"tools": tools, "tool_choice": "required", "max_tokens": 100});
        let docs = documents(&stream(Imitate::Plain, more.clone()));
        let calls: Vec<_> = docs.iter().filter_map(|d| d.pointer("/choices/0/delta/tool_calls/0/function")).collect();
        assert_eq!(calls[0]["name"], "t");
        let arguments: String = calls.iter().map(|c| c["arguments"].as_str().unwrap()).collect();
        assert_eq!(arguments, r#"{"unit":"c"}"#);
        assert_eq!(docs.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
        let whole = Chat::whole(&test_job::<Chat>(Imitate::Plain, &ask(more)));
        assert_eq!(whole["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], arguments);
    }
}
