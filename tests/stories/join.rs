//! Machines behind a NAT: they join, serve, earn, drain, break and come back; and those that mean no good.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::agent::Agent;
use crate::world::answer::{Answer, Cut, Gate, Stream, honest, usage};
use crate::world::http::{Conn, Request};
use crate::world::upstream::Seen;
use crate::world::{Account, MODEL, World, chat_body, cost, eventually, stream_body, text};

/// A world whose only provider is to join, and the key for it.
pub fn nobody_yet(serve: &[&str], script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> (World, Account) {
    let mut world = World::unstarted("5.00", script);
    world.server.ok(&["provider", "remove", "up"]);
    world.server.start(serve);
    let key = world.server.provide_key(&world.owner, &[]);
    (world, key)
}

/// The same, and a machine `kitchen` that has joined.
pub fn joined(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> (World, Account, Agent) {
    joined_with(&[], script)
}

/// The same, with more arguments for `serve`.
pub fn joined_with(
    serve: &[&str],
    script: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
) -> (World, Account, Agent) {
    let (world, key) = nobody_yet(serve, script);
    let agent = Agent::join(&world.server, &key, "kitchen", &world.upstream.url(), &[]);
    (world, key, agent)
}

#[test]
fn a_machine_that_joined_serves_is_paid_and_sees_no_credential() {
    let (world, _, _agent) = joined(honest(10, 5));
    world.chat(&chat_body()).expect(200);
    let streamed = world.chat(&stream_body(true)).expect(200);
    assert_eq!(streamed.events().last().map(String::as_str), Some("[DONE]"));
    let long = json!({"model": MODEL, "max_tokens": 5,
        "messages": [{"role": "user", "content": "word ".repeat(100_000)}]});
    world.chat(&long).expect(200);
    assert_eq!(world.rows().len(), 3);
    assert_eq!((world.balance(), world.earned()), (5_000_000 - 3 * cost(10, 5), 3 * cost(10, 5)));
    assert_eq!(world.upstream.last().json()["messages"][0]["content"].as_str().map(str::len), Some(500_000));
    // Two connections, and one machine, which is looked after once.
    assert_eq!(world.server.log().matches("a machine has joined").count(), 1);
    for seen in world.upstream.requests() {
        let credential = ["authorization", "x-api-key", "cookie"].into_iter().find_map(|name| seen.header(name));
        assert_eq!((seen.target.as_str(), credential), ("/v1/chat/completions", None));
    }
    // Its probe travels the same way.
    world.server.cli_plain(&["provider", "probe", "kitchen"]);
    assert!(world.upstream.requests().len() > 3);
}

#[test]
fn an_agent_gives_memory_back_at_once_unless_its_allocator_was_told_otherwise() {
    let (world, key, agent) = joined(honest(10, 5));
    let set = |agent: &Agent| {
        let all = std::fs::read_to_string(format!("/proc/{}/environ", agent.pid())).unwrap();
        all.split('\0').find_map(|one| one.strip_prefix("_RJEM_MALLOC_CONF=")).map(str::to_owned)
    };
    assert_eq!(set(&agent).as_deref(), Some("dirty_decay_ms:0"));
    let (url, to) = (format!("http://{}", world.server.http().0), world.upstream.url());
    let args = ["--name", "cellar", "--to", &to, "--model", MODEL];
    let told = Agent::start_at(&url, &key, &args, &[("_RJEM_MALLOC_CONF", "dirty_decay_ms:7")]);
    told.wait_joined();
    assert_eq!(set(&told).as_deref(), Some("dirty_decay_ms:7"));
}

#[test]
fn an_invitation_is_one_line_for_as_many_machines_as_it_says() {
    let (world, _) = nobody_yet(&[], honest(10, 5));
    let url = format!("http://{}", world.server.http().0);
    let made = world.server.ok(&["provider", "invite", "owner", "--url", &url]);
    let key = text(&made, "key");
    assert_eq!(text(&made, "command"), format!("coordinator join {url} --key {key}"));
    let key = Account { id: String::new(), key, key_id: text(&made, "id") };
    let _agent = Agent::join(&world.server, &key, "first", &world.upstream.url(), &[]);
    world.chat(&chat_body()).expect(200);
    assert_eq!(world.server.http().get("/v1/models", &key.key).status, 403, "it is for nothing else");
    assert!(refused(&world, &key, "second", &[]).contains("has them: first"));
}

#[test]
fn a_client_that_leaves_stops_the_local_server() {
    let (world, _, _agent) = joined(|_| Stream::new(9).cut(2, Cut::Silence).answer());
    let mut conn = world.open(&stream_body(true));
    conn.read_until("word2");
    conn.close();
    assert!(world.upstream.wait_closed(&world.upstream.last()) < Duration::from_secs(1));
    assert_eq!(world.wait_rows(1)[0]["outcome"], "client_disconnected");
}

#[test]
fn a_killed_agent_is_a_provider_that_broke_off_and_comes_back() {
    let (world, key, mut agent) = joined(|_| Stream::new(9).cut(2, Cut::Silence).answer());
    let mut streams: Vec<Conn> = (0..4).map(|_| world.open(&stream_body(true))).collect();
    streams.iter_mut().for_each(|conn| drop(conn.read_until("word2")));
    agent.kill();
    for conn in streams {
        let reply = conn.finish();
        assert!(reply.text().contains("\"error\""), "{}", reply.text());
    }
    assert!(world.wait_rows(4).iter().all(|row| row["outcome"] == "provider_error" && row["cost_micro_usd"] == 0));
    world.wait_released();
    assert_eq!((world.balance(), world.earned()), (5_000_000, 0));
    eventually("it to be down", || world.state_of("kitchen") == "down");
    world.chat(&chat_body()).expect(503);
    world.upstream.script(honest(10, 5));
    let _again = Agent::join(&world.server, &key, "kitchen", &world.upstream.url(), &[]);
    world.chat(&chat_body()).expect(200);
    assert_eq!(world.server.ok(&["provider", "list"]).as_array().map(Vec::len), Some(1), "it is the same machine");
}

#[test]
fn an_agent_that_is_told_to_stop_fails_nobody() {
    let gate = Gate::default();
    let opened = gate.clone();
    let (world, key, mut agent) = joined(move |_| Stream::new(9).usage(usage(10, 9)).gate(2, &opened).answer());
    let mut conn = world.open(&stream_body(true));
    conn.read_until("word1");
    let other = crate::world::upstream::Upstream::start(honest(10, 5));
    let _other = Agent::join(&world.server, &key, "cellar", &other.url(), &[]);
    agent.send_term();
    eventually("it to say so", || agent.log().contains("stopping"));
    for _ in 0..4 {
        world.chat(&chat_body()).expect(200);
    }
    assert_eq!(other.requests().len(), 4);
    assert!(!world.server.log().contains("it is leaving"), "nobody tried the one that leaves");
    gate.open();
    let reply = conn.finish();
    assert_eq!(reply.events().last().map(String::as_str), Some("[DONE]"), "{}", reply.text());
    assert!(agent.wait_ended().success());
    assert!(world.wait_rows(5).iter().all(|row| row["outcome"] == "completed"));
}

#[test]
fn a_coordinator_that_stops_lets_go_at_once_and_is_joined_again() {
    let (mut world, _, agent) = joined(honest(10, 5));
    world.chat(&chat_body()).expect(200);
    let at = world.server.http().0.to_string();
    let began = Instant::now();
    assert!(world.server.stop().success());
    assert!(began.elapsed() < Duration::from_secs(10), "the connections of machines hold nothing up");
    eventually("it to say why", || agent.log().contains("the coordinator stops"));
    world.server.start(&["--listen", &at]);
    agent.wait_joined();
    world.chat(&chat_body()).expect(200);
}

#[test]
fn a_key_that_is_revoked_ends_the_connection_with_a_reason_on_both_sides() {
    let (world, key, mut agent) = joined(|_| Stream::new(9).cut(2, Cut::Silence).answer());
    let mut conn = world.open(&stream_body(true));
    conn.read_until("word2");
    world.server.ok(&["key", "revoke", &key.key_id]);
    assert_eq!(agent.wait_ended().code(), Some(1));
    eventually("it to say why", || agent.log().contains("its key was revoked"));
    assert!(conn.finish().text().contains("\"error\""));
    eventually("it to be told here", || world.server.log().contains("its key was revoked"));
    assert_eq!(world.wait_rows(1)[0]["cost_micro_usd"], 0);
}

#[test]
fn a_key_that_is_rotated_ends_what_came_with_the_old_secret() {
    let (world, key) = nobody_yet(&[], |_| Stream::new(9).cut(2, Cut::Silence).answer());
    let manager = text(&world.server.ok(&["key", "create", "owner", "--scope", "manage"]), "key");
    // A key from before there were tags gets one when it is used, which is no new secret.
    world.server.alter("UPDATE keys SET hash = substr(hash, 1, instr(hash, ' ') - 1) WHERE scopes = 'provide'");
    let has_tag = || world.server.number("SELECT count(*) FROM keys WHERE scopes = 'provide' AND hash LIKE '% %'") == 1;
    assert!(!has_tag());
    let join = |key: &Account| Agent::join(&world.server, key, "kitchen", &world.upstream.url(), &[]);
    let mut agent = join(&key);
    eventually("the tag to be stored", has_tag);
    std::thread::sleep(Duration::from_millis(1_200));
    assert_eq!(world.state_of("kitchen"), "up");
    // By its owner, and by a command beside the server.
    let over_http = format!("/v1/keys/{}/rotate", key.key_id);
    let by_owner = || world.server.http().send(&Request::post(&over_http).key(&manager)).expect(200).json();
    let by_command = || world.server.ok(&["key", "rotate", &key.key_id]);
    let rotate: [&dyn Fn() -> Value; 2] = [&by_owner, &by_command];
    let mut old = key.clone();
    for (rows, rotate) in (1..).zip(rotate) {
        let mut conn = world.open(&stream_body(true));
        conn.read_until("word2");
        let fresh = rotate();
        assert_eq!(agent.wait_ended().code(), Some(1));
        eventually("it to say why", || agent.log().contains("its key was rotated: start it with the new one"));
        assert!(conn.finish().text().contains("\"error\""));
        assert_eq!(world.wait_rows(rows)[0]["cost_micro_usd"], 0);
        assert!(refused(&world, &old, "kitchen", &[]).contains("not valid"));
        let shown = world.server.http().get("/v1/provider/machines", &world.owner.key).expect(200).json();
        assert_eq!(shown[0]["last_error"], "its key was rotated: start it with the new one");
        old.key = text(&fresh, "key");
        agent = join(&old);
    }
    world.upstream.script(honest(10, 5));
    world.chat(&chat_body()).expect(200);
}

/// Starts an agent that is refused: what it says.
fn refused(world: &World, key: &Account, name: &str, more: &[&str]) -> String {
    Agent::start(&world.server, key, name, &world.upstream.url(), more).wait_ended_with()
}

#[test]
fn who_may_not_join_is_told_why() {
    let (world, key, _agent) = joined(honest(10, 5));
    let said = refused(&world, &world.payer, "a", &[]);
    assert!(said.contains("does not have the scope \"provide\""), "{said}");
    let unknown = Account { key: "sk-db-nobody".into(), ..key.clone() };
    assert!(refused(&world, &unknown, "a", &[]).contains("not valid"));
    assert!(refused(&world, &key, "kitchen", &["--model", &format!("{MODEL}=another")]).contains("--replace"));
    // And has changed nothing for the one that is there.
    world.chat(&chat_body()).expect(200);
    assert!(world.upstream.requests().last().is_some_and(|seen| !seen.text().contains("another")));
    // What is served is served, and the rest is told.
    let other = Agent::join(&world.server, &key, "a", &world.upstream.url(), &["--model", "nothing"]);
    eventually("it to be told", || other.log().contains("nothing has no price"));
}

#[test]
fn a_key_is_for_its_models_and_its_number_of_machines_and_new_ones_may_be_held() {
    let (world, _) = nobody_yet(&[], honest(10, 5));
    let other = world.server.provide_key(&world.owner, &["--allow-model", "other"]);
    assert!(refused(&world, &other, "a", &[]).contains(&format!("the key is not for {MODEL}")));
    let one = world.server.provide_key(&world.owner, &["--max-machines", "1", "--hold-machines"]);
    let agent = Agent::start(&world.server, &one, "first", &world.upstream.url(), &[]);
    assert_eq!(agent.wait_joined()["held"], true);
    assert!(refused(&world, &one, "second", &[]).contains("has them: first"));
    assert_ne!(world.chat(&chat_body()).status, 200, "it is held");
    world.server.ok(&["provider", "enable", "first"]);
    world.chat(&chat_body()).expect(200);
    // Another process takes its place when it says so.
    let mut agent = agent;
    let _new = Agent::join(&world.server, &one, "first", &world.upstream.url(), &["--replace"]);
    assert_eq!(agent.wait_ended().code(), Some(1));
    eventually("it to say why", || agent.log().contains("another machine took this one's name"));
    world.chat(&chat_body()).expect(200);
}

#[test]
fn a_request_without_a_session_is_no_connection() {
    let (world, key, _agent) = joined(honest(10, 5));
    let http = world.server.http();
    let tunnel = || Request::get("/v1/provider/tunnel").key(&key.key);
    http.send(&tunnel()).expect(400);
    let upgrade = |request: Request| {
        request
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    http.send(&upgrade(tunnel())).expect(404);
    http.send(&upgrade(tunnel().header("coordinator-session", &"0".repeat(64)))).expect(404);
    // A session is its key's: no other one, of the same account neither, makes a connection of it.
    let new = json!({"protocol": 1, "version": "0", "name": "other", "instance": "x", "max_concurrent": 1,
        "models": [{"model": MODEL, "upstream_model": "x"}]});
    let welcome = http.send(&Request::post("/v1/provider/machines").key(&key.key).json(&new)).expect(201).json();
    let second = world.server.provide_key(&world.owner, &[]);
    let by = |request: Request| http.send(&upgrade(request.header("coordinator-session", &text(&welcome, "session"))));
    by(Request::get("/v1/provider/tunnel").key(&second.key)).expect(404);
    by(Request::get("/v1/provider/tunnel").key(&world.owner.key)).expect(403);
    by(Request::get("/v1/provider/tunnel").key("sk-db-nobody")).expect(401);
    by(Request::get("/v1/provider/tunnel")).expect(401);
    let old =
        json!({"protocol": 0, "version": "0.0.1", "name": "a", "instance": "x", "max_concurrent": 1, "models": []});
    let reply = http.send(&Request::post("/v1/provider/machines").key(&key.key).json(&old)).expect(400);
    assert!(reply.text().contains("update the agent"), "{}", reply.text());
    // One version newer, and with more in it than is known here, is understood; two are not.
    let hello = |protocol: u32| {
        json!({"protocol": protocol, "version": "0.2.0", "name": "new", "instance": "x", "max_concurrent": 1, "gpus": 2,
            "models": [{"model": MODEL, "upstream_model": "x", "vision": true}]})
    };
    let register = |protocol| http.send(&Request::post("/v1/provider/machines").key(&key.key).json(&hello(protocol)));
    assert_eq!(register(2).expect(201).json()["protocol"], 1);
    let reply = register(3).expect(400);
    assert!(reply.text().contains("update the coordinator"), "{}", reply.text());
    let none = json!({"protocol": 1, "version": "0", "name": "a", "instance": "x", "max_concurrent": 1,
        "models": [{"model": "nothing", "upstream_model": "x"}]});
    let reply: Value = http.send(&Request::post("/v1/provider/machines").key(&key.key).json(&none)).expect(400).json();
    assert!(reply.to_string().contains("nothing has no price"), "{reply}");
}
