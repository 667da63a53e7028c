//! Refunds: the payer has its money back, and nobody has it twice.

use serde_json::{Value, json};

use crate::world::answer::honest;
use crate::world::http::{Reply, Request};
use crate::world::{World, chat_body, text};

struct Case {
    world: World,
    admin: String,
    manage: String,
}

impl Case {
    fn new(serve: &[&str]) -> Self {
        let world = World::with("5.00", serve, honest(1_000, 200));
        let admin = world.server.admin_key();
        let manage = text(&world.server.ok(&["key", "create", "owner", "--scope", "manage"]), "key");
        Self { world, admin, manage }
    }

    /// A charge of the payer: its id and what it was.
    fn charge(&self) -> (String, i64) {
        let reply = self.world.chat(&chat_body()).expect(200);
        (reply.header("x-request-id").unwrap_or_default().to_owned(), reply.number("x-cost-micro-usd"))
    }

    fn post(&self, path: &str, key: &str, body: &Value) -> Reply {
        self.world.server.http().send(&Request::post(path).key(key).json(body))
    }

    fn refund(&self, request: &str) -> Value {
        self.post("/v1/admin/refund", &self.admin, &json!({"request_id": request})).expect(200).json()
    }

    fn withdraw(&self, micro: i64) -> Reply {
        let body = json!({"amount_usd": format!("0.{micro:06}")});
        self.post("/v1/payments/withdrawals", &self.manage, &body)
    }

    fn earnings(&self) -> Value {
        self.world.server.http().get("/v1/provider/account-earnings", &self.manage).expect(200).json()
    }
}

#[test]
fn a_pending_withdrawal_shelters_nothing_of_a_refunded_earning() {
    let case = Case::new(&[]);
    let (request, charged) = case.charge();
    let withdrawal = case.withdraw(charged - 3).expect(201).json();
    let path = format!("/v1/admin/withdrawals/{}", text(&withdrawal, "id"));
    let (second, _) = case.charge();
    let said = case.refund(&second);
    assert_eq!((&said["from_provider_micro_usd"], &said["from_house_micro_usd"]), (&json!(charged), &json!(0)));
    let said = case.refund(&request);
    assert_eq!(said["from_provider_micro_usd"], charged, "what was pending and what was not");
    assert_eq!(said["from_withdrawals_micro_usd"], charged - 3);
    assert_eq!((&said["from_house_micro_usd"], &said["debt_micro_usd"]), (&json!(0), &json!(0)));
    assert_eq!(case.post(&format!("{path}/reject"), &case.admin, &json!({})).status, 409, "it is decided");
    assert_eq!(case.world.earned(), 0);
    assert_eq!(case.world.money()["balance_micro_usd"], 5_000_000);
    // What charts are made of tells it too: a third request stays charged.
    case.charge();
    let http = case.world.server.http();
    for by in ["day", "model", "key", "day,model"] {
        let path = format!("/v1/payments/usage/summary?group_by={by}");
        let sums = http.get(&path, &case.world.payer.key).expect(200).json();
        let told = (&sums[0]["charged_micro_usd"], &sums[0]["refunded_micro_usd"]);
        assert_eq!(told, (&json!(3 * charged), &json!(2 * charged)), "{by}");
    }
    let today = http.get("/v1/admin/overview", &case.admin).expect(200).json()["today"]["refunded_micro_usd"].clone();
    assert_eq!(today, 2 * charged);
    assert_eq!(case.world.server.audit()["ok"], true);
}

#[test]
fn a_reduced_withdrawal_is_paid_for_what_is_left_of_it() {
    let case = Case::new(&[]);
    let (request, charged) = case.charge();
    case.charge();
    let withdrawal = case.withdraw(2 * charged).expect(201).json();
    let path = format!("/v1/admin/withdrawals/{}/paid", text(&withdrawal, "id"));
    case.refund(&request);
    let sent = |micro: i64| case.post(&path, &case.admin, &json!({"amount_usd": format!("0.{micro:06}")}));
    assert_eq!(sent(2 * charged).status, 409, "another amount was sent");
    let paid = sent(charged).expect(200).json();
    assert_eq!((&paid["amount_micro_usd"], &paid["reduced_micro_usd"]), (&json!(charged), &json!(charged)));
    assert_eq!(case.world.server.audit()["ok"], true);
}

#[test]
fn what_was_paid_out_is_owed_and_the_next_earnings_pay_it_off() {
    let case = Case::new(&[]);
    let (request, charged) = case.charge();
    let withdrawal = case.withdraw(charged).expect(201).json();
    case.world.server.ok(&["withdrawal", "paid", &text(&withdrawal, "id")]);
    let said = case.refund(&request);
    assert_eq!((&said["from_provider_micro_usd"], &said["debt_micro_usd"]), (&json!(0), &json!(charged)));
    assert_eq!(case.world.money()["balance_micro_usd"], 5_000_000, "the payer does not wait for it");
    assert_eq!(case.earnings()["debt_micro_usd"], charged);
    case.charge();
    assert_eq!((case.world.earned(), &case.earnings()["debt_micro_usd"]), (0, &json!(0)));
    case.charge();
    assert_eq!(case.world.earned(), charged);
    assert_eq!(case.world.server.audit()["ok"], true);
}

#[test]
fn a_fee_of_small_charges_is_collected_and_given_back() {
    let case = Case::new(&["--fee-bps", "33"]);
    let charges: Vec<(String, i64)> = (0..20).map(|_| case.charge()).collect();
    let charged: i64 = charges.iter().map(|(_, charged)| charged).sum();
    let fee = |server: &crate::world::coordinator::Coordinator| {
        server.number("SELECT coalesce(sum(fee_micro_usd), 0) FROM usage")
    };
    assert_eq!(fee(&case.world.server), charged * 33 / 10_000);
    for (request, charged) in &charges {
        let said = case.refund(request);
        let (provider, house) = (said["from_provider_micro_usd"].as_i64(), said["from_house_micro_usd"].as_i64());
        assert_eq!(provider.zip(house).map(|(a, b)| a + b), Some(*charged));
    }
    assert_eq!(case.world.server.number("SELECT balance_micro_usd FROM accounts WHERE id = 1"), 0);
    assert_eq!(case.world.server.audit()["ok"], true);
}

#[test]
fn invited_credit_spent_at_the_own_provider_cannot_be_withdrawn() {
    let case = Case::new(&[]);
    let server = &case.world.server;
    let code = json!({"amount_usd": "1.00", "max_redemptions": 5});
    let code = text(&case.post("/v1/admin/invite-codes", &case.admin, &code).expect(201).json(), "code");
    case.post("/v1/invite/redeem", &case.world.owner.key, &json!({"code": code})).expect(200);
    for _ in 0..3 {
        let own = Request::post("/v1/chat/completions").key(&case.world.owner.key).json(&chat_body());
        server.http().send(&own).expect(200);
    }
    let balance = server.http().get("/v1/payments/balance", &case.manage).expect(200).json();
    assert_eq!((&balance["balance_micro_usd"], &balance["withdrawable_micro_usd"]), (&json!(1_000_000), &json!(0)));
    assert_eq!(case.withdraw(1).status, 400);
    assert_eq!(server.audit()["ok"], true);
}
