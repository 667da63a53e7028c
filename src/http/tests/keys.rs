//! Keys: made, changed, rotated, revoked, and nobody else's.

use serde_json::{Value, json};

use crate::domain::key_limits::KeyLimits;
use crate::http::testing::{Bench, MODEL, call, chat};

#[actix_web::test]
async fn a_key_is_made_used_changed_and_revoked() {
    let bench = Bench::new();
    let account = bench.account("a", 5_000_000);
    let manage = bench.key(account, "manage", KeyLimits::default());
    let app = bench.app().await;
    let body = json!({"name": "ci", "limit_usd": "0.50", "limit_reset": "daily", "rpm_limit": 100, "max_concurrent": 2,
                      "allowed_models": [MODEL], "expires_at": "2999-01-01", "scopes": ["inference"]});
    let made = call(&app, "POST /v1/keys", &manage, body).await;
    assert_eq!((made.status, made.header("cache-control")), (201, "no-store"), "{}", made.text);
    assert!(made.text.contains("\"limit_usd\":0.50"), "{}", made.text);
    let (id, key) = (made.str("id").to_owned(), made.str("key").to_owned());
    assert_eq!((made.micro("limit_micro_usd"), made.micro("remaining_micro_usd")), (500_000, 500_000));

    let used = call(&app, "POST /v1/chat/completions", &key, chat(10)).await;
    assert_eq!(used.status, 200, "{}", used.text);
    let cost: i64 = used.header("x-cost-micro-usd").parse().unwrap();
    let own = call(&app, "GET /v1/key", &key, Value::Null).await;
    assert_eq!((own.str("id"), own.micro("spent_micro_usd"), own.str("name")), (id.as_str(), cost, "ci"));
    assert_eq!((own.json["account"]["name"].as_str(), own.json["key"].as_str()), (Some("a"), None));
    assert!(own.json["last_used_at"].is_string());

    let path = format!("/v1/keys/{id}");
    let changed =
        call(&app, &format!("PATCH {path}"), &manage, json!({"limit_usd": null, "allowed_models": ["other"]})).await;
    assert_eq!((changed.status, changed.json["limit_micro_usd"].clone()), (200, Value::Null), "{}", changed.text);
    assert_eq!((changed.micro("spent_micro_usd"), changed.str("name")), (cost, "ci"));
    assert_eq!(call(&app, "POST /v1/chat/completions", &key, chat(1)).await.status, 403);
    // A cap that comes back knows what was spent before it.
    let body = json!({"limit_usd": 0.01, "limit_reset": "monthly", "allowed_models": null});
    let changed = call(&app, &format!("PATCH {path}"), &manage, body).await;
    assert_eq!((changed.micro("spent_micro_usd"), changed.micro("remaining_micro_usd")), (cost, 10_000 - cost));

    let gone = call(&app, &format!("DELETE {path}"), &manage, Value::Null).await;
    assert!(gone.status == 200 && gone.json["revoked_at"].is_string(), "{}", gone.text);
    assert_eq!(call(&app, "GET /v1/key", &key, Value::Null).await.status, 401);
    for line in [format!("PATCH {path}"), format!("POST {path}/rotate")] {
        assert_eq!(call(&app, &line, &manage, json!({})).await.status, 409, "{line}");
    }
    let list = call(&app, "GET /v1/keys", &manage, Value::Null).await;
    assert_eq!(list.json.as_array().map(Vec::len), Some(2), "{}", list.text);
    assert!(!list.text.contains("sk-db-") && !list.text.contains("argon2"), "no secret is ever listed");
}

#[actix_web::test]
async fn rotating_changes_the_secret_and_nothing_else() {
    let bench = Bench::new();
    let account = bench.account("a", 5_000_000);
    let manage = bench.key(account, "inference manage", KeyLimits::default());
    let app = bench.app().await;
    let made = call(&app, "POST /v1/keys", &manage, json!({"name": "ci", "limit_usd": "0.50"})).await;
    let old = made.str("key").to_owned();
    let path = format!("/v1/keys/{}", made.str("id"));
    let cost: i64 =
        call(&app, "POST /v1/chat/completions", &old, chat(10)).await.header("x-cost-micro-usd").parse().unwrap();
    let rotated = call(&app, &format!("POST {path}/rotate"), &manage, Value::Null).await;
    assert_eq!(rotated.status, 200, "{}", rotated.text);
    let new = rotated.str("key").to_owned();
    assert_eq!((rotated.str("name"), rotated.micro("spent_micro_usd")), ("ci", cost));
    // Programs that still send the old key lock nobody out.
    for _ in 0..30 {
        assert_eq!(call(&app, "GET /v1/key", &old, Value::Null).await.status, 401);
    }
    let own = call(&app, "GET /v1/key", &new, Value::Null).await;
    assert_eq!((own.status, own.micro("remaining_micro_usd")), (200, 500_000 - cost), "{}", own.text);
}

#[actix_web::test]
async fn keys_are_managed_by_their_own_account_only() {
    let bench = Bench::new();
    let (mine, other) = (bench.account("a", 0), bench.account("b", 0));
    let manage = bench.key(mine, "manage", KeyLimits::default());
    let inference = bench.key(mine, "inference", KeyLimits::default());
    let foreign = bench.key(other, "manage", KeyLimits::default());
    let app = bench.app().await;
    let id = call(&app, "GET /v1/key", &inference, Value::Null).await.str("id").to_owned();
    for (method, rest) in [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")] {
        let line = format!("{method} /v1/keys/{id}{rest}");
        assert_eq!(call(&app, &line, &foreign, json!({})).await.status, 404, "{line}");
        assert_eq!(call(&app, &line, &inference, json!({})).await.status, 403, "{line}");
        assert_eq!(call(&app, &line, "", json!({})).await.status, 401, "{line}");
        let line = format!("{method} /v1/keys/nonsense{rest}");
        assert_eq!(call(&app, &line, &manage, json!({})).await.status, 404, "{line}");
    }
    assert_eq!(call(&app, "GET /v1/keys", &inference, Value::Null).await.status, 403);
    let admin = call(&app, "POST /v1/keys", &manage, json!({"scopes": ["admin"]})).await;
    assert_eq!((admin.status, admin.json["error"]["param"].as_str()), (400, Some("scopes")));
    assert_eq!(call(&app, "PUT /v1/keys", &manage, json!({})).await.status, 405);
}

#[actix_web::test]
async fn a_list_is_no_body() {
    let bench = Bench::new();
    let account = bench.account("a", 0);
    let key = bench.key(account, "manage", KeyLimits::default());
    let app = bench.app().await;
    for list in [json!([]), json!([null, null]), json!(["a name"])] {
        let reply = call(&app, "POST /v1/keys", &key, list).await;
        assert_eq!((reply.status, reply.json["error"]["type"].as_str()), (400, Some("invalid_request_error")));
    }
}
