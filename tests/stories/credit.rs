//! Top-ups: by an admin over HTTP and by the command line, each once however often it is sent.

use serde_json::{Value, json};

use crate::world::answer::honest;
use crate::world::http::{Reply, Request};
use crate::world::{World, chat_body, micro};

fn credit(world: &World, admin: &str, body: &Value, idempotency_key: Option<&str>) -> Reply {
    let mut request = Request::post("/v1/admin/credit").key(admin).json(body);
    if let Some(key) = idempotency_key {
        request = request.header("idempotency-key", key);
    }
    world.server.http().send(&request)
}

fn top_ups(world: &World) -> i64 {
    world.server.number("select count(*) from ledger where kind = 'top_up'")
}

#[test]
fn an_admin_adds_credit_by_id_name_or_email() {
    let world = World::new(honest(10, 5));
    let admin = world.server.admin_key();
    let other = world.server.ok(&["account", "create", "ada", "--email", "ada@example.org"]);
    let reply = credit(&world, &admin, &json!({"account": world.payer.id, "amount_usd": "10.00", "note": "May"}), None);
    let answer = reply.expect(200).json();
    assert_eq!(answer["account_id"], json!(world.payer.id), "{answer}");
    assert_eq!((micro(&answer, "credited_micro_usd"), micro(&answer, "balance_micro_usd")), (10_000_000, 15_000_000));
    assert!(answer["ledger_id"].is_string(), "{answer}");
    let by_email = credit(&world, &admin, &json!({"email": "ada@example.org", "amount_usd": "0.000001"}), None);
    let answer = by_email.expect(200).json();
    assert_eq!((&answer["account_id"], micro(&answer, "balance_micro_usd")), (&other["id"], 1));
    assert_eq!(world.balance(), 15_000_000);
    let ledger = world.server.ok(&["ledger", "payer"]);
    assert_eq!((ledger[0]["note"].as_str(), micro(&ledger[0], "balance_after_micro_usd")), (Some("May"), 15_000_000));
}

#[test]
fn the_same_key_and_body_credits_once_and_answers_the_same() {
    let world = World::new(honest(10, 5));
    let admin = world.server.admin_key();
    let body = json!({"account": world.payer.id, "amount_usd": "1.00"});
    let first = credit(&world, &admin, &body, Some("order-7")).expect(200);
    world.chat(&chat_body()).expect(200);
    let balance = world.balance();
    for _ in 0..3 {
        let again = credit(&world, &admin, &body, Some("order-7")).expect(200);
        assert_eq!(again.json(), first.json(), "as the first time, whatever the balance is now");
    }
    assert_eq!((world.balance(), top_ups(&world)), (balance, 2));

    let other = json!({"account": world.payer.id, "amount_usd": "2.00"});
    let reply = credit(&world, &admin, &other, Some("order-7"));
    assert_eq!(reply.status, 422, "{}", reply.text());
    assert_eq!(reply.error().0, "conflict_error");
    assert_eq!((world.balance(), top_ups(&world)), (balance, 2));

    credit(&world, &admin, &other, Some("order-8")).expect(200);
    credit(&world, &admin, &body, None).expect(200);
    credit(&world, &admin, &body, None).expect(200);
    assert_eq!((world.balance(), top_ups(&world)), (balance + 4_000_000, 5), "without a key each one counts");
}

#[test]
fn the_key_survives_a_restart() {
    let mut world = World::new(honest(10, 5));
    let admin = world.server.admin_key();
    let body = json!({"account": world.payer.id, "amount_usd": "1.00"});
    let first = credit(&world, &admin, &body, Some("order-7")).expect(200).json();
    world.server.kill();
    world.server.start(&[]);
    assert_eq!(credit(&world, &admin, &body, Some("order-7")).expect(200).json(), first);
    assert_eq!(world.balance(), 6_000_000);
}

#[test]
fn forty_at_once_with_one_key_credit_once() {
    let world = World::new(honest(10, 5));
    let admin = world.server.admin_key();
    let body = json!({"account": world.payer.id, "amount_usd": "1.00"});
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..40).map(|_| scope.spawn(|| credit(&world, &admin, &body, Some("order-7")))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for reply in &replies {
        assert!(matches!(reply.status, 200 | 409), "{}: {}", reply.status, reply.text());
        if reply.status == 409 {
            assert_eq!(reply.error().0, "conflict_error");
        }
    }
    assert!(replies.iter().any(|r| r.status == 200));
    assert_eq!((world.balance(), top_ups(&world)), (6_000_000, 2));
}

#[test]
fn the_command_line_honours_the_key_too() {
    let world = World::new(honest(10, 5));
    let args = ["credit", "payer", "0.50", "--note", "by hand", "--idempotency-key", "order-9"];
    let first = world.server.ok(&args);
    assert_eq!((micro(&first, "credited_micro_usd"), micro(&first, "balance_micro_usd")), (500_000, 5_500_000));
    assert_eq!(world.server.ok(&args), first);
    let other = world.server.cli(&["credit", "payer", "0.60", "--idempotency-key", "order-9"]);
    assert_eq!(other.code, 1, "{other:?}");
    assert_eq!(world.balance(), 5_500_000);
}

#[test]
fn a_bad_credit_is_refused_and_adds_nothing() {
    let world = World::new(honest(10, 5));
    let admin = world.server.admin_key();
    let to = world.payer.id.as_str();
    let amounts = [
        "",
        " ",
        "-1",
        "+1",
        "1e3",
        "1,000",
        "1.2.3",
        ".5",
        "5.",
        "0.0000001",
        "NaN",
        "inf",
        "0x10",
        "١",
        "10 USD",
        "$10",
        "9223372036854.775808",
        "99999999999999999999999",
    ];
    let mut bodies: Vec<(Value, &str)> =
        amounts.iter().map(|amount| (json!({"account": to, "amount_usd": amount}), "amount_usd")).collect();
    bodies.extend([
        (json!({"account": to, "amount_usd": "0"}), "amount_usd"),
        (json!({"account": to}), "amount_usd"),
        (json!({"account": to, "amount_usd": null}), "amount_usd"),
        (json!({"account": to, "amount_usd": -10}), "amount_usd"),
        (json!({"account": to, "amount_usd": ["10"]}), "amount_usd"),
        (json!({"account": 7, "amount_usd": "10"}), "account"),
        (json!({"amount_usd": "10"}), "account"),
        (json!({"email": 7, "amount_usd": "10"}), "email"),
        (json!({"account": to, "amount_usd": "10", "note": 7}), "note"),
        (json!({"account": to, "amount_usd": "10", "note": "x".repeat(5_000)}), "note"),
    ]);
    for (body, param) in bodies {
        let reply = credit(&world, &admin, &body, None);
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        let (kind, _, named) = reply.error();
        assert_eq!(kind, "invalid_request_error", "{body}");
        assert!(named == param || named.is_empty(), "{body} names {named}");
    }
    let unknown = [
        json!({"account": "nobody", "amount_usd": "10"}),
        json!({"account": "acct_0000000000000", "amount_usd": "10"}),
        json!({"email": "nobody@example.org", "amount_usd": "10"}),
    ];
    for body in unknown {
        let reply = credit(&world, &admin, &body, None);
        assert_eq!((reply.status, reply.error().0.as_str()), (404, "not_found_error"), "{body}");
    }
    let both = json!({"account": to, "email": "ada@example.org", "amount_usd": "10"});
    let reply = credit(&world, &admin, &both, None);
    assert!(matches!(reply.status, 400 | 404), "{}: {}", reply.status, reply.text());
    let long_key = credit(&world, &admin, &json!({"account": to, "amount_usd": "10"}), Some(&"k".repeat(256)));
    assert_eq!((long_key.status, long_key.error().0.as_str()), (400, "invalid_request_error"));
    for raw in ["", "{", "[]", "null", "{\"account\":\"payer\",\"amount_usd\":\"1\",\"amount_usd\":\"2\"}"] {
        let request =
            Request::post("/v1/admin/credit").key(&admin).header("content-type", "application/json").body(raw);
        let reply = world.server.http().send(&request);
        assert_eq!((reply.status, reply.error().0.as_str()), (400, "invalid_request_error"), "{raw}");
    }
    // Credit that would carry the balance past what an integer holds.
    let most = json!({"account": to, "amount_usd": "9223372036854.775807"});
    let reply = credit(&world, &admin, &most, None);
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert_eq!((world.balance(), top_ups(&world)), (5_000_000, 1));
}

#[test]
fn only_an_admin_key_adds_credit() {
    let world = World::new(honest(10, 5));
    let admin = world.server.admin_key();
    let manage = world.server.ok(&["key", "create", "payer", "--scope", "manage"]);
    let body = json!({"account": world.payer.id, "amount_usd": "10"});
    for key in [world.payer.key.as_str(), manage["key"].as_str().unwrap()] {
        let reply = credit(&world, key, &body, None);
        assert!(matches!(reply.status, 401 | 403), "{}: {}", reply.status, reply.text());
        reply.error();
    }
    let without = world.server.http().send(&Request::post("/v1/admin/credit").json(&body));
    assert_eq!((without.status, without.error().0.as_str()), (401, "authentication_error"));
    // And an admin key is no account's.
    for target in ["/v1/payments/balance", "/v1/payments/usage", "/v1/models"] {
        let reply = world.server.http().get(target, &admin);
        assert!(matches!(reply.status, 401 | 403), "{target}: {}", reply.status);
        reply.error();
    }
    let chat = Request::post("/v1/chat/completions").key(&admin).json(&chat_body());
    let reply = world.server.http().send(&chat);
    assert!(matches!(reply.status, 401 | 403), "{}", reply.status);
    assert_eq!((world.balance(), top_ups(&world)), (5_000_000, 1));
}
