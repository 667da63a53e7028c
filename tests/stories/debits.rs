//! A mistyped credit is taken back: by an admin over HTTP, and by the command line with and without a server.

use serde_json::{Value, json};

use crate::world::answer::{Gate, Step, honest};
use crate::world::http::{Reply, Request};
use crate::world::{World, chat_body, micro};

fn debit(world: &World, admin: &str, body: &Value, idempotency_key: Option<&str>) -> Reply {
    let mut request = Request::post("/v1/admin/debit").key(admin).json(body);
    if let Some(key) = idempotency_key {
        request = request.header("idempotency-key", key);
    }
    world.server.http().send(&request)
}

#[test]
fn a_debit_is_an_adjustment_that_is_made_once_and_never_below_zero() {
    let world = World::new(honest(1_000, 200));
    let admin = world.server.admin_key();
    let body = json!({"account": "payer", "amount_usd": "4.00", "note": "a zero too many"});
    let first = debit(&world, &admin, &body, Some("slip")).expect(200).json();
    assert_eq!((micro(&first, "debited_micro_usd"), micro(&first, "balance_micro_usd")), (4_000_000, 1_000_000));
    assert_eq!(debit(&world, &admin, &body, Some("slip")).expect(200).json(), first, "once");
    assert_eq!(debit(&world, &admin, &body, None).expect(400).error().2, "amount_usd");
    let ledger = world.server.http().get("/v1/payments/ledger", &world.payer.key).expect(200).json();
    let told = (&ledger[0]["kind"], &ledger[0]["amount_micro_usd"], &ledger[0]["note"]);
    assert_eq!(told, (&json!("adjustment"), &json!(-4_000_000), &json!("a zero too many")));
    for bad in [json!({"account": "payer", "amount_usd": "0"}), json!({"account": "payer", "amount_usd": "-1"})] {
        debit(&world, &admin, &bad, None).expect(400);
    }
    debit(&world, &admin, &json!({"account": "nobody", "amount_usd": "1"}), None).expect(404);
    debit(&world, &world.payer.key, &body, None).expect(403);
    assert_eq!((world.balance(), &world.server.audit()["ok"]), (1_000_000, &json!(true)));
}

#[test]
fn the_command_line_takes_back_with_and_without_a_server() {
    let mut world = World::new(honest(1_000, 200));
    let taken = world.server.ok(&["debit", "payer", "1.00", "--note", "a slip"]);
    assert_eq!((micro(&taken, "debited_micro_usd"), micro(&taken, "balance_micro_usd")), (1_000_000, 4_000_000));
    let refused = world.server.cli(&["debit", "payer", "4.000001"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("at most $4.00 can be taken back now"), "{refused:?}");
    world.server.stop();
    let taken = world.server.ok(&["debit", "payer", "1.50"]);
    assert_eq!(micro(&taken, "balance_micro_usd"), 2_500_000);
    assert_eq!(world.server.cli(&["debit", "payer", "2.500001"]).code, 1);
    let ledger = world.server.ok(&["ledger", "payer"]);
    assert_eq!((&ledger[1]["actor"], &ledger[1]["note"]), (&json!("cli"), &json!("a slip")));
    assert_eq!(world.server.number("SELECT count(*) FROM debit_requests"), 0);
    assert_eq!(world.server.audit()["ok"], true);
}

#[test]
fn what_a_request_in_flight_holds_is_not_taken() {
    let gate = Gate::default();
    let door = gate.clone();
    let answers = honest(1_000, 200);
    let world = World::new(move |seen| answers(seen).after(Step::Gate(door.clone())));
    let admin = world.server.admin_key();
    let asking = world.open(&chat_body());
    crate::world::eventually("a hold", || micro(&world.money(), "held_micro_usd") > 0);
    let money = world.money();
    let (held, available) = (micro(&money, "held_micro_usd"), micro(&money, "available_micro_usd"));
    let usd = |micro: i64| format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
    let body = json!({"account": "payer", "amount_usd": usd(available + 1)});
    assert_eq!(debit(&world, &admin, &body, None).expect(400).error().2, "amount_usd");
    let refused = world.server.cli(&["debit", "payer", &usd(available + 1)]);
    assert!(refused.code == 1 && refused.stderr.contains("can be taken back now"), "{refused:?}");
    let taken = world.server.ok(&["debit", "payer", &usd(available)]);
    assert_eq!(micro(&taken, "balance_micro_usd"), held);
    gate.open();
    let reply = asking.finish().expect(200);
    let row = world.row(1);
    assert_eq!(
        (micro(&row, "shortfall_micro_usd"), micro(&row, "charged_micro_usd")),
        (0, reply.number("x-cost-micro-usd"))
    );
    assert_eq!(world.server.audit()["ok"], true);
}
