//! Streams and answers that servers sent.

use serde_json::{Value, json};

use super::told::Told;
use super::{ANSWERING, BOTH, Messages, Responses, context, read, translated, whole};

/// A recorded stream: its body alone, where the recording has a head.
fn body(recording: &str) -> Vec<u8> {
    let Some((head, body)) = recording.split_once("\r\n\r\n").filter(|_| recording.starts_with("HTTP/")) else {
        return recording.as_bytes().to_vec();
    };
    if !head.contains("chunked") {
        return body.as_bytes().to_vec();
    }
    let (mut body, mut out) = (body.as_bytes(), Vec::new());
    // Each chunk: its length in hexadecimal, a line end, its bytes, a line end.
    while let Some(end) = body.windows(2).position(|pair| pair == b"\r\n") {
        let Ok(length) = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16) else { break };
        out.extend_from_slice(&body[end + 2..end + 2 + length]);
        body = &body[end + 4 + length..];
    }
    out
}

macro_rules! wire {
    ($name:literal) => {
        body(include_str!(concat!("../../../../../tests/fixtures/wire/", $name)))
    };
}

/// What the chat stream itself says: reasoning, text, calls, finish reason, counts.
fn said(stream: &[u8]) -> (String, String, Vec<(String, String)>, String, [u64; 3]) {
    let (mut reasoning, mut text, mut finish) = (String::new(), String::new(), String::new());
    let (mut calls, mut counts) = (Vec::<(String, String)>::new(), [0; 3]);
    for line in String::from_utf8(stream.to_vec()).unwrap().lines() {
        let Some(Ok(chunk)) = line.strip_prefix("data: ").map(serde_json::from_str::<Value>) else { continue };
        if let Some(n) = chunk["usage"]["completion_tokens"].as_u64().filter(|n| *n > 0) {
            let cached = [&chunk["usage"]["prompt_tokens_details"]["cached_tokens"], &chunk["usage"]["cached_tokens"]];
            let cached = cached.iter().find_map(|n| n.as_u64()).unwrap_or(0);
            counts = [chunk["usage"]["prompt_tokens"].as_u64().unwrap(), cached, n];
        }
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        text += delta["content"].as_str().unwrap_or("");
        reasoning += delta["reasoning_content"].as_str().or(delta["reasoning"].as_str()).unwrap_or("");
        finish = choice["finish_reason"].as_str().unwrap_or(&finish).to_owned();
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let function = &call["function"];
            if let Some(name) = function["name"].as_str() {
                calls.push((name.to_owned(), String::new()));
            }
            calls.last_mut().unwrap().1 += function["arguments"].as_str().unwrap_or("");
        }
    }
    (reasoning, text, calls, finish, counts)
}

#[test]
fn recorded_streams_say_the_same_in_both_dialects() {
    let streams = [
        ("llama-server", wire!("llama-server/chat-stream.txt")),
        ("llama-server usage", wire!("llama-server/chat-stream-usage.txt")),
        ("llama-server stop", wire!("llama-server/chat-stream-natural-stop.txt")),
        ("llama-server timings", wire!("llama-server/chat-stream-timings.txt")),
        ("llama-server logprobs", wire!("llama-server/chat-stream-logprobs.txt")),
        ("llama-server tools", wire!("llama-server/chat-stream-tools.txt")),
        ("vllm usage", wire!("vllm/chat-stream-usage.sse")),
        ("vllm reasoning", wire!("vllm/chat-stream-reasoning.sse")),
        ("vllm continuous", wire!("vllm/chat-stream-continuous.sse")),
        ("sglang", wire!("sglang/chat-stream-usage.sse")),
        ("mlx", wire!("mlx/chat-stream-usage.sse")),
        ("mlx without usage", wire!("mlx/chat-stream.sse")),
        ("ollama", wire!("ollama/chat-stream-usage.sse")),
        ("ollama without usage", wire!("ollama/chat-stream.sse")),
        ("lmstudio", wire!("lmstudio/chat-stream-usage.sse")),
        ("llama-cpp-python", wire!("llama-cpp-python/chat-stream.sse")),
        ("llama-cpp-python interrupted", wire!("llama-cpp-python/chat-stream-interrupted.sse")),
    ];
    for (name, stream) in streams {
        let (reasoning, text, calls, finish, [prompt, cached, completion]) = said(&stream);
        assert!(!text.is_empty() || !calls.is_empty(), "{name}");
        for dialect in BOTH {
            let out = translated(&context(dialect, json!({})), &ANSWERING, &stream, usize::MAX).unwrap();
            let told = read(dialect, &out);
            assert_eq!((&told.reasoning, &told.text), (&reasoning, &text), "{name}");
            let told_calls: Vec<_> =
                told.calls.iter().map(|(_, name, arguments)| (name.clone(), arguments.clone())).collect();
            assert_eq!(told_calls, calls, "{name}");
            let (end, counts) = match dialect {
                Responses => (
                    if finish == "length" { "max_output_tokens" } else { "completed" },
                    json!({"input_tokens": prompt, "input_tokens_details": {"cached_tokens": cached},
                        "output_tokens": completion, "total_tokens": prompt + completion,
                        "output_tokens_details": told.usage["output_tokens_details"]}),
                ),
                Messages => (
                    match finish.as_str() {
                        "length" => "max_tokens",
                        "tool_calls" => "tool_use",
                        _ => "end_turn",
                    },
                    json!({"input_tokens": prompt - cached, "cache_read_input_tokens": cached,
                        "cache_creation_input_tokens": 0, "output_tokens": completion}),
                ),
            };
            assert_eq!((told.end.as_str(), &told.usage), (end, &counts), "{name}");
            assert!(String::from_utf8(out).unwrap().contains("\"model\":\"public\""), "{name}");
        }
    }
}

#[test]
fn recorded_streams_that_break_off_are_no_answers() {
    for stream in [wire!("vllm/chat-stream-error.sse"), wire!("lmstudio/chat-stream-error.sse")] {
        for dialect in BOTH {
            let context = context(dialect, json!({}));
            let (mut translator, mut out) = (super::StreamTranslator::new(&context, &ANSWERING), Vec::new());
            assert!(translator.push(&stream, &mut out).is_err());
            translator.fail("server_error", "it broke off", &mut out);
            // Nothing comes after it.
            translator.fail("server_error", "again", &mut out);
            translator.end(&mut out);
            assert_eq!(read(dialect, &out).end, "failed");
        }
    }
}

#[test]
fn recorded_answers_are_told_whole() {
    let answers = [
        wire!("llama-server/chat-tools.txt"),
        wire!("llama-server/chat.txt"),
        wire!("vllm/chat.json"),
        wire!("sglang/chat.json"),
        wire!("mlx/chat.json"),
        wire!("ollama/chat.json"),
        wire!("lmstudio/chat.json"),
        wire!("llama-cpp-python/chat.json"),
    ];
    for answer in answers {
        let chat: Value = serde_json::from_slice(&answer).unwrap();
        let message = &chat["choices"][0]["message"];
        for dialect in BOTH {
            let made = whole(&context(dialect, json!({})), &ANSWERING, &answer).unwrap();
            let made: Value = serde_json::from_slice(&made).unwrap();
            let told = told_whole(&made);
            assert_eq!(told.text, message["content"].as_str().unwrap_or_default());
            let calls = message["tool_calls"].as_array().map_or(0, Vec::len);
            assert_eq!(told.calls.len(), calls);
            assert_eq!(made["usage"]["output_tokens"], chat["usage"]["completion_tokens"]);
            assert_eq!(made["model"], "public");
        }
    }
}

/// Reads a whole answer of either dialect.
pub fn told_whole(answer: &Value) -> Told {
    let mut told = Told::default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for block in answer["content"].as_array().into_iter().flatten() {
        match block["type"].as_str().unwrap() {
            "thinking" => told.reasoning += &text(&block["thinking"]),
            "text" => told.text += &text(&block["text"]),
            _ => told.calls.push((text(&block["id"]), text(&block["name"]), block["input"].to_string())),
        }
    }
    for item in answer["output"].as_array().into_iter().flatten() {
        match item["type"].as_str().unwrap() {
            "reasoning" => told.reasoning += &text(&item["content"][0]["text"]),
            "message" => {
                told.text += &text(&item["content"][0]["text"]);
                told.refusal += &text(&item["content"][0]["refusal"]);
            }
            _ => told.calls.push((text(&item["call_id"]), text(&item["name"]), text(&item["arguments"]))),
        }
    }
    told.end = answer["stop_reason"].as_str().or(answer["status"].as_str()).unwrap().to_owned();
    told.usage = answer["usage"].clone();
    told
}
