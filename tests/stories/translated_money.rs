//! What clients pay where servers speak chat alone: in whichever words, by whichever server, to whichever end.

use std::time::Duration;

use serde_json::{Value, json};

use super::translated::only;
use crate::world::answer::{
    Answer, End, Gate, STREAM_HEAD, Step, chunk, completion, honest, http_chunk, usage, usage_chunk,
};
use crate::world::http::{Conn, Request};
use crate::world::upstream::{Seen, Upstream};
use crate::world::{MODEL, World, eventually, micro};

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const MIB: usize = 1 << 20;

fn asking(world: &World, path: &str, body: &Value) -> Request {
    let mut body = body.clone();
    body["model"] = json!(MODEL);
    if path == RESPONSES {
        body["input"] = json!([{"role": "user", "content": "Say hello."}]);
    } else {
        (body["max_tokens"], body["messages"]) = (json!(256), json!([{"role": "user", "content": "Say hello."}]));
    }
    Request::post(path).key(&world.payer.key).json(&body)
}

/// A request of few bytes that is one of many in chat.
fn of_tools(world: &World) -> Request {
    let tools: Vec<Value> = (0..500).map(|n| json!({"type": "custom", "name": format!("{n:x}")})).collect();
    asking(world, RESPONSES, &json!({"tools": tools, "max_output_tokens": 256}))
}

fn in_responses(text: &str) -> Answer {
    Answer::json(
        200,
        &json!({"id": "resp_1", "object": "response", "status": "completed", "model": "m",
            "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
            "output": [{"type": "message", "id": "m", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": text, "annotations": []}]}]}),
    )
}

#[test]
fn what_nobody_counted_is_estimated_of_what_was_sent() {
    let world = World::new(only(CHAT, |_| Answer::json(200, &completion(Value::Null))));
    let request = of_tools(&world);
    world.server.http().send(&request).expect(200);
    let sent = world.upstream.last().body.len() as i64;
    let row = world.row(1);
    assert_eq!(row["metered_by"], "estimate");
    let read = micro(&row, "prompt_tokens");
    assert!(read > sent / 6 && read < sent, "{read} of {sent} bytes");
}

#[test]
fn an_answer_that_is_too_long_to_be_told_costs_what_was_delivered() {
    let event = |data: &Value| format!("data: {data}\n\n");
    let world = World::new(only(CHAT, move |_| {
        // A hundred and more blanks may be one token.
        let text = "a".to_owned() + &" ".repeat(MIB);
        let piece = http_chunk(&event(&chunk(&json!({"content": text}), &Value::Null)));
        let end = event(&chunk(&json!({}), &json!("stop"))) + &event(&usage_chunk(&usage(40, 200)));
        let mut answer = Answer::raw(STREAM_HEAD.as_bytes(), End::Fin);
        answer.steps.extend((0..18).map(|_| Step::Send(piece.clone())));
        answer.steps.push(Step::Send(http_chunk(&(end + "data: [DONE]\n\n"))));
        answer.steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
        answer
    }));
    let asked = json!({"stream": true, "max_output_tokens": 200_000});
    let reply = world.server.http().send(&asking(&world, RESPONSES, &asked)).expect(200);
    let last: Value = serde_json::from_str(reply.events().last().unwrap()).unwrap();
    assert!(last["type"] == "response.failed", "{}", last["type"]);
    let row = world.wait_rows(1).remove(0);
    assert!(micro(&row, "charged_micro_usd") > 0, "{row}");
    assert_eq!(world.server.number("select sum(flagged) from providers"), 0);
    world.wait_released();
    world.server.audit();
}

#[test]
fn what_is_said_to_servers_of_the_dialect_is_not_said_to_a_chat_server() {
    let world = World::new(only(CHAT, honest(40, 7)));
    let request = asking(&world, "/v1/messages?beta=true", &json!({})).header("anthropic-version", "2023-06-01");
    world.server.http().send(&request.header("anthropic-beta", "b").header("x-stainless-lang", "js")).expect(200);
    let seen = world.upstream.last();
    assert_eq!(
        (seen.target.as_str(), seen.header("anthropic-beta"), seen.header("anthropic-version")),
        (CHAT, None, None)
    );
}

#[test]
fn a_conversation_that_was_answered_in_chat_goes_back_to_who_speaks_the_dialect() {
    let world = World::new(only(CHAT, honest(40, 7)));
    let native = Upstream::start(only(RESPONSES, |_| in_responses("native")));
    world.server.provider("native", &native.url(), &world.owner, &[]);
    for name in ["up", "native"] {
        world.server.ok(&["provider", "probe", name]);
    }
    let ask = || {
        let reply = world.server.http().send(&asking(&world, RESPONSES, &json!({}))).expect(200).json();
        reply["output"][0]["content"][0]["text"] == "native"
    };
    assert!(ask());
    native.script(only(RESPONSES, |_| Answer::json(500, &json!({"error": {"message": "no"}}))));
    assert!(!ask(), "answered in chat");
    native.script(only(RESPONSES, |_| in_responses("native")));
    eventually("the native one again", || {
        std::thread::sleep(Duration::from_millis(100));
        ask()
    });
    assert!(ask() && ask(), "though the other one knows the conversation");
}

/// A world with one place, at a server of this path, and a request that waits for it; and the gate that gives it free.
fn with_one_who_waits(path: &'static str) -> (World, Gate, [Conn; 2]) {
    let answer = move || if path == CHAT { Answer::chat(usage(40, 7)) } else { in_responses("first") };
    let gate = Gate::default();
    let closed = gate.clone();
    let mut world = World::unstarted("5", only(path, move |_| answer()));
    world.server.ok(&["provider", "remove", "up"]);
    world.server.provider("up", &world.upstream.url(), &world.owner, &["--max-concurrent", "1"]);
    world.server.start(&[]);
    world.server.ok(&["provider", "probe", "up"]);
    world.upstream.script(only(path, move |_| answer().after(Step::Gate(closed.clone()))));
    let before = world.upstream.requests().len();
    let busy = world.server.http().open(&asking(&world, RESPONSES, &json!({"max_output_tokens": 256})));
    world.upstream.wait_for(before + 1);
    let held = micro(&world.money(), "held_micro_usd");
    let waits = world.server.http().open(&of_tools(&world));
    eventually("it waits", || micro(&world.money(), "held_micro_usd") > held);
    (world, gate, [busy, waits])
}

#[test]
fn who_came_while_a_request_waited_is_not_asked_in_words_for_which_nothing_is_held() {
    for (path, other) in [(CHAT, RESPONSES), (RESPONSES, CHAT)] {
        let (world, gate, conns) = with_one_who_waits(path);
        let answer = move |_: &Seen| if other == CHAT { Answer::chat(usage(40, 7)) } else { in_responses("other") };
        let new = Upstream::start(only(other, answer));
        world.server.provider("new", &new.url(), &world.owner, &[]);
        world.server.ok(&["provider", "probe", "new"]);
        // Who comes now is served there.
        world.server.http().send(&asking(&world, RESPONSES, &json!({"max_output_tokens": 256}))).expect(200);
        std::thread::sleep(Duration::from_millis(600));
        assert!(new.requests().iter().all(|seen| seen.target != other || seen.body.len() < 5_000), "{path}");
        gate.open();
        conns.into_iter().for_each(|conn| drop(conn.finish().expect(200)));
        assert!(world.upstream.last().body.len() > 5_000, "{path}");
        world.wait_released();
        world.server.audit();
    }
}
