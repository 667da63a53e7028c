//! Bodies before they are anybody's request: who may send one, and how much all of them may take.

use serde_json::{Value, json};

use crate::world::answer::{
    Answer, End, Gate, STREAM_HEAD, Step, chunk, completion, honest, http_chunk, usage, usage_chunk,
};
use crate::world::http::{Conn, Request};
use crate::world::{Account, World, chat_body, stream_body, text};

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
    let world = World::with("5.00", &["--queue-timeout", "0"], honest(10, 5));
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
    // Another one gets half of what is left, so that there is room for the next, however many came before.
    running.push(open(&other));
    world.upstream.wait_for(3);
    open(&other).finish().expect(503);
    let next = world.server.account("next");
    world.server.ok(&["credit", &next.id, "5.00"]);
    let small = Request::post("/v1/chat/completions").key(&next.key).json(&long_body(500_000));
    let small = world.server.http().open(&small);
    world.upstream.wait_for(4);
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
        let (mut conn, said) = (unfinished(&world, &who.key, 750_000), said.clone());
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

/// A completion whose text has so many bytes.
fn long_completion(bytes: usize) -> Answer {
    let mut body = completion(usage(10, 5));
    body["choices"][0]["message"]["content"] = "y".repeat(bytes).into();
    Answer::json(200, &body)
}

#[test]
fn large_answers_have_a_budget_and_small_ones_pass() {
    // One account gets half of it, which is one of the largest answers.
    let world = World::with("5.00", &["--answer-budget-mib", "128", "--write-timeout", "3600"], honest(10, 5));
    world.upstream.script(|_| long_completion((64 << 20) - (64 << 10)));
    let mut unread = world.open(&chat_body());
    assert_eq!(unread.head().status, 200);
    world.upstream.script(|_| long_completion(1 << 20));
    let refused = world.chat(&chat_body()).expect(503);
    assert!((1..=10).contains(&refused.number("retry-after")), "{:?}", refused.head);
    world.upstream.script(|_| long_completion(10_000));
    world.chat(&chat_body()).expect(200);
    // An end that is held back and finds no room goes out before the rest, and is paid for all the same.
    let gate = Gate::default();
    let held = gate.clone();
    world.upstream.script(move |_| {
        let event = |data: &Value| format!("data: {data}\n\n");
        let mut last = usage_chunk(&usage(10, 5));
        last["padding"] = "z".repeat(150_000).into();
        let text = event(&chunk(&json!({"content": "hi"}), &json!("stop"))) + &event(&last);
        let mut answer = Answer::raw([STREAM_HEAD.as_bytes(), &http_chunk(&text)].concat(), End::KeepAlive);
        answer.steps.push(Step::Gate(held.clone()));
        answer.steps.push(Step::Send([http_chunk("data: [DONE]\n\n"), b"0\r\n\r\n".to_vec()].concat()));
        answer
    });
    let mut stream = world.open(&stream_body(true));
    stream.head();
    stream.read_until("\"padding\"");
    assert_eq!(world.rows().len(), 2, "the refused one is no row");
    gate.open();
    let reply = stream.finish();
    assert!(reply.text().ends_with("data: [DONE]\n\n"), "{:?}", reply.text().len());
    assert!(unread.finish().whole);
    assert_eq!(world.wait_rows(3).len(), 3);
    world.upstream.script(|_| long_completion(20 << 20));
    world.chat(&chat_body()).expect(200);
    assert_eq!(world.server.number("select flagged from providers"), 0);
    assert_eq!(world.server.audit()["ok"], true);
}

#[test]
fn a_large_body_goes_on_as_it_came_but_for_its_edits() {
    let world = World::new(honest(10, 5));
    let mut body = long_body(5 << 20);
    body["messages"][0]["content"] = "w".repeat(100_000).into();
    world.chat(&body).expect(200);
    let seen = world.upstream.last();
    assert_eq!(seen.header("transfer-encoding"), None);
    let mut sent = seen.json();
    assert!(sent["max_tokens"].is_u64());
    // What the edits wrote.
    for field in ["model", "max_tokens", "max_completion_tokens"] {
        let was = body.get(field).cloned();
        match was {
            Some(was) => sent[field] = was,
            None => drop(sent.as_object_mut().unwrap().remove(field)),
        }
    }
    assert!(sent == body, "another body arrived");
}

#[test]
fn a_refused_body_without_an_announced_length_ends_its_connection() {
    let world = World::new(honest(10, 5));
    for path in ["/v1/chat/completions", "/v1/nowhere", "/v1/keys"] {
        let mut conn = world.server.http().connect();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer no\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        conn.write(head.as_bytes());
        conn.write(b"5\r\n{\"x\":\r\n");
        let reply = conn.finish();
        assert!(reply.status >= 400 && reply.header("connection") == Some("close"), "{path}: {:?}", reply.head);
    }
    // One that was read to its end keeps it.
    let body = chat_body().to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        world.payer.key,
        body.len()
    );
    let mut conn = world.server.http().connect();
    for _ in 0..2 {
        conn.write(head.as_bytes());
        conn.exchange().expect(200);
    }
}
