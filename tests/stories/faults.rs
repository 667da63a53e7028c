//! What a server does to one request, and what the server is: two things.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::answer::{Answer, End, honest};
use crate::world::http::{Reply, Request};
use crate::world::upstream::{Seen, Upstream};
use crate::world::{World, chat_body, eventually, stream_body};

/// A world with more providers of the same model, each on its own upstream.
fn with_spares(
    serve: &[&str],
    spares: usize,
    script: impl Fn(&Seen) -> Answer + Send + Sync + Clone + 'static,
) -> (World, Vec<Upstream>) {
    let spare: Vec<Upstream> = (0..spares).map(|_| Upstream::start(script.clone())).collect();
    let mut world = World::unstarted("5.00", script);
    for (place, upstream) in spare.iter().enumerate() {
        world.server.provider(&format!("spare-{place}"), &upstream.url(), &world.owner, &[]);
    }
    world.server.start(serve);
    (world, spare)
}

/// How often each server was asked.
fn asked(world: &World, spares: &[Upstream]) -> Vec<usize> {
    std::iter::once(&world.upstream).chain(spares).map(|upstream| upstream.requests().len()).collect()
}

fn saying(text: &str) -> Value {
    let mut body = chat_body();
    body["messages"] = json!([{"role": "user", "content": text}]);
    body
}

/// Serves everything but what says "poison".
fn unless_poison(bad: impl Fn() -> Answer + Send + Sync + Clone + 'static) -> impl Fn(&Seen) -> Answer + Clone {
    let good = honest(10, 5);
    move |seen| if seen.text().contains("poison") { bad() } else { good(seen) }
}

fn says(reply: &Reply) -> String {
    reply.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_request_that_made_two_servers_fail_alike_is_at_fault() {
    let ways: [fn() -> Answer; 4] = [
        || Answer::nothing(End::Fin),
        || Answer::nothing(End::Reset),
        || Answer::json(500, &json!({"error": {"message": "no"}})),
        || Answer::text(200, "text/html", "<html>", ""),
    ];
    for way in ways {
        let (world, spares) = with_spares(&[], 3, unless_poison(way));
        let reply = world.chat(&saying("poison"));
        assert_eq!((reply.status, reply.header("x-should-retry")), (502, Some("false")), "{}", reply.text());
        let counts = asked(&world, &spares);
        assert_eq!((counts.iter().sum::<usize>(), counts.iter().max()), (2, Some(&1)), "{counts:?}");
        // As often as somebody sends it again: nobody else is refused for it.
        for _ in 0..5 {
            assert_eq!(world.chat(&saying("poison")).status, 502);
            world.chat(&chat_body()).expect(200);
            world.chat(&stream_body(true)).expect(200);
        }
    }
}

#[test]
fn three_servers_are_asked_at_most_each_once() {
    // Each fails in a way of its own.
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU16::new(0));
    let script = move |_: &Seen| {
        let place = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Answer::json(500 + 20 * (place % 5), &json!({"error": {"message": "no"}}))
    };
    let (world, spares) = with_spares(&[], 4, script);
    let reply = world.chat(&chat_body());
    assert_eq!((reply.status, reply.header("x-should-retry")), (502, None), "{}", reply.text());
    let counts = asked(&world, &spares);
    assert_eq!((counts.iter().sum::<usize>(), counts.iter().max()), (3, Some(&1)), "{counts:?}");
}

#[test]
fn a_request_on_a_connection_of_its_own_is_sent_once() {
    let world = World::new(|_| Answer::nothing(End::Fin));
    let reply = world.chat(&chat_body());
    assert_eq!((reply.status, reply.header("x-should-retry")), (502, None));
    assert_eq!(world.upstream.requests().len(), 1);
}

#[test]
fn a_limit_of_ours_says_its_name_and_nobody_else_is_asked() {
    let (world, spares) = with_spares(&["--first-byte-timeout", "1"], 1, unless_poison(Answer::never));
    for (body, streamed) in [(saying("poison"), false), (json!({"stream": true}), true)] {
        let mut whole = saying("poison");
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let before: usize = asked(&world, &spares).iter().sum();
        let reply = world.chat(&whole);
        assert_eq!((reply.status, reply.header("x-should-retry")), (504, Some("false")), "{}", reply.text());
        let text = says(&reply);
        assert!(text.contains("--first-byte-timeout"), "{text}");
        assert_eq!(text.contains("stream"), !streamed, "{text}");
        assert_eq!(asked(&world, &spares).iter().sum::<usize>(), before + 1);
    }
    for _ in 0..4 {
        assert_eq!(world.chat(&saying("poison")).status, 504);
    }
    world.chat(&chat_body()).expect(200);
}

#[test]
fn a_server_without_room_keeps_its_status_and_its_wait() {
    // status, header, what the caller is told to wait
    let rows = [
        (503, "retry-after: 7\r\n", 7, "service_unavailable"),
        (529, "retry-after: 1.5\r\n", 2, "overloaded_error"),
        (429, "retry-after: Fri, 31 Dec 2100 23:59:59 GMT\r\n", 300, "rate_limit_error"),
        (503, "retry-after: 99999999999999\r\n", 300, "service_unavailable"),
        (529, "retry-after-ms: 2500\r\n", 3, "overloaded_error"),
        (503, "", 1, "service_unavailable"),
    ];
    for (status, header, wait, kind) in rows {
        let body = json!({"error": {"message": "Loading model", "type": "unavailable_error"}}).to_string();
        let script = move |_: &Seen| Answer::text(status, "application/json", &body, header);
        let world = World::with("5.00", &["--queue-timeout", "0"], script);
        for _ in 0..4 {
            let reply = world.chat(&chat_body());
            assert_eq!((reply.status, reply.error().0.as_str()), (status, kind), "{}", reply.text());
            assert_eq!((reply.number("retry-after"), reply.header("x-should-retry")), (wait, None), "{header}");
            if status != 429 {
                assert_eq!(says(&reply), "Loading model");
            }
        }
        // It is no failure: the fifth is asked as the first was.
        world.upstream.script(honest(10, 5));
        world.chat(&chat_body()).expect(200);
    }
}

#[test]
fn a_failure_says_its_reason_and_not_where_it_lives() {
    let said =
        "Jinja: roles must alternate user/assistant/user/assistant/...\u{1b}[31m at /opt/llm/q4.gguf on 10.1.2.3:8000";
    let world = World::new(move |_| Answer::json(500, &json!({"error": {"message": said, "code": 500}})));
    let reply = world.chat(&chat_body());
    let text = says(&reply);
    assert_eq!((reply.status, reply.error().0.as_str()), (502, "provider_error"));
    assert!(text.contains("it answered 500: Jinja: roles must alternate user/assistant/user/assistant/..."), "{text}");
    for secret in ["/opt", "q4.gguf", "10.1.2.3", "8000", "\u{1b}"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    eventually("the log to have it whole", || world.server.log().contains("/opt/llm/q4.gguf on 10.1.2.3:8000"));
    // A page is no reason, and 40 KB are shortened.
    world.upstream.script(|_| Answer::text(500, "text/html", "<html>secret</html>", ""));
    assert!(!says(&world.chat(&chat_body())).contains("secret"));
    world.upstream.script(|_| Answer::json(500, &json!({"error": {"message": "word ".repeat(8_000)}})));
    let text = says(&world.chat(&chat_body()));
    assert!((1_900..2_200).contains(&text.chars().count()) && text.ends_with('…'), "{}", text.len());
}

#[test]
fn a_refusal_keeps_status_code_param_and_numbers() {
    let long = json!({"error": {"message": "too long", "type": "invalid_request_error", "param": "messages",
        "code": "context_length_exceeded", "n_prompt_tokens": 9_000, "n_ctx": 4_096}});
    for status in [400, 404, 409, 413, 422] {
        let answer = Answer::json(status, &long);
        let (world, spares) = with_spares(&[], 1, move |_| answer.clone());
        let error = world.chat(&chat_body()).expect(status).json()["error"].clone();
        assert_eq!(error, long["error"], "{status}");
        assert_eq!(asked(&world, &spares).iter().sum::<usize>(), 1, "{status}");
        let messages = json!({"model": chat_body()["model"], "max_tokens": 5, "messages": chat_body()["messages"]});
        let request = Request::post("/v1/messages").key(&world.payer.key).json(&messages);
        let body = world.server.http().send(&request).expect(status).json();
        assert_eq!((&body["type"], &body["error"]), (&json!("error"), &long["error"]), "{status}");
    }
}

#[test]
fn a_refusal_in_any_shape_and_size_gives_its_reason() {
    let list =
        json!({"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "Field required", "type": "missing"}]});
    let huge = format!("{{\"error\":{{\"message\":\"too many words\",\"echo\":\"{}\"}}}}", "x".repeat(1 << 20));
    let rows = [
        (Answer::json(422, &list), 422, "messages.0.role: Field required"),
        (Answer::text(400, "text/plain", "prompt too long\n", ""), 400, "prompt too long"),
        (Answer::json(413, &json!({"error": "too large"})), 413, "too large"),
        (Answer::text(400, "application/json", &huge, ""), 400, "too many words"),
        (Answer::text(400, "text/html", "<html>", ""), 400, "the provider refused the request"),
    ];
    for (answer, status, message) in rows {
        let world = World::new(move |_| answer.clone());
        let reply = world.chat(&chat_body()).expect(status);
        assert_eq!(says(&reply), message);
        reply.error();
    }
    // 100 MB of error are not read to the end.
    let piece = "x".repeat(1 << 20);
    let head = "HTTP/1.1 400 No\r\ncontent-type: application/json\r\ncontent-length: 104857700\r\n\r\n";
    let world = World::new(move |_| {
        let mut answer = Answer::raw(format!("{head}{{\"error\":{{\"message\":\"too much\",\"echo\":\""), End::Fin);
        answer.steps.extend((0..100).map(|_| crate::world::answer::Step::Send(piece.clone().into_bytes())));
        answer
    });
    assert_eq!(says(&world.chat(&chat_body()).expect(400)), "too much");
    world.upstream.wait_closed(&world.upstream.last());
}

#[test]
fn a_model_that_a_server_does_not_have_is_the_servers_fault() {
    let mut world = World::unstarted("5.00", |_| {
        Answer::json(404, &json!({"error": {"message": "The model `whatever-q4` does not exist.", "code": 404}}))
    });
    world.server.ok(&["provider", "remove", "up"]);
    let model = chat_body()["model"].as_str().unwrap().to_owned();
    let named = format!("{model}=whatever-q4");
    let add =
        ["provider", "add", "named", "--url", &world.upstream.url(), "--account", &world.owner.id, "--model", &named];
    world.server.ok(&add);
    world.server.start(&[]);
    let reply = world.chat(&chat_body()).expect(404);
    assert_eq!(reply.error().1, "model_not_found");
    assert!(!reply.text().contains("whatever-q4") && reply.text().contains(&model), "{}", reply.text());
    let spare = Upstream::start(honest(10, 5));
    world.server.provider("spare", &spare.url(), &world.owner, &[]);
    for _ in 0..3 {
        world.chat(&chat_body()).expect(200);
    }
}

#[test]
fn a_server_that_is_gone_is_asked_by_us_and_back_without_costing_a_caller() {
    let place = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let mut world = World::unstarted("5.00", honest(10, 5));
    world.server.ok(&["provider", "remove", "up"]);
    world.server.provider("gone", &format!("http://{address}/v1"), &world.owner, &[]);
    world.server.start(&[]);
    for text in ["one", "two", "three"] {
        assert_eq!(world.chat(&saying(text)).status, 502);
    }
    let reply = world.chat(&chat_body());
    assert_eq!((reply.status, reply.error().0.as_str()), (503, "service_unavailable"), "{}", reply.text());
    assert!((1..=60).contains(&reply.number("retry-after")));
    // Nobody asks for anything while it comes back.
    let back = Upstream::start_at(address, honest(10, 5));
    eventually("our own question", || world.server.log().contains("a provider is back"));
    assert_eq!(back.requests().len(), 0);
    world.chat(&chat_body()).expect(200);
    assert_eq!(back.requests().len(), 1);
}

#[test]
fn a_server_that_hangs_up_on_everybody_is_asked_first() {
    // It answers our question, so it is not down: whoever sends it something else is served.
    let world = World::new(unless_poison(|| Answer::nothing(End::Fin)));
    for number in 0..9 {
        assert_eq!(world.chat(&saying(&format!("poison {number}"))).status, 502);
    }
    world.chat(&chat_body()).expect(200);
}

#[test]
fn heads_without_end_are_cut() {
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n";
    let wires = [early.repeat(20_000), format!("HTTP/1.1 200 OK\r\n{}", "x-a: b\r\n".repeat(100_000))];
    for wire in wires {
        let wire = wire.into_bytes();
        let world = World::new(move |_| Answer::raw(wire.clone(), End::KeepAlive).after_all(Answer::never()));
        let began = Instant::now();
        let reply = world.chat(&chat_body());
        assert_eq!((reply.status, reply.error().0.as_str()), (502, "provider_error"), "{}", reply.text());
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    }
    // A few of them are good manners.
    let body = crate::world::answer::completion(crate::world::answer::usage(10, 5)).to_string();
    let wire = early.repeat(5)
        + &format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let world = World::new(move |_| Answer::raw(wire.clone(), End::KeepAlive));
    for _ in 0..3 {
        world.chat(&chat_body()).expect(200);
    }
}
