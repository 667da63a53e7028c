//! Withdrawals, invite codes, the ledger.

use serde_json::{Value, json};

use crate::domain::key_limits::KeyLimits;
use crate::domain::money::MicroUsd;
use crate::http::testing::{Bench, call, call_with, chat};
use crate::relay::holds::OpenHold;
use crate::store::{StoreError, accounts};

const WITHDRAWALS: &str = "POST /v1/payments/withdrawals";

#[actix_web::test]
async fn earnings_are_withdrawn_paid_or_returned() {
    let bench = Bench::new();
    bench.price(0, 10_000_000);
    let payer = bench.account("a", 5_000_000);
    let payer = bench.key(payer, "inference", KeyLimits::default());
    let lab = bench.write(|conn, _| accounts::find(conn, "lab")).id;
    let key = bench.key(lab, "inference manage", KeyLimits::default());
    let admin = bench.admin_key();
    let app = bench.app().await;
    assert_eq!(call(&app, "POST /v1/chat/completions", &payer, chat(1_000)).await.status, 200);
    let balance = call(&app, "GET /v1/payments/balance", &key, Value::Null).await;
    assert_eq!(balance.micro("withdrawable_micro_usd"), 10_000);

    let too_much = call(&app, WITHDRAWALS, &key, json!({"amount_usd": "0.010001"})).await;
    assert_eq!((too_much.status, too_much.json["error"]["param"].as_str()), (400, Some("amount_usd")));
    let ask = || json!({"amount_usd": "0.004", "note": "June"});
    let once = [("idempotency-key", "k1")];
    let first = call_with(&app, WITHDRAWALS, &key, ask(), &once).await;
    let again = call_with(&app, WITHDRAWALS, &key, ask(), &once).await;
    assert_eq!((first.status, first.text.as_str()), (201, again.text.as_str()));
    assert_eq!((first.str("status"), first.micro("balance_micro_usd")), ("pending", 6_000));
    let other = call_with(&app, WITHDRAWALS, &key, json!({"amount_usd": "0.005"}), &once).await;
    assert_eq!(other.status, 422, "{}", other.text);
    let second = call(&app, WITHDRAWALS, &key, json!({"amount_usd": 0.006})).await;
    assert_eq!((second.status, second.micro("balance_micro_usd")), (201, 0), "{}", second.text);
    bench.audit();

    let decide = |w: &str, how: &str| format!("POST /v1/admin/withdrawals/{w}/{how}");
    let (first, second) = (first.str("id").to_owned(), second.str("id").to_owned());
    let paid = call(&app, &decide(&first, "paid"), &admin, json!({"reference": "SEPA 1"})).await;
    assert_eq!((paid.str("status"), paid.str("decided_by")), ("paid", "admin:ada"), "{}", paid.text);
    let back = call(&app, &decide(&second, "reject"), &admin, json!({"reason": "no IBAN"})).await;
    assert_eq!((back.str("status"), back.str("reason")), ("rejected", "no IBAN"), "{}", back.text);
    for how in ["paid", "reject"] {
        assert_eq!(call(&app, &decide(&second, how), &admin, Value::Null).await.status, 409);
    }
    assert_eq!(call(&app, &decide("wd_0000000000000", "paid"), &admin, Value::Null).await.status, 404);
    assert_eq!(call(&app, &decide(&first, "paid"), &key, Value::Null).await.status, 403);
    let balance = call(&app, "GET /v1/payments/balance", &key, Value::Null).await;
    assert_eq!((balance.micro("balance_micro_usd"), balance.micro("withdrawable_micro_usd")), (6_000, 6_000));
    let own = call(&app, "GET /v1/payments/withdrawals?limit=1", &key, Value::Null).await;
    assert_eq!((own.json[0]["id"].as_str(), own.json[0].get("account_id")), (Some(second.as_str()), None));
    assert!(own.header("link").contains(&format!("before={second}")));
    let pending = call(&app, "GET /v1/admin/withdrawals?status=paid", &admin, Value::Null).await;
    assert_eq!((pending.json[0]["account_name"].as_str(), pending.json[1].clone()), (Some("lab"), Value::Null));
    bench.audit();
}

#[actix_web::test]
async fn money_held_by_requests_cannot_be_withdrawn() {
    let bench = Bench::new();
    bench.price(0, 10_000_000);
    let payer = bench.account("a", 5_000_000);
    let payer = bench.key(payer, "inference", KeyLimits::default());
    let lab = bench.write(|conn, _| accounts::find(conn, "lab")).id;
    let key = bench.key(lab, "manage", KeyLimits::default());
    let app = bench.app().await;
    assert_eq!(call(&app, "POST /v1/chat/completions", &payer, chat(1_000)).await.status, 200);
    let held = bench.state.relay.holds().open(lab, None, |_| Ok::<_, StoreError>((MicroUsd::new(7_000), ())));
    let held: OpenHold = held.unwrap().0;
    let ask = |usd: &str| json!({"amount_usd": usd});
    assert_eq!(call(&app, WITHDRAWALS, &key, ask("0.003001")).await.status, 400);
    assert_eq!(call(&app, WITHDRAWALS, &key, ask("0.003")).await.status, 201);
    assert_eq!(call(&app, WITHDRAWALS, &key, ask("0.000001")).await.status, 400);
    drop(held);
    // Many at once get no more than there is.
    let all = futures_util::future::join_all((0..20).map(|_| call(&app, WITHDRAWALS, &key, ask("0.001")))).await;
    assert_eq!(all.iter().filter(|reply| reply.status == 201).count(), 7);
    bench.audit();
}

#[actix_web::test]
async fn an_invite_code_credits_an_account_once() {
    let bench = Bench::new();
    let (a, b, c) = (bench.account("a", 0), bench.account("b", 0), bench.account("c", 0));
    let [a, b, c] = [a, b, c].map(|account| bench.key(account, "inference", KeyLimits::default()));
    let admin = bench.admin_key();
    let app = bench.app().await;
    let body = json!({"amount_usd": "5.00", "max_redemptions": 2, "expires_at": null, "note": "meetup"});
    let made = call(&app, "POST /v1/admin/invite-codes", &admin, body).await;
    assert_eq!((made.status, made.micro("amount_micro_usd"), made.micro("redeemed")), (201, 5_000_000, 0));
    let code = made.str("code").to_owned();
    let redeem = |code: &str| json!({"code": code});
    let first = call(&app, "POST /v1/invite/redeem", &a, redeem(&code.to_lowercase())).await;
    assert_eq!((first.status, first.micro("credited_micro_usd")), (200, 5_000_000), "{}", first.text);
    assert_eq!(first.micro("balance_micro_usd"), 5_000_000);
    assert_eq!(call(&app, "POST /v1/invite/redeem", &a, redeem(&code)).await.status, 409, "once an account");
    assert_eq!(call(&app, "POST /v1/invite/redeem", &b, redeem(&code)).await.status, 200);
    assert_eq!(call(&app, "POST /v1/invite/redeem", &c, redeem(&code)).await.status, 409, "used up");
    let statuses = futures_util::future::join_all((0..11).map(|i| {
        let (app, c) = (&app, &c);
        async move { call(app, "POST /v1/invite/redeem", c, redeem(&format!("DB-{i}"))).await.status }
    }));
    assert_eq!(statuses.await, [vec![404; 10], vec![429]].concat(), "guessing is slow");

    let list = call(&app, "GET /v1/admin/invite-codes", &admin, Value::Null).await;
    assert_eq!((list.json[0]["redeemed"].as_i64(), list.json[0]["note"].as_str()), (Some(2), Some("meetup")));
    let gone = call(&app, &format!("DELETE /v1/admin/invite-codes/{code}"), &admin, Value::Null).await;
    assert_eq!((gone.status, gone.text.as_str()), (204, ""));
    assert_eq!(call(&app, "POST /v1/invite/redeem", &b, redeem(&code)).await.status, 404);
    let ledger = call(&app, "GET /v1/payments/ledger", &a, Value::Null).await;
    assert_eq!((ledger.json[0]["kind"].as_str(), ledger.json[0]["note"].clone()), (Some("invite_credit"), Value::Null));
    let withdrawable = call(&app, "GET /v1/payments/balance", &a, Value::Null).await.micro("withdrawable_micro_usd");
    assert_eq!(withdrawable, 0, "a gift is not withdrawable");
    bench.audit();
}
