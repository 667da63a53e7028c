//! How a request may end, and who pays for it.

use std::time::Duration;

use serde_json::json;

use crate::world::answer::{Answer, Cut, End, Step, Stream, completion, honest, usage};
use crate::world::http::{Reply, envelope};
use crate::world::upstream::Seen;
use crate::world::{World, chat_body, micro, stream_body};

/// The payer paid nothing and nobody earned; rows, if any, say so.
pub fn nothing_is_charged(world: &World) {
    world.wait_released();
    assert_eq!((world.balance(), world.earned()), (5_000_000, 0));
    for row in world.rows() {
        assert_eq!((micro(&row, "cost_micro_usd"), micro(&row, "shortfall_micro_usd")), (0, 0), "{row}");
        assert_ne!(row["outcome"], "completed", "{row}");
    }
}

/// A 502 or 504 with its envelope.
fn is_provider_error(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.error().0, "provider_error");
}

#[test]
fn a_provider_that_fails_before_the_first_byte_costs_nothing() {
    let whole = completion(usage(10, 5)).to_string();
    let half = whole[..whole.len() / 2].to_owned();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", whole.len());
    let ways = [
        ("500", Answer::json(500, &json!({"error": {"message": "secret path /srv/model.py"}}))),
        ("503", Answer::json(503, &json!({"error": {"message": "loading"}}))),
        ("302", Answer::text(302, "text/html", "", "location: http://127.0.0.1:1/\r\n")),
        ("307", Answer::text(307, "text/html", "", "location: /v1/elsewhere\r\n")),
        ("204", Answer::raw("HTTP/1.1 204 No Content\r\n\r\n", End::KeepAlive)),
        ("its own 401", Answer::json(401, &json!({"detail": "Invalid API key"}))),
        ("its own 403", Answer::json(403, &json!({"detail": "no"}))),
        ("FIN without a byte", Answer::nothing(End::Fin)),
        ("RST without a byte", Answer::nothing(End::Reset)),
        ("no HTTP", Answer::raw("SSH-2.0-OpenSSH_9.2\r\n", End::Fin)),
        ("half a head", Answer::raw("HTTP/1.1 200 OK\r\ncontent-ty", End::Fin)),
        ("half a body", Answer::raw(head.clone() + &half, End::Fin)),
        ("half a body and RST", Answer::raw(head + &half, End::Reset)),
        ("half a JSON", Answer::text(200, "application/json", &half, "")),
        ("an empty body", Answer::text(200, "application/json", "", "")),
        ("a page", Answer::text(200, "text/html", "<html>It works!</html>", "")),
        ("a JSON list", Answer::text(200, "application/json", "[]", "")),
    ];
    let world = World::with("5.00", &["--queue-timeout", "0"], honest(1, 1));
    for (how, answer) in ways {
        for body in [chat_body(), stream_body(true)] {
            let answer = answer.clone();
            world.upstream.script(move |_| answer.clone());
            let reply = world.chat(&body);
            assert!(!reply.text().contains("/srv/model.py"), "a provider's text leaks: {}", reply.text());
            // One that is left alone for a while is 503; the next request tries it again or says so.
            assert!(matches!(reply.status, 502 | 503), "{how}: {} {}", reply.status, reply.text());
            reply.error();
            nothing_is_charged(&world);
        }
    }
}

#[test]
fn the_first_failure_is_502() {
    let world = World::new(|_| Answer::json(500, &json!({})));
    is_provider_error(&world.chat(&chat_body()), 502);
    nothing_is_charged(&world);
    assert_eq!(world.rows().len(), 0);
}

#[test]
fn a_provider_nobody_listens_at_is_502() {
    let world = World::unstarted("5.00", honest(1, 1));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut world = world;
    world.server.ok(&["provider", "remove", "up"]);
    world.server.provider("gone", &format!("http://{nobody}/v1"), &world.owner, &[]);
    world.server.start(&[]);
    is_provider_error(&world.chat(&chat_body()), 502);
    nothing_is_charged(&world);
}

#[test]
fn a_provider_that_dies_in_mid_stream_is_not_paid() {
    let world = World::new(honest(1, 1));
    let mut rows = 0;
    for how in [Cut::Fin, Cut::Reset] {
        for after in 1..=4 {
            world.server.ok(&["provider", "enable", "up"]);
            world.upstream.script(move |_| Stream::new(20).slow(Duration::from_millis(2)).cut(after, how).answer());
            let reply = world.chat(&stream_body(true));
            if reply.status != 200 {
                // A RST may overtake the events before it, and a provider that failed is left alone.
                assert!(matches!(reply.status, 502 | 503), "{}", reply.text());
                continue;
            }
            rows += 1;
            ends_with_an_error(&reply);
            let row = world.wait_rows(rows)[0].clone();
            assert_eq!((&row["outcome"], micro(&row, "cost_micro_usd")), (&json!("provider_error"), 0), "{row}");
            nothing_is_charged(&world);
        }
    }
    assert!(rows > 0);
}

/// The last event is the envelope, and no `[DONE]` comes.
fn ends_with_an_error(reply: &Reply) {
    let events = reply.events();
    assert!(!events.iter().any(|e| e == "[DONE]"), "{}", reply.text());
    let last = serde_json::from_str(events.last().expect("an event")).unwrap();
    assert_eq!(envelope(&last).0, "provider_error", "{}", reply.text());
}

#[test]
fn a_stream_without_a_proper_end_is_a_providers_failure() {
    let world = World::new(|_| Stream::new(3).unfinished().without_done().answer());
    let reply = world.chat(&stream_body(true)).expect(200);
    ends_with_an_error(&reply);
    let row = world.wait_rows(1)[0].clone();
    assert_eq!(row["outcome"], "provider_error", "{row}");
    nothing_is_charged(&world);
}

#[test]
fn done_ends_an_answer_even_if_nothing_else_was_said() {
    let world = World::new(|_| Stream::new(30).unfinished().answer());
    let reply = world.chat(&stream_body(true)).expect(200);
    assert!(reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    let row = world.row(1);
    assert_eq!((&row["outcome"], &row["metered_by"]), (&json!("completed"), &json!("estimate")), "{row}");
    assert!(micro(&row, "completion_tokens") >= 30 && micro(&row, "prompt_tokens") > 0, "{row}");
    assert_eq!(world.balance(), 5_000_000 - micro(&row, "cost_micro_usd"));
}

#[test]
fn an_empty_event_stream_is_a_providers_failure() {
    let bodies = ["", ": a comment\n\n", "data: [DONE]\n\n"];
    for body in bodies {
        let world = World::new(move |_| Answer::text(200, "text/event-stream", body, ""));
        let reply = world.chat(&stream_body(true));
        if reply.status == 200 {
            ends_with_an_error(&reply);
        } else {
            is_provider_error(&reply, 502);
        }
        nothing_is_charged(&world);
    }
}

#[test]
fn an_error_event_from_the_provider_ends_the_stream_uncharged() {
    let world = World::new(|_| {
        let body = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n\
                    data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n";
        Answer::text(200, "text/event-stream", body, "")
    });
    let reply = world.chat(&stream_body(true));
    if reply.status == 200 {
        assert!(!reply.text().contains("[DONE]"), "{}", reply.text());
    }
    nothing_is_charged(&world);
}

#[test]
fn a_providers_refusal_is_passed_on_and_costs_nothing() {
    // status, what the provider says, what the client sees
    let refusals = [
        (
            400,
            json!({"error": {"message": "the prompt is too long", "type": "exceed_context_size_error", "code": 400}}),
        ),
        (400, json!({"error": "a text"})),
        (413, json!({"detail": "too large"})),
        (422, json!({"detail": [{"msg": "bad field"}]})),
    ];
    for (status, said) in refusals {
        let answer = Answer::json(status, &said);
        let world = World::new(move |_| answer.clone());
        for body in [chat_body(), stream_body(true)] {
            let reply = world.chat(&body);
            assert!((400..500).contains(&reply.status), "{}: {}", reply.status, reply.text());
            reply.error();
            nothing_is_charged(&world);
        }
        assert_eq!(world.upstream.requests().len(), 2, "a bad request is no reason to leave a provider alone");
    }
}

#[test]
fn all_providers_busy_is_429_with_retry_after() {
    let busy = |_: &Seen| Answer::text(429, "application/json", "{}", "retry-after: 7\r\n");
    let world = World::with("5.00", &["--queue-timeout", "0"], busy);
    let reply = world.chat(&chat_body());
    assert_eq!(reply.status, 429, "{}", reply.text());
    assert_eq!(reply.error().0, "rate_limit_error");
    assert!(reply.number("retry-after") > 0);
    nothing_is_charged(&world);
}

#[test]
fn a_provider_that_never_answers_is_504() {
    let world = World::with("5.00", &["--first-byte-timeout", "1"], |_| Answer::never());
    for body in [chat_body(), stream_body(true)] {
        world.server.ok(&["provider", "enable", "up"]);
        let reply = world.chat(&body);
        assert!(matches!(reply.status, 504 | 503), "{}: {}", reply.status, reply.text());
        reply.error();
        nothing_is_charged(&world);
    }
    world.upstream.wait_closed(&world.upstream.requests()[0]);
}

#[test]
fn a_stream_that_falls_silent_is_ended() {
    let comments = Answer {
        steps: std::iter::once(Step::Send([crate::world::answer::STREAM_HEAD.as_bytes(), &event_chunk()].concat()))
            .chain((0..200).flat_map(|_| {
                [
                    Step::Pause(Duration::from_millis(50)),
                    Step::Send(crate::world::answer::http_chunk(": keepalive\n\n")),
                ]
            }))
            .collect(),
        end: End::Fin,
    };
    let silent = Stream::new(5).cut(2, Cut::Silence).answer();
    for (how, answer) in [("silence", silent), ("comments only", comments)] {
        let world = World::with("5.00", &["--idle-timeout", "1", "--event-timeout", "2"], move |_| answer.clone());
        let reply = world.chat(&stream_body(true)).expect(200);
        ends_with_an_error(&reply);
        let row = world.wait_rows(1)[0].clone();
        assert_eq!(row["outcome"], "provider_error", "{how}: {row}");
        nothing_is_charged(&world);
        world.upstream.wait_closed(&world.upstream.last());
    }
}

#[test]
fn a_clients_pause_is_no_silence_of_the_provider() {
    // 12 MiB, so that the pause reaches the provider: it cannot send on, which is no silence of its own.
    let word = crate::world::answer::chunk(&json!({"content": "x".repeat(64 << 10)}), &serde_json::Value::Null);
    let word = crate::world::answer::http_chunk(&format!("data: {word}\n\n"));
    let end = crate::world::answer::chunk(&json!({}), &json!("stop"));
    let end = crate::world::answer::http_chunk(&format!("data: {end}\n\ndata: [DONE]\n\n"));
    let head = crate::world::answer::STREAM_HEAD.as_bytes().to_vec();
    let wire = [head, word.repeat(192), end, b"0\r\n\r\n".to_vec()].concat();
    let args = ["--idle-timeout", "1", "--event-timeout", "1", "--write-timeout", "30"];
    let world = World::with("5.00", &args, move |_| Answer::raw(wire.clone(), End::KeepAlive));
    let open = world.open(&stream_body(true));
    world.upstream.wait_for(1);
    std::thread::sleep(Duration::from_secs(3));
    let reply = open.finish().expect(200);
    assert!(reply.text().ends_with("data: [DONE]\n\n"), "{} bytes", reply.body.len());
    assert_eq!(world.row(1)["outcome"], "completed");
}

fn event_chunk() -> Vec<u8> {
    let word = crate::world::answer::chunk(&json!({"content": "hi"}), &serde_json::Value::Null);
    crate::world::answer::http_chunk(&format!("data: {word}\n\n"))
}
