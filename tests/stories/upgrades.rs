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
