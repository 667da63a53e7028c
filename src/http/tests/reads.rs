//! What an account reads: usage, summaries, ledger, earnings, quotes, counts; and what anybody reads.

use serde_json::{Value, json};

use crate::domain::key_limits::KeyLimits;
use crate::domain::secret::Secret;
use crate::http::testing::{Bench, MODEL, call, chat};

#[actix_web::test]
async fn usage_and_ledger_are_paged_summed_and_exported() {
    let bench = Bench::new();
    let account = bench.account("a", 5_000_000);
    let key = bench.key(account, "inference", KeyLimits::default());
    let app = bench.app().await;
    let mut costs = Vec::new();
    for tokens in [1, 20, 300] {
        let reply = call(&app, "POST /v1/chat/completions", &key, chat(tokens)).await;
        costs.push(reply.header("x-cost-micro-usd").parse::<i64>().unwrap());
    }
    let total: i64 = costs.iter().sum();
    let groups = [
        ("day", "day", None),
        ("model", "model", Some(MODEL)),
        ("key", "key_name", Some("test")),
        ("day,model", "day", None),
        ("day,model", "model", Some(MODEL)),
    ];
    for (by, name, value) in groups {
        let path = format!("GET /v1/payments/usage/summary?group_by={by}");
        let summary = call(&app, &path, &key, Value::Null).await;
        let row = &summary.json[0];
        assert_eq!((row["requests"].as_i64(), row["charged_micro_usd"].as_i64()), (Some(3), Some(total)), "{by}");
        assert!(value.is_none_or(|value| row[name] == value) && row[name].is_string(), "{}", summary.text);
    }
    let none = call(&app, "GET /v1/payments/usage/summary?until=2020-01-01", &key, Value::Null).await;
    assert_eq!(none.json, json!([]));
    let bad = call(&app, "GET /v1/payments/usage/summary?group_by=year", &key, Value::Null).await;
    assert_eq!((bad.status, bad.json["error"]["param"].as_str()), (400, Some("group_by")));
    let usage = call(&app, "GET /v1/payments/usage?outcome=completed&limit=2", &key, Value::Null).await;
    assert_eq!((usage.json.as_array().map(Vec::len), usage.json[0]["refunded_at"].clone()), (Some(2), Value::Null));
    assert!(usage.header("link").contains("outcome=completed"), "{}", usage.header("link"));
    let usage = call(&app, "GET /v1/payments/usage?outcome=provider_error", &key, Value::Null).await;
    assert_eq!(usage.json, json!([]));
    let csv = call(&app, "GET /v1/payments/usage?format=csv", &key, Value::Null).await;
    assert_eq!(csv.text.lines().count(), 4, "{}", csv.text);
    assert!(csv.text.lines().next().is_some_and(|line| line.contains("charged_micro_usd,refunded_at")));

    bench.write(|conn, now| {
        crate::store::ledger::credit(conn, account, crate::domain::money::MicroUsd::new(7), "gift", "cli", now)
    });
    let ledger = call(&app, "GET /v1/payments/ledger?limit=1", &key, Value::Null).await;
    let entry = &ledger.json[0];
    assert_eq!((entry["kind"].as_str(), entry["amount_micro_usd"].as_i64()), (Some("top_up"), Some(7)));
    assert_eq!((entry["actor"].as_str(), entry["note"].as_str()), (Some("cli"), Some("gift")));
    assert_eq!(entry["balance_after_micro_usd"].as_i64(), Some(5_000_007 - total));
    assert!(entry["timestamp"].is_string());
    let link = ledger.header("link");
    let next = link.trim_start_matches('<').split('>').next().unwrap_or_default();
    let ledger = call(&app, &format!("GET {next}"), &key, Value::Null).await;
    assert_eq!((ledger.json[0]["amount_micro_usd"].as_i64(), ledger.header("link")), (Some(5_000_000), ""));
    let csv = call(&app, "GET /v1/payments/ledger?format=csv", &key, Value::Null).await;
    assert_eq!(csv.text.lines().count(), 3, "{}", csv.text);
}

#[actix_web::test]
async fn a_quote_is_what_an_admission_would_say() {
    let bench = Bench::new();
    bench.price(1_000_000, 10_000_000);
    let account = bench.account("a", 1_000);
    let key = bench.key(account, "manage", KeyLimits::default());
    let run = bench.key(account, "inference", KeyLimits::default());
    let app = bench.app().await;
    let quote = |body: Value| async {
        let mut body = body;
        body["endpoint"] = json!("/v1/chat/completions");
        call(&app, "POST /v1/payments/quote", &key, body).await
    };
    let cheap = quote(chat(50)).await;
    assert_eq!(cheap.status, 200, "{}", cheap.text);
    let bytes = i64::try_from(chat(50).to_string().len()).unwrap();
    assert_eq!((cheap.micro("prompt_tokens_bound"), cheap.micro("max_output_tokens")), (bytes, 50));
    assert_eq!(cheap.micro("max_cost_micro_usd"), bytes + 500);
    assert!(cheap.micro("typical_cost_micro_usd") < cheap.micro("max_cost_micro_usd"));
    assert_eq!((cheap.json["balance_covers"].clone(), cheap.json["limited"].clone()), (json!(true), json!(false)));
    let dear = quote(chat(5_000)).await;
    assert_eq!((dear.json["balance_covers"].clone(), dear.json["limited"].clone()), (json!(false), json!(true)));
    let ran = call(&app, "POST /v1/chat/completions", &run, chat(5_000)).await;
    assert_eq!((ran.status, ran.header("x-max-tokens-limited")), (200, "balance"));
    // What was usual lately is what is typical.
    let ran = ran.json["usage"]["completion_tokens"].as_i64();
    assert_eq!(Some(quote(chat(5_000)).await.micro("typical_output_tokens")), ran);
    bench.price(1_000_000_000, 10_000_000);
    let broke = quote(chat(5_000)).await;
    assert_eq!(
        (broke.json["output_tokens_if_run"].clone(), broke.json["limited"].clone()),
        (Value::Null, json!(false))
    );
    let unknown = quote(json!({"model": "nope", "messages": [{"role": "user", "content": "hi"}]})).await;
    assert_eq!((unknown.status, unknown.json["error"]["code"].as_str()), (404, Some("model_not_found")));
    let missing = call(&app, "POST /v1/payments/quote", &key, chat(1)).await;
    assert_eq!((missing.status, missing.json["error"]["param"].as_str()), (400, Some("endpoint")));
    let usage = call(&app, "GET /v1/payments/usage", &key, Value::Null).await;
    assert_eq!(usage.json.as_array().map(Vec::len), Some(1), "a quote leaves no row");
}

#[actix_web::test]
async fn a_provider_sees_what_it_earned_and_anybody_the_totals() {
    let bench = Bench::new();
    bench.price(0, 10_000_000);
    let payer = bench.account("a", 5_000_000);
    let payer = bench.key(payer, "inference", KeyLimits::default());
    let lab = bench.write(|conn, _| crate::store::accounts::find(conn, "lab")).id;
    let key = bench.key(lab, "inference", KeyLimits::default());
    let app = bench.app().await;
    for _ in 0..2 {
        assert_eq!(call(&app, "POST /v1/chat/completions", &payer, chat(100)).await.status, 200);
    }
    let earned = call(&app, "GET /v1/provider/account-earnings", &key, Value::Null).await;
    assert_eq!((earned.micro("earned_micro_usd"), earned.micro("withdrawable_micro_usd")), (2_000, 2_000));
    assert_eq!((earned.micro("requests"), earned.micro("completion_tokens")), (2, 200));
    for (list, name, value) in [("by_provider", "provider_name", "demo"), ("by_model", "model", MODEL)] {
        let row = &earned.json[list][0];
        assert_eq!((row[name].as_str(), row["earned_micro_usd"].as_i64()), (Some(value), Some(2_000)), "{list}");
    }
    assert_eq!(earned.json["rows"][0]["day"], earned.json["by_day"][0]["day"]);
    let none = call(&app, "GET /v1/provider/account-earnings?until=2020-01-01", &key, Value::Null).await;
    assert_eq!((none.micro("earned_micro_usd"), none.micro("withdrawable_micro_usd")), (0, 2_000));

    let stats = call(&app, "GET /v1/stats", "", Value::Null).await;
    assert_eq!((stats.micro("requests"), stats.micro("completion_tokens")), (2, 200), "{}", stats.text);
    assert_eq!((stats.micro("providers_up"), stats.micro("models")), (1, 1));
}

#[actix_web::test]
async fn tokens_are_counted_for_free() {
    let bench = Bench::new();
    let account = bench.account("a", 0);
    let key = bench.key(account, "inference", KeyLimits::default());
    let manage = bench.key(account, "manage", KeyLimits::default());
    let app = bench.app().await;
    let path = "POST /v1/messages/count_tokens";
    let body = || json!({"model": MODEL, "messages": [{"role": "user", "content": "one two three four"}]});
    let counted = call(&app, path, &key, body()).await;
    assert_eq!(counted.status, 200, "{}", counted.text);
    assert!((4..40).contains(&counted.micro("input_tokens")), "{}", counted.text);
    assert_eq!(call(&app, path, &manage, body()).await.status, 403);
    let unknown =
        call(&app, path, &key, json!({"model": "nope", "messages": [{"role": "user", "content": "hi"}]})).await;
    assert_eq!((unknown.status, unknown.json["type"].as_str()), (404, Some("error")), "{}", unknown.text);
    assert!(unknown.json["request_id"].is_string());
    // With its provider gone, the tokenizer here counts.
    bench.write(|conn, _| {
        let provider = crate::store::providers::find(conn, "demo")?;
        let models = vec![(MODEL.to_owned(), MODEL.to_owned())];
        crate::store::providers::move_to(conn, provider.id, "http://127.0.0.1:9/v1", &Secret::new("k".into()), &models)
    });
    let counted = call(&app, path, &key, body()).await;
    assert!((4..40).contains(&counted.micro("input_tokens")), "{}", counted.text);
    assert_eq!(counted.header("x-counted-by"), "estimate");
    // Free, but not without end: a body that cannot be read is counted too.
    let mut last = 400;
    for _ in 0..300 {
        last = call(&app, path, &key, json!([])).await.status;
    }
    assert_eq!(last, 429);
    let usage = call(&app, "GET /v1/payments/usage", &key, Value::Null).await;
    assert_eq!(usage.json, json!([]));
}
