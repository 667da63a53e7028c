//! The main job: a chat completion is answered, tallied, charged, earned, and can be read back.

use serde_json::json;

use crate::world::answer::{Answer, Gate, SAID, Step, completion, honest, usage};
use crate::world::http::Request;
use crate::world::{MODEL, PROMPT, World, chat_body, cost, micro, stream_body};

#[test]
fn a_request_is_billed_to_the_micro_dollar() {
    let world = World::new(honest(412, 187));
    let reply = world.chat(&chat_body()).expect(200);
    // 412 × $0.10/1M + 187 × $0.78/1M = 187.06 µUSD, rounded up once.
    assert_eq!(reply.number("x-cost-micro-usd"), 188);
    assert_eq!(reply.number("x-balance-micro-usd"), 5_000_000 - 188);
    let request_id = reply.header("x-request-id").expect("x-request-id").to_owned();
    assert!(request_id.starts_with("req_"), "{request_id}");

    let mut body = reply.json();
    assert_eq!(body["usage"]["cost_micro_usd"], 188, "{body}");
    body["usage"].as_object_mut().unwrap().remove("cost_micro_usd");
    let mut expected = completion(usage(412, 187));
    expected["model"] = json!(MODEL);
    assert_eq!(body, expected, "nothing else of the body changes");

    let row = world.row(1);
    let expected = [
        ("request_id", json!(request_id)),
        ("model", json!(MODEL)),
        ("prompt_tokens", json!(412)),
        ("completion_tokens", json!(187)),
        ("cached_tokens", json!(0)),
        ("cost_micro_usd", json!(188)),
        ("endpoint", json!("/v1/chat/completions")),
        ("key_id", json!(world.payer.key_id)),
        ("outcome", json!("completed")),
        ("metered_by", json!("provider")),
        ("shortfall_micro_usd", json!(0)),
    ];
    for (field, value) in expected {
        assert_eq!(row[field], value, "{field} of {row}");
    }
    let time = row["timestamp"].as_str().unwrap_or_default();
    assert!(time.len() == 20 && time.ends_with('Z') && time.contains('T'), "{time}");

    let money = world.money();
    assert_eq!(micro(&money, "balance_micro_usd"), 4_999_812);
    assert_eq!(micro(&money, "available_micro_usd"), 4_999_812);
    assert_eq!(micro(&money, "held_micro_usd"), 0);
    let earned = world.money_of(&world.owner);
    assert_eq!((micro(&earned, "balance_micro_usd"), micro(&earned, "withdrawable_micro_usd")), (188, 188));
    assert_eq!(world.server.number("select count(*) from usage"), 1);
}

#[test]
fn usd_twins_are_exact_json_numbers() {
    let world = World::new(honest(412, 187));
    let text = || world.server.http().get("/v1/payments/balance", &world.payer.key).expect(200).text();
    let before = text().replace(' ', "");
    assert!(before.contains("\"balance_usd\":5.00,") && before.contains("\"withdrawable_usd\":0.00,"), "{before}");
    world.chat(&chat_body()).expect(200);
    assert!(text().replace(' ', "").contains("\"balance_usd\":4.999812,"), "{}", text());
}

#[test]
fn the_row_is_in_the_database_before_the_last_byte() {
    let world = World::new(honest(10, 5));
    for count in 1..=20 {
        let streamed = count % 2 == 0;
        let mut conn = world.open(&if streamed { stream_body(count % 4 == 0) } else { chat_body() });
        if streamed {
            conn.read_until("[DONE]");
        } else {
            conn.read_until(SAID);
        }
        assert_eq!(world.server.number("select count(*) from usage"), count);
    }
}

#[test]
fn what_a_request_may_cost_is_held_while_it_runs() {
    let gate = Gate::default();
    let closed = gate.clone();
    let world = World::new(move |_| Answer::chat(usage(100, 20)).after(Step::Gate(closed.clone())));
    let conn = world.open(&chat_body());
    world.upstream.wait_for(1);
    let money = world.money();
    let held = micro(&money, "held_micro_usd");
    // At least the prompt's bytes as tokens and the 256 tokens it asked for, at most a little more.
    let (least, most) = (cost(PROMPT.len() as i64 / 8, 256), cost(2 * PROMPT.len() as i64, 256));
    assert!((least..=most).contains(&held), "{held} held, expected {least} to {most}");
    assert_eq!(micro(&money, "balance_micro_usd"), 5_000_000);
    assert_eq!(micro(&money, "available_micro_usd"), 5_000_000 - held);
    gate.open();
    conn.finish().expect(200);
    let money = world.money();
    assert_eq!(micro(&money, "held_micro_usd"), 0);
    assert_eq!(micro(&money, "balance_micro_usd"), 5_000_000 - cost(100, 20));
}

#[test]
fn unknown_fields_reach_the_provider_byte_for_byte() {
    let world = World::new(honest(10, 5));
    let odd = r#""x_odd": [ 1e400, -0.0, 12345678901234567890123, "\u00e9\ud83d\ude00é", {"b":1,  "a":2} ]"#;
    let body = format!(r#"{{"model":"{MODEL}",{odd},"messages":[{{"role":"user","content":"hi"}}],"max_tokens":9}}"#);
    let request =
        Request::post("/v1/chat/completions").key(&world.payer.key).header("content-type", "application/json");
    world.server.http().send(&request.body(body.clone())).expect(200);
    assert_eq!(world.upstream.last().text(), body, "nothing had to be edited");
}

#[test]
fn only_model_bound_and_include_usage_are_edited() {
    let world = World::unstarted("5.00", honest(10, 5));
    let alias = ["provider", "add", "named", "--url", &world.upstream.url(), "--account", &world.owner.id];
    world.server.ok(&["price", "set", "public-name", "--input", "0.10", "--output", "0.78"]);
    world.server.ok(&[&alias[..], &["--model", "public-name=their/name"]].concat());
    let mut world = world;
    world.server.start(&[]);
    let body = json!({"model": "public-name", "messages": [{"role": "user", "content": "hi"}], "stream": true,
        "max_completion_tokens": 7, "stream_options": {"include_obfuscation": false}, "user": "public-name"});
    let reply = world.chat(&body).expect(200);
    let mut seen = world.upstream.last().json();
    assert_eq!(seen["model"], "their/name");
    assert_eq!((&seen["max_tokens"], &seen["max_completion_tokens"]), (&json!(7), &json!(7)));
    assert_eq!(seen["stream_options"], json!({"include_usage": true, "include_obfuscation": false}));
    seen["model"] = json!("public-name");
    seen["stream_options"] = body["stream_options"].clone();
    seen.as_object_mut().unwrap().remove("max_tokens");
    assert_eq!(seen, body, "nothing else changes");
    assert!(reply.whole);
    assert_eq!(world.row(1)["model"], "public-name");
}

#[test]
fn money_spent_was_earned_by_someone() {
    let world = World::new(honest(300, 40));
    for _ in 0..10 {
        world.chat(&chat_body()).expect(200);
    }
    let each = cost(300, 40);
    assert_eq!((world.balance(), world.earned()), (5_000_000 - 10 * each, 10 * each));
    let rows = world.rows();
    assert_eq!(rows.iter().map(|r| micro(r, "cost_micro_usd")).sum::<i64>(), 10 * each);
    let mut ids: Vec<&str> = rows.iter().filter_map(|r| r["request_id"].as_str()).collect();
    assert!(ids.is_sorted_by(|a, b| a > b), "newest first, and ids sort by time: {ids:?}");
    ids.dedup();
    assert_eq!(ids.len(), 10);
    let audit = world.server.audit();
    assert_eq!(micro(&audit, "usage_rows"), 10, "{audit}");
}
