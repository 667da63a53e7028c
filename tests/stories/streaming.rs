//! Streams: forwarded as they come, metered on the way, settled before they end.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::answer::{
    Answer, End, Gate, STREAM_HEAD, Step, Stream, chunk, honest, http_chunk, usage, usage_chunk,
};
use crate::world::http::Reply;
use crate::world::{World, chat_body, cost, stream_body};

/// The JSON payloads of a stream that ended with `[DONE]`.
fn payloads(reply: &Reply) -> Vec<Value> {
    let mut events = reply.events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"), "{}", reply.text());
    assert!(reply.whole, "the chunked body ends with its last chunk");
    events.iter().map(|e| serde_json::from_str(e).unwrap()).collect()
}

fn has_usage(event: &Value) -> bool {
    event.get("usage").is_some_and(|u| !u.is_null())
}

#[test]
fn with_include_usage_the_cost_is_inside_the_usage_chunk() {
    let world = World::new(honest(412, 187));
    let reply = world.chat(&stream_body(true)).expect(200);
    assert!(reply.header("content-type").unwrap_or_default().starts_with("text/event-stream"));
    assert!(reply.header("x-request-id").unwrap_or_default().starts_with("req_"));
    let events = payloads(&reply);
    let with_usage: Vec<&Value> = events.iter().filter(|e| has_usage(e)).collect();
    assert_eq!(with_usage.len(), 1, "{events:?}");
    let told = &with_usage[0]["usage"];
    assert_eq!(told["cost_micro_usd"], 188);
    assert_eq!((&told["prompt_tokens"], &told["completion_tokens"]), (&json!(412), &json!(187)));
    let row = world.row(1);
    assert_eq!((&row["cost_micro_usd"], &row["metered_by"]), (&json!(188), &json!("provider")));
    assert_eq!(row["request_id"], reply.header("x-request-id").unwrap());
    assert_eq!(world.balance(), 4_999_812);
}

#[test]
fn without_include_usage_no_usage_chunk_leaks() {
    let world = World::new(honest(412, 187));
    let refused = {
        let mut body = stream_body(false);
        body["stream_options"] = json!({"include_usage": false});
        body
    };
    for (place, body) in [stream_body(false), refused].iter().enumerate() {
        let reply = world.chat(body).expect(200);
        let events = payloads(&reply);
        assert!(!events.iter().any(has_usage), "a usage chunk nobody asked for: {events:?}");
        assert!(!events.iter().any(|e| e["choices"] == json!([])), "an empty chunk: {events:?}");
        assert_eq!(events.len(), 189, "a role, 187 words and a finish reason");
        assert_eq!(world.upstream.last().json()["stream_options"]["include_usage"], true, "but upstream is asked");
        assert_eq!(world.row(place + 1)["cost_micro_usd"], 188);
    }
}

#[test]
fn words_arrive_when_they_are_said() {
    let gate = Gate::default();
    let closed = gate.clone();
    let world = World::new(move |_| Stream::new(2).usage(usage(10, 2)).gate(2, &closed).answer());
    let mut conn = world.open(&stream_body(true));
    let so_far = conn.read_until("word1");
    assert!(!so_far.contains("word2"));
    gate.open();
    assert_eq!(payloads(&conn.finish()).len(), 3, "word2, the finish and the usage");
}

#[test]
fn a_stream_is_delivered_in_the_pieces_it_came_in() {
    let world = World::new(|_| Stream::new(20).usage(usage(10, 20)).slow(Duration::from_millis(5)).answer());
    let reply = world.chat(&stream_body(true)).expect(200);
    assert!(reply.chunks.len() >= 10, "{} chunks for 23 events", reply.chunks.len());
    assert!(reply.chunks[0].at < reply.chunks[reply.chunks.len() - 1].at);
}

#[test]
fn content_passes_byte_for_byte() {
    let odd = "data: {\"choices\": [ {\"index\":0,\"delta\":{\"content\":\"\\u00e9 é 😀 \\\"[DONE]\\\"\"}, \
               \"finish_reason\":null} ] , \"x\" : 1e400}\n\n";
    let world = World::new(move |_| {
        let finish = format!("data: {}\n\n", chunk(&json!({}), &json!("stop")));
        let usage = format!("data: {}\n\n", usage_chunk(&usage(10, 3)));
        let body = format!(": a comment\n\n{odd}{finish}{usage}data: [DONE]\n\n");
        // Every byte in a chunk of its own: no event, and no character, is whole in any of them.
        let mut wire = STREAM_HEAD.as_bytes().to_vec();
        for byte in body.bytes() {
            wire.extend(b"1\r\n");
            wire.push(byte);
            wire.extend(b"\r\n");
        }
        wire.extend(b"0\r\n\r\n");
        Answer::raw(wire, End::KeepAlive)
    });
    let reply = world.chat(&stream_body(true)).expect(200);
    assert!(reply.text().contains(odd), "{}", reply.text());
    assert!(reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    assert_eq!(world.row(1)["completion_tokens"], 3);
}

#[test]
fn streams_are_read_however_they_are_framed() {
    let event = |data: &Value| format!("data: {data}\n\n");
    let body = event(&chunk(&json!({"content": "hi"}), &Value::Null))
        + &event(&chunk(&json!({}), &json!("stop")))
        + &event(&usage_chunk(&usage(30, 4)))
        + "data: [DONE]\n\n";
    let crlf = body.replace('\n', "\r\n");
    let tight = body.replace("data: ", "data:");
    let kind = "content-type: text/event-stream\r\n";
    let rows = [
        (
            "until the end of the connection",
            format!("HTTP/1.1 200 OK\r\n{kind}connection: close\r\n\r\n{body}"),
            End::Fin,
        ),
        ("as HTTP/1.0", format!("HTTP/1.0 200 OK\r\n{kind}\r\n{body}"), End::Fin),
        (
            "with a length",
            format!("HTTP/1.1 200 OK\r\n{kind}content-length: {}\r\n\r\n{body}", body.len()),
            End::KeepAlive,
        ),
        ("with CRLF", format!("HTTP/1.1 200 OK\r\n{kind}content-length: {}\r\n\r\n{crlf}", crlf.len()), End::KeepAlive),
        (
            "without a blank",
            format!("HTTP/1.1 200 OK\r\n{kind}content-length: {}\r\n\r\n{tight}", tight.len()),
            End::KeepAlive,
        ),
        (
            "with a charset",
            STREAM_HEAD.replace("event-stream", "event-stream; charset=utf-8")
                + &String::from_utf8(http_chunk(&body)).unwrap()
                + "0\r\n\r\n",
            End::KeepAlive,
        ),
    ];
    let world = World::new(honest(1, 1));
    for (place, (how, wire, end)) in rows.into_iter().enumerate() {
        world.upstream.script(move |_| Answer::raw(wire.clone(), end));
        let reply = world.chat(&stream_body(false)).expect(200);
        assert_eq!(payloads(&reply).len(), 2, "{how}: {}", reply.text());
        let row = world.row(place + 1);
        assert_eq!((&row["prompt_tokens"], &row["completion_tokens"]), (&json!(30), &json!(4)), "{how}");
        assert_eq!(row["outcome"], "completed", "{how}");
    }
}

#[test]
fn zeros_in_every_chunk_are_nobodys_usage() {
    // Ollama's way of being asked for usage.
    let world = World::new(|_| {
        let zeros = |delta: Value, finish: Value| {
            let mut chunk = chunk(&delta, &finish);
            chunk["usage"] = usage(0, 0);
            format!("data: {chunk}\n\n")
        };
        let words = ["one", " two", " three"].map(|word| zeros(json!({"content": word}), Value::Null)).concat();
        let (last, said) = (zeros(json!({}), json!("stop")), usage_chunk(&usage(30, 3)));
        let body = format!("{words}{last}data: {said}\n\ndata: [DONE]\n\n");
        Answer::text(200, "text/event-stream", &body, "")
    });
    for (place, (wants, with_usage)) in [(true, 1), (false, 0)].into_iter().enumerate() {
        let events = payloads(&world.chat(&stream_body(wants)).expect(200));
        assert_eq!(events.len(), 4 + with_usage, "{events:?}");
        assert_eq!(events.iter().filter(|event| has_usage(event)).count(), with_usage, "{events:?}");
        let words: String = events.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(words, "one two three");
        assert_eq!(world.row(place + 1)["cost_micro_usd"], cost(30, 3));
    }
}

#[test]
fn usage_on_a_chunk_with_choices_is_not_withheld_with_its_words() {
    // llama.cpp's way where nobody asked, and that of servers which repeat a null usage on every event.
    let world = World::new(|_| {
        let mut word = chunk(&json!({"content": "hi"}), &Value::Null);
        word["usage"] = Value::Null;
        let mut last = chunk(&json!({"content": " there"}), &json!("stop"));
        last["usage"] = usage(30, 4);
        let body = format!("data: {word}\n\ndata: {last}\n\ndata: [DONE]\n\n");
        Answer::text(200, "text/event-stream", &body, "")
    });
    let reply = world.chat(&stream_body(false)).expect(200);
    assert!(reply.text().contains(" there"), "{}", reply.text());
    let events = payloads(&reply);
    assert!(events.len() == 2 && !events.iter().any(has_usage), "{events:?}");
    assert_eq!(world.row(1)["cost_micro_usd"], cost(30, 4));
}

#[test]
fn a_long_pause_before_the_first_word_is_no_failure() {
    let world = World::new(|_| {
        let stream = Stream::new(1).usage(usage(10, 1)).answer();
        stream.after(Step::Pause(Duration::from_millis(700)))
    });
    let reply = world.chat(&stream_body(true)).expect(200);
    assert_eq!(payloads(&reply).len(), 4);
}

#[test]
fn streams_and_whole_answers_share_a_connection() {
    // Each worker has its own.
    let world = World::with("10", &["--workers", "2"], honest(10, 3));
    for place in 0..6 {
        world.chat(&if place % 2 == 0 { chat_body() } else { stream_body(true) }).expect(200);
    }
    assert!(world.upstream.connections() <= 2, "{} connections for six requests in turn", world.upstream.connections());
}
