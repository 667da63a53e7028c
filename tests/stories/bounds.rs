//! What a prompt can cost at most, what is held for it, and what an estimate says.

use serde_json::{Value, json};

use crate::world::answer::{Answer, Cut, Gate, Step, Stream, honest, usage};
use crate::world::http::Request;
use crate::world::{MODEL, World, chat_body, cost, micro, text};

fn asking(content: &Value, max_tokens: u64) -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": max_tokens})
}

fn flagged(world: &World) -> i64 {
    world.server.number("select sum(flagged) from providers")
}

/// What is held while the request runs.
fn held_for(world: &World, body: &Value) -> i64 {
    let gate = Gate::default();
    let closed = gate.clone();
    world.upstream.script(move |_| Answer::chat(usage(10, 5)).after(Step::Gate(closed.clone())));
    let before = world.upstream.requests().len();
    let conn = world.open(body);
    world.upstream.wait_for(before + 1);
    let held = micro(&world.money(), "held_micro_usd");
    gate.open();
    conn.finish().expect(200);
    world.wait_released();
    held
}

#[test]
fn a_small_balance_is_no_discount_and_flags_nobody() {
    // 400 KB of words joined by a letter of base64's alphabet: at a token a byte more than there is.
    for joint in ["_", "-", "/", "+"] {
        let words = format!("word{joint}").repeat(80_000);
        let world = World::with("0.03", &[], honest(100_000, 10));
        let reply = world.chat(&asking(&json!(words), 10)).expect(200);
        let row = world.row(1);
        assert_eq!((micro(&row, "prompt_tokens"), micro(&row, "completion_tokens")), (100_000, 10), "{joint}");
        assert_eq!(reply.number("x-cost-micro-usd"), cost(100_000, 10));
        assert_eq!((world.balance(), micro(&row, "shortfall_micro_usd")), (30_000 - cost(100_000, 10), 0));
        assert_eq!(flagged(&world), 0, "an honest server is not flagged because a balance is small");
    }
}

#[test]
fn what_was_held_is_charged_and_no_more() {
    // The server makes four times as many tokens of it as the tokenizer does, which the bytes allow.
    let body = asking(&json!("gradient ".repeat(4_000)), 10);
    let world = World::with("0.0010", &[], honest(16_000, 10));
    world.chat(&body).expect(200);
    let row = world.row(1);
    assert_eq!((micro(&row, "cost_micro_usd"), micro(&row, "shortfall_micro_usd"), world.balance()), (1_000, 0, 0));
    assert_eq!(flagged(&world), 0);
    // With money for it, it costs what the server counted.
    world.server.ok(&["credit", &world.payer.id, "1"]);
    world.chat(&body).expect(200);
    assert_eq!((micro(&world.row(2), "cost_micro_usd"), flagged(&world)), (cost(16_000, 10), 0));
}

#[test]
fn money_that_comes_while_a_request_runs_pays_for_it() {
    let gate = Gate::default();
    let closed = gate.clone();
    let world = World::with("0.0010", &[], move |_| Answer::chat(usage(16_000, 10)).after(Step::Gate(closed.clone())));
    let conn = world.open(&asking(&json!("gradient ".repeat(4_000)), 10));
    world.upstream.wait_for(1);
    assert_eq!(micro(&world.money(), "held_micro_usd"), 1_000, "all that is available");
    world.server.ok(&["credit", &world.payer.id, "1"]);
    gate.open();
    conn.finish().expect(200);
    assert_eq!(micro(&world.row(1), "charged_micro_usd"), cost(16_000, 10));
    world.wait_released();
    world.server.audit();
}

#[test]
fn a_keys_cap_is_hard_whatever_is_reported() {
    // More than the densest of tokenizers in use would make of it.
    let world = World::with("5.00", &[], honest(17_000, 10));
    let key = text(&world.server.ok(&["key", "create", "payer", "--limit-usd", "0.0016"]), "key");
    let body = asking(&json!("gradient ".repeat(4_000)), 10);
    let ask = || world.server.http().send(&Request::post("/v1/chat/completions").key(&key).json(&body));
    ask().expect(200);
    assert_eq!(micro(&world.row(1), "charged_micro_usd"), 1_600);
    assert_eq!(ask().expect(402).error().0, "insufficient_quota");
    assert_eq!(flagged(&world), 0);
}

#[test]
fn more_money_never_buys_a_shorter_answer() {
    // About four tokens a hundred bytes: from where only the count fits, past where the bytes do.
    let body = asking(&json!("gradient ".repeat(4_000)), 2_000);
    let bytes = i64::try_from(body.to_string().len()).unwrap();
    let just = bytes * 100_000 / 1_000_000;
    let world = World::with("0.0001", &[], honest(4_000, 1));
    let mut quote = body.clone();
    quote["endpoint"] = json!("/v1/chat/completions");
    let quoted = || {
        let request = Request::post("/v1/payments/quote").key(&world.payer.key).json(&quote);
        world.server.http().send(&request).expect(200).json()["output_tokens_if_run"].as_u64().unwrap_or(0)
    };
    let mut longest = 0;
    for micro_usd in
        [1_000, 1_700, 2_500, just - 1, just, just + 1, just + 100, just + 1_559, just + 1_561, just + 9_000]
    {
        let balance = world.balance();
        world.server.ok(&["credit", &world.payer.id, &format!("0.{:06}", micro_usd - balance)]);
        let output = quoted();
        assert!(output >= longest, "{micro_usd} µUSD buy {output} tokens, and less bought {longest}");
        longest = output;
        world.chat(&body).expect(200);
        let sent = world.upstream.last().json()["max_tokens"].as_u64();
        assert_eq!(sent, Some(output), "a quote says what a run does, at {micro_usd}");
    }
    assert_eq!(longest, 2_000);
}

#[test]
fn media_are_parts_and_no_keys_of_a_schema() {
    let world = World::new(honest(10, 5));
    let mut body = asking(&json!("hi"), 10);
    let plain = held_for(&world, &body);
    assert_eq!(plain, cost(body.to_string().len() as i64, 10));
    body["tools"] = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object",
        "properties": {"file": {"type": "string"}, "image_url": {"type": "string"}, "document": {"type": "file"}}}}}]);
    body["messages"].as_array_mut().unwrap().push(json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"file\":\"image\"}"}}]}));
    body["metadata"] = json!({"image": "video"});
    assert_eq!(held_for(&world, &body), cost(body.to_string().len() as i64, 10), "a token a byte, and no media");
    let part = json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}});
    let pictures = |n: usize| asking(&json!(vec![part.clone(); n]), 10);
    let (one, two) = (held_for(&world, &pictures(1)), held_for(&world, &pictures(2)));
    assert!(one > plain + 1_600 && two - one > 1_600, "each picture has a bound of its own: {plain}, {one}, {two}");
}

#[test]
fn two_hundred_pictures_are_two_hundred_pictures() {
    let part = json!({"type": "image_url", "image_url": {"url": "https://example.com/pictures/one.png"}});
    let body = asking(&json!(vec![part; 200]), 10);
    // With money for the worst case, and without: 200 pictures of 1,500 tokens.
    for credit in ["5.00", "0.04"] {
        let world = World::with(credit, &[], honest(300_000, 10));
        world.chat(&body).expect(200);
        assert_eq!(micro(&world.row(1), "charged_micro_usd"), cost(300_000, 10), "{credit}");
        assert_eq!(flagged(&world), 0);
    }
}

/// Leaves at the second word; the row.
fn left(world: &World, body: &Value) -> Value {
    world.upstream.script(|_| Stream::new(9).cut(2, Cut::Silence).answer());
    let mut body = body.clone();
    body["stream"] = json!(true);
    let rows = world.rows().len();
    let mut conn = world.open(&body);
    conn.read_until("word2");
    conn.close();
    world.wait_rows(rows + 1)[0].clone()
}

#[test]
fn a_prompt_that_was_left_is_estimated_for_what_it_is() {
    let world = World::new(honest(1, 1));
    let words = "word_".repeat(20_000);
    let tool = json!({"type": "function", "function": {"name": "f", "description": words}});
    let chat = asking(&json!("hi"), 10);
    let with = |key: &str, value: Value| {
        let mut body = chat.clone();
        body[key] = value;
        body
    };
    let rows = [
        ("a text", asking(&json!(words), 10)),
        ("what looks like base64", asking(&json!(words.replace('_', "/")), 10)),
        ("what looks like a data URL", asking(&json!(format!("data:image/png;base64,{words}")), 10)),
        ("a text in the place of a picture", asking(&json!([{"type": "image_url", "image_url": {"url": words}}]), 10)),
        ("documents", with("documents", json!([{"title": "t", "text": words}]))),
        ("a template's argument", with("chat_template_kwargs", json!({"knowledge": words}))),
        ("a field that nobody knows", with("prefix", json!(words))),
        ("tools", with("tools", json!([tool]))),
    ];
    for (what, body) in rows {
        let prompt = micro(&left(&world, &body), "prompt_tokens");
        assert!((19_900..=40_100).contains(&prompt), "{what}: {prompt} tokens");
    }
    let prompt = micro(&left(&world, &chat), "prompt_tokens");
    assert_eq!(prompt, 9, "one word, its role, and what a template adds");
}

#[test]
fn an_estimate_follows_what_the_server_reported_lately() {
    let body = asking(&json!("Explain gradient descent in one paragraph, then again in two, please."), 10);
    let world = World::new(honest(1, 1));
    let before = micro(&left(&world, &body), "prompt_tokens");
    for (reported, expected) in [(before * 3 / 2, before * 3 / 2), (before * 40, before * 2), (1, (before + 1) / 2)] {
        let world = World::new(honest(reported as u64, 5));
        let mut bounded = body.clone();
        // Room for what is reported.
        bounded["metadata"] = json!({"padding": "x".repeat(2_000)});
        for _ in 0..3 {
            world.chat(&bounded).expect(200);
        }
        let after = micro(&left(&world, &body), "prompt_tokens");
        assert!((after - expected).abs() <= 1, "{after} where the server said {reported} of what counts as {before}");
    }
}

#[test]
fn a_context_length_that_is_set_too_low_costs_nobody_anything() {
    let body = asking(&json!("gradient ".repeat(2_000)), 10);
    let world = World::new(honest(9_000, 10));
    world.server.ok(&["price", "set", MODEL, "--input", "0.10", "--output", "0.78", "--context", "1000"]);
    assert_eq!(held_for(&world, &body), cost(1_000, 10));
    world.upstream.script(honest(9_000, 10));
    world.chat(&body).expect(200);
    assert_eq!((micro(&world.row(2), "charged_micro_usd"), flagged(&world)), (cost(9_000, 10), 0));
    assert_eq!(held_for(&world, &body), cost(9_000, 10), "held for what the server was seen to take");
}

#[test]
fn what_nobody_can_pay_is_not_counted() {
    // 8 MiB on an empty balance, and on one that would pay for a thousand tokens.
    for credit in ["0", "0.0001"] {
        let world = World::with(credit, &[], honest(10, 5));
        let body = asking(&json!("many different words, all to be counted ".repeat(200_000)), 10);
        assert_eq!(world.chat(&body).expect(402).error().0, "insufficient_funds");
        assert!(world.upstream.requests().is_empty());
        world.wait_released();
    }
}

#[test]
fn one_that_holds_all_there_is_gives_it_back() {
    let gate = Gate::default();
    let closed = gate.clone();
    let world = World::with("0.0010", &[], move |_| Answer::chat(usage(3_000, 10)).after(Step::Gate(closed.clone())));
    let conn = world.open(&asking(&json!("gradient ".repeat(3_000)), 10));
    world.upstream.wait_for(1);
    assert_eq!(micro(&world.money(), "available_micro_usd"), 0);
    assert_eq!(world.chat(&chat_body()).expect(402).error().0, "insufficient_funds");
    gate.open();
    conn.finish().expect(200);
    world.wait_released();
    world.upstream.script(honest(10, 5));
    world.chat(&asking(&json!("hi"), 10)).expect(200);
    assert_eq!(world.balance(), 1_000 - cost(3_000, 10) - cost(10, 5));
}
