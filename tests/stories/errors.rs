//! The table of errors, row by row: status, type, code, field and headers, in the envelope of each dialect.

use serde_json::{Value, json};

use crate::world::answer::{Answer, End};
use crate::world::http::{Reply, Request};
use crate::world::upstream::Seen;
use crate::world::{MODEL, World, text};

const MESSAGES: &str = "/v1/messages";
const PATHS: [&str; 4] = ["/v1/chat/completions", "/v1/completions", "/v1/responses", MESSAGES];

const INVALID: &str = "invalid_request_error";
const LIMITED: (&str, &str) = ("rate_limit_error", "rate_limit_exceeded");

/// What an answer says of asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// Nothing: the status says it.
    Unsaid,
    /// `x-should-retry: false`.
    Never,
    /// `Retry-After`, and never `x-should-retry`.
    Later,
    /// Both: not for the whole window of a key's limit, which the answer names.
    NextWindow,
}
use Again::{Later, Never, NextWindow, Unsaid};

/// Checks an answer against its row: status, type, code and field (`""` for none).
fn check(path: &str, what: &str, reply: &Reply, row: (u16, &str, &str, &str), again: Again) {
    let place = format!("{what} on {path}: {:?} {}", reply.head, reply.text());
    let (status, kind, code, param) = row;
    assert_eq!(reply.status, status, "{place}");
    if path.starts_with(MESSAGES) {
        let body = reply.json();
        assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)), "{place}");
        assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{place}");
        let id = reply.header("x-request-id");
        assert!(id.is_some() && body["request_id"].as_str() == id && reply.header("request-id") == id, "{place}");
    } else {
        assert_eq!(reply.error(), (kind.into(), code.into(), param.into()), "{place}");
    }
    let is_final = matches!(again, Never | NextWindow).then_some("false");
    assert_eq!(reply.header("x-should-retry"), is_final, "{place}");
    assert_eq!(reply.header("retry-after").is_some(), matches!(again, Later | NextWindow), "{place}");
    if reply.header("retry-after").is_some() {
        let longest = if again == Later { 300 } else { 31 * 86_400 };
        assert!((1..=longest).contains(&reply.number("retry-after")), "{place}");
    }
    assert_eq!(reply.header("x-ratelimit-reset-spend").is_some(), again == NextWindow, "{place}");
    assert_eq!(reply.header("allow").is_some(), status == 405, "{place}");
}

/// A request of the dialect that says `words`.
fn saying(path: &str, words: &str) -> Value {
    match path {
        "/v1/completions" => json!({"model": MODEL, "max_tokens": 9, "prompt": words}),
        "/v1/responses" => json!({"model": MODEL, "max_output_tokens": 9, "input": words}),
        _ => json!({"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": words}]}),
    }
}

fn with(path: &str, field: &str, value: Value) -> Value {
    let mut body = saying(path, "hello");
    body[field] = value;
    body
}

fn post(path: &str, key: &str, body: &Value) -> Request {
    Request::post(path).key(key).json(body)
}

/// Does what the prompt says: hangs up, never answers, or answers with a status.
fn obedient(seen: &Seen) -> Answer {
    let said = seen.text();
    let error = json!({"error": {"message": "said so", "type": INVALID, "code": "said_so", "param": "messages"}});
    match said.split("answer ").nth(1).and_then(|rest| rest.get(..3)).and_then(|digits| digits.parse().ok()) {
        Some(status) => Answer::json(status, &error),
        None if said.contains("hang up") => Answer::nothing(End::Fin),
        None => Answer::never(),
    }
}

fn key_of(world: &World, account: &str, flags: &[&str]) -> String {
    text(&world.server.ok(&[&["key", "create", account], flags].concat()), "key")
}

#[test]
fn what_is_wrong_with_a_body() {
    let world = World::with("5.00", &["--body-limit-mib", "1"], obedient);
    let key = &world.payer.key;
    let send = |request: Request| world.server.http().send(&request);
    let bad = |param: &'static str| (400, INVALID, "", param);
    for path in PATHS {
        let content = ["prompt", "input"].into_iter().find(|field| saying(path, "")[*field].is_string());
        let content = content.unwrap_or("messages");
        let raw = |text: &str| Request::post(path).key(key).body(text.as_bytes());
        check(path, "no JSON", &send(raw("{")), bad(""), Unsaid);
        let twice = saying(path, "x").to_string().replacen('{', &format!("{{\"model\":\"{MODEL}\","), 1);
        check(path, "a key twice", &send(raw(&twice)), bad("model"), Unsaid);
        for (field, value) in
            [("n", json!(2)), ("best_of", json!(2)), ("Max_Tokens", json!(9)), ("max_length", json!(8))]
        {
            // Of two names of the bound that disagree, the one that is not the dialect's own is named.
            check(path, field, &send(post(path, key, &with(path, field, value))), bad(field), Unsaid);
        }
        check(path, "no content", &send(post(path, key, &with(path, content, Value::Null))), bad(content), Unsaid);

        let compressed = |coding: &str, body: Vec<u8>| {
            send(Request::post(path).key(key).header("content-encoding", coding).body(body))
        };
        let bomb = super::floods::gzip(&vec![b' '; 2 << 20]);
        check(path, "a bomb", &compressed("gzip", bomb), (413, INVALID, "payload_too_large", ""), Unsaid);
        let large = post(path, key, &saying(path, &"x".repeat(1_100_000)));
        check(path, "a large body", &send(large), (413, INVALID, "payload_too_large", ""), Unsaid);
        let unknown = compressed("lzma", saying(path, "x").to_string().into_bytes());
        check(path, "a coding", &unknown, (415, INVALID, "", "Content-Encoding"), Unsaid);

        let nothing = (404, "not_found_error", "model_not_found", "model");
        check(path, "no model", &send(post(path, key, &with(path, "model", json!("nobody")))), nothing, Unsaid);
        let get = Request::get(path).key(key);
        check(path, "GET", &send(get), (405, INVALID, "", ""), Unsaid);
        let below = send(post(&format!("{path}/nothing"), key, &json!({})));
        check(path, "no path", &below, (404, "not_found_error", "", ""), Unsaid);
    }
    let upgrade = Request::get("/v1/responses").header("connection", "upgrade").header("upgrade", "websocket");
    check("/v1/responses", "a WebSocket", &send(upgrade), (426, INVALID, "", ""), Unsaid);
    assert_eq!(world.upstream.requests().len(), 0);
}

#[test]
fn who_may_ask_for_what() {
    let world = World::new(obedient);
    let send = |request: Request| world.server.http().send(&request);
    let other = key_of(&world, "payer", &["--allow-model", "another"]);
    let manage = key_of(&world, "payer", &["--scope", "manage"]);
    let suspended = world.server.account("suspended");
    world.server.ok(&["account", "suspend", "suspended"]);
    let unknown = format!("sk-db-{}", "0".repeat(world.payer.key.len() - 6));
    for path in PATHS {
        let body = saying(path, "answer 400");
        let wrong = (401, "authentication_error", "invalid_api_key", "");
        check(path, "no key", &send(Request::post(path).json(&body)), wrong, Never);
        for key in ["", "sk-other", &unknown] {
            check(path, "a wrong key", &send(post(path, key, &body)), wrong, Never);
        }
        let two = send(post(path, &world.payer.key, &body).header("x-api-key", &world.owner.key));
        check(path, "two keys", &two, wrong, Never);
        for (what, key) in [("a model", &other), ("a scope", &manage), ("suspended", &suspended.key)] {
            check(path, what, &send(post(path, key, &body)), (403, "permission_error", "", ""), Unsaid);
        }
    }
    assert_eq!(world.upstream.requests().len(), 0);
}

#[test]
fn what_money_limits_and_repeats_refuse() {
    let world = World::with("5.00", &["--queue-timeout", "0"], obedient);
    let send = |request: Request| world.server.http().send(&request);
    let poor = world.server.account("poor");
    let capped = key_of(&world, "payer", &["--limit-usd", "0.000001", "--limit-reset", "monthly"]);
    let spent = key_of(&world, "payer", &["--limit-usd", "0.000001"]);
    for path in PATHS {
        let body = saying(path, "answer 400");
        let funds = (402, "insufficient_funds", "insufficient_quota", "");
        check(path, "no credit", &send(post(path, &poor.key, &body)), funds, Never);
        let cap = (402, "insufficient_quota", "insufficient_quota", "");
        check(path, "a cap of a month", &send(post(path, &capped, &body)), cap, NextWindow);
        check(path, "a cap for good", &send(post(path, &spent, &body)), cap, Never);

        let limited = (429, LIMITED.0, LIMITED.1, "");
        let one = key_of(&world, "payer", &["--rpm-limit", "1"]);
        assert_eq!(send(post(path, &one, &body)).status, 400);
        check(path, "requests a minute", &send(post(path, &one, &body)), limited, Later);
        let one = key_of(&world, "payer", &["--max-concurrent", "1"]);
        let before = world.upstream.requests().len();
        let silent = post(path, &one, &saying(path, "wait"));
        let waiting = world.server.http().open(&silent.clone().header("idempotency-key", path));
        world.upstream.wait_for(before + 1);
        check(path, "requests at once", &send(silent), limited, Later);
        let repeat = |body: &Value| send(post(path, &world.payer.key, body).header("idempotency-key", path));
        check(path, "in flight", &repeat(&saying(path, "wait")), (409, "conflict_error", "", ""), Never);
        check(path, "reused", &repeat(&body), (422, "conflict_error", "", ""), Never);
        waiting.close();
    }
}

#[test]
fn what_servers_did() {
    let mut world = World::unstarted("5.00", obedient);
    world.server.start(&["--first-byte-timeout", "1", "--queue-timeout", "0"]);
    let send = |path: &str, words: &str| world.server.http().send(&post(path, &world.payer.key, &saying(path, words)));
    for path in PATHS {
        for status in [400, 404, 409, 413, 422] {
            let reply = send(path, &format!("answer {status}"));
            check(path, "a refusal", &reply, (status, INVALID, "said_so", "messages"), Unsaid);
        }
        let failed = |status| (status, "provider_error", "", "");
        check(path, "500", &send(path, "answer 500"), failed(502), Unsaid);
        check(path, "401", &send(path, "answer 401"), failed(502), Unsaid);
        check(path, "a hang-up", &send(path, "hang up"), failed(502), Unsaid);
        check(path, "a timeout", &send(path, "wait"), failed(504), Never);
        check(path, "429", &send(path, "answer 429"), (429, LIMITED.0, LIMITED.1, ""), Later);
        check(path, "503", &send(path, "answer 503"), (503, "service_unavailable", "", ""), Later);
        check(path, "529", &send(path, "answer 529"), (529, "overloaded_error", "", ""), Later);
    }
    // Two that fail alike: the request is at fault.
    world.server.provider("twin", &world.upstream.url(), &world.owner, &[]);
    for path in PATHS {
        check(path, "500 twice", &send(path, "answer 500 twice"), (502, "provider_error", "", ""), Never);
    }
}

#[test]
fn nobody_is_up() {
    let mut world = World::unstarted("5.00", obedient);
    world.server.ok(&["provider", "remove", "up"]);
    let place = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", place.local_addr().unwrap());
    drop(place);
    world.server.provider("gone", &url, &world.owner, &[]);
    world.server.start(&[]);
    let send = |path: &str, words: &str| world.server.http().send(&post(path, &world.payer.key, &saying(path, words)));
    for words in ["one", "two", "three"] {
        check(PATHS[0], "refused", &send(PATHS[0], words), (502, "provider_error", "", ""), Unsaid);
    }
    for path in PATHS {
        check(path, "down", &send(path, "four"), (503, "service_unavailable", "", ""), Later);
    }
}
