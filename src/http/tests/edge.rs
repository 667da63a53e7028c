//! What callers get wrong, or do differently, before any handler sees their request.

use std::collections::BTreeMap;

use actix_web::http::Method;
use actix_web::test::TestRequest;
use serde_json::{Value, json};

use crate::domain::key_limits::KeyLimits;
use crate::domain::keys::LimitReset;
use crate::domain::money::MicroUsd;
use crate::http::ROUTES;
use crate::http::testing::{Bench, MODEL, call, call_with, chat};

/// A path with something in place of its parameters.
fn filled(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/")
}

#[actix_web::test]
async fn a_wrong_method_is_405_and_names_the_right_ones() {
    let bench = Bench::new();
    let app = bench.app().await;
    let mut methods: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for route in ROUTES {
        methods.entry(route.path).or_default().push(route.method.to_uppercase());
    }
    for (template, known) in &methods {
        let path = filled(template);
        let options = call(&app, &format!("OPTIONS {path}"), "", Value::Null).await;
        assert_eq!((options.status, options.text.as_str()), (204, ""), "{path}");
        let allow: Vec<String> = options.header("allow").split(", ").map(str::to_owned).collect();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "TRACE", "PROPFIND"] {
            let reply = call(&app, &format!("{method} {path}"), "", Value::Null).await;
            let is_known = known.iter().any(|m| m == method || (m == "GET" && method == "HEAD"));
            assert_eq!(allow.iter().any(|m| m == method), is_known, "{method} {path}: {allow:?}");
            assert_eq!(reply.status != 405, is_known, "{method} {path}: {}", reply.status);
            if is_known || method == "HEAD" {
                continue;
            }
            assert_eq!(reply.header("allow"), options.header("allow"), "{method} {path}");
            assert_eq!(reply.json["error"]["type"], "invalid_request_error", "{method} {path}");
            let said = reply.json["error"]["message"].as_str().unwrap();
            assert!(said.contains(method) && said.contains(&path) && said.contains("not implemented"), "{said}");
            let is_anthropic = path == "/v1/messages" || path.starts_with("/v1/messages/");
            assert_eq!(reply.json["type"] == "error", is_anthropic, "{method} {path}: {}", reply.text);
            assert_eq!(reply.header("request-id") == reply.header("x-request-id"), is_anthropic, "{method} {path}");
        }
    }
    for page in ["/", "/admin", "/docs"] {
        let reply = call(&app, &format!("POST {page}"), "", Value::Null).await;
        assert_eq!((reply.status, reply.header("allow")), (405, "GET, HEAD, OPTIONS"), "{page}");
    }
}

#[actix_web::test]
async fn head_is_get_without_the_body() {
    let bench = Bench::new();
    let account = bench.account("a", 5_000_000);
    let key = bench.key(account, "inference manage", KeyLimits::default());
    let app = bench.app().await;
    for path in ["/health", "/v1/pricing", "/v1/models", "/v1/payments/balance", "/v1/payments/usage?format=csv", "/"] {
        let get = call(&app, &format!("GET {path}"), &key, Value::Null).await;
        let head = call(&app, &format!("HEAD {path}"), &key, Value::Null).await;
        assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
    for (path, status) in [("/v1/payments/balance", 401), ("/v1/nothing", 404), ("/v1/chat/completions", 405)] {
        let head = call(&app, &format!("HEAD {path}"), "", Value::Null).await;
        assert_eq!((head.status, head.text.as_str()), (status, ""), "{path}");
    }
}

#[actix_web::test]
async fn a_wrong_base_url_is_told_the_right_one() {
    let bench = Bench::new();
    let app = bench.app().await;
    let rows = [
        ("/chat/completions", "http://llm.example:81/v1", false),
        ("/v1/v1/chat/completions/", "http://llm.example:81/v1", false),
        ("/openai/deployments/gpt/chat/completions?api-version=1", "http://llm.example:81/v1", false),
        ("/api/chat", "http://llm.example:81/v1", false),
        ("/v1/v1/messages", "http://llm.example:81 (without /v1)", true),
        ("/messages/", "http://llm.example:81 (without /v1)", true),
        ("/payments/balance", "http://llm.example:81/v1/payments/balance", false),
    ];
    for (path, says, is_anthropic) in rows {
        let line = format!("POST {path}");
        let reply = call_with(&app, &line, "", json!({}), &[("host", "llm.example:81")]).await;
        assert_eq!(reply.status, 404, "{path}");
        let said = reply.json["error"]["message"].as_str().unwrap_or_default();
        assert!(said.contains(says) && said.contains("POST"), "{path}: {said}");
        assert_eq!(reply.json["type"] == "error", is_anthropic, "{path}");
        assert_eq!(is_anthropic, reply.json["request_id"].is_string(), "{path}: {}", reply.text);
    }
    let long = format!("/{}/chat/completions", "a".repeat(1_500));
    let reply = call_with(&app, &format!("POST {long}"), "", json!({}), &[("host", "<b>.example")]).await;
    assert!(reply.text.len() < 600 && reply.text.contains("http://HOST/v1"), "{}", reply.text);
}

#[actix_web::test]
async fn pages_of_any_origin_are_served_with_a_key() {
    let bench = Bench::new();
    let account = bench.account("a", 5_000_000);
    let key = bench.key(account, "inference", KeyLimits::default());
    let app = bench.app().await;
    for origin in
        ["https://chat.example", "null", "chrome-extension://abcdef", "app://obsidian.md", "http://localhost:3000"]
    {
        let from = [("origin", origin), ("host", "127.0.0.1:8080")];
        let reply = call_with(&app, "POST /v1/chat/completions", &key, chat(1), &from).await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, origin), "{}", reply.text);
        assert!(reply.header("access-control-expose-headers").contains("x-cost-micro-usd"));
        assert!(reply.header("vary").contains("Origin"));
        // What fails is readable too, or the page is told nothing but "network error".
        for (line, key, status) in
            [("GET /v1/models", "", 401), ("GET /v1/nothing", "", 404), ("PUT /v1/models", "", 405)]
        {
            let reply = call_with(&app, line, key, Value::Null, &from).await;
            assert_eq!((reply.status, reply.header("access-control-allow-origin")), (status, origin), "{line}");
        }
        let asks =
            [from[0], from[1], ("access-control-request-method", "PATCH"), ("access-control-request-headers", "x-a")];
        let preflight = call_with(&app, "OPTIONS /v1/keys/x", "", Value::Null, &asks).await;
        assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, origin));
        assert_eq!(preflight.header("access-control-allow-methods"), "PATCH");
        assert_eq!(preflight.header("access-control-allow-headers"), "x-a");
        // A session's cookie is no key.
        let cookie = [from[0], from[1], ("cookie", "coordinator=x")];
        let reply = call_with(&app, "GET /v1/admin/session", "", Value::Null, &cookie).await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (403, ""), "{origin}");
    }
}

#[actix_web::test]
async fn a_websocket_is_426_where_sdks_try_one() {
    let bench = Bench::new();
    let app = bench.app().await;
    let upgrade = [("connection", "Upgrade"), ("upgrade", "websocket")];
    for (line, status) in [
        ("GET /v1/responses", 426),
        ("POST /v1/responses", 426),
        ("POST /v1/chat/completions", 426),
        ("GET /health", 200),
        ("GET /v1/chat/completions", 405),
    ] {
        let reply = call_with(&app, line, "", Value::Null, &upgrade).await;
        assert_eq!(reply.status, status, "{line}: {}", reply.text);
        assert_eq!(reply.header("upgrade") == "HTTP/1.1", status == 426, "{line}");
    }
    let reply = call_with(&app, "GET /v1/responses", "", Value::Null, &[("upgrade", "websocket")]).await;
    assert_eq!(reply.status, 405, "without Connection it asks for nothing: {}", reply.text);
}

#[actix_web::test]
async fn of_two_credentials_ours_counts() {
    let bench = Bench::new();
    let (one, other) = (bench.account("a", 5_000_000), bench.account("b", 5_000_000));
    let (key, foreign) =
        (bench.key(one, "inference", KeyLimits::default()), bench.key(other, "inference", KeyLimits::default()));
    let app = bench.app().await;
    let login = [("x-api-key", "sk-ant-oat01-a-stored-login")];
    let balance = "GET /v1/payments/balance";
    assert_eq!(call_with(&app, balance, &key, Value::Null, &login).await.status, 200);
    assert_eq!(call_with(&app, balance, "a-stored-login", Value::Null, &[("x-api-key", &key)]).await.status, 200);
    let both = call_with(&app, balance, &key, Value::Null, &[("x-api-key", &foreign)]).await;
    assert_eq!((both.status, both.header("x-should-retry")), (401, "false"), "{}", both.text);
    assert!(both.text.contains("Authorization") && both.text.contains("x-api-key"), "{}", both.text);
    let none = call_with(&app, balance, "a-stored-login", Value::Null, &login).await;
    assert_eq!((none.status, none.header("x-should-retry")), (401, "false"), "{}", none.text);
}

#[actix_web::test]
async fn a_key_at_its_limit_is_told_when_it_begins_anew() {
    let bench = Bench::new();
    let account = bench.account("a", 5_000_000);
    let app = bench.app().await;
    for (reset, says, waits) in
        [(LimitReset::Daily, "anew at 20", true), (LimitReset::None, "does not begin anew", false)]
    {
        let limits = KeyLimits { spend: Some(MicroUsd::new(1)), reset, ..KeyLimits::default() };
        let key = bench.key(account, "inference", limits);
        for path in ["/v1/chat/completions", "/v1/messages"] {
            let reply = call(&app, &format!("POST {path}"), &key, chat(1_000)).await;
            assert_eq!((reply.status, reply.header("x-should-retry")), (402, "false"), "{}", reply.text);
            assert!(reply.text.contains(says), "{}", reply.text);
            let wait = reply.header("retry-after").parse::<u64>().ok();
            assert_eq!(wait.is_some(), waits, "{}", reply.text);
            assert!(wait.is_none_or(|wait| (1..=86_400).contains(&wait)), "{wait:?}");
            let expected = wait.map(|wait| format!("{wait}s")).unwrap_or_default();
            assert_eq!(reply.header("x-ratelimit-reset-spend"), expected);
        }
    }
    let key = bench.key(account, "inference", KeyLimits { rpm: Some(1), ..KeyLimits::default() });
    call(&app, "POST /v1/chat/completions", &key, chat(1)).await;
    let reply = call(&app, "POST /v1/chat/completions", &key, chat(1)).await;
    assert_eq!((reply.status, reply.header("x-should-retry")), (429, ""), "{}", reply.text);
    let wait = reply.header("retry-after").to_owned();
    assert!(reply.text.contains(&format!("anew in {wait} s")), "{wait}: {}", reply.text);
}

#[actix_web::test]
async fn on_messages_the_id_has_both_names() {
    let bench = Bench::new();
    let account = bench.account("a", 5_000_000);
    let key = bench.key(account, "inference", KeyLimits::default());
    let app = bench.app().await;
    let body = json!({"model": MODEL, "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]});
    for (path, key, status) in [
        ("/v1/messages", key.as_str(), 200),
        ("/v1/messages/count_tokens", key.as_str(), 200),
        ("/v1/messages", "", 401),
        ("/v1/messages/batches", "", 404),
    ] {
        let reply = call(&app, &format!("POST {path}"), key, body.clone()).await;
        assert_eq!(reply.status, status, "{}", reply.text);
        assert!(reply.header("request-id").starts_with("req_"), "{path}");
        assert_eq!(reply.header("request-id"), reply.header("x-request-id"), "{path}");
        if status != 200 {
            assert_eq!(reply.json["request_id"], reply.header("request-id"), "{path}");
        }
    }
    let reply = call(&app, "POST /v1/chat/completions", &key, chat(1)).await;
    assert_eq!((reply.status, reply.header("request-id")), (200, ""));
}

#[test]
fn a_request_of_a_test_has_no_origin_of_its_own() {
    // The rows above would prove nothing if it had.
    let request = TestRequest::with_uri("/").method(Method::GET).to_http_request();
    assert!(!request.headers().contains_key("origin") && !request.headers().contains_key("connection"));
}
