//! The admin's routes: accounts, refunds, prices, providers and their probes, events.

use std::time::Duration;

use serde_json::{Value, json};

use crate::auth::hash_password;
use crate::domain::key_limits::KeyLimits;
use crate::domain::secret::Secret;
use crate::http::testing::{Bench, MODEL, call, call_with, chat};
use crate::store::endpoints::{self, EndpointRow, ProbeRow};
use crate::store::{admins, providers};

#[actix_web::test]
async fn accounts_are_found_made_and_changed() {
    let bench = Bench::new();
    let (key, app) = (bench.admin_key(), bench.app().await);
    for name in ["Éva", "bob", "bobby"] {
        let made =
            call(&app, "POST /v1/admin/accounts", &key, json!({"name": name, "email": format!("{name}@x.y")})).await;
        assert_eq!(made.status, 201, "{}", made.text);
    }
    // query → how many in all, how many on the page
    for (query, count, shown) in [("q=BOB", "2", 2), ("q=éva", "1", 1), ("q=x.y&limit=2", "3", 2), ("q=zzz", "0", 0)] {
        let found =
            call(&app, &format!("GET /v1/admin/accounts?{}", query.replace('é', "%C3%A9")), &key, Value::Null).await;
        assert_eq!(
            (found.header("x-total-count"), found.json.as_array().map(Vec::len)),
            (count, Some(shown)),
            "{query}"
        );
        assert_eq!(found.header("link").is_empty(), shown < 2 || count == "2", "{query}");
    }
    let found = call(&app, "GET /v1/admin/accounts?q=bobby", &key, Value::Null).await;
    let id = found.json[0]["id"].as_str().unwrap_or_default().to_owned();
    let by_id = call(&app, &format!("GET /v1/admin/accounts?q={}", &id[..17]), &key, Value::Null).await;
    assert!(by_id.json.as_array().is_some_and(|rows| rows.iter().any(|row| row["id"] == json!(id))), "{}", by_id.text);
    let path = format!("/v1/admin/accounts/{id}");
    // body → status, field at fault
    let rows = [
        (json!({"name": "bob"}), 409, json!("name")),
        (json!({"email": "bob@x.y"}), 409, json!("email")),
        (json!({"email": "nonsense"}), 400, json!("email")),
        (json!({"name": ""}), 400, json!("name")),
        (json!({"email": null, "status": "suspended"}), 200, Value::Null),
    ];
    for (body, status, param) in rows {
        let changed = call(&app, &format!("PATCH {path}"), &key, body.clone()).await;
        assert_eq!((changed.status, &changed.json["error"]["param"]), (status, &param), "{body}");
    }
    let one = call(&app, &format!("GET {path}"), &key, Value::Null).await;
    assert_eq!((one.str("status"), &one.json["email"], one.micro("earned_micro_usd")), ("suspended", &Value::Null, 0));
    let events = call(&app, "GET /v1/admin/events?q=account.suspend", &key, Value::Null).await;
    assert_eq!((&events.json[0]["subject"], &events.json[0]["actor"]), (&json!(id), &json!("admin:ada")));
}

#[actix_web::test]
async fn a_charge_is_refunded_once_and_the_same_key_answers_the_same() {
    let bench = Bench::new();
    let account = bench.account("payer", 1_000_000);
    let caller = bench.key(account, "inference", KeyLimits::default());
    let (key, app) = (bench.admin_key(), bench.app().await);
    let ran = call(&app, "POST /v1/chat/completions", &caller, chat(50)).await;
    let body = json!({"request_id": ran.header("x-request-id"), "reason": "it was nonsense"});
    let headers = [("idempotency-key", "once")];
    let first = call_with(&app, "POST /v1/admin/refund", &key, body.clone(), &headers).await;
    assert_eq!((first.status, first.micro("balance_micro_usd")), (200, 1_000_000), "{}", first.text);
    let again = call_with(&app, "POST /v1/admin/refund", &key, body.clone(), &headers).await;
    assert_eq!(again.text, first.text);
    assert_eq!(call(&app, "POST /v1/admin/refund", &key, body).await.status, 409);
    for (id, status) in [("req_0000000000001", 404), ("nonsense", 400)] {
        let refused = call(&app, "POST /v1/admin/refund", &key, json!({"request_id": id})).await;
        assert_eq!(refused.status, status, "{id}");
    }
    let ledger = call(&app, &format!("GET /v1/admin/accounts/{account}/ledger"), &key, Value::Null).await;
    assert_eq!((&ledger.json[0]["kind"], &ledger.json[0]["note"]), (&json!("refund"), &json!("it was nonsense")));
    let usage = call(&app, &format!("GET /v1/admin/accounts/{account}/usage"), &key, Value::Null).await;
    assert!(usage.json[0]["refunded_at"].is_string(), "{}", usage.text);
    bench.audit();
}

#[actix_web::test]
async fn prices_have_versions_and_slashes() {
    let bench = Bench::new();
    let (key, app) = (bench.admin_key(), bench.app().await);
    let price = |input: i64, context: Value| json!({"model": "a/b", "input_price": input, "output_price": 2, "context_length": context});
    for (version, (input, context)) in [(1, (10, json!(4_096))), (2, (20, Value::Null))] {
        let set = call(&app, "PUT /v1/admin/pricing", &key, price(input, context.clone())).await;
        assert_eq!(
            (set.micro("version"), set.micro("input_price"), &set.json["context_length"]),
            (version, input, &context)
        );
    }
    assert_eq!(call(&app, "PUT /v1/admin/pricing", &key, price(-1, Value::Null)).await.status, 400);
    assert_eq!(call(&app, "DELETE /v1/admin/pricing/a%2Fb", &key, Value::Null).await.status, 204);
    assert_eq!(call(&app, "DELETE /v1/admin/pricing/a%2Fb", &key, Value::Null).await.status, 404);
    let history = call(&app, "GET /v1/admin/pricing/history?model=a/b", &key, Value::Null).await;
    let rows: Vec<_> = history
        .json
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| (row["version"].clone(), row["removed"].clone()))
        .collect();
    assert_eq!(rows, [(json!(2), json!(true)), (json!(1), json!(false))]);
}

#[actix_web::test]
async fn what_is_written_to_a_cache_gets_prices_of_its_own() {
    let bench = Bench::new();
    let (key, app) = (bench.admin_key(), bench.app().await);
    let price = |minutes: Value, hour: Value| json!({"model": "c", "input_price": 100, "output_price": 200, "cache_write_price": minutes, "cache_write_1h_price": hour});
    let put = call(&app, "PUT /v1/admin/pricing", &key, price(json!(125), json!(160))).await;
    assert_eq!((put.status, put.micro("cache_write_price"), put.micro("cache_write_1h_price")), (200, 125, 160));
    let put = call(&app, "PUT /v1/admin/pricing", &key, price(Value::Null, Value::Null)).await;
    assert_eq!(
        (&put.json["cache_write_price"], &put.json["cache_write_1h_price"], put.micro("input_price")),
        (&Value::Null, &Value::Null, 100)
    );
    for refused in [price(json!(-1), Value::Null), price(Value::Null, json!(-1)), price(json!("1"), Value::Null)] {
        assert_eq!(call(&app, "PUT /v1/admin/pricing", &key, refused.clone()).await.status, 400, "{refused}");
    }
}

#[actix_web::test]
async fn hosted_work_is_allowed_by_name() {
    let bench = Bench::new();
    let (key, app) = (bench.admin_key(), bench.app().await);
    let body = |allow: Value| json!({"name": "h", "base_url": "http://127.0.0.1:9/v1", "account": "lab", "models": [{"model": "m"}], "allow": allow});
    let refused = call(&app, "POST /v1/admin/providers", &key, body(json!(["web_search", "anything"]))).await;
    assert_eq!((refused.status, &refused.json["error"]["param"]), (400, &json!("allow")), "{}", refused.text);
    let added = call(&app, "POST /v1/admin/providers", &key, body(json!(["web_search", "store", "store"]))).await;
    assert_eq!((added.status, &added.json["allow"]), (201, &json!(["store", "web_search"])), "{}", added.text);
    let path = format!("PATCH /v1/admin/providers/{}", added.str("id"));
    for (patch, status, allowed) in [
        (json!({"max_concurrent": 2}), 200, json!(["store", "web_search"])),
        (json!({"allow": ["file_id"]}), 200, json!(["file_id"])),
        (json!({"allow": ["Store"]}), 400, json!(["file_id"])),
        (json!({"allow": []}), 200, json!([])),
    ] {
        let patched = call(&app, &path, &key, patch.clone()).await;
        assert_eq!(patched.status, status, "{patch}: {}", patched.text);
        let list = call(&app, "GET /v1/admin/providers", &key, Value::Null).await;
        let row = list.json.as_array().into_iter().flatten().find(|row| row["name"] == "h");
        assert_eq!(row.map(|row| &row["allow"]), Some(&allowed), "{patch}");
    }
}

#[actix_web::test]
async fn a_provider_is_added_although_it_is_down() {
    let bench = Bench::new();
    let (key, app) = (bench.admin_key(), bench.app().await);
    let body = |name: &str, url: &str, account: &str| json!({"name": name, "base_url": url, "account": account, "models": [{"model": "m"}]});
    let nobody = "http://127.0.0.1:9/v1";
    for (body, status, param) in [
        (body("p", nobody, "lab"), 201, Value::Null),
        (body("p", nobody, "lab"), 409, json!("name")),
        (body("q", "ftp://x", "lab"), 400, json!("base_url")),
        (body("q", nobody, "nobody"), 400, json!("account")),
    ] {
        let added = call(&app, "POST /v1/admin/providers", &key, body.clone()).await;
        assert_eq!((added.status, &added.json["error"]["param"]), (status, &param), "{body}: {}", added.text);
    }
    let list = call(&app, "GET /v1/admin/providers", &key, Value::Null).await;
    let added = list.json.as_array().into_iter().flatten().find(|row| row["name"] == "p").cloned().unwrap_or_default();
    assert_eq!(
        (&added["state"], &added["probe"]["ok"], &added["probe"]["endpoints"]),
        (&json!("down"), &json!(false), &json!([]))
    );
    let path = format!("/v1/admin/providers/{}", added["id"].as_str().unwrap_or_default());
    let disabled = call(&app, &format!("PATCH {path}"), &key, json!({"enabled": false, "max_concurrent": 3})).await;
    assert_eq!((disabled.str("state"), disabled.micro("max_concurrent")), ("disabled", 3));
    assert_eq!(call(&app, &format!("DELETE {path}"), &key, Value::Null).await.status, 204);
    assert_eq!(call(&app, &format!("PATCH {path}"), &key, json!({})).await.status, 404);
}

#[actix_web::test]
async fn a_model_is_offered_where_a_provider_serves_it() {
    let bench = Bench::new();
    let caller = bench.key(bench.account("payer", 1_000_000), "inference", KeyLimits::default());
    let (key, app) = (bench.admin_key(), bench.app().await);
    let demo = bench.write(|conn, _| providers::find(conn, "demo")).id;
    let probed = call(&app, &format!("POST /v1/admin/providers/{demo}/probe"), &key, Value::Null).await;
    assert_eq!(probed.json["ok"], json!(true), "{}", probed.text);
    let chats = call(&app, "POST /v1/chat/completions", &caller, chat(1)).await;
    assert_eq!(chats.status, 200, "{}", chats.text);
    // As if it had no chat, and completions only whole.
    let row = |endpoint: &str, stream, serves| EndpointRow {
        model: MODEL.into(),
        endpoint: endpoint.into(),
        stream,
        serves,
        reports_usage: false,
        reports_cached: false,
        takes: Default::default(),
        total_ms: 1,
        error: None,
    };
    let chat_path = "/v1/chat/completions";
    let endpoints = vec![
        row(chat_path, false, Some(false)),
        row(chat_path, true, Some(false)),
        row("/v1/completions", false, Some(true)),
        row("/v1/completions", true, Some(false)),
        row("/v1/embeddings", false, None),
    ];
    bench.write(|conn, at| {
        let probe = ProbeRow { reached: true, latency_ms: None, error: None, at, places: Some(4), endpoints };
        endpoints::store(conn, demo, &probe, "test")
    });
    let refused = call(&app, "POST /v1/chat/completions", &caller, chat(1)).await;
    assert_eq!((refused.status, &refused.json["error"]["code"]), (404, &json!("model_not_found")));
    assert!(refused.text.contains("it is on: /v1/completions, /v1/embeddings"), "{}", refused.text);
    for (stream, status) in [(false, 200), (true, 404)] {
        let body = json!({"model": MODEL, "prompt": "Hi", "max_tokens": 1, "stream": stream});
        assert_eq!(call(&app, "POST /v1/completions", &caller, body).await.status, status, "stream {stream}");
    }
    let model = call(&app, &format!("GET /v1/models/{MODEL}"), &caller, Value::Null).await;
    assert_eq!(model.json["endpoints"], json!(["/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages"]));
}

#[actix_web::test]
async fn a_sign_in_beside_a_password_change_begins_nothing() {
    let bench = Bench::new();
    let hashed = |password: &str| hash_password(&Secret::new(password.into())).expect("a hash");
    let (old, new) = (hashed("correct horse battery"), hashed("another horse battery"));
    let ada = bench.write(|conn, now| admins::create(conn, "ada", Some(&old), "test", now)).id;
    let app = bench.app().await;
    let body = json!({"name": "ada", "password": "correct horse battery"});
    let sign_in = || call_with(&app, "POST /v1/admin/session", "", body.clone(), &[("sec-fetch-site", "same-origin")]);
    assert_eq!(sign_in().await.status, 200);
    let change = async {
        // The hash is being looked at by then, which takes tens of milliseconds.
        tokio::time::sleep(Duration::from_millis(5)).await;
        bench.write(|conn, now| admins::set_password(conn, ada, &new, "test", now));
    };
    let (reply, ()) = tokio::join!(sign_in(), change);
    assert_eq!(reply.status, 401, "{}", reply.text);
    let sessions: u64 = bench.write(|conn, now| admins::list(conn, now)).iter().map(|admin| admin.sessions).sum();
    assert_eq!(sessions, 0);
}

#[actix_web::test]
async fn who_asks_is_looked_at_first_then_what_the_path_names_then_the_body() {
    let bench = Bench::new();
    let app = bench.app().await;
    let account = bench.account("ada", 0);
    let (admin, key) = (bench.admin_key(), bench.key(account, "inference manage", KeyLimits::default()));
    let (nobody, bad, good) = (String::new(), "nonsense".to_owned(), account.to_string());
    for (key, id, status) in [(&nobody, &bad, 401), (&key, &bad, 403), (&admin, &bad, 404), (&admin, &good, 400)] {
        let reply = call(&app, &format!("PATCH /v1/admin/accounts/{id}"), key, json!({"unknown": 1})).await;
        assert_eq!(reply.status, status, "{id}: {}", reply.text);
    }
    for (key, id, status) in [(&nobody, &bad, 401), (&admin, &bad, 403), (&key, &bad, 404)] {
        let reply = call(&app, &format!("PATCH /v1/keys/{id}"), key, json!({"unknown": 1})).await;
        assert_eq!(reply.status, status, "{id}: {}", reply.text);
    }
}
