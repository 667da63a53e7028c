//! The output bound: in the field that the caller used, or in the one that the server is known to take.

use serde_json::{Value, json};

use crate::world::answer::{Answer, Stream, completion, usage};
use crate::world::upstream::Seen;
use crate::world::{MODEL, World, chat_body};

/// What a server makes of a request that it answers within `bound`.
fn within(seen: &Seen, bound: Option<u64>) -> Answer {
    let tokens = bound.unwrap_or(2_000).min(2_000);
    let said = usage(10, tokens);
    if seen.json()["stream"] == true {
        return Stream::new(usize::try_from(tokens).unwrap()).cut_off().usage(said).answer();
    }
    Answer::json(200, &completion(said))
}

/// As OpenAI's newer models do.
fn refuses_max_tokens(seen: &Seen) -> Answer {
    let body = seen.json();
    if body.get("max_tokens").is_some() {
        let error = json!({"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. \
            Use 'max_completion_tokens' instead.", "type": "invalid_request_error", "param": "max_tokens",
            "code": "unsupported_parameter"}});
        return Answer::json(400, &error);
    }
    within(seen, body["max_completion_tokens"].as_u64())
}

/// As llama-cpp-python does.
fn ignores_max_completion_tokens(seen: &Seen) -> Answer {
    within(seen, seen.json()["max_tokens"].as_u64())
}

fn takes_both(seen: &Seen) -> Answer {
    let body = seen.json();
    within(seen, body["max_tokens"].as_u64().or(body["max_completion_tokens"].as_u64()))
}

/// The bounds that reach the server when the caller puts 7 there, or nowhere.
fn bounds_of(world: &World, field: &str, stream: bool) -> (Value, Value) {
    let mut body = chat_body();
    body.as_object_mut().unwrap().remove("max_tokens");
    body["stream"] = json!(stream);
    if !field.is_empty() {
        body[field] = json!(7);
    }
    world.chat(&body).expect(200);
    let seen = world.upstream.last().json();
    (seen["max_tokens"].clone(), seen["max_completion_tokens"].clone())
}

/// The server was tried before.
fn probed(script: fn(&Seen) -> Answer) -> World {
    let mut world = World::unstarted("5.00", script);
    world.server.ok(&["provider", "probe", "up"]);
    world.server.start(&[]);
    world
}

/// Nothing is known of the server.
fn unprobed(script: fn(&Seen) -> Answer) -> World {
    World::new(script)
}

#[test]
fn a_server_that_refuses_max_tokens_gets_the_other_field() {
    for world in [probed(refuses_max_tokens), unprobed(refuses_max_tokens)] {
        for stream in [false, true] {
            let (old, new) = bounds_of(&world, "", stream);
            assert_eq!((&old, new.is_u64()), (&Value::Null, true), "{new}");
            assert_eq!(bounds_of(&world, "max_completion_tokens", stream), (Value::Null, json!(7)));
        }
        let most = world.rows().iter().map(|row| row["completion_tokens"].as_u64().unwrap()).max();
        assert_eq!(most, Some(2_000));
    }
    // Once it is known, an old program's field is written as the server takes it. Unknown, it is the caller's own
    // word, and so is the refusal.
    let known = probed(refuses_max_tokens);
    assert_eq!(bounds_of(&known, "max_tokens", false), (Value::Null, json!(7)));
    let before = known.upstream.requests().len();
    known.chat(&chat_body()).expect(200);
    assert_eq!(known.upstream.requests().len(), before + 1, "nothing is sent twice");
    let mut body = chat_body();
    body["max_tokens"] = json!(7);
    let refused = unprobed(refuses_max_tokens).chat(&body).expect(400);
    assert_eq!(refused.json()["error"]["code"], "unsupported_parameter");
}

#[test]
fn a_server_that_ignores_max_completion_tokens_is_bounded_all_the_same() {
    for world in [probed(ignores_max_completion_tokens), unprobed(ignores_max_completion_tokens)] {
        for stream in [false, true] {
            for field in ["max_tokens", "max_completion_tokens"] {
                assert_eq!(bounds_of(&world, field, stream).0, 7, "{field}");
                assert_eq!(world.rows()[0]["completion_tokens"], 7, "{field}");
            }
            let (old, new) = bounds_of(&world, "", stream);
            assert_eq!((old.is_u64(), new), (true, Value::Null));
        }
    }
    // Also where the balance, not the caller, sets the bound.
    let world = World::with("0.000050", &[], ignores_max_completion_tokens);
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 4000});
    let reply = world.chat(&body).expect(200);
    assert_eq!(reply.header("x-max-tokens-limited"), Some("balance"));
    let seen = world.upstream.last().json();
    assert_eq!(seen["max_tokens"], seen["max_completion_tokens"]);
    assert!(seen["max_tokens"].as_u64().unwrap() < 100, "{seen}");
}

#[test]
fn the_bound_stays_in_the_callers_field_where_the_server_takes_it() {
    let world = probed(takes_both);
    for stream in [false, true] {
        assert_eq!(bounds_of(&world, "max_tokens", stream), (json!(7), Value::Null));
        assert_eq!(bounds_of(&world, "max_completion_tokens", stream), (Value::Null, json!(7)));
        let (old, new) = bounds_of(&world, "", stream);
        assert_eq!((old.is_u64(), new), (true, Value::Null));
    }
}
