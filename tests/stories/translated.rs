//! Clients of responses and messages on a server that speaks chat alone.

use serde_json::{Value, json};

use crate::world::answer::{Answer, Cut, Gate, SAID, Step, Stream, chunk, completion, honest, usage, usage_chunk};
use crate::world::http::{Reply, Request};
use crate::world::upstream::{Seen, Upstream};
use crate::world::{MODEL, World, chat_body, cost, micro};

const CHAT: &str = "/v1/chat/completions";
const BOTH: [&str; 2] = ["/v1/responses", "/v1/messages"];

/// A server of one path.
pub fn only(
    path: &'static str,
    answer: impl Fn(&Seen) -> Answer + Send + Sync,
) -> impl Fn(&Seen) -> Answer + Send + Sync {
    move |seen| {
        let is_there = seen.target.split('?').next() == Some(path);
        if is_there { answer(seen) } else { Answer::json(404, &json!({"detail": "Not Found"})) }
    }
}

fn body(path: &str, stream: bool) -> Value {
    let mut body = json!({"model": MODEL, "stream": stream});
    if path == "/v1/responses" {
        body["input"] = json!("Say hello.");
        body["max_output_tokens"] = json!(256);
    } else {
        body["messages"] = json!([{"role": "user", "content": "Say hello."}]);
        body["max_tokens"] = json!(256);
    }
    body
}

fn send(world: &World, path: &str, body: &Value) -> Reply {
    world.server.http().send(&Request::post(path).key(&world.payer.key).json(body))
}

/// The data of the events, each with its type.
fn told(reply: &Reply) -> Vec<Value> {
    reply.events().iter().map(|event| serde_json::from_str(event).unwrap_or_else(|e| panic!("{event}: {e}"))).collect()
}

fn kind(event: &Value) -> &str {
    event["type"].as_str().unwrap()
}

/// The usage that a client reads, in whichever place it stands.
fn usage_of(told: &Value) -> (i64, i64, i64) {
    let usage = if told["response"].is_object() { &told["response"]["usage"] } else { &told["usage"] };
    (micro(usage, "input_tokens"), micro(usage, "output_tokens"), micro(usage, "cost_micro_usd"))
}

#[test]
fn a_client_of_either_dialect_is_answered_and_billed_what_the_chat_server_says() {
    let world = World::new(only(CHAT, honest(40, 7)));
    let mut rows = 0;
    for path in BOTH {
        let whole = send(&world, path, &body(path, false)).expect(200).json();
        let text = if path == "/v1/messages" {
            &whole["content"][0]["text"]
        } else {
            &whole["output"][0]["content"][0]["text"]
        };
        assert_eq!((text, &whole["model"]), (&json!(SAID), &json!(MODEL)), "{whole}");
        rows += 1;
        let row = world.row(rows);
        assert_eq!(
            (&row["endpoint"], &row["metered_by"], &row["outcome"]),
            (&json!(path), &json!("provider"), &json!("completed"))
        );
        assert_eq!(usage_of(&whole), (40, 7, cost(40, 7)));
        assert_eq!((micro(&row, "cost_micro_usd"), &row["translated"]), (cost(40, 7), &json!(true)));

        let streamed = told(&send(&world, path, &body(path, true)).expect(200));
        rows += 1;
        assert_eq!(micro(&world.row(rows), "cost_micro_usd"), cost(40, 7));
        let first = if path == "/v1/messages" { "message_start" } else { "response.created" };
        assert_eq!(kind(&streamed[0]), first);
        let deltas = streamed.iter().filter(|event| kind(event).contains("delta") && kind(event) != "message_delta");
        assert_eq!(deltas.count(), 7, "a word an event: {streamed:?}");
        let last = if path == "/v1/messages" { &streamed[streamed.len() - 2] } else { streamed.last().unwrap() };
        assert_eq!(usage_of(last), (40, 7, cost(40, 7)), "{last}");
    }
    world.chat(&chat_body()).expect(200);
    assert_eq!(world.row(rows + 1)["translated"], json!(false));
    let asked = world.upstream.requests().remove(world.upstream.requests().len() - 2);
    assert_eq!((asked.target.as_str(), &asked.json()["max_tokens"]), (CHAT, &json!(256)));
    assert_eq!(asked.json()["messages"], json!([{"role": "user", "content": "Say hello."}]));
    assert!(world.server.log().contains("\"translated\":true") || world.server.log().contains("translated=true"));
}

#[test]
fn what_a_probe_found_is_said_and_spares_the_question() {
    let world = World::new(only(CHAT, honest(40, 7)));
    world.server.ok(&["provider", "probe", "up"]);
    let model = world.server.http().get(&format!("/v1/models/{MODEL}"), &world.payer.key).expect(200).json();
    assert_eq!(
        (&model["endpoints"], &model["translated"]),
        (&json!([CHAT, BOTH[0], BOTH[1]]), &json!(BOTH)),
        "{model}"
    );
    let before = world.upstream.requests().len();
    for path in BOTH {
        send(&world, path, &body(path, false)).expect(200);
    }
    assert_eq!(world.upstream.requests().len(), before + 2, "asked in chat at once");
    let reply = world
        .server
        .http()
        .send(&Request::post("/v1/messages/count_tokens").key(&world.payer.key).json(&body("/v1/messages", false)));
    assert!(reply.expect(200).json()["input_tokens"].as_u64() > Some(0));
    assert_eq!(world.upstream.requests().len(), before + 2, "counted here");
}

#[test]
fn who_speaks_the_dialect_itself_comes_first() {
    let world = World::new(only(CHAT, honest(40, 7)));
    let native = Upstream::start(only("/v1/messages", |_| {
        Answer::json(
            200,
            &json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "native"}], "usage": {"input_tokens": 3, "output_tokens": 2}}),
        )
    }));
    world.server.provider("native", &native.url(), &world.owner, &[]);
    for name in ["up", "native"] {
        world.server.ok(&["provider", "probe", name]);
    }
    for _ in 0..4 {
        let reply = send(&world, "/v1/messages", &body("/v1/messages", false)).expect(200).json();
        assert_eq!(reply["content"][0]["text"], "native");
    }
    let model = world.server.http().get(&format!("/v1/models/{MODEL}"), &world.payer.key).expect(200).json();
    assert_eq!(model["translated"], json!(["/v1/responses"]));
    // And what cannot be translated is for it alone.
    let mut pdf = body("/v1/messages", false);
    pdf["messages"][0]["content"] =
        json!([{"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}}]);
    assert_eq!(send(&world, "/v1/messages", &pdf).expect(200).json()["content"][0]["text"], "native");
    drop(native);
    send(&world, "/v1/messages", &body("/v1/messages", false)).expect(200);
}

#[test]
fn what_cannot_be_translated_is_refused_in_the_envelope_of_the_dialect() {
    let world = World::new(only(CHAT, honest(40, 7)));
    let mut pdf = body("/v1/messages", false);
    pdf["messages"][0]["content"] =
        json!([{"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}}]);
    let refused = send(&world, "/v1/messages", &pdf).expect(400).json();
    assert_eq!((&refused["type"], &refused["error"]["type"]), (&json!("error"), &json!("invalid_request_error")));
    assert!(refused["error"]["message"].as_str().unwrap().contains("messages[0].content[0].source"), "{refused}");
    let mut audio = body("/v1/responses", true);
    audio["input"] = json!([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]);
    let refused = send(&world, "/v1/responses", &audio).expect(400).json();
    assert_eq!(refused["error"]["param"], "input[0].content[0].type", "{refused}");
    assert!(world.rows().is_empty() && world.upstream.requests().iter().all(|seen| seen.target != CHAT));
    world.wait_released();
}

#[test]
fn a_chat_stream_that_breaks_off_is_the_dialects_failure_and_free() {
    let breaks: [fn(&Seen) -> Answer; 2] = [
        |_| Stream::new(5).cut(2, Cut::Fin).answer(),
        |_| {
            let bad = json!({"choices": [{"index": 0, "delta": {"tool_calls": "none"}}]});
            let events = [chunk(&json!({"content": "a"}), &Value::Null), bad, usage_chunk(&usage(40, 7))];
            let text: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
            Answer::text(200, "text/event-stream", &(text + "data: [DONE]\n\n"), "")
        },
    ];
    let mut rows = 0;
    let world = World::new(|_| Answer::json(404, &json!({"detail": "Not Found"})));
    for script in breaks {
        world.upstream.script(only(CHAT, script));
        for path in BOTH {
            let reply = send(&world, path, &body(path, true));
            if reply.status == 200 {
                let events = told(&reply);
                let last = events.last().unwrap();
                assert_eq!(kind(last), if path == "/v1/messages" { "error" } else { "response.failed" }, "{last}");
                assert!(path == "/v1/messages" || last["sequence_number"] == json!(events.len() - 1), "{last}");
                rows += 1;
                let row = world.wait_rows(rows).remove(0);
                assert_eq!((&row["outcome"], micro(&row, "cost_micro_usd")), (&json!("provider_error"), 0));
            } else {
                assert_eq!(reply.status, 502, "{}", reply.text());
            }
        }
    }
    assert!(rows >= 2, "what had begun");
    assert_eq!(world.balance(), 5_000_000);
}

#[test]
fn what_a_model_calls_is_paid_for_however_it_calls() {
    let tool = |index: u32, id: &str, name: &str, arguments: &str| json!({"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]});
    let habits = [
        vec![tool(0, "a", "", "{}")],
        vec![tool(0, "a", "f", "{}"), json!({"content": "more"}), tool(0, "a", "", "}")],
        (0..1_500).map(|n| tool(n, &format!("c{n}"), "f", "{}")).collect(),
    ];
    let world = World::new(|_| Answer::json(404, &json!({"detail": "Not Found"})));
    let mut rows = 0;
    for deltas in habits {
        world.upstream.script(only(CHAT, move |seen| {
            if seen.json()["stream"] == json!(true) {
                let text: String = [json!({"content": "a long answer before it"})]
                    .iter()
                    .chain(&deltas)
                    .map(|delta| format!("data: {}\n\n", chunk(delta, &Value::Null)))
                    .collect();
                let end = [chunk(&json!({}), &json!("tool_calls")), usage_chunk(&usage(40, 70))];
                let end: String = end.iter().map(|event| format!("data: {event}\n\n")).collect();
                return Answer::text(200, "text/event-stream", &(text + &end + "data: [DONE]\n\n"), "");
            }
            let calls: Vec<&Value> = deltas.iter().filter_map(|delta| delta["tool_calls"].get(0)).collect();
            let mut whole = completion(usage(40, 70));
            whole["choices"][0]["message"]["tool_calls"] = json!(calls);
            Answer::json(200, &whole)
        }));
        for (path, stream) in BOTH.into_iter().flat_map(|path| [(path, true), (path, false)]) {
            let reply = send(&world, path, &body(path, stream)).expect(200);
            rows += 1;
            let row = world.wait_rows(rows).remove(0);
            assert_eq!((&row["outcome"], micro(&row, "cost_micro_usd")), (&json!("completed"), cost(40, 70)), "{path}");
            if stream {
                let last = told(&reply).pop().unwrap();
                assert!(["message_stop", "response.completed"].contains(&kind(&last)), "{last}");
            }
        }
    }
    assert_eq!(flagged(&world), 0);
    world.server.audit();
}

/// So many tools of a few bytes each, which are many bytes in chat.
fn of_tools(count: usize) -> Value {
    let tools: Vec<Value> = (0..count).map(|n| json!({"type": "custom", "name": format!("{n:x}")})).collect();
    let mut body = body("/v1/responses", false);
    body["tools"] = json!(tools);
    body
}

/// A server that reads a token a byte and a half.
fn dense(seen: &Seen) -> Answer {
    Answer::chat(usage(seen.body.len() as u64 * 2 / 3, 5))
}

fn flagged(world: &World) -> i64 {
    world.server.number("select sum(flagged) from providers")
}

#[test]
fn what_is_held_and_charged_is_of_what_is_sent() {
    let gate = Gate::default();
    let closed = gate.clone();
    let world = World::new(only(CHAT, move |seen| dense(seen).after(Step::Gate(closed.clone()))));
    let body = of_tools(2_000);
    let conn = world.server.http().open(&Request::post("/v1/responses").key(&world.payer.key).json(&body));
    crate::world::eventually("asked in chat", || world.upstream.requests().iter().any(|seen| seen.target == CHAT));
    let sent = world.upstream.last().body.len() as i64;
    assert!(sent > 5 * body.to_string().len() as i64, "{sent}");
    let held = micro(&world.money(), "held_micro_usd");
    assert!(held >= cost(sent, 256), "{held} for {sent} bytes");
    gate.open();
    conn.finish().expect(200);
    let row = world.row(1);
    let read = sent * 2 / 3;
    assert_eq!((micro(&row, "prompt_tokens"), micro(&row, "charged_micro_usd")), (read, cost(read, 5)));
    assert_eq!(flagged(&world), 0, "what was sent bounds a report, not what came");
    // Who has money for what came alone does not get what is sent.
    let poor = world.server.account("poor");
    world.server.ok(&["credit", &poor.id, "0.001"]);
    let reply = world.server.http().send(&Request::post("/v1/responses").key(&poor.key).json(&body));
    assert_eq!(reply.status, 402, "{}", reply.text());
    world.wait_released();
    world.server.audit();
}

#[test]
fn what_is_charged_is_of_the_form_that_was_sent() {
    let world = World::new(only(CHAT, honest(40, 7)));
    // It says that it read more than there is in what it was sent, which the chat request would have room for.
    let native = Upstream::start(only("/v1/responses", |seen| {
        let usage =
            json!({"input_tokens": 2 * seen.body.len(), "output_tokens": 5, "total_tokens": 2 * seen.body.len() + 5});
        Answer::json(
            200,
            &json!({"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [
            {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [
                {"type": "output_text", "text": "native", "annotations": []}]}], "usage": usage}),
        )
    }));
    world.server.provider("native", &native.url(), &world.owner, &[]);
    for name in ["up", "native"] {
        world.server.ok(&["provider", "probe", name]);
    }
    let before = flagged(&world);
    let body = of_tools(500);
    let reply = send(&world, "/v1/responses", &body).expect(200).json();
    assert_eq!(reply["output"][0]["content"][0]["text"], "native");
    let sent = native.last().body.len() as i64;
    let row = world.row(1);
    assert_eq!((&row["translated"], flagged(&world) - before), (&json!(false), 1));
    assert!((micro(&row, "prompt_tokens") - sent).abs() < 300, "{row} of {sent}");
    world.server.audit();
}

#[test]
fn what_cannot_be_translated_does_not_wait_for_a_place() {
    let gate = Gate::default();
    let closed = gate.clone();
    let world = World::unstarted("5", only(CHAT, honest(40, 7)));
    let mut world = world;
    world.server.ok(&["provider", "remove", "up"]);
    world.server.provider("up", &world.upstream.url(), &world.owner, &["--max-concurrent", "1"]);
    world.server.start(&[]);
    world.server.ok(&["provider", "probe", "up"]);
    world.upstream.script(only(CHAT, move |_| Answer::chat(usage(40, 7)).after(Step::Gate(closed.clone()))));
    let before = world.upstream.requests().len();
    let busy = world.open(&chat_body());
    world.upstream.wait_for(before + 1);
    let mut file = body("/v1/responses", true);
    file["input"] = json!([{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]);
    let refused = send(&world, "/v1/responses", &file).expect(400).json();
    assert_eq!(refused["error"]["param"], "input[0].content[0].file_id", "{refused}");
    gate.open();
    busy.finish().expect(200);
}

#[test]
fn a_chat_request_is_no_longer_than_a_body_may_be() {
    let world = World::with("5", &["--body-limit-mib", "1", "--body-budget-mib", "64"], only(CHAT, honest(40, 7)));
    world.server.ok(&["provider", "probe", "up"]);
    let name = "\u{1}".repeat(64);
    let space = |tools: usize| {
        let tools: Vec<Value> = (0..tools).map(|n| json!({"type": "custom", "name": format!("{n:x}")})).collect();
        let mut body = body("/v1/responses", false);
        body["tools"] = json!([{"type": "namespace", "name": name, "tools": tools}]);
        body
    };
    send(&world, "/v1/responses", &space(500)).expect(200);
    assert!(world.upstream.last().body.len() > 200_000);
    // Longer than a body; and longer than there is room for, too.
    for tools in [3_000, 5_000] {
        let body = space(tools);
        assert!(body.to_string().len() < 200_000);
        let refused = send(&world, "/v1/responses", &body).expect(400).json();
        assert!(refused["error"]["message"].as_str().unwrap().contains("too long"), "{refused}");
    }
    let mut long = space(1);
    long["tools"][0]["name"] = json!("n".repeat(500_000));
    let refused = send(&world, "/v1/responses", &long).expect(400).json();
    assert_eq!(refused["error"]["param"], "tools[0].name", "{refused}");
    // What was made is given back.
    for _ in 0..20 {
        send(&world, "/v1/responses", &space(500)).expect(200);
    }
    world.wait_released();
}

#[test]
fn thoughts_in_the_text_are_told_as_such_of_a_server_that_is_marked_to_write_them_there() {
    let world = World::unstarted("5", |_| Answer::json(404, &json!({"detail": "Not Found"})));
    let thinks = Upstream::start(only(CHAT, |seen| {
        if seen.json()["stream"] == json!(true) {
            let texts =
                ["<th", "ink>hm", "</think>", "Hello."].map(|text| chunk(&json!({"content": text}), &Value::Null));
            let events = [&texts[..], &[chunk(&json!({}), &json!("stop")), usage_chunk(&usage(40, 7))]].concat();
            let text: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
            return Answer::text(200, "text/event-stream", &(text + "data: [DONE]\n\n"), "");
        }
        let mut answer = crate::world::answer::completion(usage(40, 7));
        answer["choices"][0]["message"]["content"] = json!("<think>hm</think>Hello.");
        Answer::json(200, &answer)
    }));
    let mut world = world;
    world.server.ok(&["provider", "remove", "up"]);
    world.server.provider("up", &thinks.url(), &world.owner, &[]);
    world.server.start(&[]);
    let told_of = |world: &World| {
        let whole = send(world, "/v1/messages", &body("/v1/messages", false)).expect(200).json();
        let kinds: Vec<String> =
            whole["content"].as_array().unwrap().iter().map(|block| crate::world::text(block, "type")).collect();
        let streamed = told(&send(world, "/v1/messages", &body("/v1/messages", true)).expect(200));
        let thought = streamed.iter().any(|event| event["delta"]["type"] == "thinking_delta");
        (kinds.join(" "), thought)
    };
    assert_eq!(told_of(&world), ("text".to_owned(), false), "what a server says is what it says");
    let admin = world.server.admin_key();
    let providers = world.server.http().get("/v1/admin/providers", &admin).expect(200).json();
    let path = format!("/v1/admin/providers/{}", crate::world::text(&providers[0], "id"));
    let patch = Request::new("PATCH", &path).key(&admin).json(&json!({"think_tags": true}));
    let patched = world.server.http().send(&patch).expect(200).json();
    assert_eq!((&patched["think_tags"], &patched["auth"]), (&json!(true), &json!("bearer")), "{patched}");
    assert_eq!(told_of(&world), ("thinking text".to_owned(), true));
}
