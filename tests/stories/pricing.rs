//! Prices: the published table, versions, free models, models nobody priced, cached prompts.

use serde_json::{Value, json};

use crate::world::answer::{Answer, Gate, Step, honest, usage};
use crate::world::http::Request;
use crate::world::{MODEL, World, chat_body, cost, micro};

fn prices(world: &World) -> Vec<Value> {
    let reply = world.server.http().send(&Request::get("/v1/pricing")).expect(200);
    reply.json()["prices"].as_array().expect("prices").clone()
}

fn price_of(world: &World, model: &str) -> Option<Value> {
    prices(world).into_iter().find(|p| p["model"] == model)
}

/// A short request for `model`.
fn body(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "a prompt of more than ten bytes"}], "max_tokens": 50})
}

#[test]
fn a_new_database_holds_the_published_table() {
    let world = World::new(honest(1, 1));
    let published = [
        ("Gemma 4 26B", "mlx-community/gemma-4-26b-a4b-it-8bit", 65_000, 200_000, "$0.0650", "$0.2000"),
        ("Qwen3.5 27B", "qwen3.5-27b-claude-opus-8bit", 100_000, 780_000, "$0.1000", "$0.7800"),
        ("Qwen3.5 122B", "mlx-community/Qwen3.5-122B-A10B-8bit", 130_000, 1_040_000, "$0.1300", "$1.0400"),
        ("MiniMax M2.5", "mlx-community/MiniMax-M2.5-8bit", 60_000, 500_000, "$0.0600", "$0.5000"),
    ];
    assert_eq!(prices(&world).len(), published.len());
    for (name, model, input, output, input_usd, output_usd) in published {
        let expected = json!({"model": model, "display_name": name, "input_price": input, "output_price": output,
            "cache_read_price": null, "input_usd": input_usd, "output_usd": output_usd});
        let price = price_of(&world, model).unwrap_or_else(|| panic!("{model} is not priced"));
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&price[field], value, "{field} of {model}");
        }
    }
}

#[test]
fn prices_are_set_and_removed_while_the_server_runs() {
    let world = World::new(honest(10, 5));
    let set = ["price", "set", "house-model", "--input", "1.5", "--output", "0.000001", "--cache-read", "0.10"];
    world.server.ok(&[&set[..], &["--name", "The House", "--context", "4096", "--max-output", "512"]].concat());
    let price = price_of(&world, "house-model").expect("the new price");
    assert_eq!(price["display_name"], "The House");
    let numbers = [("input_price", 1_500_000), ("output_price", 1), ("cache_read_price", 100_000)];
    for (field, micro) in numbers {
        assert_eq!(price[field], micro, "{field}");
    }
    assert_eq!((&price["input_usd"], &price["output_usd"]), (&json!("$1.5000"), &json!("$0.000001")));

    world.server.ok(&["price", "set", "house-model", "--input", "2", "--output", "3"]);
    assert_eq!(price_of(&world, "house-model").expect("the changed price")["input_price"], 2_000_000);
    assert_eq!(world.server.number("select count(*) from prices where model = 'house-model'"), 2, "a version is kept");

    world.server.ok(&["price", "remove", "house-model"]);
    assert_eq!(price_of(&world, "house-model"), None);
    world.server.ok(&["price", "remove", MODEL]);
    world.chat(&chat_body()).expect(404);
}

#[test]
fn a_request_pays_the_price_it_was_admitted_at() {
    let gate = Gate::default();
    let closed = gate.clone();
    let world = World::new(move |_| Answer::chat(usage(400, 100)).after(Step::Gate(closed.clone())));
    let conn = world.open(&chat_body());
    world.upstream.wait_for(1);
    world.server.ok(&["price", "set", MODEL, "--input", "50", "--output", "60"]);
    gate.open();
    let old = conn.finish().expect(200);
    assert_eq!(old.number("x-cost-micro-usd"), cost(400, 100));
    let new = world.chat(&chat_body()).expect(200);
    assert_eq!(new.number("x-cost-micro-usd"), 400 * 50 + 100 * 60);
    let rows = world.rows();
    assert_eq!((&rows[0]["cost_micro_usd"], &rows[1]["cost_micro_usd"]), (&json!(26_000), &json!(cost(400, 100))));
}

#[test]
fn a_price_removed_in_flight_is_still_the_price() {
    let gate = Gate::default();
    let closed = gate.clone();
    let world = World::new(move |_| Answer::chat(usage(400, 100)).after(Step::Gate(closed.clone())));
    let conn = world.open(&chat_body());
    world.upstream.wait_for(1);
    world.server.ok(&["price", "remove", MODEL]);
    gate.open();
    assert_eq!(conn.finish().expect(200).number("x-cost-micro-usd"), cost(400, 100));
}

#[test]
fn a_free_model_works_at_balance_0() {
    let world = World::unstarted("0", honest(10, 5));
    world.server.ok(&["price", "set", "gratis", "--input", "0", "--output", "0"]);
    let url = world.upstream.url();
    world.server.ok(&["provider", "add", "free", "--url", &url, "--account", "owner", "--model", "gratis"]);
    let mut world = world;
    world.server.start(&[]);
    for streamed in [false, true] {
        let mut body = body("gratis");
        body["stream"] = json!(streamed);
        let reply = world.chat(&body).expect(200);
        assert!(streamed || reply.number("x-cost-micro-usd") == 0);
    }
    let row = world.row(2);
    assert_eq!((&row["prompt_tokens"], &row["completion_tokens"]), (&json!(10), &json!(5)), "metered all the same");
    assert_eq!((&row["cost_micro_usd"], &row["shortfall_micro_usd"]), (&json!(0), &json!(0)));
    world.chat(&body(MODEL)).expect(402);
    assert_eq!((world.balance(), world.earned()), (0, 0));
}

#[test]
fn a_model_without_a_price_or_a_provider_is_not_found() {
    let world = World::new(honest(10, 5));
    let url = world.upstream.url();
    world.server.ok(&["provider", "add", "b", "--url", &url, "--account", "owner", "--model", "unpriced"]);
    for model in ["unpriced", "never-heard-of", "mlx-community/MiniMax-M2.5-8bit", "QWEN3.5-27b-claude-opus-8bit"] {
        let reply = world.chat(&body(model)).expect(404);
        let (kind, code, _) = reply.error();
        assert_eq!((kind.as_str(), code.as_str()), ("not_found_error", "model_not_found"), "{model}");
    }
    assert!(world.upstream.requests().is_empty());
    assert_eq!((world.balance(), world.rows().len()), (5_000_000, 0));
}

#[test]
fn cached_prompt_tokens_have_their_own_price() {
    let world = World::new(|_| {
        let mut said = usage(400, 100);
        said["prompt_tokens_details"] = json!({"cached_tokens": 300});
        Answer::chat(said)
    });
    world.chat(&chat_body()).expect(200);
    let row = world.row(1);
    assert_eq!(
        (&row["cached_tokens"], &row["cost_micro_usd"]),
        (&json!(300), &json!(cost(400, 100))),
        "no price of its own"
    );
    world.server.ok(&["price", "set", MODEL, "--input", "0.10", "--output", "0.78", "--cache-read", "0.01"]);
    let reply = world.chat(&chat_body()).expect(200);
    // 100 × 0.1 + 300 × 0.01 + 100 × 0.78 = 91
    assert_eq!(reply.number("x-cost-micro-usd"), 91);
    assert_eq!(micro(&world.row(2), "cost_micro_usd"), 91);
}

#[test]
fn tokens_written_to_a_cache_have_their_own_prices() {
    let world = World::new(|_| {
        let usage = json!({"input_tokens": 100, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 200,
            "cache_creation": {"ephemeral_5m_input_tokens": 150, "ephemeral_1h_input_tokens": 50}, "output_tokens": 100});
        let body = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "hello"}], "usage": usage});
        Answer::json(200, &body)
    });
    let ask = || {
        let request = Request::post("/v1/messages").key(&world.payer.key).json(&chat_body());
        world.server.http().send(&request).expect(200).number("x-cost-micro-usd")
    };
    let set = ["price", "set", MODEL, "--input", "3", "--output", "15"];
    let writes = ["--cache-write", "3.75", "--cache-write-1h", "6"];
    // 400 × 3 + 100 × 15, then 200 × 3 + 150 × 3.75 + 50 × 6 + 100 × 15 = 2,962.5
    for (more, expected) in [(writes.split_at(0).0, 2_700), (writes.as_slice(), 2_963)] {
        world.server.ok(&[set.as_slice(), more].concat());
        assert_eq!(ask(), expected, "{more:?}");
    }
    let row = world.row(2);
    let written = (micro(&row, "cache_write_tokens"), micro(&row, "cache_write_1h_tokens"));
    assert_eq!((written, micro(&row, "prompt_tokens")), ((200, 50), 400));
    let price = price_of(&world, MODEL).expect("a price");
    let prices = (micro(&price, "cache_write_price"), micro(&price, "cache_write_1h_price"));
    assert_eq!(prices, (3_750_000, 6_000_000));
    assert_eq!(world.server.ok(&["audit"])["ok"], json!(true));
}

#[test]
fn the_smallest_price_is_rounded_up_once() {
    let world = World::new(honest(1, 1));
    world.server.ok(&["price", "set", MODEL, "--input", "0.000001", "--output", "0.000001"]);
    assert_eq!(world.chat(&chat_body()).expect(200).number("x-cost-micro-usd"), 1);
}
