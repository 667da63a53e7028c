//! Earnings on their way out: asked for, paid, returned, by the API and by the command line.

use serde_json::{Value, json};

use crate::world::answer::honest;
use crate::world::http::{Reply, Request};
use crate::world::{World, chat_body, cost, text};

/// A world whose owner has earned something, a key of the owner that manages, and how much it was.
fn earned() -> (World, String, i64) {
    let world = World::new(honest(1_000, 200));
    let manage = text(&world.server.ok(&["key", "create", "owner", "--scope", "manage"]), "key");
    for _ in 0..4 {
        world.chat(&chat_body()).expect(200);
    }
    let earned = world.earned();
    assert!(earned > 0 && earned <= 4 * cost(1_000, 256), "{earned}");
    (world, manage, earned)
}

fn ask(world: &World, key: &str, micro: i64, idempotency_key: Option<&str>) -> Reply {
    let body = json!({"amount_usd": format!("0.{micro:06}"), "note": "June"});
    let mut request = Request::post("/v1/payments/withdrawals").key(key).json(&body);
    if let Some(key) = idempotency_key {
        request = request.header("idempotency-key", key);
    }
    world.server.http().send(&request)
}

#[test]
fn what_is_asked_for_leaves_at_once_and_comes_back_if_rejected() {
    let (world, manage, earned) = earned();
    let first = ask(&world, &manage, 10, Some("w-1")).expect(201);
    assert_eq!(ask(&world, &manage, 10, Some("w-1")).expect(201).json(), first.json(), "once");
    assert_eq!(ask(&world, &manage, 11, Some("w-1")).status, 422);
    let second = ask(&world, &manage, 20, None).expect(201).json();
    assert_eq!((world.earned(), second["status"].as_str()), (earned - 30, Some("pending")));
    let too_much = ask(&world, &manage, earned - 29, None).expect(400);
    assert_eq!(too_much.error().2, "amount_usd");
    let listed = world.server.ok(&["withdrawal", "list"]);
    assert_eq!((listed[0]["id"].as_str(), listed[0]["account_name"].as_str()), (second["id"].as_str(), Some("owner")));
    let paid = world.server.ok(&["withdrawal", "paid", &text(&first.json(), "id"), "--reference", "SEPA 1"]);
    assert_eq!((paid["status"].as_str(), paid["decided_by"].as_str()), (Some("paid"), Some("cli")));
    let rejected = world.server.ok(&["withdrawal", "reject", &text(&second, "id"), "--reason", "no IBAN"]);
    assert_eq!((rejected["status"].as_str(), world.earned()), (Some("rejected"), earned - 10));
    let again = world.server.cli(&["withdrawal", "paid", &text(&second, "id")]);
    assert_eq!(again.code, 1, "{again:?}");
    let ledger = world.server.http().get("/v1/payments/ledger", &manage).expect(200).json();
    let kinds: Vec<&str> = ledger.as_array().unwrap().iter().filter_map(|entry| entry["kind"].as_str()).collect();
    assert_eq!(kinds, ["withdrawal_rejected", "withdrawal", "withdrawal"]);
    assert_eq!(world.server.ok(&["ledger", "owner"]), ledger, "the command line prints the same rows");
}

#[test]
fn many_at_once_get_no_more_than_was_earned() {
    let (world, manage, earned) = earned();
    let part = earned / 10;
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..40).map(|_| scope.spawn(|| ask(&world, &manage, part, None))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let done = replies.iter().filter(|reply| reply.status == 201).count() as i64;
    assert!(replies.iter().all(|reply| matches!(reply.status, 201 | 400)));
    assert!(done <= 10, "{done}");
    assert_eq!(world.earned(), earned - done * part);
    // A try that lost to another's reservation may be sent again.
    while ask(&world, &manage, part, None).status == 201 {}
    assert!(world.earned() < part);
}

#[test]
fn credit_cannot_be_withdrawn_and_a_plain_key_cannot_withdraw() {
    let (world, _, _) = earned();
    let manage = text(&world.server.ok(&["key", "create", "payer", "--scope", "manage"]), "key");
    assert_eq!(ask(&world, &manage, 1, None).expect(400).error().2, "amount_usd");
    let plain = ask(&world, &world.owner.key, 1, None).expect(403);
    assert_eq!(plain.error().0, "permission_error");
    for body in
        [json!({}), json!({"amount_usd": "0"}), json!({"amount_usd": "-1"}), json!({"amount_usd": "1", "to": 1})]
    {
        let request = Request::post("/v1/payments/withdrawals").key(&manage).json(&body);
        assert_eq!(world.server.http().send(&request).expect(400).error().0, "invalid_request_error", "{body}");
    }
    let admin = world.server.admin_key();
    for (line, key) in [("/v1/admin/withdrawals", &manage), ("/v1/payments/withdrawals", &admin)] {
        assert_eq!(world.server.http().get(line, key).status, 403, "{line}");
    }
    let all = world.server.http().get("/v1/admin/withdrawals", &admin).expect(200).json();
    assert_eq!(all, Value::Array(Vec::new()));
}
