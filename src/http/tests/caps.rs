//! Caps hold, whatever comes at once.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::domain::key_limits::KeyLimits;
use crate::domain::money::MicroUsd;
use crate::http::testing::{Bench, call, chat};

#[actix_web::test]
async fn a_spend_cap_is_never_exceeded_by_requests_at_once() {
    let bench = Bench::new();
    // 100 output tokens cost 1,000 micro-USD: ten of the hundred requests fit.
    bench.price(0, 10_000_000);
    let account = bench.account("a", 5_000_000);
    let cap = KeyLimits { spend: Some(MicroUsd::new(10_000)), ..KeyLimits::default() };
    let key = bench.key(account, "inference", cap);
    let app = bench.app().await;
    let replies = join_all((0..100).map(|_| call(&app, "POST /v1/chat/completions", &key, chat(100)))).await;
    let (served, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
    for reply in &refused {
        assert_eq!((reply.status, reply.header("x-should-retry")), (402, "false"), "{}", reply.text);
        assert_eq!(reply.json["error"]["type"], "insufficient_quota");
    }
    let charged: i64 = served.iter().map(|reply| reply.header("x-cost-micro-usd").parse::<i64>().unwrap()).sum();
    assert!((1..=10_000).contains(&charged), "{charged}");
    let own = call(&app, "GET /v1/key", &key, Value::Null).await;
    assert_eq!((own.micro("spent_micro_usd"), own.micro("remaining_micro_usd")), (charged, 10_000 - charged));
    assert_eq!(own.micro("held_micro_usd"), 0);
    // What is left is used to the last token, and then nothing more.
    while call(&app, "POST /v1/chat/completions", &key, chat(100)).await.status == 200 {}
    let balance = call(&app, "GET /v1/payments/balance", &key, Value::Null).await;
    assert_eq!(balance.micro("balance_micro_usd"), 5_000_000 - 10_000);
    bench.audit();
}

#[actix_web::test]
async fn requests_a_minute_and_at_once_are_bounded() {
    let bench = Bench::new();
    let account = bench.account("a", 5_000_000);
    let key = bench.key(account, "inference", KeyLimits { rpm: Some(2), ..KeyLimits::default() });
    let app = bench.app().await;
    for left in ["1", "0"] {
        let reply = call(&app, "POST /v1/chat/completions", &key, chat(1)).await;
        assert_eq!((reply.status, reply.header("x-ratelimit-remaining-requests")), (200, left), "{}", reply.text);
    }
    let full = call(&app, "POST /v1/chat/completions", &key, chat(1)).await;
    assert_eq!((full.status, full.json["error"]["code"].as_str()), (429, Some("rate_limit_exceeded")));
    assert_eq!((full.header("x-ratelimit-limit-requests"), full.header("x-ratelimit-remaining-requests")), ("2", "0"));
    let wait: u64 = full.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait) && full.header("x-ratelimit-reset-requests") == format!("{wait}s"));

    let key = bench.key(account, "inference", KeyLimits { max_concurrent: Some(1), ..KeyLimits::default() });
    let replies = join_all((0..10).map(|_| call(&app, "POST /v1/chat/completions", &key, chat(50)))).await;
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
    assert!(replies.iter().all(|reply| reply.status == 200 || !reply.header("retry-after").is_empty()));
    bench.audit();
}

#[actix_web::test]
async fn a_cap_counts_what_was_in_flight_when_it_came() {
    let bench = Bench::new();
    bench.price(0, 10_000_000);
    let account = bench.account("a", 5_000_000);
    let manage = bench.key(account, "manage", KeyLimits::default());
    let key = bench.key(account, "inference", KeyLimits::default());
    let app = bench.app().await;
    let own = || call(&app, "GET /v1/key", &key, Value::Null);
    let id = own().await.str("id").to_owned();
    let slow = async {
        let mut body = chat(100);
        body["demo_delay_ms"] = 10.into();
        call(&app, "POST /v1/chat/completions", &key, body).await
    };
    let capped = async {
        while own().await.micro("held_micro_usd") == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        call(&app, &format!("PATCH /v1/keys/{id}"), &manage, json!({"limit_usd": "0.001"})).await
    };
    let (ran, capped) = tokio::join!(slow, capped);
    assert_eq!((ran.status, capped.status), (200, 200));
    assert_eq!(own().await.micro("spent_micro_usd"), 1_000);
    assert_eq!(call(&app, "POST /v1/chat/completions", &key, chat(1)).await.status, 402);
}
