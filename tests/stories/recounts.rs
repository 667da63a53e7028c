//! What a provider reports is counted again now and then, and who reports too much is named.

use serde_json::json;

use crate::world::answer::{SAID, honest};
use crate::world::http::Request;
use crate::world::{World, eventually, text};

/// A prompt of some hundred tokens and an answer of few: the answer is too short to tell anything.
fn body(stream: bool) -> serde_json::Value {
    let content = "one two three four five six seven eight nine ten ".repeat(30);
    json!({"model": crate::world::MODEL, "stream": stream, "max_tokens": 400,
        "messages": [{"role": "user", "content": content}]})
}

#[test]
fn who_reports_three_times_what_is_counted_is_named() {
    assert!(SAID.len() < 100);
    let world = World::with("5.00", &["--recount-every", "1"], honest(1_000, 5));
    let admin = world.server.admin_key();
    let counted = || world.server.number("SELECT coalesce(sum(answers), 0) FROM recounts WHERE part = 'prompt'");
    let overview = || world.server.http().send(&Request::get("/v1/admin/overview").key(&admin)).expect(200).json();
    for n in 1..=20 {
        assert_eq!(overview()["attention"]["out_of_line"], json!([]), "{n}");
        world.chat(&body(n % 2 == 0)).expect(200);
        eventually("a count", || counted() == n);
    }
    let named = overview()["attention"]["out_of_line"][0].as_str().unwrap_or_default().to_owned();
    assert!(named.starts_with("up reports 3.") && named.contains("prompt tokens"), "{named}");
    let listed = world.server.ok(&["provider", "list"]);
    assert_eq!(
        (&listed[0]["recounts"][0]["part"], &listed[0]["recounts"][0]["answers"]),
        (&json!("prompt"), &json!(20))
    );
    assert!(world.server.cli_plain(&["provider", "list"]).stdout.contains("prompt 3."));
    assert_eq!(text(&listed[0], "name"), "up");
}

#[test]
fn nothing_is_counted_where_it_is_off() {
    let world = World::with("5.00", &["--recount-every", "0"], honest(1_000, 5));
    for _ in 0..5 {
        world.chat(&body(false)).expect(200);
    }
    world.server.http().get("/health", "").expect(200);
    assert_eq!(world.server.number("SELECT count(*) FROM recounts"), 0);
}
