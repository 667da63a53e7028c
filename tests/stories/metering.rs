//! What a provider says it used is believed within reason; what it does not say is counted here.

use serde_json::{Value, json};

use crate::world::answer::{Answer, SAID, Stream, chunk, completion, honest, usage, usage_chunk};
use crate::world::{MODEL, PROMPT, World, chat_body, cost, micro, stream_body};

/// Sends one request, streamed or not, that is answered with that usage; its row.
fn row_for(world: &World, streamed: bool, said: &Value) -> Value {
    let said = said.clone();
    world.upstream.script(move |_| {
        if streamed { Stream::new(9).usage(said.clone()).answer() } else { Answer::chat(said.clone()) }
    });
    let before = world.rows().len();
    let reply = world.chat(&if streamed { stream_body(true) } else { chat_body() }).expect(200);
    assert!(reply.whole);
    world.row(before + 1)
}

/// Tokens of the prompt and of nine words, as a tokenizer may count them.
fn is_estimate(row: &Value) {
    assert_eq!(row["metered_by"], "estimate", "{row}");
    let (prompt, completion) = (micro(row, "prompt_tokens"), micro(row, "completion_tokens"));
    let words = PROMPT.split(' ').count() as i64;
    assert!((words * 9 / 10..=2 * words).contains(&prompt), "{prompt} tokens for a prompt of {words} words");
    assert!((9..=30).contains(&completion), "{completion} tokens for nine words");
    assert_eq!(micro(row, "cost_micro_usd"), cost(prompt, completion));
}

#[test]
fn explicit_numbers_are_believed() {
    let world = World::new(honest(1, 1));
    let rows = [
        (usage(400, 256), 400, 256),
        (json!({"prompt_tokens": 3, "completion_tokens": 4}), 3, 4),
        (json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 99}), 3, 96),
        (json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 5}), 3, 4),
        (json!({"prompt_tokens": 3.0, "completion_tokens": 2e1}), 3, 20),
        (
            json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 57,
                "completion_tokens_details": {"reasoning_tokens": 50}}),
            3,
            54,
        ),
        (json!({"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": null}), 3, 4),
        (
            json!({"prompt_tokens": 3, "completion_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 2}}),
            3,
            4,
        ),
    ];
    for (said, prompt, completion) in rows {
        for streamed in [false, true] {
            let row = row_for(&world, streamed, &said);
            assert_eq!(
                (micro(&row, "prompt_tokens"), micro(&row, "completion_tokens")),
                (prompt, completion),
                "{said}"
            );
            assert_eq!(micro(&row, "cost_micro_usd"), cost(prompt, completion), "{said}");
            assert_eq!((&row["metered_by"], &row["outcome"]), (&json!("provider"), &json!("completed")), "{said}");
        }
    }
}

#[test]
fn a_zero_that_contradicts_what_was_sent_or_delivered_is_no_report() {
    let world = World::new(honest(1, 1));
    let mut flagged = 0;
    for said in [usage(0, 0), usage(0, 9), usage(10, 0)] {
        for streamed in [false, true] {
            let row = row_for(&world, streamed, &said);
            assert_eq!(row["metered_by"], "estimate", "{said}: {row}");
            assert!(micro(&row, "prompt_tokens") > 4 && micro(&row, "completion_tokens") > 4, "{said}: {row}");
            let now = world.server.number("select flagged from providers");
            assert!(now > flagged, "a provider that says {said} is flagged");
            flagged = now;
        }
    }
    // Nothing delivered is no tokens.
    world.upstream.script(|seen| {
        let empty = json!({"content": ""});
        if seen.json()["stream"] == true {
            let end = format!("data: {}\n\n", chunk(&empty, &json!("stop")));
            let body = format!("{end}data: {}\n\ndata: [DONE]\n\n", usage_chunk(&usage(10, 0)));
            return Answer::text(200, "text/event-stream", &body, "");
        }
        let mut body = completion(usage(10, 0));
        body["choices"][0]["message"] = empty;
        Answer::json(200, &body)
    });
    for body in [stream_body(true), chat_body()] {
        let before = world.rows().len();
        world.chat(&body).expect(200);
        let row = world.row(before + 1);
        assert_eq!((micro(&row, "completion_tokens"), &row["metered_by"]), (0, &json!("provider")), "{row}");
    }
    assert_eq!(world.server.number("select flagged from providers"), flagged);
}

#[test]
fn the_receipt_shows_what_was_billed() {
    let world = World::new(honest(1, 1));
    for said in [
        usage(0, 0),
        usage(40, 0),
        json!({"prompt_tokens": 40.0, "completion_tokens": 4.0}),
        json!({"prompt_tokens": 40, "completion_tokens": 4, "total_tokens": 144}),
        json!({"prompt_tokens": 40, "completion_tokens": 1_000_000, "total_tokens": 1_000_040}),
        json!({"input_tokens": 40, "output_tokens": 4}),
        json!({"prompt_tokens": 40, "completion_tokens": 4, "prompt_cache_hit_tokens": 30, "prompt_cache_miss_tokens": 10}),
        json!({"prompt_tokens": -1}),
    ] {
        for streamed in [false, true] {
            let usage = said.clone();
            world.upstream.script(move |_| {
                if streamed { Stream::new(9).usage(usage.clone()).answer() } else { Answer::chat(usage.clone()) }
            });
            let before = world.rows().len();
            let reply = world.chat(&if streamed { stream_body(true) } else { chat_body() }).expect(200);
            let row = world.row(before + 1);
            let shown: Value = match streamed {
                true => reply.events().iter().rev().find_map(|e| serde_json::from_str(e).ok()).unwrap(),
                false => reply.json(),
            };
            for field in ["prompt_tokens", "completion_tokens"] {
                let shown = shown["usage"][field].as_f64();
                assert_eq!(shown, row[field].as_f64(), "{said}, streamed {streamed}: {field}");
            }
            assert_eq!(shown["usage"]["cost_micro_usd"], row["cost_micro_usd"]);
        }
    }
}

#[test]
fn what_came_from_deepseeks_cache_is_billed_as_such() {
    let world = World::new(honest(1, 1));
    world.server.ok(&["price", "set", MODEL, "--input", "0.10", "--output", "0.78", "--cache-read", "0"]);
    let said = json!({"prompt_tokens": 40, "completion_tokens": 10, "total_tokens": 50,
        "prompt_cache_hit_tokens": 30, "prompt_cache_miss_tokens": 10});
    for streamed in [false, true] {
        let row = row_for(&world, streamed, &said);
        assert_eq!((micro(&row, "cached_tokens"), micro(&row, "cost_micro_usd")), (30, 9), "10 × 0.10 + 10 × 0.78");
    }
}

#[test]
fn what_is_not_a_number_of_tokens_is_not_reported() {
    let world = World::new(honest(1, 1));
    let odd = [
        Value::Null,
        json!({}),
        json!([]),
        json!(7),
        json!({"prompt_tokens": null, "completion_tokens": null}),
        json!({"prompt_tokens": -5, "completion_tokens": -5}),
        json!({"prompt_tokens": 1.5, "completion_tokens": 1.5}),
        json!({"prompt_tokens": "7", "completion_tokens": "7"}),
        json!({"prompt_tokens": [7], "completion_tokens": {"n": 7}}),
    ];
    for said in odd {
        for streamed in [false, true] {
            is_estimate(&row_for(&world, streamed, &said));
        }
    }
}

#[test]
fn one_number_that_is_missing_is_estimated_alone() {
    let world = World::new(honest(1, 1));
    for streamed in [false, true] {
        let row = row_for(&world, streamed, &json!({"prompt_tokens": 33, "completion_tokens": null}));
        assert_eq!((micro(&row, "prompt_tokens"), &row["metered_by"]), (33, &json!("estimate")), "{row}");
        assert!((9..=30).contains(&micro(&row, "completion_tokens")), "{row}");
        let row = row_for(&world, streamed, &json!({"completion_tokens": 33}));
        assert_eq!((micro(&row, "completion_tokens"), &row["metered_by"]), (33, &json!("estimate")), "{row}");
    }
}

#[test]
fn what_is_above_the_bounds_is_clamped_and_the_provider_flagged() {
    let world = World::new(honest(1, 1));
    let bytes = chat_body().to_string().len() as i64;
    let mut flagged = 0;
    for (prompt, completion) in [(1_000_000_000, 1), (1, 1_000_000_000), (u64::MAX, u64::MAX), (1, 257)] {
        for streamed in [false, true] {
            let row = row_for(&world, streamed, &usage(prompt / 2 * 2, completion));
            let billed = (micro(&row, "prompt_tokens"), micro(&row, "completion_tokens"));
            assert!(billed.0 <= bytes + 64 && billed.1 <= 256, "{billed:?} for {prompt} and {completion}");
            assert!(completion < 256 || billed.1 == 256, "{billed:?}");
            let now = world.server.number("select flagged from providers");
            assert!(now > flagged, "a provider that says {prompt} and {completion} is flagged");
            flagged = now;
        }
    }
    row_for(&world, false, &usage(10, 10));
    assert_eq!(world.server.number("select flagged from providers"), flagged, "an honest answer flags nobody");
}

#[test]
fn no_usage_at_all_is_estimated_and_labelled() {
    let world =
        World::new(
            |seen| {
                if seen.json()["stream"] == true { Stream::new(9).answer() } else { Answer::chat(Value::Null) }
            },
        );
    let reply = world.chat(&stream_body(true)).expect(200);
    let row = world.row(1);
    is_estimate(&row);
    assert_eq!(row["outcome"], "completed");
    let asked: Vec<String> = reply.events().into_iter().filter(|e| e.contains("\"usage\":{")).collect();
    assert_eq!(asked.len(), 1, "the usage chunk that was asked for: {}", reply.text());
    let told: Value = serde_json::from_str(&asked[0]).unwrap();
    for field in ["prompt_tokens", "completion_tokens", "cost_micro_usd"] {
        assert_eq!(told["usage"][field], row[field], "{field}");
    }

    let reply = world.chat(&chat_body()).expect(200);
    let row = world.row(2);
    assert_eq!(row["metered_by"], "estimate");
    let words = SAID.split(' ').count() as i64;
    assert!((words..=2 * words).contains(&micro(&row, "completion_tokens")), "{row}");
    assert_eq!(reply.json()["usage"]["cost_micro_usd"], row["cost_micro_usd"], "{}", reply.text());
    assert_eq!(reply.number("x-cost-micro-usd"), micro(&row, "cost_micro_usd"));
}

#[test]
fn llama_cpp_timings_count_where_usage_is_missing() {
    let timings = json!({"cache_n": 21, "prompt_n": 4, "prompt_ms": 1.358, "predicted_n": 6, "predicted_ms": 4.152});
    let whole = {
        let mut body = completion(Value::Null);
        body["timings"] = timings.clone();
        body
    };
    let streamed = Stream::new(9).timings(timings).answer();
    let world = World::new(
        move |seen| {
            if seen.json()["stream"] == true { streamed.clone() } else { Answer::json(200, &whole) }
        },
    );
    for (place, body) in [stream_body(false), chat_body()].iter().enumerate() {
        world.chat(body).expect(200);
        let row = world.row(place + 1);
        assert_eq!((micro(&row, "prompt_tokens"), micro(&row, "completion_tokens")), (25, 6), "{row}");
        assert_eq!((micro(&row, "cached_tokens"), &row["metered_by"]), (21, &json!("provider")), "{row}");
    }
}

#[test]
fn usage_told_more_than_once_is_billed_once() {
    let event = |data: &Value| format!("data: {data}\n\n");
    let running = |completion| {
        let mut word = chunk(&json!({"content": " word"}), &Value::Null);
        word["usage"] = usage(50, completion);
        event(&word)
    };
    let end = event(&chunk(&json!({}), &json!("stop")));
    let last = event(&usage_chunk(&usage(50, 3)));
    let streams = [
        ("a running count", format!("{}{}{}{end}{last}", running(1), running(2), running(3))),
        ("twice the same", format!("{}{end}{last}{last}", running(3))),
    ];
    let world = World::new(honest(1, 1));
    for (place, (how, body)) in streams.into_iter().enumerate() {
        let body = body + "data: [DONE]\n\n";
        world.upstream.script(move |_| Answer::text(200, "text/event-stream", &body, ""));
        world.chat(&stream_body(true)).expect(200);
        assert_eq!(micro(&world.row(place + 1), "cost_micro_usd"), cost(50, 3), "{how}");
    }
}

#[test]
fn more_cached_than_prompt_tokens_is_no_discount() {
    let world = World::new(honest(1, 1));
    world.server.ok(&["price", "set", MODEL, "--input", "0.10", "--output", "0.78", "--cache-read", "0"]);
    let mut said = usage(100, 10);
    said["prompt_tokens_details"] = json!({"cached_tokens": 5_000});
    let row = row_for(&world, false, &said);
    assert_eq!((micro(&row, "cached_tokens"), micro(&row, "cost_micro_usd")), (100, 8), "100 cached at 0, 10 × 0.78");
    for odd in [json!(-1), json!(null), json!("5"), json!(1.5)] {
        said["prompt_tokens_details"] = json!({"cached_tokens": odd});
        let row = row_for(&world, false, &said);
        assert_eq!(micro(&row, "cached_tokens"), 0, "{row}");
    }
}

#[test]
fn an_answer_that_is_not_asked_for_as_a_stream_is_billed_as_what_it_is() {
    // Some servers answer a stream request whole, and some the other way round.
    let world =
        World::new(|seen| if seen.json()["stream"] == true { Answer::chat(usage(40, 4)) } else { honest(40, 4)(seen) });
    let reply = world.chat(&stream_body(true));
    if reply.status == 200 {
        assert_eq!(micro(&world.row(1), "cost_micro_usd"), cost(40, 4));
    } else {
        assert_eq!((reply.status, world.balance()), (502, 5_000_000), "{}", reply.text());
    }
}
