//! `POST /v1/responses/compact`: passed on and metered where a server has it, else a plain 404.

use serde_json::{Value, json};

use crate::world::answer::Answer;
use crate::world::http::{Reply, Request};
use crate::world::upstream::Seen;
use crate::world::{MODEL, World};

const PATH: &str = "/v1/responses/compact";

fn has_it(seen: &Seen) -> Answer {
    if seen.target != PATH {
        return Answer::json(404, &json!({"detail": "Not Found"}));
    }
    Answer::json(
        200,
        &json!({"id": "resp_1", "object": "response.compaction", "created_at": 1,
        "output": [{"type": "compaction", "id": "cmp_1", "encrypted_content": "abc"}],
        "usage": {"input_tokens": 40, "output_tokens": 12, "total_tokens": 52}}),
    )
}

fn compact(world: &World, body: &Value) -> Reply {
    world.server.http().send(&Request::post(PATH).key(&world.payer.key).json(body))
}

fn body() -> Value {
    json!({"model": MODEL, "input": [{"role": "user", "content": "a long story, told once more"}]})
}

fn offered(world: &World) -> bool {
    let model = world.server.http().get(&format!("/v1/models/{MODEL}"), &world.payer.key).expect(200).json();
    model["endpoints"].as_array().unwrap().contains(&json!(PATH))
}

#[test]
fn it_is_passed_on_and_metered_where_a_server_has_it() {
    let mut world = World::unstarted("5.00", has_it);
    world.server.start(&[]);
    assert!(!offered(&world), "nobody knows yet");
    let reply = compact(&world, &body()).expect(200);
    assert_eq!(world.upstream.last().json(), body(), "no field is added");
    let row = world.row(1);
    assert_eq!((&row["prompt_tokens"], &row["completion_tokens"]), (&json!(40), &json!(12)));
    assert_eq!((&row["endpoint"], &row["metered_by"]), (&json!(PATH), &json!("provider")));
    assert_eq!(reply.json()["usage"]["cost_micro_usd"], row["cost_micro_usd"]);
    world.server.ok(&["provider", "probe", "up"]);
    assert!(offered(&world));
    let mut streamed = body();
    streamed["stream"] = json!(true);
    assert_eq!(compact(&world, &streamed).expect(400).json()["error"]["param"], "stream");
    let mut stored = body();
    stored["previous_response_id"] = json!("resp_0");
    assert_eq!(compact(&world, &stored).expect(400).json()["error"]["param"], "previous_response_id");
}

#[test]
fn what_the_balance_does_not_cover_whole_is_not_begun() {
    // The server cannot be told to write less.
    let world = World::with("0.000050", &[], has_it);
    compact(&world, &body()).expect(402);
    assert_eq!((world.upstream.requests().len(), world.balance()), (0, 50));
}

#[test]
fn a_server_without_it_has_not_failed() {
    let missing = [
        Answer::json(404, &json!({"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}})),
        Answer::json(404, &json!({"detail": "Not Found"})),
        Answer::json(405, &json!({"detail": "Method Not Allowed"})),
        Answer::text(404, "text/plain", "404 page not found", ""),
    ];
    for answer in missing {
        let world = World::new(move |_| answer.clone());
        for _ in 0..4 {
            let refused = compact(&world, &body()).expect(404);
            assert_eq!(refused.error().0, "not_found_error", "{}", refused.text());
            assert!(refused.text().contains("is not served on /v1/responses/compact"), "{}", refused.text());
        }
        assert_eq!(world.upstream.requests().len(), 4, "once each");
        assert!(!world.server.log().contains("a provider failed"), "{}", world.server.log());
        assert!(world.rows().is_empty());
    }
}
