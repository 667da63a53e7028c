//! The log: one line a request with all that support needs, and never a prompt or a secret.

use serde_json::{Value, json};

use crate::world::answer::{Answer, Stream, honest, usage};
use crate::world::http::Request;
use crate::world::{MODEL, World, eventually, stream_body};

/// Every name and value of a log line, however deep the formatter puts them.
fn flat(line: &Value, into: &mut serde_json::Map<String, Value>) {
    if let Value::Object(fields) = line {
        for (name, value) in fields {
            match value {
                Value::Object(_) => flat(value, into),
                Value::Array(items) => items.iter().for_each(|item| flat(item, into)),
                _ => {
                    into.insert(name.clone(), value.clone());
                }
            }
        }
    }
}

/// The lines about one request.
fn lines_of(world: &World, request_id: &str) -> Vec<serde_json::Map<String, Value>> {
    let read = || -> Vec<_> {
        let log = world.server.log();
        // A line that is being written is not read yet.
        let written = log.rfind('\n').map_or("", |end| &log[..end]);
        let lines =
            written.lines().map(|l| serde_json::from_str::<Value>(l).unwrap_or_else(|e| panic!("{e}: not JSON: {l}")));
        let flat_lines = lines.map(|line| {
            let mut fields = serde_json::Map::new();
            flat(&line, &mut fields);
            fields
        });
        flat_lines.filter(|f| f.get("request_id").and_then(Value::as_str) == Some(request_id)).collect()
    };
    eventually("the log line", || !read().is_empty());
    read()
}

#[test]
fn one_line_a_request_with_every_field() {
    let world = World::new(honest(412, 187));
    for (body, streamed) in [(crate::world::chat_body(), false), (stream_body(true), true)] {
        let reply = world.chat(&body).expect(200);
        let lines = lines_of(&world, reply.header("x-request-id").unwrap());
        assert_eq!(lines.len(), 1, "one line a request: {lines:?}");
        let line = &lines[0];
        let same = |name: &str, value: &str| {
            let got = line.get(name).unwrap_or_else(|| panic!("no {name} in {line:?}"));
            let got = got.as_str().map_or_else(|| got.to_string(), str::to_owned);
            assert_eq!(got, value, "{name}");
        };
        same("key_id", &world.payer.key_id);
        same("model", MODEL);
        same("status", "200");
        same("prompt_tokens", "412");
        same("completion_tokens", "187");
        same("cost_micro_usd", "188");
        same("outcome", "completed");
        for name in ["account", "provider"] {
            assert!(line.get(name).is_some_and(|v| !v.is_null()), "no {name} in {line:?}");
        }
        let durations: Vec<&String> = line.keys().filter(|name| name.ends_with("_ms")).collect();
        assert!(durations.len() >= 3, "queue, first byte and total: {durations:?} (streamed: {streamed})");
    }
}

#[test]
fn a_refused_request_has_its_line_too() {
    let world = World::with("0", &[], honest(10, 5));
    let refused = world.chat(&crate::world::chat_body()).expect(402);
    let line = &lines_of(&world, refused.header("x-request-id").unwrap())[0];
    assert_eq!(line.get("status").map(ToString::to_string).unwrap_or_default().trim_matches('"'), "402", "{line:?}");
    let unknown = world.server.http().send(&Request::get("/v1/payments/balance"));
    lines_of(&world, unknown.header("x-request-id").unwrap());
}

#[test]
fn a_line_is_bounded_whatever_was_sent() {
    let world = World::new(honest(10, 5));
    let long = "x".repeat(30_000);
    let path = format!("/{long}?{long}");
    let method = format!("GET{}", "X".repeat(2_000));
    let body = json!({"model": long, "messages": [{"role": "user", "content": "hi"}]});
    let replies = [
        world.server.http().send(&Request::get(&path)),
        world.server.http().raw(format!("{method} {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()),
        world.chat(&body),
    ];
    for reply in replies {
        let id = reply.header("x-request-id").expect("every answer has an id");
        for line in lines_of(&world, id) {
            let length = Value::Object(line).to_string().len();
            assert!(length < 2_000, "a line of {length} bytes");
        }
    }
}

#[test]
fn prompts_and_secrets_are_nowhere() {
    let answer = |seen: &crate::world::upstream::Seen| {
        if seen.text().contains("break") {
            return Answer::json(500, &json!({"error": {"message": "the provider's own words"}}));
        }
        let word = crate::world::answer::chunk(&json!({"content": "canary-said"}), &Value::Null);
        let mut answer = Stream::new(1).usage(usage(10, 1)).answer();
        answer.steps.insert(
            1,
            crate::world::answer::Step::Send(crate::world::answer::http_chunk(&format!("data: {word}\n\n"))),
        );
        answer
    };
    let mut world = World::unstarted("5.00", answer);
    world.server.ok(&["provider", "remove", "up"]);
    world.server.provider("keyed", &world.upstream.url(), &world.owner, &["--api-key", "env:CANARY_PROVIDER"]);
    world.server.start_in(&["--log", "trace"], &[("CANARY_PROVIDER", "canary-provider-secret")]);
    let admin = world.server.admin_key();
    let chat = |content: &str| {
        let mut body = stream_body(true);
        body["messages"] = json!([{"role": "user", "content": content}]);
        body["user"] = json!("canary-user");
        world.request(&body).header("cookie", "canary-cookie").header("x-other", "canary-header")
    };
    let http = world.server.http();
    assert!(http.send(&chat("canary-prompt")).expect(200).text().contains("canary-said"));
    let mut gone = http.open(&chat("canary-prompt"));
    gone.next_chunk();
    gone.reset();
    http.send(&chat("canary-prompt break"));
    http.send(&Request::post("/v1/chat/completions").key(&world.payer.key).body("{\"canary-prompt\": "));
    http.send(&Request::get("/v1/payments/balance").key("sk-db-canary-malformed-key"));
    http.get("/v1/payments/usage?before=canary-query", &world.payer.key);
    let credit = json!({"account": "payer", "amount_usd": "1", "note": "a note may be kept"});
    http.send(&Request::post("/v1/admin/credit").key(&admin).json(&credit)).expect(200);
    world.wait_released();
    let copy = world.server.beside("copy.db");
    world.server.ok(&["backup", copy.to_str().unwrap()]);
    // The log is written a moment later, on a busy disk a long one: all of it is there when the last line is.
    let last = http.get("/v1/payments/balance", &world.payer.key).expect(200);
    lines_of(&world, last.header("x-request-id").unwrap());

    let secret_of = |key: &str| key[20..].to_owned();
    let secrets = [
        "canary-prompt".to_owned(),
        "canary-said".into(),
        "canary-user".into(),
        "canary-cookie".into(),
        "canary-header".into(),
        "canary-provider-secret".into(),
        "canary-malformed-key".into(),
        secret_of(&world.payer.key),
        secret_of(&world.owner.key),
        secret_of(&admin),
        "correct horse battery".into(),
    ];
    let mut places =
        vec![("the log", world.server.log().into_bytes()), ("the output", world.server.out().into_bytes())];
    let files = std::fs::read_dir(world.server.data_dir()).unwrap().map(|entry| entry.unwrap().path());
    // All but the socket, which holds nothing.
    for file in files.filter(|path| path.is_file()) {
        places.push(("the data directory", std::fs::read(file).unwrap()));
    }
    places.push(("the backup", std::fs::read(&copy).unwrap()));
    // What a server says of its own failure is for the operator.
    assert!(world.server.log().contains("the provider's own words"));
    for (place, bytes) in places {
        for secret in &secrets {
            assert!(crate::world::http::find(&bytes, secret.as_bytes()).is_none(), "{secret} in {place}");
        }
    }
}
