//! Bodies, headers and queries that are wrong: the envelope that says so, and nothing debited.

use serde_json::json;

use crate::world::answer::honest;
use crate::world::http::{Reply, Request};
use crate::world::{MODEL, World, chat_body};

/// A chat body with these fields after the model and the messages.
fn with(fields: &str) -> Vec<u8> {
    format!(r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"hi"}}]{fields}}}"#).into_bytes()
}

fn post(world: &World, body: Vec<u8>) -> Reply {
    let request = Request::post("/v1/chat/completions").key(&world.payer.key);
    world.server.http().send(&request.header("content-type", "application/json").body(body))
}

/// Nothing of all this reached a provider or cost anything.
fn untouched(world: &World) {
    assert!(world.upstream.requests().is_empty(), "{:?}", world.upstream.requests().last());
    assert_eq!((world.balance(), world.rows().len()), (5_000_000, 0));
    world.chat(&chat_body()).expect(200);
}

#[test]
fn a_body_that_is_no_object_is_400() {
    let world = World::new(honest(10, 5));
    let deep = |open: &str, close: &str| open.repeat(100_000) + &close.repeat(100_000);
    let texts = [
        String::new(),
        " ".into(),
        "null".into(),
        "true".into(),
        "7".into(),
        "\"model\"".into(),
        "[]".into(),
        "[{}]".into(),
        "{".into(),
        "}".into(),
        "{}}".into(),
        "{} {}".into(),
        "{}garbage".into(),
        "{'model':'m'}".into(),
        "{model:1}".into(),
        "{\"model\"}".into(),
        "{\"model\":}".into(),
        "{\"model\":\"m\",}".into(),
        "{\"model\":\"m\" \"n\":1}".into(),
        "{\"model\":\"m".into(),
        "{\"model\":\"\\ud800\"}".into(),
        "{\"model\":\"\\x\"}".into(),
        "{\"model\":\"a\nb\"}".into(),
        "{\"model\":NaN}".into(),
        "{\"model\":01}".into(),
        "{\"model\":+1}".into(),
        "{\"model\":.5}".into(),
        "// {}".into(),
        "\u{feff}{}".into(),
        "{}\0".into(),
        "model=m&messages=hi".into(),
        "<xml/>".into(),
        deep("[", "]"),
        deep("{\"a\":", "}"),
        "[".repeat(100_000),
    ];
    for text in texts {
        let reply = post(&world, text.clone().into_bytes());
        let shown: String = text.chars().take(40).collect();
        assert_eq!(reply.status, 400, "{shown}: {}", reply.text());
        assert_eq!(reply.error().0, "invalid_request_error", "{shown}");
    }
    let bytes: [&[u8]; 5] = [
        b"\xff\xfe{}",
        b"{\"model\":\"\xff\"}",
        b"{\"model\":\"\xc0\xaf\"}",
        b"\x1f\x8b\x08\x00",
        b"{\"\xed\xa0\x80\":1}",
    ];
    for body in bytes {
        let reply = post(&world, body.to_vec());
        assert_eq!((reply.status, reply.error().0.as_str()), (400, "invalid_request_error"), "{body:?}");
    }
    untouched(&world);
}

#[test]
fn a_bad_field_is_400_and_named() {
    let world = World::new(honest(10, 5));
    let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(300));
    let rows = [
        (br#"{"messages":[{}]}"#.to_vec(), "model"),
        (b"{}".to_vec(), "model"),
        (br#"{"model":null}"#.to_vec(), "model"),
        (br#"{"model":7}"#.to_vec(), "model"),
        (br#"{"model":["m"]}"#.to_vec(), "model"),
        (br#"{"model":{}}"#.to_vec(), "model"),
        (br#"{"model":""}"#.to_vec(), "model"),
        (br#"{"model":true}"#.to_vec(), "model"),
        (long.into_bytes(), "model"),
        (with(r#","model":"other""#), "model"),
        (with(r#","\u006dodel":"other""#), "model"),
        (with(r#","stream":true,"stream":false"#), "stream"),
        (with(r#","max_tokens":1,"max_tokens":2"#), "max_tokens"),
        (with(r#","temperature":1,"temperature":2"#), "temperature"),
        (with(r#","stream":"true""#), "stream"),
        (with(r#","stream":1"#), "stream"),
        (with(r#","stream":[]"#), "stream"),
        (with(r#","stream":{}"#), "stream"),
        (with(r#","n":0"#), "n"),
        (with(r#","n":2"#), "n"),
        (with(r#","n":-1"#), "n"),
        (with(r#","n":1.5"#), "n"),
        (with(r#","n":"1""#), "n"),
        (with(r#","n":1e400"#), "n"),
        (with(r#","best_of":2"#), "best_of"),
        (with(r#","max_tokens":0"#), "max_tokens"),
        (with(r#","max_tokens":-2"#), "max_tokens"),
        (with(r#","max_tokens":6000.5"#), "max_tokens"),
        (with(r#","max_tokens":1e-3"#), "max_tokens"),
        (with(r#","max_tokens":"9""#), "max_tokens"),
        (with(r#","max_tokens":true"#), "max_tokens"),
        (with(r#","max_tokens":[9]"#), "max_tokens"),
        (with(r#","max_tokens":4294967296"#), "max_tokens"),
        (with(r#","max_tokens":18446744073709551616"#), "max_tokens"),
        (with(r#","max_tokens":99999999999999999999999999"#), "max_tokens"),
        (with(r#","max_tokens":1e400"#), "max_tokens"),
        (with(r#","max_completion_tokens":0"#), "max_completion_tokens"),
        (with(r#","max_completion_tokens":"many""#), "max_completion_tokens"),
        (with(r#","max_tokens":1,"max_completion_tokens":2"#), "max_completion_tokens"),
        (with(r#","stream":true,"stream_options":7"#), "stream_options"),
        (with(r#","stream":true,"stream_options":"usage""#), "stream_options"),
        (with(r#","stream":true,"stream_options":[]"#), "stream_options"),
        (with(r#","stream":true,"stream_options":{"include_usage":"yes"}"#), "stream_options.include_usage"),
        (with(r#","stream":true,"stream_options":{"include_usage":1}"#), "stream_options.include_usage"),
        (with(r#","stream":true,"stream_options":{"include_usage":true,"include_usage":false}"#), "stream_options"),
        (with(r#","stream":true,"stream_options":{"Include_Usage":true}"#), "stream_options.Include_Usage"),
        (with(r#","Max_Tokens":4000"#), "Max_Tokens"),
        (with(r#","max_tokens":5,"\u004dax_tokens":4000"#), "Max_tokens"),
        (with(r#","max_to\u212aens":4000"#), "max_to\u{212a}ens"),
        (with(r#","Model":"dear""#), "Model"),
        (with(r#","max_tokens":5,"max_length":4000"#), "max_length"),
        (with(r#","max_tokens":5,"num_predict":4000"#), "num_predict"),
        (with(r#","options":{"num_predict":4000}"#), "options.num_predict"),
        (with(r#","num_return_sequences":2"#), "num_return_sequences"),
        (format!(r#"{{"model":"{MODEL}"}}"#).into_bytes(), "messages"),
        (format!(r#"{{"model":"{MODEL}","messages":[]}}"#).into_bytes(), "messages"),
        (with(r#","":1,"":2"#), ""),
        (with(r#","x":"\ud800","x":1"#), "x"),
    ];
    for (body, param) in rows {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let reply = post(&world, body);
        assert_eq!(reply.status, 400, "{shown}: {}", reply.text());
        let (kind, _, named) = reply.error();
        assert_eq!((kind.as_str(), named.as_str()), ("invalid_request_error", param), "{shown}");
    }
    untouched(&world);
}

#[test]
fn odd_but_valid_bodies_are_served() {
    let world = World::new(honest(10, 5));
    let bodies = [
        with(r#","n":1,"stream":null,"max_tokens":null,"stream_options":null"#),
        with(r#","x":1e400,"y":-0.0,"z":123456789012345678901234567890"#),
        with(r#","metadata":{"a":1,"a":2}"#),
        with(r#","max_tokens":7,"max_completion_tokens":7"#),
        with(r#","max_tokens":-1,"n":1.0"#),
        with(r#","max_tokens":1e1,"max_completion_tokens":10.0"#),
        [b" \t\r\n".to_vec(), with(""), b"\n\n".to_vec()].concat(),
        with(&format!(r#","deep":{}1{}"#, "[".repeat(60), "]".repeat(60))),
        with(&format!(r#","long":"{}""#, "é".repeat(100_000))),
    ];
    for body in bodies {
        let shown: String = String::from_utf8_lossy(&body).chars().take(200).collect();
        let reply = post(&world, body);
        assert_eq!(reply.status, 200, "{shown}: {}", reply.text());
    }
}

#[test]
fn several_prompts_in_one_request_are_refused_in_words() {
    let world = World::new(honest(10, 5));
    let completions = |prompt: &str| {
        let body = format!(r#"{{"model":"{MODEL}","prompt":{prompt}}}"#).into_bytes();
        world.server.http().send(&Request::post("/v1/completions").key(&world.payer.key).body(body))
    };
    for prompt in [r#"["a","b"]"#, "[[1],[2]]", "[]"] {
        let reply = completions(prompt);
        assert_eq!((reply.status, reply.error().2.as_str()), (400, "prompt"), "{prompt}: {}", reply.text());
    }
    assert!(completions(r#"["a","b"]"#).text().contains("one prompt"));
    untouched(&world);
}

#[test]
fn a_body_over_the_limit_is_413() {
    let world = World::with("5.00", &["--body-limit-mib", "1"], honest(10, 5));
    let fits = with(&format!(r#","x":"{}""#, "x".repeat(1_000_000)));
    let over = with(&format!(r#","x":"{}""#, "x".repeat(1_100_000)));
    let reply = post(&world, over.clone());
    assert_eq!(reply.status, 413, "{}", reply.text());
    let (kind, code, _) = reply.error();
    assert_eq!((kind.as_str(), code.as_str()), ("invalid_request_error", "payload_too_large"));
    // The same where no length announces it.
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n",
        world.payer.key,
        over.len()
    );
    let chunked = [head.as_bytes(), &over, b"\r\n0\r\n\r\n"].concat();
    let reply = world.server.http().raw(&chunked);
    assert_eq!(reply.status, 413, "{}", reply.text());
    assert!(world.upstream.requests().is_empty());
    post(&world, fits).expect(200);
}

#[test]
fn bad_headers_get_the_envelope() {
    let world = World::new(honest(10, 5));
    let post = |kind: &str, coding: &str, body: &[u8]| {
        let request = Request::post("/v1/chat/completions").key(&world.payer.key).header("content-type", kind);
        request.header("content-encoding", coding).body(body)
    };
    let rows = [
        ("a form", post("application/x-www-form-urlencoded", "identity", b"model=m&messages=hi")),
        ("a compressed body", post("application/json", "gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0")),
        ("a body in a code nobody knows", post("application/json", "evil", b"\x01\x02\x03")),
    ];
    for (how, request) in rows {
        let reply = world.server.http().send(&request);
        assert!((400..=415).contains(&reply.status), "{how}: {} {}", reply.status, reply.text());
        assert_eq!(reply.error().0, "invalid_request_error", "{how}");
    }
    untouched(&world);
}

#[test]
fn a_bad_query_is_400() {
    let world = World::new(honest(10, 5));
    let queries = [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=ten",
        "limit=1.5",
        "limit=99999999999999999999",
        "before=7",
        "before=acct_0000000000000",
        "before=req_",
        "before=req_zzzzzzzzzzzzzzzz",
        "before=%00",
        "since=yesterday",
        "since=2026-13-01",
        "since=2026-02-30T00:00:00Z",
        "since=1e9",
        "until=now",
        "key=7",
        "key=key_",
        "key=req_0000000000000",
        "format=xml",
        "limit=%ff",
    ];
    for query in queries {
        let reply = world.server.http().get(&format!("/v1/payments/usage?{query}"), &world.payer.key);
        assert_eq!(reply.status, 400, "{query}: {}", reply.text());
        let (kind, _, param) = reply.error();
        let name = query.split('=').next().unwrap();
        assert_eq!(kind, "invalid_request_error", "{query}");
        assert!(param == name || param.is_empty(), "{query} names {param}");
    }
    let reply = world.server.http().get("/v1/payments/usage?unknown=1", &world.payer.key).expect(200);
    assert_eq!(reply.json(), json!([]));
}
