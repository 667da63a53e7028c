//! HTTP that is wrong below the body: refused or closed, and the next client is served.

use std::time::{Duration, Instant};

use crate::world::answer::honest;
use crate::world::{World, chat_body};

#[test]
fn raw_framing_is_refused_and_never_smuggled() {
    let world = World::new(honest(10, 5));
    let auth = format!("authorization: Bearer {}\r\ncontent-type: application/json\r\n", world.payer.key);
    let body = chat_body().to_string();
    let length = body.len();
    let post = |headers: &str, body: &str| {
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{auth}{headers}\r\n{body}")
    };
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let inner = "GET /v1/payments/balance HTTP/1.1\r\nhost: x\r\n\r\n";
    let rows = [
        ("length and chunked", post(&format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n"), &chunked)),
        ("chunked and length", post(&format!("transfer-encoding: chunked\r\ncontent-length: {length}\r\n"), &chunked)),
        ("two lengths", post(&format!("content-length: {length}\r\ncontent-length: 3\r\n"), &body)),
        ("a list of lengths", post(&format!("content-length: {length}, 3\r\n"), &body)),
        ("a length with a sign", post(&format!("content-length: +{length}\r\n"), &body)),
        ("a negative length", post("content-length: -5\r\n", &body)),
        ("a length that is no number", post("content-length: many\r\n", &body)),
        ("a length of 2^64", post("content-length: 18446744073709551616\r\n", &body)),
        ("a bad chunk size", post("transfer-encoding: chunked\r\n", &format!("zz\r\n{body}\r\n0\r\n\r\n"))),
        ("a huge chunk size", post("transfer-encoding: chunked\r\n", "ffffffffffffffffff\r\n")),
        ("an unknown transfer encoding", post("transfer-encoding: evil\r\n", &body)),
        ("chunked twice", post("transfer-encoding: chunked, chunked\r\n", &chunked)),
        ("a folded header", post(&format!("x-a: b\r\n c: d\r\ncontent-length: {length}\r\n"), &body)),
        ("a space before the colon", post(&format!("content-length : {length}\r\n"), &body)),
        ("a NUL in a header", post(&format!("x-a: b\0c\r\ncontent-length: {length}\r\n"), &body)),
        ("a bare CR in a header", post(&format!("x-a: b\rc\r\ncontent-length: {length}\r\n"), &body)),
        ("no version", format!("GET /v1/pricing\r\n{auth}\r\n")),
        ("HTTP/9.9", format!("GET /v1/pricing HTTP/9.9\r\nhost: x\r\n{auth}\r\n")),
        ("HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01".to_owned() + "\u{7f}\r\n\r\n"),
        ("no method", " / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()),
        ("a method of symbols", "G{}T / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()),
        ("a space in the path", "GET /v1/pri cing HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()),
        ("a control character in the path", "GET /v1/\x01 HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()),
        (
            "a hundred headers and more",
            post(&("x-a: b\r\n".repeat(500) + &format!("content-length: {length}\r\n")), &body),
        ),
        ("a header of a megabyte", post(&format!("x-a: {}\r\n", "b".repeat(1024 * 1024)), &body)),
        ("a path of a megabyte", format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(1024 * 1024))),
    ];
    for (how, wire) in rows {
        let mut conn = world.server.http().connect();
        conn.write(wire.as_bytes());
        conn.write(inner.as_bytes());
        conn.half_close();
        let reply = conn.finish();
        assert!(reply.status == 0 || (400..500).contains(&reply.status), "{how}: {} {}", reply.status, reply.text());
        assert!(world.upstream.requests().is_empty(), "{how} reached the provider");
    }
    assert_eq!((world.balance(), world.rows().len()), (5_000_000, 0));
    world.chat(&chat_body()).expect(200);
}

#[test]
fn two_requests_on_one_connection_are_two_answers() {
    let world = World::new(honest(10, 5));
    let one = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    let last = "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut conn = world.server.http().connect();
    conn.write(format!("{one}{one}{last}").as_bytes());
    let mut answers = String::new();
    while let Some(line) = conn.line() {
        answers += &line;
    }
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 3, "{answers}");
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let world = World::with("5.00", &["--body-timeout", "1"], honest(10, 5));
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 500\r\n\r\n{{\"mo",
        world.payer.key
    );
    let began = Instant::now();
    let mut slow = world.server.http().connect();
    slow.write(head.as_bytes());
    world.chat(&chat_body()).expect(200);
    let reply = slow.finish();
    assert!(matches!(reply.status, 0 | 400 | 408), "{} {}", reply.status, reply.text());
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(world.upstream.requests().len(), 1);
}
