//! Servers that tell what they should not, and requests that make good servers look bad.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::answer::{Answer, Step, honest};
use crate::world::http::Request;
use crate::world::upstream::Seen;
use crate::world::{World, chat_body, stream_body};

const KEY: &str = "sk-canary/77:x";

#[test]
fn a_providers_key_that_its_server_repeats_is_told_to_nobody() {
    let mut world = World::unstarted("5.00", honest(10, 5));
    world.server.ok(&["provider", "remove", "up"]);
    world.server.provider("keyed", &world.upstream.url(), &world.owner, &["--api-key", KEY]);
    world.server.start(&["--queue-timeout", "0"]);
    let escaped: String = KEY.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    for status in [200, 302, 400, 401, 404, 409, 413, 418, 422, 429, 500, 502, 503, 529] {
        let json = |said: &str| {
            format!(r#"{{"error":{{"message":"{said}","type":"{KEY}","code":"{KEY}","param":"{KEY}","{KEY}":7}}}}"#)
        };
        let bodies = [
            ("application/json", json(&format!("your headers: {{authorization: Bearer {KEY}}}"))),
            ("application/json", json(&escaped)),
            ("text/plain", format!("no: {KEY}")),
        ];
        for (kind, body) in bodies {
            world.upstream.script(move |_: &Seen| Answer::text(status, kind, &body, ""));
            for request in [chat_body(), stream_body(true)] {
                let reply = world.chat(&request);
                let told = format!("{:?} {}", reply.head, reply.text());
                assert_ne!(reply.status, 200);
                assert!(!told.contains("canary"), "{status} {kind}: {told}");
            }
            let bearer = world.upstream.last().header("authorization").map(str::to_owned);
            assert_eq!(bearer, Some(format!("Bearer {KEY}")));
        }
    }
    // A probe tells the operator what was said.
    let body = format!(r#"{{"error":{{"message":"no {KEY}"}}}}"#);
    world.upstream.script(move |_: &Seen| Answer::text(400, "application/json", &body, ""));
    let probe = world.server.cli(&["provider", "probe", "keyed"]);
    let told = format!("{probe:?} {} {}", world.server.ok(&["provider", "list"]), world.server.log());
    assert!(told.contains("(key)") && !told.contains("canary"), "{told}");
}

#[test]
fn what_servers_find_too_long_is_not_sent_to_them() {
    let world = World::new(honest(10, 5));
    let ask = |query: &str, agent: &str| {
        let request = Request::post(&format!("/v1/chat/completions{query}")).key(&world.payer.key).json(&chat_body());
        world.server.http().send(&request.header("user-agent", agent).header("anthropic-beta", "a"))
    };
    let reply = ask(&format!("?a={}", "x".repeat(2_046)), "agent").expect(200);
    assert_eq!(reply.status, 200);
    let seen = world.upstream.last();
    assert_eq!((seen.target.len(), seen.header("user-agent")), ("/v1/chat/completions?".len() + 2_048, Some("agent")));
    ask("", &"x".repeat(60_000)).expect(200);
    let seen = world.upstream.last();
    assert_eq!((seen.header("user-agent"), seen.header("anthropic-beta")), (None, Some("a")));
    let sent = world.upstream.requests().len();
    for length in [2_049, 60_000] {
        let reply = ask(&format!("?{}", "x".repeat(length)), "agent");
        assert_eq!(reply.status, 400, "{}", reply.text());
    }
    assert_eq!(world.upstream.requests().len(), sent);
}

#[test]
fn a_whole_answer_that_trickles_without_end_is_ended() {
    let script = |seen: &Seen| {
        if !seen.text().contains("trickle") {
            return honest(10, 5)(seen);
        }
        let mut answer = Answer::raw(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999\r\n\r\n",
            crate::world::answer::End::Fin,
        );
        for _ in 0..200 {
            answer.steps.push(Step::Pause(Duration::from_millis(300)));
            answer.steps.push(Step::Send(b" ".to_vec()));
        }
        answer
    };
    let world = World::with("5.00", &["--idle-timeout", "2", "--event-timeout", "3"], script);
    let mut body = chat_body();
    body["messages"] = json!([{"role": "user", "content": "trickle"}]);
    let reply = world.chat(&body);
    assert_eq!(reply.status, 504, "{}", reply.text());
    let text = reply.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(text.contains("--event-timeout") && text.contains("3 s"), "{text}");
    world.upstream.wait_closed(&world.upstream.last());
    assert_eq!(world.rows(), Vec::<Value>::new());
    world.chat(&chat_body()).expect(200);
}
