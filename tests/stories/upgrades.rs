//! `Upgrade`: what cannot be had is refused or ignored, and no body is lost over it.

use crate::world::answer::honest;
use crate::world::{World, chat_body};

/// What every stock Java client sends with its first requests over plain HTTP.
const H2C: &str = "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n\
                   Upgrade: h2c\r\n";

#[test]
fn an_upgrade_to_http_2_is_ignored_and_the_body_read() {
    let world = World::new(honest(10, 5));
    let body = chat_body().to_string();
    let head = format!("authorization: Bearer {}\r\ncontent-type: application/json\r\n", world.payer.key);
    let (one, two) = body.split_at(50);
    let length = format!("{H2C}content-length: {}\r\n", body.len());
    let chunked = format!("{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len());
    let rows = [
        (length.clone(), body.clone()),
        (format!("content-length: {}\r\n{H2C}", body.len()), body.clone()),
        (format!("{H2C}transfer-encoding: chunked\r\n"), chunked),
        (format!("{length}expect: 100-continue\r\n"), body.clone()),
    ];
    let count = rows.len();
    for (headers, body) in rows {
        let wire = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{head}{headers}\r\n{body}");
        let reply = world.server.http().raw(wire.as_bytes()).expect(200);
        assert_eq!(reply.header("upgrade"), None);
        assert!(!reply.header("connection").unwrap_or_default().contains("upgrade"), "{:?}", reply.head);
    }
    assert_eq!(world.rows().len(), count);
}

#[test]
fn the_connection_is_kept_after_an_upgrade_to_http_2_was_ignored() {
    let world = World::new(honest(10, 5));
    let body = chat_body().to_string();
    let wire = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n{H2C}content-length: {}\r\n\r\n{body}",
        world.payer.key,
        body.len()
    );
    let mut conn = world.server.http().connect();
    for turn in 1..=3 {
        conn.write(wire.as_bytes());
        let reply = conn.exchange().expect(200);
        assert!(reply.whole && reply.header("connection").is_none(), "{turn}: {:?}", reply.head);
    }
    assert_eq!(world.rows().len(), 3);
}

#[test]
fn a_websocket_is_refused_and_not_waited_for() {
    let world = World::new(honest(10, 5));
    let websocket = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n";
    for method in ["GET", "POST"] {
        let wire = format!("{method} /v1/responses HTTP/1.1\r\nhost: x\r\n{websocket}\r\n");
        let reply = world.server.http().raw(wire.as_bytes()).expect(426);
        assert_eq!(reply.error().0, "invalid_request_error");
    }
}
