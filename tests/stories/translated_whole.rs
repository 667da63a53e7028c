//! Whole answers of servers that speak chat alone, as strange and as long as they come.

use serde_json::{Value, json};

use super::translated::only;
use crate::world::answer::{Answer, chunk, completion, usage, usage_chunk};
use crate::world::http::{Reply, Request};
use crate::world::{MODEL, World, cost, memory_kib, micro};

const CHAT: &str = "/v1/chat/completions";
const BOTH: [&str; 2] = ["/v1/responses", "/v1/messages"];
const MIB: usize = 1 << 20;

fn ask(world: &World, path: &str, stream: bool) -> Reply {
    let said = json!([{"role": "user", "content": "Say hello."}]);
    let body = match path {
        "/v1/responses" => json!({"model": MODEL, "input": said, "max_output_tokens": 256, "stream": stream}),
        _ => json!({"model": MODEL, "messages": said, "max_tokens": 256, "stream": stream}),
    };
    world.server.http().send(&Request::post(path).key(&world.payer.key).json(&body))
}

/// An answer of so many bytes that is little written many times.
fn of_many(before: &str, little: &str, behind: &str) -> String {
    before.to_owned() + &vec![little; 6 * MIB / (little.len() + 1)].join(",") + behind
}

#[test]
fn little_that_a_server_writes_many_times_takes_little() {
    let said = r#""message":{"content":"a"},"finish_reason":"stop""#;
    let usage = usage(40, 7);
    let habits = [
        of_many(&format!(r#"{{"usage":{usage},"choices":[{{{said}}},"#), "{}", "]}"),
        of_many(&format!(r#"{{"usage":{usage},"choices":[{{"message":{{"content":["#), "{}", "]}}]}"),
        of_many(&format!(r#"{{"usage":{usage},"choices":[{{"message":{{"tool_calls":["#), "{}", "]}}]}"),
        of_many(&format!(r#"{{"usage":{usage},"choices":[{{"message":{{"tool_calls":["#), r#"{"id":"a"}"#, "]}}]}"),
        of_many(
            &format!(r#"{{"choices":[{{{said}}}],"usage":{{"prompt_tokens":40,"completion_tokens":7,"x":["#),
            "{}",
            "]}}",
        ),
    ];
    let world = World::new(|_| Answer::json(404, &json!({"detail": "Not Found"})));
    let before = memory_kib(world.server.pid(), "VmRSS:");
    for habit in habits {
        let start = habit.get(..90).unwrap().to_owned();
        world.upstream.script(only(CHAT, move |_| Answer::text(200, "application/json", &habit, "")));
        for path in BOTH {
            let reply = ask(&world, path, false);
            assert!(matches!(reply.status, 200 | 502), "{start}: {}", reply.status);
        }
        let peak = memory_kib(world.server.pid(), "VmHWM:").saturating_sub(before);
        assert!(peak < 192 << 10, "{} MiB for {start}", peak >> 10);
    }
    world.wait_released();
    world.server.audit();
}

#[test]
fn an_answer_of_thirty_mebibytes_is_told() {
    let long = "word ".repeat(30 * MIB / 5);
    let world = World::new(only(CHAT, move |_| {
        let mut answer = completion(usage(40, 70));
        answer["choices"][0]["message"]["content"] = json!(long);
        Answer::json(200, &answer)
    }));
    for (rows, path) in BOTH.into_iter().enumerate() {
        let told = ask(&world, path, false).expect(200).json();
        let text = match path {
            "/v1/responses" => &told["output"][0]["content"][0]["text"],
            _ => &told["content"][0]["text"],
        };
        assert_eq!(text.as_str().map(str::len), Some(30 * MIB), "{path}");
        assert_eq!((micro(&told["usage"], "cost_micro_usd"), &told["model"]), (cost(40, 70), &json!(MODEL)));
        assert_eq!(micro(&world.row(rows + 1), "charged_micro_usd"), cost(40, 70));
    }
}

#[test]
fn an_answer_of_ten_thousand_calls_is_told_and_paid_for() {
    let world = World::new(only(CHAT, |_| {
        let mut answer = completion(usage(40, 70));
        let calls = (0..10_000)
            .map(|n| json!({"id": n.to_string(), "type": "function", "function": {"name": "f", "arguments": "{}"}}));
        answer["choices"][0]["message"]["tool_calls"] = calls.collect();
        Answer::json(200, &answer)
    }));
    for (rows, path) in BOTH.into_iter().enumerate() {
        let told = ask(&world, path, false).expect(200).json();
        let said = told[if path == "/v1/responses" { "output" } else { "content" }].as_array().unwrap();
        assert!(said.len() >= 10_000, "{}", said.len());
        assert_eq!(micro(&world.row(rows + 1), "charged_micro_usd"), cost(40, 70));
    }
}

#[test]
fn a_stream_whose_end_cannot_be_told_costs_nothing() {
    let said = chunk(&json!({"content": "a"}), &Value::Null);
    let mut strange = usage_chunk(&usage(40, 7));
    strange["choices"] = json!([{"index": 0, "delta": {"tool_calls": "none"}, "finish_reason": "stop"}]);
    let text = format!("data: {said}\n\ndata: {strange}\n\ndata: [DONE]\n\n");
    let world = World::new(only(CHAT, move |_| Answer::text(200, "text/event-stream", &text, "")));
    for path in BOTH {
        let reply = ask(&world, path, true);
        if reply.status == 200 {
            let last: Value = serde_json::from_str(reply.events().last().unwrap()).unwrap();
            assert!(["error", "response.failed"].contains(&last["type"].as_str().unwrap()), "{last}");
        } else {
            assert_eq!(reply.status, 502, "{}", reply.text());
        }
    }
    world.wait_released();
    assert_eq!(world.balance(), 5_000_000);
    world.server.audit();
}
