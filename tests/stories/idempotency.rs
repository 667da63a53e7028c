//! Inference with an Idempotency-Key: at most one charge, whatever a client repeats.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::answer::{Answer, Gate, Stream, honest, usage};
use crate::world::http::Reply;
use crate::world::{World, chat_body, cost, stream_body};

fn keyed(world: &World, key: &str, body: &Value) -> Reply {
    world.server.http().send(&world.request(body).header("idempotency-key", key))
}

#[test]
fn a_repeat_gets_the_same_answer_and_is_charged_once() {
    let world = World::new(|seen| match seen.json()["stream"].as_bool() {
        Some(true) => Stream::new(4).usage(usage(10, 4)).answer(),
        _ => honest(10, 5)(seen),
    });
    let first = keyed(&world, "a", &chat_body()).expect(200);
    let again = keyed(&world, "a", &chat_body()).expect(200);
    assert_eq!(first.text(), again.text());
    assert_eq!(first.number("x-cost-micro-usd"), again.number("x-cost-micro-usd"));
    assert_eq!(first.header("x-request-id"), again.header("x-idempotent-replay-of"));

    let streamed = keyed(&world, "b", &stream_body(true)).expect(200);
    let again = keyed(&world, "b", &stream_body(true)).expect(200);
    assert_eq!(streamed.text(), again.text());
    assert!(again.text().contains("cost_micro_usd") && again.text().ends_with("data: [DONE]\n\n"));

    let (kind, ..) = keyed(&world, "a", &stream_body(true)).expect(422).error();
    assert_eq!(kind, "conflict_error");
    assert_eq!(world.rows().len(), 2);
    assert_eq!(world.upstream.requests().len(), 2);
    assert_eq!(world.balance(), 5_000_000 - cost(10, 5) - cost(10, 4));
}

#[test]
fn after_a_restart_a_repeat_is_refused_not_charged() {
    let mut world = World::new(honest(10, 5));
    let first = keyed(&world, "a", &chat_body()).expect(200);
    world.server.kill();
    world.server.start(&[]);
    let refused = keyed(&world, "a", &chat_body()).expect(409);
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    let id = first.header("x-request-id").unwrap();
    assert!(refused.text().contains(id), "{} names {id}", refused.text());
    keyed(&world, "a", &stream_body(false)).expect(422);
    keyed(&world, "b", &chat_body()).expect(200);
    assert_eq!(world.rows().len(), 2);
}

#[test]
fn a_repeat_while_the_first_runs_is_refused() {
    let gate = Gate::default();
    let closed = gate.clone();
    let world = World::new(move |_| Stream::new(4).usage(usage(10, 4)).gate(2, &closed).answer());
    let mut first = world.server.http().open(&world.request(&stream_body(false)).header("idempotency-key", "a"));
    first.read_until("word1");
    let refused = keyed(&world, "a", &stream_body(false)).expect(409);
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    gate.open();
    assert!(first.finish().whole);
    keyed(&world, "a", &stream_body(false)).expect(200);
    assert_eq!(world.rows().len(), 1);
}

#[test]
fn what_was_not_charged_may_be_sent_again() {
    let world = World::new(|_| Answer::json(500, &json!({})));
    keyed(&world, "a", &chat_body()).expect(502);
    world.upstream.script(honest(10, 5));
    keyed(&world, "a", &chat_body()).expect(200);
    assert_eq!(world.rows().len(), 1);
    for bad in ["", &"x".repeat(256)] {
        keyed(&world, bad, &chat_body()).expect(400);
    }
}

#[test]
fn a_client_that_hangs_up_and_asks_again_is_charged_once() {
    let world = World::new(|_| Stream::new(6).usage(usage(10, 6)).slow(Duration::from_millis(20)).answer());
    for round in 0..10 {
        let key = format!("k{round}");
        let request = world.request(&stream_body(false)).header("idempotency-key", &key);
        let mut first = world.server.http().open(&request);
        first.read_until("word1");
        first.close();
        // At once, while what was delivered is still being counted: in flight, then charged; never run again.
        for _ in 0..5 {
            keyed(&world, &key, &stream_body(false)).expect(409);
        }
    }
    assert_eq!(world.wait_rows(10).len(), 10);
    assert_eq!(world.upstream.requests().len(), 10);
}
