//! Bodies before they are anybody's request: who may send one, and how much all of them may take.

use serde_json::{Value, json};

use crate::world::answer::{Answer, Gate, Step, completion, honest, usage};
use crate::world::http::{Conn, Request};
use crate::world::{Account, World, chat_body, text};

/// A body of so many bytes.
fn long_body(bytes: usize) -> Value {
    let mut body = chat_body();
    body["x"] = "x".repeat(bytes).into();
    body
}

/// A request of which only the head and a few bytes of a megabyte are sent.
fn unfinished(world: &World, key: &str, sent: usize) -> Conn {
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: 1040000\r\n\r\n"
    );
    let mut conn = world.server.http().connect();
    conn.write(head.as_bytes());
    conn.write("{\"model\":\"".as_bytes());
    conn.write(" ".repeat(sent).as_bytes());
    conn
}

#[test]
fn a_body_is_waited_for_only_from_who_may_send_it() {
    let world = World::new(honest(10, 5));
    let key = |more: &[&str]| text(&world.server.ok(&[&["key", "create", "payer"], more].concat()), "key");
    let poor = world.server.account("poor");
    let status = |key: &str| unfinished(&world, key, 10).head();
    let broke = status(&poor.key);
    assert_eq!((broke.status, broke.header("x-should-retry")), (402, Some("false")));
    assert_eq!(status("sk-db-nonsense").status, 401);
    assert_eq!(status(&key(&["--limit-usd", "0"])).status, 402);
    let slow = key(&["--rpm-limit", "1"]);
    world.server.http().send(&Request::post("/v1/chat/completions").key(&slow).json(&chat_body())).expect(200);
    assert_eq!(status(&slow).status, 429);
    let single = key(&["--max-concurrent", "1"]);
    let gate = Gate::default();
    let held = gate.clone();
    world.upstream.script(move |_| Answer::chat(usage(10, 5)).after(Step::Gate(held.clone())));
    let running = world.server.http().open(&Request::post("/v1/chat/completions").key(&single).json(&chat_body()));
    world.upstream.wait_for(2);
    assert_eq!(status(&single).status, 429);
    gate.open();
    running.finish().expect(200);
    // Where something is free, it may be what the body asks for.
    world.upstream.script(honest(10, 5));
    world.server.ok(&["price", "set", &text(&chat_body(), "model"), "--input", "0", "--output", "0"]);
    let body = chat_body().to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
        poor.key,
        body.len()
    );
    let mut conn = world.server.http().connect();
    conn.write(head.as_bytes());
    conn.write(&body.as_bytes()[..20]);
    std::thread::sleep(std::time::Duration::from_millis(50));
    conn.write(&body.as_bytes()[20..]);
    conn.finish().expect(200);
}

#[test]
fn bodies_have_a_budget_until_their_requests_end() {
    let world = World::with("5.00", &["--body-limit-mib", "1", "--body-budget-mib", "4"], honest(10, 5));
    let other = world.server.account("other");
    world.server.ok(&["credit", &other.id, "5.00"]);
    let gate = Gate::default();
    let held = gate.clone();
    world.upstream.script(move |_| Answer::json(200, &completion(usage(10, 5))).after(Step::Gate(held.clone())));
    let post = |who: &Account| Request::post("/v1/chat/completions").key(&who.key).json(&long_body(1_000_000));
    let open = |who: &Account| world.server.http().open(&post(who));
    // Two of them are half of the budget, which is all that one account gets.
    let mut running = vec![open(&world.payer), open(&world.payer)];
    world.upstream.wait_for(2);
    let refused = open(&world.payer).finish().expect(503);
    assert!((1..=10).contains(&refused.number("retry-after")), "{:?}", refused.head);
    assert_eq!(refused.error().0, "service_unavailable");
    running.extend([open(&other), open(&other)]);
    world.upstream.wait_for(4);
    // Small bodies find room beside them.
    let small = world.server.http().open(&world.request(&chat_body()));
    world.upstream.wait_for(5);
    gate.open();
    for conn in running {
        conn.finish().expect(200);
    }
    small.finish().expect(200);
    crate::world::eventually("the bytes to be given back", || open(&world.payer).finish().status == 200);
}

#[test]
fn who_dawdles_makes_room_under_pressure() {
    let limits = ["--body-limit-mib", "1", "--body-budget-mib", "4", "--body-timeout", "1"];
    let world = World::with("5.00", &limits, honest(10, 5));
    let other = world.server.account("other");
    world.server.ok(&["credit", &other.id, "5.00"]);
    // At 16 KiB a second each could take a minute, but these are more than half of the budget.
    let (said, heard) = std::sync::mpsc::channel();
    for who in [&world.payer, &world.payer, &other] {
        let (mut conn, said) = (unfinished(&world, &who.key, 1_000_000), said.clone());
        std::thread::spawn(move || said.send(conn.head().status));
    }
    assert_eq!(heard.recv_timeout(std::time::Duration::from_secs(50)), Ok(408));
    assert_eq!(world.rows(), Vec::<Value>::new());
    assert_eq!(json!(world.upstream.requests().len()), 0);
}

#[test]
fn a_compressed_body_is_the_body_it_was() {
    let world = World::with("5.00", &["--body-limit-mib", "1"], honest(10, 5));
    let post = |path: &str, coding: &str, body: Vec<u8>| {
        let request = Request::post(path).key(&world.payer.key).header("content-type", "application/json");
        world.server.http().send(&request.header("content-encoding", coding).body(body))
    };
    let chat = |coding: &str, body: &[u8]| post("/v1/chat/completions", coding, body.to_vec());
    let body = chat_body().to_string().into_bytes();
    chat("gzip", &gzip(&body)).expect(200);
    let seen = world.upstream.last();
    assert_eq!((seen.header("content-encoding"), text(&seen.json(), "model")), (None, text(&chat_body(), "model")));
    chat("zstd", &ruzstd::encoding::compress_to_vec(&body[..], ruzstd::encoding::CompressionLevel::Fastest))
        .expect(200);
    chat("gzip, gzip", &gzip(&gzip(&body))).expect(200);
    chat("gzip", &body).expect(200);
    // Wherever a body is read.
    let mut quote = chat_body();
    quote["endpoint"] = json!("/v1/chat/completions");
    post("/v1/payments/quote", "gzip", gzip(quote.to_string().as_bytes())).expect(200);
    assert_eq!(post("/v1/invite/redeem", "gzip", gzip(b"{\"code\":\"\"}")).error().2, "code");
    let unknown = chat("snappy", &body).expect(415);
    assert!(unknown.text().contains("snappy"), "{}", unknown.text());
    let whole = gzip(&body);
    assert_eq!(chat("gzip", &whole[..whole.len() - 1]).status, 400);
    // A bomb: a kibibyte for a mebibyte and more.
    assert_eq!(chat("gzip", &gzip(&vec![b' '; 2 << 20])).error().1, "payload_too_large");
    assert_eq!(world.rows().len(), 4);
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
