//! Machines that mean no good, or can no more: each is ended with a reason on both sides, and nobody else notices.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::join::{joined, joined_with, nobody_yet};
use crate::world::agent::Agent;
use crate::world::answer::{Cut, Stream, honest};
use crate::world::http::Conn;
use crate::world::line::Line;
use crate::world::upstream::Upstream;
use crate::world::wire::{
    ACK, CONTINUATION, DATA, END_HEADERS, GOAWAY, HEADERS, Hand, PING, PUSH_PROMISE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, frame, h2,
};
use crate::world::{Account, World, chat_body, cost, eventually, memory_kib, micro, stream_body, text};

/// Nothing is counted beside, for which the tokenizer would be made: what memory is taken is the machines'.
const NO_TOKENIZER: [&str; 2] = ["--recount-every", "0"];

/// A model of its own for a machine, so that the story chooses who is asked.
pub fn price(world: &World, model: &str) {
    world.server.ok(&["price", "set", model, "--input", "0.10", "--output", "0.78"]);
}

/// What a machine does, and how.
type Way<'a> = (&'a str, &'a dyn Fn(&mut Hand));

/// A header block that never ends.
fn endless_headers(hand: &mut Hand, start: &[u8]) {
    hand.h2(HEADERS, 0, 1, start);
    while hand.h2(CONTINUATION, 0, 1, &[0x00; 16_000]) {}
}

/// The flag of the last frame of a stream.
const END_STREAM: u8 = 1;

/// Why machines were said to be gone, in order.
fn reasons(world: &World) -> Vec<String> {
    let log = world.server.log();
    let gone = log.lines().filter(|line| line.contains("a machine is gone"));
    gone.map(|line| text(&serde_json::from_str(line).unwrap(), "why")).collect()
}

/// These are the reasons that were told here, in this order, and no other.
fn are_told(world: &World, expected: &[&str]) {
    eventually("all to be told here", || reasons(world).len() == expected.len());
    let said = reasons(world);
    assert!(said.iter().zip(expected).all(|(said, expected)| said.contains(expected)), "{said:?}");
}

#[test]
fn a_machine_that_speaks_nonsense_is_ended_and_costs_nobody_anything() {
    let (world, key, _agent) = joined_with(&NO_TOKENIZER, honest(10, 5));
    price(&world, "bad");
    let endless = |hand: &mut Hand| {
        hand.h2(SETTINGS, 0, 0, &[]);
        endless_headers(hand, &[0x88]);
    };
    let pushed = |hand: &mut Hand| {
        hand.h2(SETTINGS, 0, 0, &[]);
        (1..10_000).all(|number| hand.h2(HEADERS, END_HEADERS, 2 * number, &[0x88]));
    };
    let flooded = |hand: &mut Hand| {
        hand.h2(SETTINGS, 0, 0, &[]);
        // What it may not send: on a stream that nobody opened.
        hand.h2(DATA, 0, 1, &[0; 16_000]);
    };
    let raw = |hand: &mut Hand, bytes: &[u8]| drop(std::io::Write::write_all(&mut hand.socket, bytes));
    let ways: [Way; 6] = [
        ("garbage", &|hand| raw(hand, b"\xff\xfe\xfd garbage that is no frame")),
        ("text", &|hand| raw(hand, b"\x81\x83\0\0\0\0abc")),
        ("no HTTP/2", &|hand| raw(hand, &frame(true, b"HTTP/1.1 200 OK\r\n\r\n"))),
        ("endless headers", &endless),
        ("streams of its own", &pushed),
        ("bytes that nobody asked for", &flooded),
    ];
    let before = memory_kib(world.server.pid(), "VmRSS:");
    for (what, way) in ways {
        let mut hand = Hand::machine(&world, &key, "bad", "bad");
        eventually("it to be up", || world.state_of("bad") == "up");
        way(&mut hand);
        eventually(&format!("{what} to be ended"), || world.state_of("bad") == "down");
        world.chat(&chat_body()).expect(200);
        let grown = memory_kib(world.server.pid(), "VmRSS:").saturating_sub(before);
        assert!(grown < 32 << 10, "{what}: {grown} KiB more");
    }
    let rows = world.rows();
    assert!(rows.iter().all(|row| row["outcome"] == "completed" && row["model"] != "bad"), "{rows:?}");
    let expected =
        ["invalid extension", "a text frame", "invalid size", "too_many_continuations", "protocol", "protocol"];
    are_told(&world, &expected);
}

/// `200` with `content-type: text/event-stream`, as HPACK (RFC 7541) has it.
fn event_stream() -> Vec<u8> {
    [&[0x88, 0x0f, 0x10, 17][..], b"text/event-stream"].concat()
}

fn event(said: &str) -> Vec<u8> {
    let event = crate::world::answer::chunk(&json!({"content": said}), &Value::Null);
    format!("data: {event}\n\n").into_bytes()
}

/// A machine `bad` in the midst of an answer of at most so many tokens: one event has come.
fn in_an_answer(world: &World, key: &Account, most: u32) -> (Hand, Conn) {
    let mut hand = Hand::machine(world, key, "bad", "bad");
    eventually("it to be up", || world.state_of("bad") == "up");
    hand.h2(SETTINGS, 0, 0, &[]);
    let mut body = stream_body(false);
    (body["model"], body["max_tokens"]) = (json!("bad"), json!(most));
    let mut conn = world.open(&body);
    assert_eq!(hand.until(HEADERS).map(|came| came.stream), Some(1));
    // Before, its window is what the standard says, and not what the coordinator allows.
    hand.h2(SETTINGS, ACK, 0, &[]);
    hand.h2(HEADERS, END_HEADERS, 1, &event_stream());
    hand.h2(DATA, 0, 1, &event("first"));
    conn.read_until("first");
    (hand, conn)
}

#[test]
fn a_machine_that_breaks_its_bounds_in_the_midst_of_an_answer_is_told_why_and_paid_nothing() {
    let (world, key, _agent) = joined(honest(10, 5));
    price(&world, "bad");
    let most = 0x7fff_ffff_u32.to_be_bytes();
    let overflowed = |hand: &mut Hand| assert!((0..2).all(|_| hand.h2(WINDOW_UPDATE, 0, 0, &most)));
    let set = |hand: &mut Hand| assert!(hand.h2(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]));
    let large = |hand: &mut Hand| assert!(hand.h2(DATA, 0, 1, &[0; 40_000]));
    let trailers = |hand: &mut Hand| endless_headers(hand, &[0x88]);
    let promised = |hand: &mut Hand| {
        (1..=10_000_u32).all(|number| {
            let promise = [&(2 * number).to_be_bytes()[..], &[0x82, 0x86, 0x84]].concat();
            hand.h2(PUSH_PROMISE, END_HEADERS, 1, &promise)
        });
    };
    // Whoever goes on writing may find the connection reset before it reads why.
    let ways: [Way; 5] = [
        ("a window that overflows", &overflowed),
        ("a setting that nobody may have", &set),
        ("a frame that is too large", &large),
        ("trailers without end", &trailers),
        ("10,000 answers that nobody asked for", &promised),
    ];
    for (at, (what, way)) in ways.into_iter().enumerate() {
        let (mut hand, conn) = in_an_answer(&world, &key, 1_000_000);
        way(&mut hand);
        if at < 3 {
            let told = hand.until(GOAWAY).unwrap_or_else(|| panic!("{what}: it was not told why"));
            assert!(told.payload[4..8] != [0; 4], "{what}: {told:?}");
        }
        eventually(&format!("{what} to be ended"), || world.state_of("bad") == "down");
        let reply = conn.finish();
        assert!(reply.text().contains("\"error\""), "{what}: {}", reply.text());
        world.chat(&chat_body()).expect(200);
        let rows = world.wait_rows(2 * (at + 1));
        let bad = rows.iter().find(|row| row["model"] == "bad").unwrap();
        assert_eq!((&bad["outcome"], &bad["cost_micro_usd"]), (&json!("provider_error"), &json!(0)), "{what}");
    }
    world.wait_released();
    let expected = ["flow-control", "protocol", "invalid size", "too_many_continuations", "protocol"];
    are_told(&world, &expected);
}

#[test]
fn a_machine_that_sends_more_than_its_window_loses_the_stream_and_is_paid_nothing() {
    let (world, key, _agent) = joined_with(&NO_TOKENIZER, honest(10, 5));
    price(&world, "bad");
    let (mut hand, conn) = in_an_answer(&world, &key, 1_000_000);
    let mut body = stream_body(true);
    body["model"] = json!("bad");
    let mut other = world.open(&body);
    assert_eq!(hand.until(HEADERS).map(|came| came.stream), Some(3));
    hand.h2(HEADERS, END_HEADERS, 3, &event_stream());
    hand.h2(DATA, 0, 3, &event("second"));
    other.read_until("second");
    let before = memory_kib(world.server.pid(), "VmRSS:");
    // Its client reads no more of it, and it goes on until it is told: 60 MB are more than lies between.
    // No words in it: those that were delivered are kept to be counted.
    let mut empty = crate::world::answer::chunk(&json!({}), &Value::Null);
    empty["padding"] = json!("x".repeat(1_000));
    let part = format!("data: {empty}\n\n").into_bytes().repeat(7);
    let told = (0..8_000).find_map(|at| {
        assert!(hand.h2(DATA, 0, 1, &part), "it is not cut off");
        (at % 32 == 0).then(|| hand.has_come(RST_STREAM)).flatten()
    });
    let told = told.or_else(|| hand.until(RST_STREAM)).expect("it is told");
    assert_eq!((told.stream, told.payload), (1, vec![0, 0, 0, 3]), "FLOW_CONTROL_ERROR");
    let grown = memory_kib(world.server.pid(), "VmRSS:").saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB more");
    world.chat(&chat_body()).expect(200);
    assert!(conn.finish().text().contains("\"error\""));
    // The other stream of the same connection goes on, and is paid.
    let used = crate::world::answer::usage_chunk(&crate::world::answer::usage(10, 5));
    let rest = [event("third"), format!("data: {used}\n\ndata: [DONE]\n\n").into_bytes()].concat();
    hand.h2(DATA, END_STREAM, 3, &rest);
    let reply = other.finish();
    assert!(reply.text().contains("third") && reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    let rows = world.wait_rows(3);
    let said: Vec<_> = rows.iter().map(|row| (text(row, "outcome"), micro(row, "cost_micro_usd"))).collect();
    let (paid, broken) = (("completed".to_owned(), cost(10, 5)), ("provider_error".to_owned(), 0));
    assert_eq!(said.iter().filter(|row| **row == paid).count(), 2, "{said:?}");
    assert_eq!(said.iter().filter(|row| **row == broken).count(), 1, "{said:?}");
    assert_eq!((world.state_of("bad").as_str(), reasons(&world).len()), ("up", 0), "it is still there");
}

/// How many sockets a process has.
fn sockets(pid: i32) -> usize {
    let all = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    all.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket"))).count()
}

#[test]
fn a_machine_that_reads_nothing_is_cut_off_all_the_same_and_nothing_of_it_stays() {
    let (world, _, _agent) = joined(honest(10, 5));
    price(&world, "deaf");
    let key = world.server.provide_key(&world.owner, &[]);
    let before = sockets(world.server.pid());
    let mut hand = Hand::machine(&world, &key, "deaf", "deaf");
    eventually("it to be up", || world.state_of("deaf") == "up");
    hand.h2(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    hand.h2(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes());
    let long =
        json!({"model": "deaf", "max_tokens": 5, "messages": [{"role": "user", "content": "word ".repeat(1_600_000)}]});
    let long = world.open(&long);
    eventually("it to be asked", || micro(&world.money(), "held_micro_usd") > 0);
    // Until what lies between is full.
    std::thread::sleep(Duration::from_secs(1));
    world.server.ok(&["key", "revoke", &key.key_id]);
    are_told(&world, &["its key was revoked"]);
    assert!(long.finish().status >= 500);
    world.wait_released();
    world.chat(&chat_body()).expect(200);
    assert_eq!(world.balance(), 5_000_000 - cost(10, 5));
    // What lies in the socket is given up as that of any client is, after the write timeout (30 s).
    let began = Instant::now();
    while sockets(world.server.pid()) > before {
        assert!(began.elapsed() < Duration::from_secs(90), "its socket stays");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn settings_and_pings_without_number_are_answered_and_hold_up_nobody() {
    let (world, _, _agent) = joined_with(&NO_TOKENIZER, honest(10, 5));
    price(&world, "busy");
    let key = world.server.provide_key(&world.owner, &[]);
    let mut hand = Hand::machine(&world, &key, "busy", "busy");
    eventually("it to be up", || world.state_of("busy") == "up");
    hand.h2(SETTINGS, 0, 0, &[]);
    let before = memory_kib(world.server.pid(), "VmRSS:");
    let mut reads = hand.socket.try_clone().unwrap();
    let reading = std::thread::spawn(move || {
        let mut part = [0; 16 << 10];
        while matches!(std::io::Read::read(&mut reads, &mut part), Ok(1..)) {}
    });
    let flood = [h2(SETTINGS, 0, 0, &[]), h2(PING, 0, 0, &[7; 8])].concat().repeat(1_000);
    for _ in 0..20 {
        assert!(hand.send(&flood));
        world.chat(&chat_body()).expect(200);
    }
    let grown = memory_kib(world.server.pid(), "VmRSS:").saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB more");
    world.server.ok(&["key", "revoke", &key.key_id]);
    are_told(&world, &["its key was revoked"]);
    reading.join().unwrap();
    assert!(world.rows().iter().all(|row| row["outcome"] == "completed" && row["model"] != "busy"));
}

#[test]
fn whoever_falls_silent_is_gone_for_both_sides_within_the_time_that_a_ping_has() {
    // Asked every 20 s, answered within 10.
    const GONE_WITHIN: Duration = Duration::from_secs(36);
    let (world, key) = nobody_yet(&[], honest(10, 5));
    let stuck = Upstream::start(|_| Stream::new(9).cut(2, Cut::Silence).answer());
    let line = Line::to(world.server.http().0);
    let args = ["--name", "silent", "--to", &stuck.url(), "--model", crate::world::MODEL];
    let agent = Agent::start_at(&format!("http://{}", line.addr), &key, &args, &[]);
    agent.wait_joined();
    let mut conn = world.open(&stream_body(true));
    conn.read_until("word2");
    let _other = Agent::join(&world.server, &key, "other", &world.upstream.url(), &[]);
    // Beside it those that read nothing: the one is sent a long prompt, the others want answers without end.
    let before = memory_kib(world.server.pid(), "VmRSS:");
    let mut hands = Vec::new();
    for name in ["deaf", "pings", "settings"] {
        price(&world, name);
        hands.push(Hand::machine(&world, &key, name, name));
    }
    hands[0].h2(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    hands[0].h2(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes());
    let long =
        json!({"model": "deaf", "max_tokens": 5, "messages": [{"role": "user", "content": "word ".repeat(4_000_000)}]});
    let long = world.open(&long);
    for (hand, flood) in hands[1..].iter_mut().zip([h2(PING, 0, 0, &[7; 8]), h2(SETTINGS, 0, 0, &[])]) {
        hand.socket.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        hand.h2(SETTINGS, 0, 0, &[]);
        let flood = flood.repeat(2_000);
        while hand.send(&flood) {}
    }
    line.silence(true);
    let began = Instant::now();
    let names = ["silent", "deaf", "pings", "settings"];
    while names.iter().any(|name| world.state_of(name) == "up") {
        assert!(began.elapsed() < GONE_WITHIN, "{:?}", names.map(|name| world.state_of(name)));
        world.chat(&chat_body()).expect(200);
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(conn.finish().text().contains("\"error\""), "its stream has ended");
    assert!(long.finish().status >= 500);
    let grown = memory_kib(world.server.pid(), "VmRSS:").saturating_sub(before);
    assert!(grown < 120 << 10, "{grown} KiB more");
    let left = GONE_WITHIN.saturating_sub(began.elapsed());
    eventually("the agent to notice", || left.is_zero() || agent.log().contains("not connected"));
    assert!(agent.log().contains("nothing came for 30 s"), "{}", agent.log());
    let gone = world.server.log().matches("nothing came for 30 s").count();
    assert!(gone >= 4, "{gone}: {}", world.server.log());
    line.silence(false);
    agent.wait_joined();
    eventually("it to be back", || world.state_of("silent") == "up");
    world.wait_released();
    // The newest comes first, and its stream began before all others.
    let rows = world.rows();
    assert!(rows.iter().all(|row| row["outcome"] == "completed" || row["cost_micro_usd"] == 0), "{rows:?}");
    assert_eq!(rows.last().map(|row| text(row, "outcome")).as_deref(), Some("provider_error"));
}

#[test]
fn only_a_name_that_is_in_use_has_an_agent_that_was_in_try_again() {
    let upstream = Upstream::start(|_| crate::world::answer::Answer::never());
    let key = crate::world::Account { id: String::new(), key: "sk-db-x".into(), key_id: String::new() };
    for (code, tries_again) in [(Some("machine_occupied"), true), (None, false), (Some("machine_limit"), false)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let args = ["--name", "a", "--to", &upstream.url(), "--model", "m"];
        let mut agent = Agent::start_at(&url, &key, &args, &[]);
        drop(Hand::coordinator(&listener));
        agent.wait_joined();
        Hand::refuse(&listener, "409 Conflict", code);
        if tries_again {
            let _again = Hand::coordinator(&listener);
            agent.wait_joined();
        } else {
            assert_eq!(agent.wait_ended().code(), Some(1), "{code:?}");
        }
        eventually("it to say why", || agent.log().contains("not now"));
    }
}

#[test]
fn a_coordinator_that_asks_without_bounds_is_left_with_a_reason() {
    let upstream = Upstream::start(|_| crate::world::answer::Answer::never());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let key = crate::world::Account { id: String::new(), key: "sk-db-x".into(), key_id: String::new() };
    let args = ["--name", "a", "--to", &upstream.url(), "--model", "m", "--max-concurrent", "4"];
    let agent = Agent::start_at(&format!("http://{}", listener.local_addr().unwrap()), &key, &args, &[]);
    // POST /v1/chat/completions, as HPACK has it.
    let asked = [&[0x83, 0x86, 0x41, 7][..], b"machine", &[0x04, 20], b"/v1/chat/completions"].concat();
    let opened = |hand: &mut Hand| {
        (0..10_000).all(|number| hand.h2(HEADERS, END_HEADERS | 1, 2 * number + 1, &asked));
    };
    let reset = |hand: &mut Hand| {
        let both =
            |stream| [h2(HEADERS, END_HEADERS | 1, stream, &asked), h2(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat();
        (0..10_000).all(|number| hand.send(&both(2 * number + 1)));
    };
    let endless = |hand: &mut Hand| endless_headers(hand, &asked);
    let ways: [Way; 3] =
        [("10,000 streams", &opened), ("streams that are reset at once", &reset), ("endless headers", &endless)];
    for (at, (what, way)) in ways.into_iter().enumerate() {
        let mut hand = Hand::coordinator(&listener);
        agent.wait_joined();
        let before = upstream.requests().len();
        hand.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        hand.h2(SETTINGS, 0, 0, &[]);
        way(&mut hand);
        eventually(&format!("it to be left after {what}"), || agent.log().matches("not connected").count() > at);
        assert!(upstream.requests().len() - before <= 20, "{what}: as many as it said, and a few of the coordinator's");
        let resident = memory_kib(agent.pid(), "VmRSS:");
        assert!(resident < 64 << 10, "{what}: {resident} KiB");
    }
}
