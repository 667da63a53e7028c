//! What of a client's request reaches a provider: the body, the query string, four headers, and no secret.

use serde_json::json;

use crate::world::answer::honest;
use crate::world::http::Request;
use crate::world::{MODEL, World, chat_body, stream_body};

/// What a provider may see of headers: what HTTP needs, and the allow-list.
const ALLOWED: &[&str] = &[
    "accept",
    "accept-encoding",
    "anthropic-beta",
    "anthropic-version",
    "connection",
    "content-length",
    "content-type",
    "host",
    "user-agent",
];

/// A chat request with every header a client could think of.
fn laden(world: &World) -> Request {
    let mut request = world.request(&chat_body());
    let passed = [
        ("accept", "application/json, text/event-stream"),
        ("user-agent", "canary-agent/1.0"),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "canary-beta"),
    ];
    let kept = [
        ("x-api-key", world.payer.key.as_str()),
        ("cookie", "session=canary"),
        ("x-forwarded-for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("x-conversation-id", "canary"),
        ("proxy-authorization", "Basic canary"),
        ("openai-organization", "canary"),
        ("traceparent", "00-canary"),
        ("referer", "http://canary/"),
        ("idempotency-key", "canary"),
        ("te", "trailers"),
        ("x-stainless-lang", "canary"),
        ("x-http-method-override", "DELETE"),
    ];
    for (name, value) in passed.into_iter().chain(kept) {
        request = request.header(name, value);
    }
    request
}

#[test]
fn the_provider_is_told_json_whatever_the_client_says() {
    let world = World::new(honest(10, 5));
    // A server that decodes by the character set would read another request than the one that was metered.
    for kind in ["application/json; charset=utf-7", "text/plain", "application/x-www-form-urlencoded", "a/b;c=d"] {
        for path in ["/v1/chat/completions", "/v1/messages/count_tokens"] {
            let request = Request::post(path).key(&world.payer.key).header("content-type", kind);
            world.server.http().send(&request.body(chat_body().to_string().into_bytes()));
            let kinds: Vec<_> =
                world.upstream.last().headers.into_iter().filter(|(name, _)| name == "content-type").collect();
            assert_eq!(kinds, [("content-type".to_owned(), "application/json".to_owned())], "{path} {kind}");
        }
    }
}

#[test]
fn four_headers_reach_the_provider_and_no_others() {
    let world = World::new(honest(10, 5));
    world.server.http().send(&laden(&world)).expect(200);
    let seen = world.upstream.last();
    for (name, value) in &seen.headers {
        assert!(ALLOWED.contains(&name.as_str()), "{name}: {value}");
    }
    let passed = [
        ("accept", "application/json, text/event-stream"),
        ("user-agent", "canary-agent/1.0"),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "canary-beta"),
        ("content-type", "application/json"),
    ];
    for (name, value) in passed {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    let host = world.upstream.addr.to_string();
    assert_eq!(seen.header("host"), Some(host.as_str()), "the provider's own name");
    assert!(!format!("{seen:?}").contains(&world.payer.key));
}

#[test]
fn the_providers_key_is_sent_and_the_clients_is_not() {
    let mut world = World::unstarted("5.00", honest(10, 5));
    let keys =
        [("literal", "canary-literal", "canary-literal"), ("variable", "env:CANARY_VARIABLE", "canary-variable")];
    world.server.ok(&["provider", "remove", "up"]);
    for (name, key, _) in keys {
        world.server.ok(&["price", "set", name, "--input", "0.10", "--output", "0.78"]);
        let url = world.upstream.url();
        let args = ["provider", "add", name, "--url", &url, "--account", "owner", "--model", name, "--api-key", key];
        world.server.ok(&args);
    }
    world.server.start_in(&[], &[("CANARY_VARIABLE", "canary-variable")]);
    for (model, _, expected) in keys {
        for mut body in [chat_body(), stream_body(true)] {
            body["model"] = json!(model);
            world.chat(&body).expect(200);
            let seen = world.upstream.last();
            assert_eq!(seen.header("authorization"), Some(format!("Bearer {expected}").as_str()), "{model}");
            assert_eq!(seen.header("x-api-key"), None);
            assert!(!format!("{seen:?}").contains(&world.payer.key));
        }
    }
}

#[test]
fn the_name_of_a_variable_that_is_not_set_is_no_key() {
    let mut world = World::unstarted("5.00", honest(10, 5));
    world.server.ok(&["provider", "remove", "up"]);
    world.server.provider("unset", &world.upstream.url(), &world.owner, &["--api-key", "env:CANARY_UNSET_VARIABLE"]);
    world.server.start(&[]);
    world.chat(&chat_body());
    for seen in world.upstream.requests() {
        assert_eq!(seen.header("authorization"), None);
        assert!(!format!("{seen:?}").contains("CANARY_UNSET"), "{seen:?}");
        assert!(!format!("{seen:?}").contains(&world.payer.key), "{seen:?}");
    }
}

#[test]
fn the_query_string_is_passed_on() {
    let world = World::new(honest(10, 5));
    for query in ["?beta=true", "?a=1&b=%2F%20+&c", "?"] {
        let target = format!("/v1/chat/completions{query}");
        let request = Request::post(&target).key(&world.payer.key).json(&chat_body());
        world.server.http().send(&request).expect(200);
        let seen = world.upstream.last().target;
        assert_eq!(seen.trim_end_matches('?'), target.trim_end_matches('?'));
    }
    assert_eq!(world.rows()[0]["endpoint"], "/v1/chat/completions", "the row names the path alone");
}

#[test]
fn a_base_url_may_end_in_a_slash_or_lie_deeper() {
    let mut world = World::unstarted("5.00", honest(10, 5));
    world.server.ok(&["provider", "remove", "up"]);
    world.server.start(&[]);
    let base = format!("http://{}", world.upstream.addr);
    for (name, path) in [("slash", "/v1/"), ("deep", "/gpu/7/v1"), ("plain", "/v1")] {
        world.server.provider(name, &format!("{base}{path}"), &world.owner, &[]);
        world.chat(&chat_body()).expect(200);
        let expected = format!("{}/chat/completions", path.trim_end_matches('/'));
        assert_eq!(world.upstream.last().target, expected);
        world.server.ok(&["provider", "remove", name]);
    }
}

#[test]
fn a_body_may_come_in_chunks_or_after_expect() {
    let world = World::new(honest(10, 5));
    let body = chat_body().to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n",
        world.payer.key
    );
    let (first, second) = body.split_at(100);
    let chunked = format!(
        "{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    let expecting = format!("{head}expect: 100-continue\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    for wire in [chunked, expecting] {
        world.server.http().raw(wire.as_bytes()).expect(200);
        assert_eq!(world.upstream.last().json()["model"], MODEL);
    }
    assert_eq!(world.rows().len(), 2);
}

#[test]
fn work_that_only_the_providers_bill_sees_is_asked_of_none_but_those_that_allow_it() {
    let world = World::new(honest(10, 5));
    let mut body = chat_body();
    body["service_tier"] = json!("priority");
    world.chat(&body).expect(200);
    assert_eq!(world.upstream.last().json().get("service_tier"), None, "left out");
    let mut search = chat_body();
    search["web_search_options"] = json!({});
    world.chat(&search).expect(200);
    search["web_search_options"] = json!({"search_context_size": "high"});
    let refused = world.chat(&search);
    assert_eq!((refused.status, refused.error().2.as_str()), (400, "web_search_options"), "{}", refused.text());
    world.server.ok(&["provider", "remove", "up"]);
    let allow = ["--allow", "service_tier", "--allow", "web_search_options"];
    world.server.provider("hosting", &world.upstream.url(), &world.owner, &allow);
    body["web_search_options"] = search["web_search_options"].clone();
    world.chat(&body).expect(200);
    let seen = world.upstream.last().json();
    assert_eq!(
        (&seen["service_tier"], &seen["web_search_options"]),
        (&body["service_tier"], &body["web_search_options"])
    );
    let add = ["provider", "add", "x", "--url", "http://127.0.0.1:9/v1", "--account", "owner", "--model", MODEL];
    assert_eq!(world.server.cli(&[add.as_slice(), &["--allow", "stroe"]].concat()).code, 2, "a name that is not known");
}
