//! The zero floor: what a balance affords is served, and not a token more.

use std::collections::BTreeMap;

use serde_json::json;

use crate::world::answer::{Answer, Gate, Step, honest, usage};
use crate::world::http::{Reply, Request};
use crate::world::{MODEL, World, chat_body, cost, micro, stream_body, text};

/// A request that may run long, with a prompt of one word.
fn long(streamed: bool) -> serde_json::Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": "Go on."}], "max_tokens": 4000, "stream": streamed})
}

fn refused_for_want_of_money(reply: &Reply) {
    assert_eq!(reply.status, 402, "{}", reply.text());
    let (kind, code, _) = reply.error();
    assert_eq!((kind.as_str(), code.as_str()), ("insufficient_funds", "insufficient_quota"));
    assert_eq!(reply.header("x-should-retry"), Some("false"));
}

#[test]
fn a_request_stops_at_what_the_balance_affords() {
    // $0.000100 of credit; the upstream says all it may.
    for streamed in [false, true] {
        // The head says what was counted, and counting is slow where much else runs: no sign of life before it.
        let world = World::with("0.0001", &["--sign-of-life", "300"], honest(12, 1_000_000));
        let first = world.chat(&long(streamed)).expect(200);
        assert_eq!(first.header("x-max-tokens-limited"), Some("balance"));
        let bound = world.upstream.last().json()["max_tokens"].as_i64().expect("a bound upstream");
        assert!((1..=128).contains(&bound), "100 µUSD afford at most 128 tokens of output: {bound}");
        let row = world.row(1);
        assert_eq!((micro(&row, "completion_tokens"), micro(&row, "shortfall_micro_usd")), (bound, 0));
        assert_eq!(micro(&row, "cost_micro_usd"), cost(12, bound));
        assert_eq!(world.balance(), 100 - cost(12, bound));

        // Repeated until what is left no longer covers a prompt.
        let mut served = 1;
        let refused = loop {
            let reply = world.chat(&long(streamed));
            if reply.status != 200 {
                break reply;
            }
            served += 1;
            assert!(served < 100, "the balance never runs out");
        };
        refused_for_want_of_money(&refused);
        assert_eq!(world.rows().len(), served);
        assert_eq!(world.upstream.requests().len(), served, "a refused request does not reach the provider");
        assert!(world.rows().iter().all(|r| micro(r, "shortfall_micro_usd") == 0));
        let left = world.balance();
        assert!((0..=20).contains(&left), "{left}");

        // More credit, and it goes on, with no restart.
        world.server.ok(&["credit", &world.payer.id, "1.00"]);
        let reply = world.chat(&long(streamed)).expect(200);
        assert_eq!(reply.header("x-max-tokens-limited"), None);
        assert_eq!(world.upstream.last().json()["max_tokens"], 4000);
        assert_eq!(world.balance(), 1_000_000 + left - cost(12, 4000));
    }
}

#[test]
fn a_bound_lowered_by_the_balance_is_in_every_field_that_carries_one() {
    let world = World::with("0.0001", &[], honest(12, 1_000_000));
    let mut body = long(false);
    body["max_completion_tokens"] = json!(4000);
    world.chat(&body).expect(200);
    let seen = world.upstream.last().json();
    assert_eq!(seen["max_tokens"], seen["max_completion_tokens"]);
    assert!(seen["max_tokens"].as_i64().unwrap() < 4000);
}

#[test]
fn a_request_without_a_maximum_gets_the_models_or_8192() {
    let world = World::new(honest(10, 5));
    let mut body = chat_body();
    body.as_object_mut().unwrap().remove("max_tokens");
    world.chat(&body).expect(200);
    assert_eq!(world.upstream.last().json()["max_tokens"], 8192);
    world.server.ok(&["price", "set", MODEL, "--input", "0.10", "--output", "0.78", "--max-output", "300"]);
    let reply = world.chat(&body).expect(200);
    assert_eq!(world.upstream.last().json()["max_tokens"], 300);
    assert_eq!(reply.header("x-max-tokens-limited"), None, "the balance had no part in it");
}

#[test]
fn an_empty_balance_is_402_at_once() {
    let world = World::with("0", &[], honest(10, 5));
    for body in [chat_body(), stream_body(true)] {
        refused_for_want_of_money(&world.chat(&body));
    }
    assert!(world.upstream.requests().is_empty());
    assert_eq!((world.balance(), world.rows().len()), (0, 0));
}

#[test]
fn a_prompt_that_fits_by_the_tokenizers_count_is_served() {
    // A token a byte would cost more than there is; a token a word does not.
    let prompt = "gradient ".repeat(2_000);
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": prompt}], "max_tokens": 50});
    let world = World::with("0.0010", &[], honest(2_000, 50));
    let reply = world.chat(&body).expect(200);
    assert_eq!(reply.number("x-cost-micro-usd"), cost(2_000, 50));
    assert_eq!(micro(&world.row(1), "shortfall_micro_usd"), 0);
    assert_eq!(world.balance(), 1_000 - cost(2_000, 50));
}

#[test]
fn a_prompt_that_does_not_fit_is_402() {
    let prompt = "gradient ".repeat(20_000);
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": prompt}], "max_tokens": 50});
    let world = World::with("0.0010", &[], honest(20_000, 50));
    refused_for_want_of_money(&world.chat(&body));
    assert_eq!(world.balance(), 1_000);
}

#[test]
fn the_context_length_caps_the_prompt_bound() {
    let gate = Gate::default();
    let closed = gate.clone();
    let world = World::new(move |_| Answer::chat(usage(10, 5)).after(Step::Gate(closed.clone())));
    let set = ["price", "set", MODEL, "--input", "1000", "--output", "0", "--context", "100"];
    world.server.ok(&set);
    let conn = world.open(&chat_body());
    world.upstream.wait_for(1);
    assert_eq!(micro(&world.money(), "held_micro_usd"), 100 * 1_000, "100 tokens, whatever the bytes");
    gate.open();
    conn.finish().expect(200);
}

#[test]
fn money_held_by_others_is_not_available() {
    let gate = Gate::default();
    let closed = gate.clone();
    let world = World::with("0.0010", &[], move |_| Answer::chat(usage(12, 100)).after(Step::Gate(closed.clone())));
    // The first takes all there is: its bound is lowered.
    let conn = world.open(&long(false));
    world.upstream.wait_for(1);
    assert!(micro(&world.money(), "available_micro_usd") <= 1);
    refused_for_want_of_money(&world.chat(&long(false)));
    gate.open();
    conn.finish().expect(200);
    // It used a tenth of that: the rest is free again.
    world.chat(&long(false)).expect(200);
}

/// Digits, of which our tokenizer makes a token of three and the upstream here one of each; one word of output.
fn digits(count: usize) -> serde_json::Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": "7".repeat(count)}], "max_tokens": 1})
}

#[test]
fn a_slow_stream_beside_makes_nothing_cheaper() {
    let gate = Gate::default();
    let closed = gate.clone();
    let world = World::with("0.05", &[], move |seen| match seen.json()["max_tokens"].as_u64() {
        Some(1) => Answer::chat(usage(40_010, 1)),
        _ => Answer::chat(usage(12, 5)).after(Step::Gate(closed.clone())),
    });
    let mut slow = long(false);
    slow["max_tokens"] = json!(60_000);
    let conn = world.open(&slow);
    world.upstream.wait_for(1);
    let left = micro(&world.money(), "available_micro_usd");
    assert!((2_500..4_000).contains(&left), "room for the count of 40,000 digits, none for their bytes: {left}");
    for _ in 0..3 {
        let reply = world.chat(&digits(40_000));
        refused_for_want_of_money(&reply);
        assert!(reply.text().contains("in flight"), "{}", reply.text());
    }
    // As many as can be held are served, and paid whole.
    world.chat(&digits(40)).expect(200);
    assert!(micro(&world.row(1), "prompt_tokens") >= 40);
    let before = world.balance();
    gate.open();
    conn.finish().expect(200);
    let between = world.balance();
    assert_eq!(before - between, cost(12, 5));
    world.chat(&digits(40_000)).expect(200);
    assert_eq!(between - world.balance(), cost(40_010, 1));
}

#[test]
fn a_key_with_a_small_limit_makes_nothing_cheaper() {
    let world = World::with("5.00", &[], |_| Answer::chat(usage(40_010, 1)));
    for limit in ["0.002", "0.0025"] {
        let key = text(&world.server.ok(&["key", "create", "payer", "--limit-usd", limit]), "key");
        let request = Request::post("/v1/chat/completions").key(&key).json(&digits(40_000));
        let refused = world.server.http().send(&request).expect(402);
        assert_eq!(refused.error().0, "insufficient_quota", "{}", refused.text());
    }
    assert!(world.rows().is_empty());
    world.chat(&digits(40_000)).expect(200);
    assert_eq!(5_000_000 - world.balance(), cost(40_010, 1));
}

#[test]
fn three_agents_of_long_context_run_side_by_side() {
    // The bytes of one of them alone would hold half of the $2.
    let line = "    let left = balance.less(held.total);\n    if left < cost { return Err(refused) }\n";
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": line.repeat(400_000 / line.len())}]});
    let gate = Gate::default();
    let closed = gate.clone();
    let world = World::with("2.00", &[], move |_| Answer::chat(usage(110_000, 900)).after(Step::Gate(closed.clone())));
    world.server.ok(&["price", "set", MODEL, "--input", "2.00", "--output", "10"]);
    let all: Vec<_> = (1..=3)
        .map(|agents| {
            let conn = world.open(&body);
            world.upstream.wait_for(agents);
            conn
        })
        .collect();
    gate.open();
    for conn in all {
        assert_eq!(conn.finish().expect(200).header("x-max-tokens-limited"), None);
    }
    world.wait_released();
    assert!(world.rows().iter().all(|row| micro(row, "cost_micro_usd") == 220_000 + 9_000));
}

#[test]
fn two_hundred_at_once_on_a_balance_for_ten() {
    // Ten times what one may cost at most, and every one costs exactly that.
    let body = json!({"model": "flat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100});
    let bytes = body.to_string().len() as i64;
    let mut world = World::unstarted("0", honest(1_000_000, 1_000_000));
    world.server.ok(&["price", "set", "flat", "--input", "10", "--output", "10"]);
    let url = world.upstream.url();
    world.server.ok(&["provider", "add", "flat", "--url", &url, "--account", "owner", "--model", "flat"]);
    let ceiling = (bytes + 100) * 10;
    let credit = format!("0.{:06}", ceiling * 10);
    world.server.ok(&["credit", &world.payer.id, &credit]);
    // A refusal keeps its status only before a sign of life.
    world.server.start(&["--sign-of-life", "300"]);

    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..200)
            .map(|n| {
                let (world, body) = (&world, if n % 2 == 0 { &body } else { &streamed });
                scope.spawn(move || world.chat(body))
            })
            .collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let mut by_status = BTreeMap::<u16, i64>::new();
    for reply in &replies {
        *by_status.entry(reply.status).or_default() += 1;
        if reply.status == 402 {
            refused_for_want_of_money(reply);
        } else {
            assert!(reply.status == 200 && reply.whole, "{}: {}", reply.status, reply.text());
        }
    }
    let served = by_status.get(&200).copied().unwrap_or(0);
    assert!((8..=20).contains(&served), "{by_status:?}");
    world.wait_released();
    let rows = world.rows();
    let spent: i64 = rows.iter().map(|r| micro(r, "cost_micro_usd")).sum();
    assert_eq!(rows.len() as i64, served, "every response that was received whole has its row");
    assert!(rows.iter().all(|r| micro(r, "shortfall_micro_usd") == 0 && r["outcome"] == "completed"));
    assert!(spent <= ceiling * 10, "{spent} of {}", ceiling * 10);
    assert_eq!((world.balance(), world.earned()), (ceiling * 10 - spent, spent));
    conservation(&world);
}

/// The invariants of the ledger, by SQL: independent of the audit that the program has.
fn conservation(world: &World) {
    let zero = [
        "select (select sum(balance_micro_usd) from accounts) - (select sum(amount_micro_usd) from ledger)",
        "select count(*) from accounts where balance_micro_usd < 0 or withdrawable_micro_usd < 0",
        "select count(*) from accounts where withdrawable_micro_usd > balance_micro_usd",
        "select count(*) from usage where cost_micro_usd <> charged_micro_usd + shortfall_micro_usd",
        "select count(*) from usage where charged_micro_usd <> fee_micro_usd + earned_micro_usd",
        "select sum(abs(balance_micro_usd
            - (select coalesce(sum(amount_micro_usd), 0) from ledger l where l.account_id = a.id)
            + (select coalesce(sum(charged_micro_usd), 0) from usage u where u.account_id = a.id)
            - (select coalesce(sum(earned_micro_usd), 0) from usage u where u.provider_account_id = a.id)))
         from accounts a where id <> 1",
    ];
    for sql in zero {
        assert_eq!(world.server.number(sql), 0, "{sql}");
    }
    world.server.audit();
}

#[test]
fn a_payer_who_earns_spends_credit_before_earnings() {
    let mut world = World::unstarted("0.0010", honest(100, 10));
    world.server.ok(&["price", "set", "mutual", "--input", "1", "--output", "1"]);
    let url = world.upstream.url();
    world.server.ok(&["provider", "add", "mine", "--url", &url, "--account", "payer", "--model", "mutual"]);
    world.server.ok(&["credit", &world.owner.id, "1"]);
    world.server.start(&[]);
    let mut body = chat_body();
    body["model"] = json!("mutual");
    // The owner uses the payer's provider: the payer earns 110.
    let request = crate::world::http::Request::post("/v1/chat/completions").key(&world.owner.key).json(&body);
    world.server.http().send(&request).expect(200);
    let money = world.money();
    assert_eq!((micro(&money, "balance_micro_usd"), micro(&money, "withdrawable_micro_usd")), (1_110, 110));
    // What the payer spends comes out of its credit first.
    world.chat(&chat_body()).expect(200);
    let money = world.money();
    let left = 1_110 - cost(100, 10);
    assert_eq!((micro(&money, "balance_micro_usd"), micro(&money, "withdrawable_micro_usd")), (left, 110));
    // And one who serves himself pays himself.
    world.chat(&body).expect(200);
    assert_eq!(world.balance(), left);
    conservation(&world);
}
