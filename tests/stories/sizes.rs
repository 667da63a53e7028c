//! What makes a prompt larger than its request, and whom nobody may flag for it.

use serde_json::{Value, json};

use crate::world::answer::{Answer, End, Gate, Step, honest, usage};
use crate::world::http::Request;
use crate::world::upstream::Seen;
use crate::world::{MODEL, World, cost, micro, text};

fn asking(content: &Value, max_tokens: u64) -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": max_tokens})
}

fn flagged(world: &World) -> i64 {
    world.server.number("select sum(flagged) from providers")
}

#[test]
fn a_tokenizer_that_spells_out_may_make_more_tokens_than_bytes() {
    // 3 bytes that NFKC reads as 18 letters, 12 bytes of JSON or 3: 8 tokens each.
    let letters = "\u{fdfa}".repeat(1_000);
    let body = json!({"model": MODEL, "input": letters});
    let world = World::new(|_: &Seen| {
        Answer::json(
            200,
            &json!({"object": "list", "data": [], "usage": {"prompt_tokens": 8_000, "total_tokens": 8_000}}),
        )
    });
    let ask = |body: &str| {
        world.server.http().send(
            &Request::post("/v1/embeddings")
                .key(&world.payer.key)
                .header("content-type", "application/json")
                .body(body),
        )
    };
    ask(&body.to_string()).expect(200);
    ask(&body.to_string().replace('\u{fdfa}', "\\ufdfa")).expect(200);
    let tokens: Vec<i64> = world.rows().iter().map(|row| micro(row, "prompt_tokens")).collect();
    assert_eq!(tokens, [8_000, 8_000]);
    assert_eq!(flagged(&world), 0);
}

#[test]
fn a_template_that_indents_may_make_more_tokens_than_bytes() {
    // Llama's writes tools with `tojson(indent=4)`: 400 blanks before each of these.
    let mut parameters = json!(vec![1; 1_000]);
    for _ in 0..100 {
        parameters = json!([parameters]);
    }
    let mut body = asking(&json!("hi"), 10);
    body["tools"] =
        json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "enum": parameters}}}]);
    let world = World::new(honest(20_000, 10));
    world.chat(&body).expect(200);
    assert_eq!(micro(&world.row(1), "charged_micro_usd"), cost(20_000, 10));
    assert_eq!(flagged(&world), 0);
}

#[test]
fn a_picture_is_as_large_as_the_request_makes_it() {
    let part = json!([{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]);
    let mut body = asking(&part, 10);
    body["mm_processor_kwargs"] = json!({"min_pixels": 100_000_000, "max_pixels": 100_000_000});
    let world = World::new(honest(127_000, 10));
    world.chat(&body).expect(200);
    assert_eq!(micro(&world.row(1), "charged_micro_usd"), cost(127_000, 10));
    assert_eq!(flagged(&world), 0);
}

#[test]
fn nobody_brings_a_template_of_its_own() {
    let world = World::new(honest(100_000, 10));
    let template = json!("{% for i in range(99999) %}x {% endfor %}");
    let rows = [
        ("chat_template", json!({"chat_template": template})),
        ("chatTemplate", json!({"chatTemplate": template})),
        ("extra_body.chat_template", json!({"extra_body": {"chat_template": template}})),
        ("chat_template_kwargs", json!({"chat_template_kwargs": {"chat_template": template}})),
    ];
    for (param, more) in rows {
        let mut body = asking(&json!("hi"), 10);
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(world.chat(&body).expect(400).json()["error"]["param"], param);
    }
    let mut body = asking(&json!("hi"), 10);
    body["chat_template_kwargs"] = json!({"enable_thinking": false});
    world.chat(&body).expect(200);
}

#[test]
fn a_templates_own_words_flag_nobody() {
    let world = World::new(honest(400, 5));
    let body = asking(&json!("hi"), 5);
    let bytes = i64::try_from(body.to_string().len()).unwrap();
    world.chat(&body).expect(200);
    assert_eq!((micro(&world.row(1), "prompt_tokens"), flagged(&world)), (bytes, 0));
    world.upstream.script(honest(5_000, 5));
    world.chat(&body).expect(200);
    assert_eq!((micro(&world.row(2), "prompt_tokens"), flagged(&world)), (bytes, 1));
}

#[test]
fn a_prompt_that_is_said_again_was_not_generated() {
    let prompt = "lorem ipsum ".repeat(8_000);
    let piece = |text: &str| {
        let chunk = json!({"id": "c", "object": "text_completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "text": text, "finish_reason": null}]});
        Step::Send(format!("data: {chunk}\n\n").into_bytes())
    };
    let last = json!({"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [],
        "usage": usage(16_000, 2)});
    let done = json!({"choices": [{"index": 0, "text": "", "finish_reason": "length"}]});
    let last = Step::Send(format!("data: {done}\n\ndata: {last}\n\ndata: [DONE]\n\n").into_bytes());
    let head = Step::Send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".to_vec());
    let (gate, left) = (Gate::default(), Gate::default());
    let (first, second) = (gate.clone(), left.clone());
    let text = prompt.clone();
    let world = World::new(move |seen: &Seen| {
        let wait = if seen.json()["user"] == "leaves" { Step::Gate(second.clone()) } else { Step::Gate(first.clone()) };
        let mut steps = vec![head.clone(), piece("lor"), wait, piece(&text), piece(" yes"), piece(" no")];
        steps.push(if seen.json()["user"] == "leaves" { Step::Silence } else { last.clone() });
        Answer { steps, end: End::Fin }
    });
    let mut body = json!({"model": MODEL, "prompt": prompt, "max_tokens": 2, "stream": true, "echo": true});
    let open =
        |body: &Value| world.server.http().open(&Request::post("/v1/completions").key(&world.payer.key).json(body));
    let mut conn = open(&body);
    conn.read_until("lor");
    gate.open();
    let reply = conn.finish().expect(200);
    assert!(reply.text().contains(" no"), "it is not cut");
    assert_eq!((micro(&world.row(1), "completion_tokens"), flagged(&world)), (2, 0));
    body["user"] = json!("leaves");
    let mut conn = open(&body);
    conn.read_until("lor");
    left.open();
    conn.read_until(" no");
    conn.close();
    let row = world.wait_rows(2)[0].clone();
    assert!(micro(&row, "completion_tokens") <= 2, "{row}");
    assert_eq!(flagged(&world), 0);
}

#[test]
fn what_is_written_to_a_cache_stays_within_a_keys_cap() {
    // More than the densest of tokenizers in use would make of it. What fits a cap only by our own count is refused: an
    // owner makes keys with small caps at will, and each would be sold one such prompt below what servers read of it.
    let mut said = usage(17_000, 10);
    said["cache_creation_input_tokens"] = json!(17_000);
    let world = World::with("5.00", &[], move |_: &Seen| Answer::chat(said.clone()));
    world.server.ok(&["price", "set", MODEL, "--input", "0.10", "--output", "0.78", "--cache-write", "1.00"]);
    let body = asking(&json!("gradient ".repeat(4_000)), 10);
    let ask = |cap: &str| {
        let key = text(&world.server.ok(&["key", "create", "payer", "--limit-usd", cap]), "key");
        world.server.http().send(&Request::post("/v1/chat/completions").key(&key).json(&body))
    };
    assert_eq!(ask("0.006").expect(402).error().0, "insufficient_quota");
    ask("0.016").expect(200);
    let row = world.row(1);
    assert_eq!((micro(&row, "charged_micro_usd"), micro(&row, "shortfall_micro_usd")), (16_000, 0), "{row}");
}
