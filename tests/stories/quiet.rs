//! Streams that are quiet: what waits gets its head and signs of life, and what fails then is an event.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::answer::{Answer, Cut, Gate, Step, Stream, honest, http_chunk, usage};
use crate::world::http::{Conn, Request};
use crate::world::upstream::{Seen, Upstream};
use crate::world::{MODEL, World, cost, eventually, micro, stream_body};

const SIGN: &str = ": keep-alive\n\n";
const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
/// Signs every second.
const SERVE: [&str; 2] = ["--sign-of-life", "1"];

fn quiet(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> World {
    World::with("5.00", &SERVE, script)
}

#[test]
fn who_waits_gets_the_head_and_signs_of_life_and_then_the_answer() {
    let gate = Gate::default();
    let closed = gate.clone();
    let world = quiet(move |_| Stream::new(2).usage(usage(10, 2)).answer().after(Step::Gate(closed.clone())));
    let mut conn = world.open(&stream_body(true));
    let head = conn.head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert!(head.header("x-request-id").is_some_and(|id| id.starts_with("req_")));
    assert_eq!(world.upstream.requests().len(), 1, "asked once");
    conn.read_until(&SIGN.repeat(3));
    assert_eq!(world.rows().len(), 0);
    gate.open();
    let reply = conn.finish();
    assert!(reply.whole && reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    assert_eq!(reply.events().len(), 6, "a role, two words, a finish, the usage, the end: {}", reply.text());
    let row = world.row(1);
    assert_eq!((&row["outcome"], micro(&row, "cost_micro_usd")), (&json!("completed"), cost(10, 2)));
    assert_eq!(row["request_id"], head.header("x-request-id").unwrap());
}

#[test]
fn a_server_that_thinks_after_its_head_is_waited_for_too() {
    let gate = Gate::default();
    let closed = gate.clone();
    let world = quiet(move |_| Stream::new(1).usage(usage(10, 1)).gate(0, &closed).answer());
    let mut conn = world.open(&stream_body(true));
    conn.read_until(SIGN);
    gate.open();
    assert!(conn.finish().text().ends_with("data: [DONE]\n\n"));
    assert_eq!(world.row(1)["outcome"], "completed");
}

#[test]
fn what_fails_late_is_an_event_of_the_dialect_and_costs_nothing() {
    let body = |field: &str| {
        let mut body = json!({"model": MODEL, "stream": true, "max_tokens": 5});
        body[field] = if field == "messages" { json!([{"role": "user", "content": "Hi"}]) } else { json!("Hi") };
        body
    };
    for (path, field, sign) in [
        ("/v1/chat/completions", "messages", SIGN),
        ("/v1/completions", "prompt", SIGN),
        ("/v1/responses", "input", SIGN),
        ("/v1/messages", "messages", PING),
    ] {
        let gate = Gate::default();
        let closed = gate.clone();
        let world = quiet(move |_| Answer::json(500, &json!({})).after(Step::Gate(closed.clone())));
        let request = Request::post(path).key(&world.payer.key).json(&body(field));
        let mut conn = world.server.http().open(&request);
        conn.read_until(sign);
        gate.open();
        let reply = conn.finish();
        assert!(reply.whole && !reply.text().contains("[DONE]"), "{path}: {}", reply.text());
        let last = reply.events().pop().unwrap_or_default();
        let last: Value = serde_json::from_str(&last).unwrap_or_else(|e| panic!("{path}: {e}: {}", reply.text()));
        assert!(last.to_string().contains("provider"), "{path}: {last}");
        let has_event = |name: &str| reply.text().contains(&format!("event: {name}\n"));
        match path {
            "/v1/messages" => assert!(has_event("error") && last["type"] == "error", "{path}: {}", reply.text()),
            "/v1/responses" => {
                assert!(has_event("response.failed") && last["sequence_number"] == 0, "{path}: {}", reply.text());
                assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.failed"), &json!("failed")));
            }
            _ => assert!(last["error"]["message"].is_string(), "{path}: {}", reply.text()),
        }
        world.wait_released();
        assert_eq!((world.balance(), world.earned()), (5_000_000, 0), "{path}");
        assert!(world.rows().iter().all(|row| micro(row, "cost_micro_usd") == 0), "{path}");
    }
}

#[test]
fn the_next_server_takes_over_after_the_head() {
    let gate = Gate::default();
    let (asked, closed) = (Arc::new(AtomicUsize::new(0)), gate.clone());
    // Whichever is asked first fails, late; the other one answers.
    let script = move |seen: &Seen| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::json(500, &json!({})).after(Step::Gate(closed.clone())),
        _ => honest(10, 2)(seen),
    };
    let mut world = World::unstarted("5.00", script.clone());
    let second = Upstream::start(script);
    world.server.provider("second", &second.url(), &world.owner, &[]);
    world.server.start(&SERVE);
    let mut conn = world.open(&stream_body(true));
    conn.read_until(SIGN);
    gate.open();
    let reply = conn.finish();
    assert!(reply.text().contains("word2") && reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    assert_eq!((world.upstream.requests().len(), second.requests().len()), (1, 1));
    assert_eq!(world.row(1)["outcome"], "completed");
}

#[test]
fn who_leaves_while_waiting_pays_nothing_and_the_server_is_stopped() {
    for leave in [Conn::close, Conn::reset] {
        let world = quiet(|_| Answer::never());
        let mut conn = world.open(&stream_body(true));
        conn.read_until(SIGN);
        assert!(micro(&world.money(), "held_micro_usd") > 0);
        leave(conn);
        world.upstream.wait_closed(&world.upstream.last());
        world.wait_released();
        assert_eq!((world.balance(), world.rows().len()), (5_000_000, 0));
        eventually("a line of who left", || world.server.log().contains("client_gone"));
    }
}

#[test]
fn quick_failures_keep_their_status_and_whole_answers_wait() {
    let world = quiet(|_| Answer::json(400, &json!({"error": {"message": "no such thing"}})));
    world.chat(&stream_body(true)).expect(400);
    world.upstream.script(|_| Answer::chat(usage(10, 2)).after(Step::Pause(Duration::from_millis(2_500))));
    let mut body = stream_body(false);
    body["stream"] = json!(false);
    let reply = world.chat(&body).expect(200);
    assert_eq!(reply.number("x-cost-micro-usd"), cost(10, 2));
    world.upstream.script(|_| Answer::json(400, &json!({})).after(Step::Pause(Duration::from_millis(2_500))));
    world.chat(&body).expect(400);
}

#[test]
fn the_late_head_says_what_was_known_by_then() {
    // Whole, so that the first count, which makes the tokenizer, is not waited for.
    let world = World::with("0.0001", &["--sign-of-life", "3"], |seen| {
        if seen.json()["stream"] == true { Answer::never() } else { Answer::chat(usage(1, 1)) }
    });
    world.chat(&crate::world::chat_body()).expect(200);
    let key = world.server.ok(&["key", "create", "payer", "--rpm-limit", "7"]);
    let request = Request::post("/v1/chat/completions").key(&crate::world::text(&key, "key"));
    let head = world.server.http().open(&request.json(&stream_body(true))).head();
    assert_eq!(head.header("x-max-tokens-limited"), Some("balance"), "{head:?}");
    assert_eq!(head.header("x-ratelimit-limit-requests"), Some("7"), "{head:?}");
}

#[test]
fn a_pause_in_the_middle_has_signs_too_but_never_inside_an_event() {
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"half\"},\"finish_reason\":null}]}\n\n";
    let (first, second) = event.split_at(40);
    let (first, second) = (first.to_owned(), second.to_owned());
    let gate = Gate::default();
    let closed = gate.clone();
    let world = quiet(move |_| {
        let mut answer = Stream::new(1).usage(usage(10, 2)).gate(1, &closed).answer();
        // Between the role and the first word: half an event, a pause longer than a sign takes, the other half.
        let pause = Step::Pause(Duration::from_millis(2_500));
        answer.steps.splice(2..2, [Step::Send(http_chunk(&first)), pause, Step::Send(http_chunk(&second))]);
        answer
    });
    let mut conn = world.open(&stream_body(true));
    let mut text = conn.read_until("half");
    text += &conn.read_until(&SIGN.repeat(2));
    gate.open();
    text += &conn.finish().text();
    assert!(text.contains(event), "an event in pieces: {text}");
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    for block in text.split("\n\n") {
        assert!(block.is_empty() || block.starts_with("data: ") || block == SIGN.trim_end(), "{block:?} in {text}");
    }
    assert_eq!(world.row(1)["outcome"], "completed");
}

#[test]
fn a_server_that_dies_after_signs_of_life_is_a_failure_as_ever() {
    let world = World::with("5.00", &["--sign-of-life", "1", "--idle-timeout", "3"], |_| {
        Stream::new(9).cut(2, Cut::Silence).answer()
    });
    let reply = world.chat(&stream_body(true)).expect(200);
    assert!(reply.text().contains(SIGN) && !reply.text().contains("[DONE]"), "{}", reply.text());
    assert_eq!((&world.row(1)["outcome"], world.balance()), (&json!("provider_error"), 5_000_000));
}
