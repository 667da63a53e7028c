//! `serve --own-use-free`: what an account's own machine serves it costs nothing, and nobody else's is free.

use serde_json::{Value, json};

use super::join::nobody_yet;
use crate::world::agent::Agent;
use crate::world::answer::{Answer, Cut, Gate, Stream, honest, usage};
use crate::world::http::{Reply, Request};
use crate::world::upstream::{Seen, Upstream};
use crate::world::{Account, MODEL, World, chat_body, cost, eventually, micro, stream_body};

/// The owner's machine `kitchen` is the only provider; the owner has a dollar of credit.
fn with_machine(serve: &[&str], script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> (World, Agent) {
    let (world, key) = nobody_yet(serve, script);
    world.server.ok(&["credit", &world.owner.id, "1.00"]);
    let agent = Agent::join(&world.server, &key, "kitchen", &world.upstream.url(), &[]);
    (world, agent)
}

fn chat(world: &World, by: &Account, body: &Value) -> Reply {
    world.server.http().send(&Request::post("/v1/chat/completions").key(&by.key).json(body))
}

/// The newest usage row of an account.
fn row(world: &World, of: &Account) -> Value {
    let rows = world.server.http().get("/v1/payments/usage?limit=1", &of.key).expect(200).json();
    rows[0].clone()
}

/// (balance, withdrawable) of an account.
fn money(world: &World, of: &Account) -> (i64, i64) {
    let money = world.money_of(of);
    (micro(&money, "balance_micro_usd"), micro(&money, "withdrawable_micro_usd"))
}

#[test]
fn what_an_accounts_own_machine_serves_it_costs_nothing_and_the_row_says_why() {
    // A fee too: of nothing there is none.
    let (world, _agent) = with_machine(&["--own-use-free", "--fee-bps", "1000"], honest(10, 5));
    let reply = chat(&world, &world.owner, &chat_body()).expect(200);
    assert_eq!(reply.number("x-cost-micro-usd"), 0);
    assert_eq!(micro(&reply.json()["usage"], "cost_micro_usd"), 0);
    let streamed = chat(&world, &world.owner, &stream_body(true)).expect(200);
    assert!(streamed.text().contains("\"cost_micro_usd\":0"), "{}", streamed.text());
    let own = row(&world, &world.owner);
    assert_eq!((&own["own_use"], &own["outcome"]), (&json!(true), &json!("completed")));
    let counted = ["prompt_tokens", "completion_tokens", "cost_micro_usd", "charged_micro_usd", "shortfall_micro_usd"];
    assert_eq!(counted.map(|field| micro(&own, field)), [10, 5, 0, 0, 0]);
    assert_eq!(money(&world, &world.owner), (1_000_000, 0));
    // Others pay for the same machine, and it earns.
    world.chat(&chat_body()).expect(200);
    let charged = cost(10, 5);
    assert_eq!((world.row(1)["own_use"].clone(), world.balance()), (json!(false), 5_000_000 - charged));
    assert_eq!(world.earned(), charged - charged / 10);
    eventually("the log to say so", || {
        let log = world.server.log();
        log.contains("\"own_use\":true") || log.contains("own_use=true")
    });
}

#[test]
fn without_the_flag_own_use_is_charged_and_comes_back() {
    let (world, _agent) = with_machine(&[], honest(10, 5));
    let reply = chat(&world, &world.owner, &chat_body()).expect(200);
    assert_eq!(reply.number("x-cost-micro-usd"), cost(10, 5));
    assert_eq!(row(&world, &world.owner)["own_use"], false);
    assert_eq!(money(&world, &world.owner), (1_000_000, 0));
}

#[test]
fn money_is_held_before_it_is_known_who_serves() {
    let gate = Gate::default();
    let opened = gate.clone();
    let (world, _agent) =
        with_machine(&["--own-use-free"], move |_| Stream::new(9).usage(usage(10, 9)).gate(2, &opened).answer());
    let mut conn =
        world.server.http().open(&Request::post("/v1/chat/completions").key(&world.owner.key).json(&stream_body(true)));
    conn.read_until("word1");
    assert!(micro(&world.money_of(&world.owner), "held_micro_usd") > cost(10, 9));
    gate.open();
    assert!(conn.finish().text().contains("[DONE]"));
    eventually("it to be released", || micro(&world.money_of(&world.owner), "held_micro_usd") == 0);
    assert_eq!(row(&world, &world.owner)["cost_micro_usd"], 0);
    // So an account without money is refused here as anywhere.
    world.server.ok(&["debit", &world.owner.id, "1.00"]);
    chat(&world, &world.owner, &chat_body()).expect(402);
}

/// The owner's machine, and another provider `foreign` of the same model that earns for the payer.
fn with_foreign(own: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> (World, Upstream, Agent) {
    let (world, agent) = with_machine(&["--own-use-free"], own);
    let foreign = Upstream::start(honest(10, 5));
    world.server.provider("foreign", &foreign.url(), &world.payer, &[]);
    (world, foreign, agent)
}

#[test]
fn who_is_served_elsewhere_after_the_own_machine_failed_pays() {
    let (world, foreign, _agent) = with_foreign(|_| Answer::json(500, &json!({})));
    for (n, body) in (1..).zip([chat_body(), stream_body(true), chat_body()]) {
        chat(&world, &world.owner, &body).expect(200);
        assert_eq!(row(&world, &world.owner)["own_use"], false);
        assert_eq!(money(&world, &world.owner), (1_000_000 - n * cost(10, 5), 0));
    }
    assert_eq!(foreign.requests().len(), 3);
    assert_eq!(money(&world, &world.payer), (5_000_000 + 3 * cost(10, 5), 3 * cost(10, 5)));
    // And the other way round: failed elsewhere, served at home.
    foreign.script(|_| Answer::json(500, &json!({})));
    world.upstream.script(honest(10, 5));
    for _ in 0..4 {
        chat(&world, &world.owner, &chat_body()).expect(200);
        assert_eq!(row(&world, &world.owner)["own_use"], true);
    }
    assert_eq!(money(&world, &world.owner), (1_000_000 - 3 * cost(10, 5), 0));
}

#[test]
fn an_own_machine_that_breaks_off_costs_nothing_and_earns_nothing() {
    let (world, _agent) = with_machine(&["--own-use-free"], |_| Stream::new(9).cut(2, Cut::Fin).answer());
    chat(&world, &world.owner, &stream_body(true)).expect(200);
    eventually("its row", || row(&world, &world.owner).is_object());
    let broken = row(&world, &world.owner);
    assert_eq!((&broken["outcome"], micro(&broken, "cost_micro_usd")), (&json!("provider_error"), 0));
    assert_eq!(money(&world, &world.owner), (1_000_000, 0));
}

#[test]
fn nobody_is_served_for_nothing_by_anothers_machine() {
    let (world, mut agent) = with_machine(&["--own-use-free"], honest(10, 5));
    let admin = world.server.admin_key();
    let http = world.server.http();
    let mut paid = 0;
    let mut pays = |why: &str| {
        let before = world.balance();
        world.chat(&chat_body()).expect(200);
        paid += cost(10, 5);
        assert_eq!((world.balance(), &world.rows()[0]["own_use"]), (before - cost(10, 5), &json!(false)), "{why}");
        assert_eq!(world.earned(), paid, "{why}");
    };
    pays("another account's key");
    // A name is no owner: that of the account, of the machine, of its key.
    let id = http.get("/v1/admin/providers", &admin).json()[0]["id"].as_str().unwrap().to_owned();
    let rename =
        Request::new("PATCH", &format!("/v1/admin/providers/{id}")).key(&admin).json(&json!({"name": "payer"}));
    http.send(&rename).expect(200);
    pays("a machine that is called as the payer is");
    // A machine of the payer's own under the same name is another row, and is refused while the first has the name.
    let theirs = world.server.provide_key(&world.payer, &["--name", "machines"]);
    let refused = Agent::start(&world.server, &theirs, "payer", &world.upstream.url(), &[]).wait_ended_with();
    assert!(refused.contains("already a provider"), "{refused}");
    pays("a machine of that name that was refused");
    // The owner's own is free whatever it is called, and a refund of nothing gives nothing.
    let own = chat(&world, &world.owner, &chat_body()).expect(200);
    let request = own.header("x-request-id").unwrap().to_owned();
    let before = money(&world, &world.owner);
    let refund = Request::post("/v1/admin/refund").key(&admin).json(&json!({"request_id": request, "reason": "x"}));
    http.send(&refund).expect(409);
    assert_eq!(money(&world, &world.owner), before);
    // Refunding what was paid takes the earning back, and makes nothing free.
    let last = world.rows()[0]["request_id"].clone();
    http.send(&Request::post("/v1/admin/refund").key(&admin).json(&json!({"request_id": last, "reason": "x"})))
        .expect(200);
    assert_eq!(world.earned(), paid - cost(10, 5));
    paid -= cost(10, 5);
    // Who is suspended is served by nobody, its own machine neither.
    world.server.ok(&["account", "suspend", &world.owner.id]);
    chat(&world, &world.owner, &chat_body()).expect(403);
    assert_eq!(agent.wait_ended().code(), Some(1));
    eventually("it to say why", || agent.log().contains("suspended"));
    assert_ne!(world.chat(&chat_body()).status, 200);
    assert_eq!(
        world
            .server
            .number(&format!("SELECT withdrawable_micro_usd FROM accounts WHERE name = 'owner' AND {paid} >= 0")),
        paid
    );
}

#[test]
fn a_machine_that_changes_hands_is_free_for_who_earns_now() {
    let (world, _agent) = with_machine(&["--own-use-free"], honest(10, 5));
    let admin = world.server.admin_key();
    let http = world.server.http();
    let id = http.get("/v1/admin/providers", &admin).json()[0]["id"].as_str().unwrap().to_owned();
    let give =
        Request::new("PATCH", &format!("/v1/admin/providers/{id}")).key(&admin).json(&json!({"account": "payer"}));
    http.send(&give).expect(200);
    // The owner of the key that it joined with earns no more, and pays.
    chat(&world, &world.owner, &chat_body()).expect(200);
    assert_eq!(money(&world, &world.owner), (1_000_000 - cost(10, 5), 0));
    world.chat(&json!({"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]})).expect(200);
    assert_eq!((world.row(1)["own_use"].clone(), world.balance()), (json!(true), 5_000_000 + cost(10, 5)));
}
