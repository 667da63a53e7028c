//! Answers as servers really give them: of any size, under any name, beyond what was bought, broken off.

use serde_json::{Value, json};

use crate::world::answer::{
    Answer, End, STREAM_HEAD, Step, Stream, chunk, completion, honest, http_chunk, usage, usage_chunk,
};
use crate::world::http::Request;
use crate::world::{MODEL, World, chat_body, cost, eventually, memory_kib, micro, stream_body};

fn peak_kib(world: &World) -> u64 {
    memory_kib(world.server.pid(), "VmHWM:")
}

/// A world whose tokenizer is there already: an answer was counted, one row.
fn with_tokenizer() -> World {
    let world = World::new(|_| Stream::new(9).answer());
    world.chat(&stream_body(false)).expect(200);
    assert_eq!(world.row(1)["metered_by"], "estimate");
    world
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

#[test]
fn an_event_of_forty_mebibytes_passes_in_little_memory() {
    const MIB: usize = 1 << 20;
    let world = with_tokenizer();
    world.upstream.script(|_| {
        let long = event(&chunk(&json!({"images": ["LONG"]}), &Value::Null));
        let (before, behind) = long.split_once("LONG").unwrap();
        let piece = http_chunk(&"QUJD".repeat(MIB / 4));
        let end = event(&chunk(&json!({}), &json!("stop"))) + &event(&usage_chunk(&usage(10, 200)));
        let mut answer = Answer::raw([STREAM_HEAD.as_bytes(), &http_chunk(before)].concat(), End::KeepAlive);
        answer.steps.extend((0..40).map(|_| Step::Send(piece.clone())));
        answer.steps.push(Step::Send(http_chunk(&(behind.to_owned() + &end + "data: [DONE]\n\n"))));
        answer.steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
        answer
    });
    let before = peak_kib(&world);
    let reply = world.chat(&stream_body(true)).expect(200);
    assert!(reply.whole && reply.body.len() > 40 * MIB && reply.text().ends_with("data: [DONE]\n\n"));
    let row = world.row(2);
    assert_eq!((micro(&row, "cost_micro_usd"), &row["metered_by"]), (cost(10, 200), &json!("provider")), "{row}");
    let more = peak_kib(&world) - before;
    println!("40 MiB passed with {more} KiB more at the peak; the row: {row}");
    assert!(more < 20 << 10, "{more} KiB more");
}

#[test]
fn the_model_has_its_public_name_in_every_answer() {
    let world = World::new(honest(10, 5));
    let whole = world.chat(&chat_body()).expect(200);
    assert_eq!(whole.json()["model"], MODEL);
    let streamed = world.chat(&stream_body(true)).expect(200);
    let events = streamed.events();
    assert!(events.len() > 5);
    for event in events.iter().filter(|event| *event != "[DONE]") {
        let event: Value = serde_json::from_str(event).unwrap();
        assert_eq!(event["model"], MODEL, "{event}");
    }
    assert!(!whole.text().contains("whatever") && !streamed.text().contains("whatever"));
}

#[test]
fn a_server_that_ignores_the_bound_is_stopped_and_flagged() {
    let bodies = [
        ("/v1/chat/completions", json!({"messages": [{"role": "user", "content": "Hi"}]})),
        ("/v1/completions", json!({"prompt": "Hi"})),
        ("/v1/messages", json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 50})),
        ("/v1/responses", json!({"input": "Hi"})),
    ];
    let world = World::new(|seen| {
        let word = match seen.target.as_str() {
            "/v1/messages" => "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\" word\"}}\n\n".to_owned(),
            "/v1/responses" => "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\" word\"}\n\n".to_owned(),
            "/v1/completions" => event(&json!({"choices": [{"index": 0, "text": " word", "finish_reason": null}]})),
            _ => event(&chunk(&json!({"content": " word"}), &Value::Null)),
        };
        let mut answer = Answer::raw(STREAM_HEAD, End::Fin);
        answer.steps.extend((0..200).map(|_| Step::Send(http_chunk(&word.repeat(100)))));
        answer.steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
        answer
    });
    for (place, (path, mut body)) in bodies.into_iter().enumerate() {
        body["model"] = json!(MODEL);
        body["stream"] = json!(true);
        let field = if path == "/v1/responses" { "max_output_tokens" } else { "max_tokens" };
        body[field] = json!(50);
        let reply = world.server.http().send(&Request::post(path).key(&world.payer.key).json(&body)).expect(200);
        let words = reply.text().matches(" word").count();
        assert!((50..3_000).contains(&words), "{path}: {words} words");
        let row = world.row(place + 1);
        assert_eq!((micro(&row, "completion_tokens"), &row["outcome"]), (50, &json!("completed")), "{row}");
        assert_eq!(world.server.number("select flagged from providers"), i64::try_from(place).unwrap() + 1, "{path}");
    }
    assert!(world.server.audit()["ok"] == true);
}

#[test]
fn an_answer_within_its_bound_is_never_stopped() {
    // Each token the longest there is, and 200 of them.
    let blanks = " ".repeat(128);
    let world = World::new(move |_| {
        let word = event(&chunk(&json!({"content": blanks}), &Value::Null));
        let end = event(&chunk(&json!({}), &json!("stop"))) + &event(&usage_chunk(&usage(10, 200)));
        Answer::text(200, "text/event-stream", &(word.repeat(200) + &end + "data: [DONE]\n\n"), "")
    });
    let reply = world.chat(&stream_body(true)).expect(200);
    assert!(reply.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(micro(&world.row(1), "completion_tokens"), 200);
    assert_eq!(world.server.number("select flagged from providers"), 0);
}

#[test]
fn usage_after_done_is_billed_and_a_server_that_says_none_is_not_waited_for_long() {
    let world = World::new(honest(1, 1));
    let text = event(&chunk(&json!({"content": "hi"}), &Value::Null)) + &event(&chunk(&json!({}), &json!("stop")));
    let late = text.clone() + "data: [DONE]\n\n" + &event(&usage_chunk(&usage(33, 22)));
    world.upstream.script(move |_| Answer::text(200, "text/event-stream", &late, ""));
    let reply = world.chat(&stream_body(true)).expect(200);
    assert!(reply.text().ends_with("data: [DONE]\n\n") && reply.text().contains("\"prompt_tokens\":33"));
    assert_eq!(micro(&world.row(1), "cost_micro_usd"), cost(33, 22));

    world.upstream.script(move |_| {
        let wire = [STREAM_HEAD.as_bytes(), &http_chunk(&(text.clone() + "data: [DONE]\n\n"))].concat();
        Answer { steps: vec![Step::Send(wire), Step::Silence], end: End::Fin }
    });
    let reply = world.chat(&stream_body(false)).expect(200);
    assert!(reply.whole && reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    assert_eq!(world.row(2)["metered_by"], "estimate");
}

#[test]
fn a_broken_response_ends_in_response_failed() {
    let created = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\"created_at\":5,\"model\":\"/srv/m.gguf\",\"status\":\"in_progress\"}}\n\n\
        event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"delta\":\"hi\"}\n\n";
    let ends = [
        ("", 2, Some("provider_error")),
        (
            "event: error\ndata: {\"type\":\"error\",\"sequence_number\":2,\"message\":\"/srv/m.gguf is gone\"}\n\n",
            3,
            Some("provider_error"),
        ),
        (
            "event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":2,\"response\":{\"id\":\"resp_1\",\"model\":\"/srv/m.gguf\",\"error\":{\"code\":\"server_error\",\"message\":\"out of memory\"}}}\n\n",
            2,
            Some("provider_error"),
        ),
        (
            "event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":2,\"response\":{\"id\":\"resp_1\",\"model\":\"/srv/m.gguf\",\"error\":{\"code\":\"server_error\",\"message\":\"out of memory\"},\"usage\":{\"input_tokens\":10,\"output_tokens\":5}}}\n\n",
            2,
            None,
        ),
    ];
    for (end, number, failed) in ends {
        let body = created.to_owned() + end;
        let world = World::new(move |_| Answer::text(200, "text/event-stream", &body, ""));
        let asked = json!({"model": MODEL, "input": "Hi", "stream": true});
        let reply =
            world.server.http().send(&Request::post("/v1/responses").key(&world.payer.key).json(&asked)).expect(200);
        let events = reply.events();
        let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
        assert_eq!((&last["type"], &last["sequence_number"]), (&json!("response.failed"), &json!(number)), "{last}");
        assert_eq!((&last["response"]["id"], &last["response"]["model"]), (&json!("resp_1"), &json!(MODEL)), "{last}");
        assert!(last["response"]["error"]["message"].is_string() && !reply.text().contains("/srv/m.gguf"), "{last}");
        assert_eq!(reply.text().matches("event: error").count(), usize::from(end.contains("event: error")));
        let row = world.wait_rows(1)[0].clone();
        assert_eq!(row["outcome"], failed.unwrap_or("completed"), "{row}");
        assert_eq!(micro(&row, "cost_micro_usd"), if failed.is_some() { 0 } else { cost(10, 5) });
    }
}

#[test]
fn a_large_whole_answer_comes_whole_with_its_receipt() {
    let world = with_tokenizer();
    world.upstream.script(|_| {
        let mut body = completion(usage(10, 5));
        body["choices"][0]["message"]["content"] = json!("x".repeat(30 << 20));
        Answer::json(200, &body)
    });
    let reply = world.chat(&chat_body()).expect(200);
    assert!(reply.whole && reply.body.len() > 30 << 20);
    assert_eq!(reply.json()["usage"]["cost_micro_usd"], cost(10, 5));
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_coding_that_nobody_asked_for_is_undone() {
    let stream = event(&chunk(&json!({"content": "hi"}), &Value::Null))
        + &event(&chunk(&json!({}), &json!("stop")))
        + &event(&usage_chunk(&usage(10, 5)))
        + "data: [DONE]\n\n";
    let bodies = [completion(usage(10, 5)).to_string(), stream].map(|body| gzip(&body));
    let world = World::new(move |seen| {
        let streamed = seen.json()["stream"] == true;
        let body = &bodies[usize::from(streamed)];
        let kind = if streamed { "text/event-stream" } else { "application/json" };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Answer::raw([head.as_bytes(), body].concat(), End::KeepAlive)
    });
    assert_eq!(world.chat(&chat_body()).expect(200).json()["usage"]["cost_micro_usd"], cost(10, 5));
    let reply = world.chat(&stream_body(true)).expect(200);
    assert!(reply.text().contains("\"hi\"") && reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    assert_eq!(micro(&world.row(2), "cost_micro_usd"), cost(10, 5));
    // A bomb is no answer.
    let bomb = gzip(&"x".repeat(200 << 20));
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        bomb.len()
    );
    let bomb = [head.into_bytes(), bomb].concat();
    world.upstream.script(move |_| Answer::raw(bomb.clone(), End::KeepAlive));
    assert_eq!(world.chat(&chat_body()).status, 502);
    assert!(peak_kib(&world) < 300 << 10, "{} KiB", peak_kib(&world));
}

#[test]
fn events_are_known_by_their_first_bytes_and_other_answers_are_told_in_words() {
    let world = World::new(honest(1, 1));
    let stream = event(&chunk(&json!({"content": "hi"}), &json!("stop")))
        + &event(&usage_chunk(&usage(10, 5)))
        + "data: [DONE]\n\n";
    for (place, kind) in ["text/plain", "application/json", "application/x-ndjson", "x"].into_iter().enumerate() {
        let body = stream.clone();
        world.upstream.script(move |_| Answer::text(200, kind, &body, ""));
        let reply = world.chat(&stream_body(true)).expect(200);
        assert!(reply.text().ends_with("data: [DONE]\n\n"), "{kind}: {}", reply.text());
        assert_eq!(micro(&world.row(place + 1), "cost_micro_usd"), cost(10, 5));
    }
    let rows = [
        (true, "{\"error\":{\"message\":\"model is not loaded\"}}".to_owned(), "model is not loaded"),
        (true, completion(usage(10, 5)).to_string(), "does not stream"),
        (true, "<html>login</html>".to_owned(), "a web page"),
        (true, "Oops".to_owned(), "neither JSON nor a stream"),
        (false, stream.clone(), "did not ask for a stream"),
    ];
    for (streamed, body, words) in rows {
        let (kind, text) = (if streamed { "text/event-stream" } else { "application/json" }, body);
        let world = World::new(move |_| Answer::text(200, kind, &text, ""));
        let reply = world.chat(&if streamed { stream_body(true) } else { chat_body() });
        assert_eq!(reply.status, 502, "{words}: {}", reply.text());
        eventually(words, || world.server.log().contains(words));
        assert_eq!(world.balance(), 5_000_000);
    }
}

#[test]
fn the_reason_of_a_server_that_fails_with_status_200_reaches_the_caller() {
    const SAID: &str = "out of memory at /srv/q4.gguf on 10.0.0.7:8000, key sk-abcdefgh1234";
    const TOLD: &str = "it answered with an error: out of memory at (path) on (address), key (secret)";
    let error = json!({"error": {"message": SAID, "type": "server_error"}});
    let told = |reply: &crate::world::http::Reply| {
        let text = reply.text();
        assert!(text.contains(TOLD), "{text}");
        assert!(["q4.gguf", "10.0.0.7", "sk-abc"].iter().all(|secret| !text.contains(secret)), "{text}");
    };
    let world = World::new(honest(10, 5));
    let (whole, start) = (error.clone(), event(&error));
    world.upstream.script(move |_| Answer::json(200, &whole));
    told(&world.chat(&chat_body()).expect(502));
    told(&world.chat(&stream_body(false)).expect(502));
    world.upstream.script(move |_| Answer::text(200, "text/event-stream", &start, ""));
    told(&world.chat(&stream_body(false)).expect(502));
    let broken = event(&chunk(&json!({"content": "hi"}), &Value::Null)) + &event(&error);
    world.upstream.script(move |_| Answer::text(200, "text/event-stream", &broken, ""));
    let reply = world.chat(&stream_body(false)).expect(200);
    told(&reply);
    assert!(!reply.text().contains("[DONE]"));
    // An error that is no more than large gives its reason too, and one without words says no more than that.
    let large = json!({"error": {"message": SAID, "trace": "t".repeat(1 << 20)}});
    world.upstream.script(move |_| Answer::json(200, &large));
    told(&world.chat(&chat_body()).expect(502));
    world.upstream.script(|_| Answer::json(200, &json!({"error": {}})));
    assert!(world.chat(&chat_body()).expect(502).text().contains("it answered with an error\""));
    assert_eq!(micro(&world.row(1), "cost_micro_usd"), 0);
}
