//! A busy server keeps nobody out: who finds all places taken waits, in a fair order, with the money held.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::world::answer::{Answer, Gate, Step, Stream, completion, honest, usage};
use crate::world::http::{Conn, Request};
use crate::world::upstream::Seen;
use crate::world::{Account, MODEL, World, chat_body, cost, eventually, micro, stream_body, text};

/// Who is at the server, in the order of arrival, and a gate that each of them waits at.
#[derive(Clone, Default)]
pub struct Desk(Arc<Mutex<Vec<(String, Gate)>>>);

impl Desk {
    pub fn answer(&self, seen: &Seen) -> Answer {
        let gate = Gate::default();
        self.0.lock().unwrap().push((text(&seen.json(), "user"), gate.clone()));
        Answer::chat(usage(10, 5)).after(Step::Gate(gate))
    }

    pub fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(name, _)| name.clone()).collect()
    }

    /// Waits until so many came, and lets the last of them go.
    pub fn serve(&self, place: usize) {
        eventually("the next one", || self.0.lock().unwrap().len() > place);
        self.0.lock().unwrap()[place].1.open();
    }
}

/// A world whose only server takes so many at once; they name themselves in `user`.
pub fn desk(places: &str, serve: &[&str]) -> (World, Desk) {
    let desk = Desk::default();
    let own = desk.clone();
    let mut world = World::unstarted("5.00", move |seen| own.answer(seen));
    world.server.ok(&["provider", "remove", "up"]);
    world.server.provider("narrow", &world.upstream.url(), &world.owner, &["--max-concurrent", places]);
    world.server.start(serve);
    (world, desk)
}

pub fn named(name: &str) -> Value {
    let mut body = chat_body();
    body["user"] = name.into();
    body
}

fn open(world: &World, key: &str, body: &Value) -> Conn {
    world.server.http().open(&Request::post("/v1/chat/completions").key(key).json(body))
}

/// What one request of [`named`] holds.
fn one_hold(world: &World, account: &Account) -> i64 {
    micro(&world.money_of(account), "held_micro_usd")
}

/// How many run at the servers, or wait for them.
fn running_and_waiting(world: &World) -> i64 {
    let capacity = world.server.http().send(&Request::get("/v1/models/capacity")).expect(200).json();
    micro(&capacity["data"][0], "running") + micro(&capacity["data"][0], "waiting")
}

/// Opens a request and waits until it runs, or stands in line.
pub fn stand_in_line(world: &World, account: &Account, name: &str) -> Conn {
    let before = running_and_waiting(world);
    let conn = open(world, &account.key, &named(name));
    eventually("it to stand in line", || running_and_waiting(world) > before);
    conn
}

/// Opens a request and waits until its money is held: it runs, or waits.
pub fn open_and_hold(world: &World, account: &Account, name: &str) -> Conn {
    let before = one_hold(world, account);
    let conn = open(world, &account.key, &named(name));
    eventually("the hold", || one_hold(world, account) > before);
    conn
}

#[test]
fn three_at_once_at_one_place_are_all_answered_in_order() {
    let (world, desk) = desk("1", &[]);
    let conns: Vec<Conn> =
        ["one", "two", "three"].iter().map(|name| stand_in_line(&world, &world.payer, name)).collect();
    eventually("the first", || desk.names() == ["one"]);
    let capacity =
        || world.server.http().send(&Request::get("/v1/models/capacity")).expect(200).json()["data"][0].clone();
    let busy = json!({"id": MODEL, "places": 1, "running": 1, "waiting": 2, "first_byte_ms": null});
    eventually("two to wait", || capacity() == busy);
    // Long enough to be seen in milliseconds.
    std::thread::sleep(std::time::Duration::from_millis(5));
    for place in 0..3 {
        desk.serve(place);
    }
    let waits: Vec<i64> = conns.into_iter().map(|conn| conn.finish().expect(200).number("x-queue-ms")).collect();
    assert_eq!(desk.names(), ["one", "two", "three"]);
    let idle = capacity();
    assert_eq!((&idle["running"], &idle["waiting"]), (&json!(0), &json!(0)), "{idle}");
    assert!(idle["first_byte_ms"].as_i64().is_some(), "{idle}");
    assert!(waits[0] < waits[1] && waits[2] > 0, "{waits:?}");
    assert_eq!(world.rows().iter().map(|row| micro(row, "cost_micro_usd")).sum::<i64>(), 3 * cost(10, 5));
    world.wait_released();
    eventually("its line in the log", || world.server.log().contains("\"queue_ms\":"));
}

#[test]
fn accounts_take_turns_however_much_one_of_them_asks_for() {
    let (world, desk) = desk("1", &[]);
    let other = world.server.account("other");
    world.server.ok(&["credit", &other.id, "5.00"]);
    let mut conns: Vec<Conn> = (0..6).map(|_| stand_in_line(&world, &world.payer, "many")).collect();
    conns.extend((0..2).map(|_| stand_in_line(&world, &other, "rare")));
    (0..8).for_each(|place| desk.serve(place));
    conns.into_iter().for_each(|conn| drop(conn.finish().expect(200)));
    assert_eq!(desk.names(), ["many", "many", "rare", "many", "rare", "many", "many", "many"]);
}

#[test]
fn who_leaves_is_out_at_once_and_owes_nothing() {
    let (world, desk) = desk("1", &[]);
    let first = stand_in_line(&world, &world.payer, "first");
    let held = one_hold(&world, &world.payer);
    let gone = stand_in_line(&world, &world.payer, "gone");
    let last = stand_in_line(&world, &world.payer, "last");
    gone.close();
    eventually("its hold to be released", || one_hold(&world, &world.payer) == 2 * held);
    (0..2).for_each(|place| desk.serve(place));
    first.finish().expect(200);
    last.finish().expect(200);
    assert_eq!(desk.names(), ["first", "last"]);
    world.wait_released();
    assert_eq!(world.rows().len(), 2);
}

#[test]
fn the_line_has_an_end_and_no_account_fills_it() {
    let (world, desk) = desk("1", &["--queue-length", "8"]);
    let other = world.server.account("other");
    world.server.ok(&["credit", &other.id, "5.00"]);
    let mut conns: Vec<Conn> = (0..3).map(|_| stand_in_line(&world, &world.payer, "many")).collect();
    let full = world.chat(&named("many")).expect(429);
    assert_eq!((full.error().0.as_str(), full.error().1.as_str()), ("rate_limit_error", "rate_limit_exceeded"));
    assert!((1..=60).contains(&full.number("retry-after")) && full.header("x-should-retry").is_none());
    conns.push(stand_in_line(&world, &other, "rare"));
    (0..4).for_each(|place| desk.serve(place));
    conns.into_iter().for_each(|conn| drop(conn.finish().expect(200)));
    world.wait_released();
}

#[test]
fn who_waited_as_long_as_anybody_may_is_told_to_come_back() {
    let (world, desk) = desk("1", &["--queue-timeout", "1"]);
    let first = stand_in_line(&world, &world.payer, "first");
    for body in [named("late"), {
        let mut body = named("late");
        body["stream"] = true.into();
        body
    }] {
        let late = world.chat(&body).expect(429);
        assert_eq!(late.error().1, "rate_limit_exceeded");
        assert!(late.number("retry-after") > 0 && late.header("x-should-retry").is_none());
    }
    desk.serve(0);
    first.finish().expect(200);
    assert_eq!(desk.names(), ["first"]);
    world.wait_released();
    assert_eq!(world.rows().len(), 1);
}

#[test]
fn those_who_wait_when_the_server_stops_are_told_so() {
    let (mut world, desk) = desk("1", &[]);
    let first = stand_in_line(&world, &world.payer, "first");
    let waiting = stand_in_line(&world, &world.payer, "waiting");
    world.server.send_term();
    let told = waiting.finish().expect(503);
    assert_eq!(told.error().0, "service_unavailable");
    assert!(told.number("retry-after") > 0);
    desk.serve(0);
    first.finish().expect(200);
    assert!(world.server.wait_ended().success());
    assert_eq!(desk.names(), ["first"]);
}

#[test]
fn a_stream_that_waits_has_its_head_and_signs_of_life() {
    let gate = Gate::default();
    let closed = gate.clone();
    let script = move |_: &Seen| Stream::new(1).usage(usage(10, 1)).answer().after(Step::Gate(closed.clone()));
    let mut world = World::unstarted("5.00", script);
    world.server.ok(&["provider", "remove", "up"]);
    world.server.provider("narrow", &world.upstream.url(), &world.owner, &["--max-concurrent", "1"]);
    world.server.start(&["--sign-of-life", "1"]);
    let first = world.open(&stream_body(true));
    world.upstream.wait_for(1);
    let mut waiting = world.open(&stream_body(true));
    assert_eq!(waiting.head().status, 200);
    waiting.read_until(": keep-alive\n\n: keep-alive\n\n");
    assert_eq!(world.upstream.requests().len(), 1);
    gate.open();
    for conn in [first, waiting] {
        assert!(conn.finish().text().ends_with("data: [DONE]\n\n"));
    }
    assert_eq!(world.rows().len(), 2);
}

#[test]
fn a_key_that_may_have_one_at_once_has_the_others_wait() {
    let (world, desk) = desk("8", &[]);
    let one = world.server.ok(&["key", "create", "payer", "--max-concurrent", "1"]);
    let narrow = Account { key: text(&one, "key"), ..world.payer.clone() };
    let conns: Vec<Conn> = ["one", "two", "three"].iter().map(|name| open_and_hold(&world, &narrow, name)).collect();
    eventually("the first", || desk.names() == ["one"]);
    let other = open_and_hold(&world, &world.payer, "other");
    eventually("both", || desk.names().len() == 2);
    assert_eq!(desk.names(), ["one", "other"]);
    desk.serve(1);
    other.finish().expect(200);
    for place in [0, 2, 3] {
        desk.serve(place);
    }
    conns.into_iter().for_each(|conn| drop(conn.finish().expect(200)));
    assert_eq!(desk.names(), ["one", "other", "two", "three"]);
}

/// Each key has a line of its own, and an account has as many keys as it likes.
#[test]
fn what_waits_takes_of_its_accounts_part_of_the_memory() {
    let (world, desk) = desk("8", &["--body-limit-mib", "1", "--body-budget-mib", "4"]);
    let narrow = |account: &str| text(&world.server.ok(&["key", "create", account, "--max-concurrent", "1"]), "key");
    let other = world.server.account("other");
    world.server.ok(&["credit", &other.id, "5.00"]);
    // One of these takes 60 KB, and 75 KB more while it waits; the 60 KB are its account's if they did not come at once.
    let long = |name| {
        json!({"user": name, "padding": "x".repeat(59_800), "model": MODEL, "max_tokens": 5,
        "messages": [{"role": "user", "content": "hi"}]})
    };
    let ask = |key: &str, name| {
        let (http, request) = (world.server.http(), Request::post("/v1/chat/completions").key(key).json(&long(name)));
        std::thread::spawn(move || http.send(&request))
    };
    // Asks until one is refused, and returns those that wait.
    let fill = |key: &str| {
        let mut waiting = Vec::new();
        loop {
            let before = one_hold(&world, &world.payer);
            let asked = ask(key, "many");
            eventually("a hold, or an answer", || asked.is_finished() || one_hold(&world, &world.payer) > before);
            // What is held is seen from outside before it has room to wait.
            std::thread::sleep(std::time::Duration::from_millis(200));
            if asked.is_finished() {
                assert_eq!(asked.join().unwrap().expect(429).error().0, "rate_limit_error");
                return waiting;
            }
            waiting.push(asked);
        }
    };
    let key = narrow("payer");
    let mut asked = vec![ask(&key, "first")];
    eventually("the first", || desk.names() == ["first"]);
    // As much of the 4 MiB as it leaves free: 14 of 135 KB, or 19 of 75 KB beside 60 KB that are nobody's.
    let waiting = fill(&key);
    assert!((14..=19).contains(&waiting.len()), "{}", waiting.len());
    asked.extend(waiting);
    let second = narrow("payer");
    asked.push(ask(&second, "second"));
    eventually("the second key's first", || desk.names().len() == 2);
    // Another key is no other account: what fits beside the last of the others, and no more.
    let waiting = fill(&second);
    assert!(waiting.len() <= 1, "{}", waiting.len());
    asked.extend(waiting);
    let others = narrow("other");
    asked.extend(["other", "others"].map(|name| {
        let before = one_hold(&world, &other);
        let asked = ask(&others, name);
        eventually("the hold", || one_hold(&world, &other) > before);
        asked
    }));
    (0..asked.len()).for_each(|place| desk.serve(place));
    asked.into_iter().for_each(|asked| drop(asked.join().unwrap().expect(200)));
    world.wait_released();
}

#[test]
fn a_model_of_which_an_account_may_run_one_at_once_has_the_others_wait() {
    let (world, desk) = desk("8", &[]);
    let other = world.server.account("other");
    world.server.ok(&["credit", &other.id, "5.00"]);
    let price = ["price", "set", MODEL, "--input", "0.10", "--output", "0.78"];
    world.server.ok(&[&price[..], &["--max-running", "1"]].concat());
    // What is not said stays.
    assert_eq!(world.server.ok(&price)["max_running"], 1);
    let conns: Vec<Conn> = ["one", "two"].iter().map(|name| open_and_hold(&world, &world.payer, name)).collect();
    eventually("the first", || desk.names() == ["one"]);
    let conn = open_and_hold(&world, &other, "other");
    eventually("both", || desk.names().len() == 2);
    assert_eq!(desk.names(), ["one", "other"]);
    (0..3).for_each(|place| desk.serve(place));
    conns.into_iter().chain([conn]).for_each(|conn| drop(conn.finish().expect(200)));
    assert_eq!(desk.names(), ["one", "other", "two"]);
    assert_eq!(world.server.ok(&[&price[..], &["--max-running", "0"]].concat())["max_running"], Value::Null);
}

#[test]
fn a_server_that_says_that_it_is_full_is_asked_again_when_it_said() {
    for status in [429, 503] {
        let world = World::new(honest(10, 5));
        let told = Arc::new(Mutex::new(0));
        world.upstream.script(move |seen| {
            let mut told = told.lock().unwrap();
            *told += 1;
            if *told <= 2 {
                return Answer::text(status, "application/json", "{}", "retry-after: 1\r\n");
            }
            honest(10, 5)(seen)
        });
        let reply = world.chat(&chat_body()).expect(200);
        assert!(reply.number("x-queue-ms") >= 1_000, "{:?}", reply.head);
        assert_eq!((world.upstream.requests().len(), world.rows().len()), (3, 1));
        assert_eq!(world.earned(), cost(10, 5));
    }
}

#[test]
fn a_server_that_wants_to_be_asked_tomorrow_is_not_waited_for() {
    let world = World::new(|_| Answer::text(429, "application/json", "{}", "retry-after: 86400\r\n"));
    let reply = world.chat(&chat_body()).expect(429);
    assert_eq!(reply.number("retry-after"), 300);
    world.wait_released();
}

#[test]
fn whichever_server_is_free_first_serves_who_has_waited() {
    let gate = Gate::default();
    let closed = gate.clone();
    let mut world = World::unstarted("5.00", move |_| Answer::chat(usage(10, 5)).after(Step::Gate(closed.clone())));
    let spare_gate = Gate::default();
    let closed = spare_gate.clone();
    let spare = crate::world::upstream::Upstream::start(move |_| {
        Answer::json(200, &completion(usage(10, 5))).after(Step::Gate(closed.clone()))
    });
    world.server.ok(&["provider", "remove", "up"]);
    world.server.provider("first", &world.upstream.url(), &world.owner, &["--max-concurrent", "1"]);
    world.server.provider("second", &spare.url(), &world.owner, &["--max-concurrent", "1"]);
    world.server.start(&[]);
    let running = [stand_in_line(&world, &world.payer, "a"), stand_in_line(&world, &world.payer, "b")];
    eventually("both to run", || world.upstream.requests().len() + spare.requests().len() == 2);
    let waiting = stand_in_line(&world, &world.payer, "c");
    spare_gate.open();
    waiting.finish().expect(200);
    assert_eq!((world.upstream.requests().len(), spare.requests().len()), (1, 2));
    gate.open();
    running.into_iter().for_each(|conn| drop(conn.finish().expect(200)));
}

#[test]
fn a_failure_of_the_free_server_waits_for_the_full_one() {
    let gate = Gate::default();
    let closed = gate.clone();
    let mut world = World::unstarted("5.00", move |_| Answer::chat(usage(10, 5)).after(Step::Gate(closed.clone())));
    let broken = crate::world::upstream::Upstream::start(|_| Answer::json(500, &json!({})));
    world.server.ok(&["provider", "remove", "up"]);
    world.server.provider("full", &world.upstream.url(), &world.owner, &["--max-concurrent", "1"]);
    world.server.start(&[]);
    let running = stand_in_line(&world, &world.payer, "a");
    world.upstream.wait_for(1);
    world.server.provider("broken", &broken.url(), &world.owner, &[]);
    let waiting = stand_in_line(&world, &world.payer, "b");
    eventually("the broken one", || !broken.requests().is_empty());
    gate.open();
    running.finish().expect(200);
    waiting.finish().expect(200);
    assert_eq!(world.rows().len(), 2);
}

#[test]
fn a_conversation_stays_with_the_server_that_knows_it() {
    for (serve, stays) in [(&[][..], true), (&["--no-affinity"][..], false)] {
        let mut world = World::unstarted("5.00", honest(10, 5));
        let spare = crate::world::upstream::Upstream::start(honest(10, 5));
        world.server.provider("spare", &spare.url(), &world.owner, &[]);
        world.server.start(serve);
        let mut body = chat_body();
        let mut asked = Vec::new();
        for turn in 0..6 {
            let before = spare.requests().len();
            world.chat(&body).expect(200);
            asked.push(spare.requests().len() > before);
            for (role, words) in [("assistant", "Yes."), ("user", "And then?")] {
                let content = format!("{words} {turn}");
                body["messages"].as_array_mut().unwrap().push(json!({"role": role, "content": content}));
            }
        }
        assert_eq!(asked.iter().all(|at| *at == asked[0]), stays, "{asked:?}");
        // Another conversation is sent to whom nothing was sent yet.
        let mut other = chat_body();
        other["messages"][0]["content"] = format!("{} Once more.", crate::world::PROMPT).into();
        world.chat(&other).expect(200);
        assert!(!spare.requests().is_empty() && !world.upstream.requests().is_empty());
    }
}

#[test]
fn who_waits_for_a_server_that_was_gone_is_served_when_it_is_back() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut world = World::unstarted("5.00", honest(10, 5));
    world.server.ok(&["provider", "remove", "up"]);
    world.server.provider("gone", &format!("http://{address}/v1"), &world.owner, &["--max-concurrent", "1"]);
    world.server.start(&[]);
    let silent = std::net::TcpListener::bind(address).unwrap();
    let names = ["one", "two", "three", "four", "five", "six"];
    let conns: Vec<Conn> = names.iter().map(|name| stand_in_line(&world, &world.payer, name)).collect();
    // The first one's connection breaks, three find nobody, and then nobody is sent there.
    drop(silent);
    eventually("two to be left", || running_and_waiting(&world) == 2);
    let back = crate::world::upstream::Upstream::start_at(address, honest(10, 5));
    let statuses: Vec<u16> = conns.into_iter().map(|conn| conn.finish().status).collect();
    assert_eq!(statuses, [502, 502, 502, 502, 200, 200]);
    assert_eq!(back.requests().len(), 2);
}

#[test]
fn who_was_sent_away_keeps_its_place_in_line() {
    let desk = Desk::default();
    let (own, full) = (desk.clone(), Arc::new(Mutex::new(false)));
    let is_full = Arc::clone(&full);
    let mut world = World::unstarted("5.00", move |seen| {
        let mut is_full = is_full.lock().unwrap();
        if *is_full && text(&seen.json(), "user") == "second" {
            *is_full = false;
            return Answer::text(429, "application/json", "{}", "retry-after: 1\r\n");
        }
        own.answer(seen)
    });
    world.server.ok(&["provider", "remove", "up"]);
    world.server.provider("narrow", &world.upstream.url(), &world.owner, &["--max-concurrent", "1"]);
    world.server.start(&[]);
    *full.lock().unwrap() = true;
    let conns: Vec<Conn> =
        ["first", "second", "third"].iter().map(|name| stand_in_line(&world, &world.payer, name)).collect();
    (0..3).for_each(|place| desk.serve(place));
    conns.into_iter().for_each(|conn| drop(conn.finish().expect(200)));
    assert_eq!(desk.names(), ["first", "second", "third"]);
}
