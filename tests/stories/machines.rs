//! Machines that join, over HTTP: invited, seen by their owner and an admin, approved, limited, sent away.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::agent::Agent;
use crate::world::answer::{Answer, Cut, Stream, honest};
use crate::world::http::Request;
use crate::world::upstream::Seen;
use crate::world::{Account, MODEL, World, chat_body, cost, eventually, micro, stream_body, text};

/// A world without a provider, and an admin's key.
fn world(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> (World, String) {
    let mut world = World::unstarted("5.00", script);
    world.server.ok(&["provider", "remove", "up"]);
    let admin = world.server.admin_key();
    world.server.start(&[]);
    (world, admin)
}

fn send(world: &World, method: &str, path: &str, key: &str, body: &Value) -> Value {
    let reply = world.server.http().send(&Request::new(method, path).key(key).json(body));
    assert!((200..300).contains(&reply.status), "{method} {path}: {}", reply.text());
    reply.json()
}

/// An invitation by the admin: its answer, and its key.
fn invite(world: &World, admin: &str, body: &Value) -> (Value, Account) {
    let made = send(world, "POST", "/v1/admin/providers/invite", admin, body);
    let key = Account { id: world.owner.id.clone(), key: text(&made, "key"), key_id: text(&made, "id") };
    (made, key)
}

/// The one machine, as its owner sees it.
fn own(world: &World) -> Value {
    let list = world.server.http().get("/v1/provider/machines", &world.owner.key).expect(200).json();
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    list[0].clone()
}

/// The one provider, as an admin sees it.
fn shown(world: &World, admin: &str) -> Value {
    world.server.http().get("/v1/admin/providers", admin).expect(200).json()[0].clone()
}

#[test]
fn an_invited_machine_is_approved_serves_and_shows_its_owner_what_it_did() {
    let (world, admin) = world(honest(10, 5));
    let body = json!({"account": "owner", "models": [MODEL], "machines": 2, "hold": true});
    let (made, key) = invite(&world, &admin, &body);
    // As whoever asks sees the server.
    assert_eq!(text(&made, "command"), format!("coordinator join http://coordinator --key {}", key.key));
    assert_eq!((&made["max_machines"], &made["holds_machines"]), (&json!(2), &json!(true)));
    let agent = Agent::join(&world.server, &key, "kitchen", &world.upstream.url(), &["--max-concurrent", "3"]);
    let (mine, theirs) = (own(&world), shown(&world, &admin));
    assert_eq!((&mine["state"], &mine["machine"]["connected"]), (&json!("held"), &json!(true)));
    assert_eq!((&theirs["state"], &theirs["machine"]["held"]), (&json!("disabled"), &json!(true)));
    assert_ne!(world.chat(&chat_body()).status, 200, "it is held");
    let waits = || {
        let providers = &world.server.http().get("/v1/admin/overview", &admin).expect(200).json()["providers"];
        (providers["held"].clone(), micro(providers, "disabled"))
    };
    assert_eq!(waits(), (json!(["kitchen"]), 0));
    let path = format!("/v1/admin/providers/{}", text(&theirs, "id"));
    send(&world, "PATCH", &path, &admin, &json!({"enabled": true, "name": "the kitchen", "max_concurrent": 2}));
    world.chat(&chat_body()).expect(200);
    world.chat(&stream_body(true)).expect(200);
    let mine = own(&world);
    assert_eq!((&mine["state"], &mine["name"]), (&json!("up"), &json!("the kitchen")));
    assert_eq!((&mine["models"], &mine["machine"]["joined_as"]), (&json!([MODEL]), &json!("kitchen")));
    let counted =
        ["requests", "prompt_tokens", "completion_tokens", "running", "max_concurrent", "failed", "earned_micro_usd"];
    assert_eq!(counted.map(|field| micro(&mine, field)), [2, 20, 10, 0, 2, 0, 2 * cost(10, 5)]);
    assert!(mine["first_byte_ms"].is_number() && mine["machine"]["since"].is_string(), "{mine}");
    // Nobody else sees it, and a disabled one is no held one.
    let others = world.server.http().get("/v1/provider/machines", &world.payer.key).expect(200).json();
    assert_eq!(others, json!([]));
    send(&world, "PATCH", &path, &admin, &json!({"enabled": false}));
    assert_eq!(waits(), (json!([]), 1));
    assert_eq!((&own(&world)["state"], &shown(&world, &admin)["machine"]["held"]), (&json!("disabled"), &json!(false)));
    drop(agent);
    send(&world, "PATCH", &path, &admin, &json!({"enabled": true}));
    eventually("it to be away", || own(&world)["state"] == "away");
    assert_eq!(own(&world)["requests"], 2, "what it did stays");
}

#[test]
fn failures_are_told_with_their_reasons() {
    let (world, admin) = world(|_| Answer::json(500, &json!({"error": {"message": "out of memory"}})));
    let (_, key) = invite(&world, &admin, &json!({"account": "owner"}));
    let _agent = Agent::join(&world.server, &key, "kitchen", &world.upstream.url(), &[]);
    for _ in 0..7 {
        assert_eq!(world.chat(&chat_body()).status, 502);
    }
    let mine = own(&world);
    let failures = mine["failures"].as_array().unwrap();
    assert_eq!((micro(&mine, "failed"), failures.len()), (7, 5), "{mine}");
    assert!(failures.iter().all(|one| text(one, "why").contains("500") && one["at"].is_string()), "{mine}");
    assert_eq!(shown(&world, &admin)["recent"]["failures"].as_array().map(Vec::len), Some(5));
}

#[test]
fn a_machine_that_is_sent_away_is_gone_within_two_seconds_and_both_pages_say_why() {
    let (world, admin) = world(|_| Stream::new(9).cut(2, Cut::Silence).answer());
    let (_, key) = invite(&world, &admin, &json!({"account": "owner"}));
    let mut agent = Agent::join(&world.server, &key, "kitchen", &world.upstream.url(), &[]);
    let mut conn = world.open(&stream_body(true));
    conn.read_until("word1");
    let path = format!("/v1/admin/providers/{}", text(&shown(&world, &admin), "id"));
    let began = Instant::now();
    let gone = send(&world, "POST", &format!("{path}/disconnect"), &admin, &json!({}));
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!((&gone["machine"]["connected"], &gone["machine"]["key_revoked"]), (&json!(false), &json!(false)));
    assert_eq!(agent.wait_ended().code(), Some(1));
    eventually("it to say why", || agent.log().contains("an admin disconnected it"));
    assert!(conn.finish().text().contains("\"error\""));
    assert_eq!(world.wait_rows(1)[0]["cost_micro_usd"], 0);
    eventually("its owner to be told", || own(&world)["last_error"] == "an admin disconnected it");
    assert_eq!(own(&world)["state"], "away");
    // It may come back, until its key is revoked with it.
    let mut agent = Agent::join(&world.server, &key, "kitchen", &world.upstream.url(), &[]);
    let gone = send(&world, "POST", &format!("{path}/disconnect"), &admin, &json!({"revoke_key": true}));
    assert_eq!((&gone["machine"]["connected"], &gone["machine"]["key_revoked"]), (&json!(false), &json!(true)));
    assert_eq!(agent.wait_ended().code(), Some(1));
    eventually("its owner to be told", || own(&world)["last_error"] == "its key was revoked");
    let refused = Agent::start(&world.server, &key, "kitchen", &world.upstream.url(), &[]).wait_ended_with();
    assert!(refused.contains("not valid"), "{refused}");
}

#[test]
fn a_provider_that_is_dialled_has_no_connection_and_a_machine_no_address() {
    let (world, admin) = world(honest(10, 5));
    world.server.provider("dialled", &world.upstream.url(), &world.owner, &[]);
    let http = world.server.http();
    let dialled = shown(&world, &admin);
    assert_eq!(dialled["machine"], Value::Null);
    let path = format!("/v1/admin/providers/{}", text(&dialled, "id"));
    http.send(&Request::post(&format!("{path}/disconnect")).key(&admin)).expect(409);
    world.server.ok(&["provider", "remove", "dialled"]);
    let (_, key) = invite(&world, &admin, &json!({"account": "owner"}));
    let _agent = Agent::join(&world.server, &key, "kitchen", &world.upstream.url(), &[]);
    let path = format!("/v1/admin/providers/{}", text(&shown(&world, &admin), "id"));
    for body in
        [json!({"base_url": "http://10.0.0.1/v1"}), json!({"api_key": "x"}), json!({"models": [{"model": "m"}]})]
    {
        let reply = http.send(&Request::new("PATCH", &path).key(&admin).json(&body)).expect(400);
        assert_eq!(&reply.json()["error"]["param"], body.as_object().unwrap().keys().next().unwrap());
    }
    world.chat(&chat_body()).expect(200);
}

#[test]
fn an_account_invites_its_own_machines_if_an_admin_lets_it_and_each_is_looked_at() {
    let (world, admin) = world(honest(10, 5));
    let manager = text(&world.server.ok(&["key", "create", "owner", "--scope", "manage"]), "key");
    let http = world.server.http();
    let ask = |body: &Value| http.send(&Request::post("/v1/keys").key(&manager).json(body));
    let body = json!({"name": "mine", "scopes": ["provide"], "max_machines": 2});
    let reply = ask(&body).expect(403);
    assert!(reply.text().contains("may not let machines join"), "{}", reply.text());
    send(&world, "PATCH", &format!("/v1/admin/accounts/{}", world.owner.id), &admin, &json!({"may_provide": true}));
    assert_eq!(http.get("/v1/key", &manager).json()["account"]["may_provide"], true);
    ask(&json!({"scopes": ["provide"], "holds_machines": false})).expect(400);
    let made = ask(&body).expect(201).json();
    assert_eq!((&made["holds_machines"], &made["max_machines"]), (&json!(true), &json!(2)));
    assert!(text(&made, "command").ends_with(&text(&made, "key")));
    let key = Account { id: world.owner.id.clone(), key: text(&made, "key"), key_id: text(&made, "id") };
    let agent = Agent::start(&world.server, &key, "mine", &world.upstream.url(), &[]);
    assert_eq!(agent.wait_joined()["held"], true);
    assert_ne!(world.chat(&chat_body()).status, 200);
    world.server.ok(&["provider", "enable", "mine"]);
    world.chat(&chat_body()).expect(200);
    // What the key is for stays: no other models, no other scopes, and no other key gets this one.
    let path = format!("/v1/keys/{}", key.key_id);
    let change = |path: &str, body: Value| http.send(&Request::new("PATCH", path).key(&manager).json(&body)).status;
    assert_eq!(change(&path, json!({"name": "kitchen"})), 200);
    assert_eq!(change(&path, json!({"allowed_models": ["other"]})), 409);
    assert_eq!(change(&path, json!({"scopes": ["provide", "inference"]})), 200);
    assert_eq!(change(&path, json!({"scopes": ["inference"]})), 409);
    assert_eq!(change(&path, json!({"max_machines": 9})), 400);
    assert_eq!(change(&format!("/v1/keys/{}", world.owner.key_id), json!({"scopes": ["provide"]})), 409);
    // Not any more: what there is stays.
    world.server.ok(&["account", "forbid-machines", "owner"]);
    ask(&body).expect(403);
    world.chat(&chat_body()).expect(200);
}

#[test]
fn of_all_that_a_machine_is_refused_for_only_a_name_in_use_is_told_as_that() {
    let (world, admin) = world(honest(10, 5));
    world.server.provider("dialled", &world.upstream.url(), &world.owner, &[]);
    let (_, key) = invite(&world, &admin, &json!({"account": "owner", "machines": 1}));
    let _agent = Agent::join(&world.server, &key, "kitchen", &world.upstream.url(), &[]);
    let wider = world.server.provide_key(&world.owner, &[]);
    let register = |name: &str, key: &Account| {
        let hello = json!({"protocol": 1, "version": "0", "name": name, "instance": "x", "max_concurrent": 1,
            "models": [{"model": MODEL, "upstream_model": "x"}]});
        let register = Request::post("/v1/provider/machines").key(&key.key).json(&hello);
        world.server.http().send(&register).expect(409).json()["error"]["code"].clone()
    };
    assert_eq!(register("kitchen", &key), "machine_occupied");
    assert_eq!(register("kitchen", &wider), "machine_occupied");
    assert_ne!(register("second", &key), "machine_occupied", "the key has all its machines");
    assert_ne!(register("dialled", &wider), "machine_occupied", "it is no machine, and never leaves");
}

#[test]
fn an_account_cannot_widen_what_an_admin_invited() {
    let (world, admin) = world(honest(10, 5));
    let (_, key) = invite(&world, &admin, &json!({"account": "owner", "models": [MODEL]}));
    let manager = text(&world.server.ok(&["key", "create", "owner", "--scope", "manage"]), "key");
    let path = format!("/v1/keys/{}", key.key_id);
    let http = world.server.http();
    for body in [json!({"allowed_models": null}), json!({"allowed_models": [MODEL, "other"]})] {
        http.send(&Request::new("PATCH", &path).key(&manager).json(&body)).expect(409);
    }
    // The same invitation under the same idempotency key is the same key, and its secret is told once.
    let once = |account: &str| {
        let invite = Request::post("/v1/admin/providers/invite").key(&admin).header("idempotency-key", "once");
        http.send(&invite.json(&json!({"account": account})))
    };
    let (first, second) = (once("owner").expect(201).json(), once("owner").expect(201).json());
    assert_eq!((&first["id"], &second["key"], second.get("command")), (&second["id"], &Value::Null, None));
    assert!(first["key"].is_string() && first["command"].is_string());
    once("payer").expect(422);
    for (body, field) in [
        (json!({"account": "nobody"}), "account"),
        (json!({"account": "owner", "machines": 0}), "machines"),
        (json!({"account": "owner", "models": []}), "models"),
        (json!({"account": "owner", "models": [""]}), "models"),
    ] {
        let reply = http.send(&Request::post("/v1/admin/providers/invite").key(&admin).json(&body)).expect(400);
        assert_eq!(reply.json()["error"]["param"], field, "{body}");
    }
}
