//! What a key may spend, and how fast: hard limits, whatever comes at once.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::world::answer::honest;
use crate::world::http::{Reply, Request};
use crate::world::{World, chat_body, micro, text};

fn chat_with(world: &World, key: &str, body: &Value) -> Reply {
    world.server.http().send(&Request::post("/v1/chat/completions").key(key).json(body))
}

/// Sends it so many times at once.
fn at_once(world: &World, key: &str, body: &Value, times: usize) -> Vec<Reply> {
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..times).map(|_| scope.spawn(|| chat_with(world, key, body))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

fn own(world: &World, key: &str) -> Value {
    world.server.http().get("/v1/key", key).expect(200).json()
}

#[test]
fn a_hundred_at_once_on_a_cap_of_one_cent() {
    let mut world = World::unstarted("5.00", honest(1_000_000, 1_000_000));
    // Every request uses all it may: 1,000 output tokens are 1,000 micro-USD, and a prompt costs nothing.
    world.server.ok(&["price", "set", "flat", "--input", "0", "--output", "1"]);
    let url = world.upstream.url();
    world.server.ok(&["provider", "add", "flat", "--url", &url, "--account", "owner", "--model", "flat"]);
    let key = text(&world.server.ok(&["key", "create", "payer", "--limit-usd", "0.01"]), "key");
    world.server.start(&[]);
    let body = json!({"model": "flat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1_000});
    let replies = at_once(&world, &key, &body, 100);
    let mut by_status = BTreeMap::<u16, u32>::new();
    for reply in &replies {
        *by_status.entry(reply.status).or_default() += 1;
        if reply.status != 200 {
            let error = reply.error();
            assert_eq!((reply.status, error.0.as_str()), (402, "insufficient_quota"), "{}", reply.text());
            assert_eq!(reply.header("x-should-retry"), Some("false"));
        }
    }
    world.wait_released();
    let spent: i64 = world.rows().iter().map(|row| micro(row, "charged_micro_usd")).sum();
    assert_eq!((spent, by_status.get(&200)), (10_000, Some(&10)), "{by_status:?}");
    let standing = own(&world, &key);
    assert_eq!((micro(&standing, "spent_micro_usd"), micro(&standing, "remaining_micro_usd")), (10_000, 0));
    // Rotating it, or asking with another window, is no way around the cap.
    let manage = text(&world.server.ok(&["key", "create", "payer", "--scope", "manage"]), "key");
    let path = format!("/v1/keys/{}", text(&standing, "id"));
    let rotated = world.server.http().send(&Request::post(&format!("{path}/rotate")).key(&manage)).expect(200).json();
    assert_eq!(chat_with(&world, &key, &body).expect(401).error().1, "invalid_api_key");
    chat_with(&world, &text(&rotated, "key"), &body).expect(402);
    let patch = Request::new("PATCH", &path).key(&manage).json(&json!({"limit_reset": "daily"}));
    world.server.http().send(&patch).expect(200);
    chat_with(&world, &text(&rotated, "key"), &body).expect(402);
    // More of it is.
    let patch = Request::new("PATCH", &path).key(&manage).json(&json!({"limit_usd": "0.011"}));
    world.server.http().send(&patch).expect(200);
    chat_with(&world, &text(&rotated, "key"), &body).expect(200);
    chat_with(&world, &text(&rotated, "key"), &body).expect(402);
}

#[test]
fn requests_a_minute_say_where_they_stand() {
    let world = World::new(honest(10, 5));
    let key = text(&world.server.ok(&["key", "create", "payer", "--rpm-limit", "5"]), "key");
    let replies = at_once(&world, &key, &chat_body(), 20);
    let (served, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
    assert_eq!(served.len(), 5);
    let mut left: Vec<i64> = served.iter().map(|reply| reply.number("x-ratelimit-remaining-requests")).collect();
    left.sort_unstable();
    assert_eq!(left, [0, 1, 2, 3, 4]);
    for reply in refused {
        assert_eq!((reply.status, reply.error().1.as_str()), (429, "rate_limit_exceeded"), "{}", reply.text());
        let standing = [reply.number("x-ratelimit-limit-requests"), reply.number("x-ratelimit-remaining-requests")];
        assert!(standing == [5, 0] && (1..=60).contains(&reply.number("retry-after")), "{:?}", reply.head);
        assert!(reply.header("x-ratelimit-reset-requests").is_some_and(|reset| reset.ends_with('s')));
    }
    assert_eq!(world.rows().len(), 5);
}
