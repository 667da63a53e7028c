//! An upstream that does what no server should: nothing of it leaks, and no more is charged than held.

use serde_json::{Value, json};

use crate::world::answer::{
    Answer, End, STREAM_HEAD, Stream, chunk, completion, honest, http_chunk, usage, usage_chunk,
};
use crate::world::http::Reply;
use crate::world::{World, chat_body, cost, memory_kib, micro, stream_body};

/// Every header a reply may carry; all else is a leak.
const ALLOWED: &[&str] = &[
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "retry-after",
    "transfer-encoding",
    "vary",
    "x-accel-buffering",
    "x-balance-micro-usd",
    "x-content-type-options",
    "x-cost-micro-usd",
    "x-max-tokens-limited",
    "x-queue-ms",
    "x-request-id",
    "x-should-retry",
];

fn no_header_leaks(reply: &Reply) {
    for (name, value) in &reply.head.headers {
        assert!(ALLOWED.contains(&name.as_str()), "{name}: {value}");
        assert!(!value.contains("evil"), "{name}: {value}");
    }
}

const HOSTILE: &str = "x-conversation-id: evil\r\nset-cookie: evil=1\r\nserver: evil/1.0\r\nx-request-id: evil\r\n\
    x-cost-micro-usd: 0\r\nx-balance-micro-usd: 666\r\naccess-control-allow-origin: *\r\nlocation: http://evil/\r\n\
    x-max-tokens-limited: evil\r\nx-powered-by: evil\r\nlink: <http://evil/>; rel=\"next\"\r\nvia: 1.1 evil\r\n\
    strict-transport-security: max-age=evil\r\nretry-after: 666\r\nopenai-processing-ms: 5\r\nalt-svc: evil\r\n";

#[test]
fn hostile_headers_stay_upstream() {
    let world = World::new(|_| Answer::text(200, "application/json", &completion(usage(10, 5)).to_string(), HOSTILE));
    let reply = world.chat(&chat_body()).expect(200);
    no_header_leaks(&reply);
    assert_eq!(reply.number("x-cost-micro-usd"), cost(10, 5));
    assert_eq!(reply.number("x-balance-micro-usd"), world.balance());
    assert_eq!((reply.header("x-max-tokens-limited"), reply.header("retry-after")), (None, None));

    let event = format!("data: {}\n\n", chunk(&json!({"content": "hi"}), &json!("stop")));
    let body = event + &format!("data: {}\n\ndata: [DONE]\n\n", usage_chunk(&usage(10, 5)));
    world.upstream.script(move |_| Answer::text(200, "text/event-stream", &body, HOSTILE));
    no_header_leaks(&world.chat(&stream_body(true)).expect(200));

    world.upstream.script(|_| Answer::text(400, "application/json", "{\"error\":{\"message\":\"no\"}}", HOSTILE));
    let refused = world.chat(&chat_body());
    no_header_leaks(&refused);
    refused.error();
}

#[test]
fn broken_heads_are_a_providers_failure() {
    let body = completion(usage(10, 5)).to_string();
    let kind = "content-type: application/json";
    let length = body.len();
    let many = "x-padding: 0123456789012345678901234567890123456789\r\n".repeat(20_000);
    let heads = [
        (
            "a bare CR",
            format!("HTTP/1.1 200 OK\r\nx-a: b\rset-cookie: evil\r\n{kind}\r\ncontent-length: {length}\r\n\r\n"),
        ),
        ("a NUL", format!("HTTP/1.1 200 OK\r\nx-a: b\0\r\n{kind}\r\ncontent-length: {length}\r\n\r\n")),
        ("two lengths", format!("HTTP/1.1 200 OK\r\n{kind}\r\ncontent-length: {length}\r\ncontent-length: 5\r\n\r\n")),
        ("a length that is no number", format!("HTTP/1.1 200 OK\r\n{kind}\r\ncontent-length: many\r\n\r\n")),
        ("a negative length", format!("HTTP/1.1 200 OK\r\n{kind}\r\ncontent-length: -1\r\n\r\n")),
        ("a bad chunk size", format!("HTTP/1.1 200 OK\r\n{kind}\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")),
        ("a status of 99", format!("HTTP/1.1 99 Odd\r\n{kind}\r\ncontent-length: {length}\r\n\r\n")),
        ("a status of 999", format!("HTTP/1.1 999 Odd\r\n{kind}\r\ncontent-length: {length}\r\n\r\n")),
        ("101", format!("HTTP/1.1 101 Switching\r\nupgrade: evil\r\nconnection: upgrade\r\n{kind}\r\n\r\n")),
        ("a megabyte of head", format!("HTTP/1.1 200 OK\r\n{many}{kind}\r\ncontent-length: {length}\r\n\r\n")),
    ];
    for (how, head) in heads {
        let wire = head + &body;
        let world = World::new(move |_| Answer::raw(wire.clone(), End::Fin));
        let reply = world.chat(&chat_body());
        no_header_leaks(&reply);
        assert_eq!(reply.status, 502, "{how}: {}", reply.text());
        assert_eq!(reply.error().0, "provider_error", "{how}");
        assert_eq!((world.balance(), world.rows().len()), (5_000_000, 0), "{how}");
    }
}

#[test]
fn a_length_longer_than_the_body_is_not_a_whole_answer() {
    let body = completion(usage(10, 5)).to_string();
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len() + 9);
    let world = World::new(move |_| Answer::raw(head.clone() + &body, End::Fin));
    assert_eq!(world.chat(&chat_body()).status, 502);
    assert_eq!(world.balance(), 5_000_000);
}

#[test]
fn gzip_that_nobody_asked_for_is_not_passed_on() {
    // The gzip of an empty text, and an answer that only says that it is gzip.
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00".to_vec();
    let plain = completion(usage(10, 5)).to_string().into_bytes();
    let rows = [("application/json", gzip.clone()), ("text/event-stream", gzip), ("application/json", plain)];
    for (kind, body) in rows {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let world = World::new(move |_| Answer::raw([head.as_bytes(), &body].concat(), End::KeepAlive));
        let asked = if kind == "application/json" { chat_body() } else { stream_body(true) };
        let reply = world.server.http().send(&world.request(&asked).header("accept-encoding", "gzip, br"));
        assert_eq!(reply.status, 502, "{kind}: {}", reply.text());
        assert_eq!(reply.header("content-encoding"), None);
        let sent = world.upstream.last().header("accept-encoding").map(str::to_owned);
        assert!(sent.is_none() || sent.as_deref() == Some("identity"), "{sent:?}");
        assert_eq!(world.balance(), 5_000_000);
    }
}

#[test]
fn a_line_of_a_mebibyte_passes() {
    let long = "x".repeat(1024 * 1024);
    let world = World::new(move |_| {
        let event = format!("data: {}\n\n", chunk(&json!({"content": long}), &Value::Null));
        let wire = [
            STREAM_HEAD.as_bytes().to_vec(),
            http_chunk(&event),
            http_chunk(&format!("data: {}\n\n", chunk(&json!({}), &json!("stop")))),
            http_chunk(&format!("data: {}\n\ndata: [DONE]\n\n", usage_chunk(&usage(10, 200)))),
            b"0\r\n\r\n".to_vec(),
        ];
        Answer::raw(wire.concat(), End::KeepAlive)
    });
    let reply = world.chat(&stream_body(true)).expect(200);
    assert!(reply.whole && reply.body.len() > 1024 * 1024 && reply.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(micro(&world.row(1), "cost_micro_usd"), cost(10, 200));
}

#[test]
fn an_endless_line_is_cut() {
    // 80 MiB without a line's end, or until the reader has had enough.
    let world = World::new(|_| {
        let piece = http_chunk(&"x".repeat(1024 * 1024));
        let mut answer = Answer::raw(STREAM_HEAD.to_owned() + "6\r\ndata: \r\n", End::Fin);
        answer.steps.extend((0..80).map(|_| crate::world::answer::Step::Send(piece.clone())));
        answer
    });
    let reply = world.chat(&stream_body(true));
    assert!(!reply.text().contains("[DONE]"));
    world.wait_released();
    assert_eq!(world.balance(), 5_000_000);
    let peak = memory_kib(world.server.pid(), "VmHWM:");
    assert!(peak < 300_000, "{peak} kB resident at the peak");
}

#[test]
fn what_is_no_data_between_events_does_not_stop_the_meter() {
    let word = format!("data: {}\n\n", chunk(&json!({"content": "hi"}), &Value::Null));
    let end = format!("data: {}\n\ndata: {}\n\n", chunk(&json!({}), &json!("stop")), usage_chunk(&usage(10, 5)));
    let junk = "event: ping\nid: 7\nretry: 10\n\n:\n\ndata\n\ndata:\n\nunknown: field\n\n\n\n";
    let body = format!("{word}{junk}{end}data: [DONE]\n\n");
    let world = World::new(move |_| Answer::text(200, "text/event-stream", &body, ""));
    let reply = world.chat(&stream_body(true)).expect(200);
    assert!(reply.text().contains("event: ping\nid: 7\nretry: 10\n\n"), "{}", reply.text());
    assert_eq!(micro(&world.row(1), "cost_micro_usd"), cost(10, 5));
}

#[test]
fn data_that_is_not_json_is_a_providers_failure() {
    // Every SDK stops at it, so it is not sold.
    let word = format!("data: {}\n\n", chunk(&json!({"content": "hi"}), &Value::Null));
    let end = format!("data: {}\n\ndata: {}\n\n", chunk(&json!({}), &json!("stop")), usage_chunk(&usage(10, 5)));
    for junk in ["not json", "{\"choices\":"] {
        let body = format!("{word}data: {junk}\n\n{end}data: [DONE]\n\n");
        let world = World::new(move |_| Answer::text(200, "text/event-stream", &body, ""));
        let reply = world.chat(&stream_body(true)).expect(200);
        assert!(!reply.text().contains("[DONE]"), "{}", reply.text());
        let row = world.wait_rows(1)[0].clone();
        assert_eq!((&row["outcome"], world.balance()), (&json!("provider_error"), 5_000_000), "{junk}");
    }
}

#[test]
fn what_comes_after_done_is_nobodys_business() {
    let world = World::new(honest(1, 1));
    let end = format!("data: {}\n\ndata: {}\n\n", chunk(&json!({}), &json!("stop")), usage_chunk(&usage(10, 5)));
    let late = usage_chunk(&usage(10, 200));
    let body = format!("{end}data: [DONE]\n\ndata: {late}\n\n");
    world.upstream.script(move |_| Answer::text(200, "text/event-stream", &body, ""));
    let reply = world.chat(&stream_body(true)).expect(200);
    assert!(reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    assert_eq!(micro(&world.row(1), "cost_micro_usd"), cost(10, 5));
}

#[test]
fn a_provider_that_goes_on_past_the_bound_is_charged_to_nobody() {
    // 400 words where 256 tokens were bought, and no usage that says so.
    let world = World::new(|_| Stream::new(400).answer());
    world.chat(&stream_body(true)).expect(200);
    let row = world.row(1);
    assert_eq!(micro(&row, "completion_tokens"), 256, "{row}");
    assert_eq!(micro(&row, "shortfall_micro_usd"), 0);
}
