//! Clients that go away: the provider is stopped at once, and what was delivered is charged.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::answer::{Answer, Cut, Gate, Step, Stream, chunk, honest, usage};
use crate::world::http::Conn;
use crate::world::{PROMPT, World, chat_body, cost, eventually, micro, stream_body};

/// A way to go, and its name.
type Way = (&'static str, fn(Conn));

const WAYS: [Way; 3] = [
    ("FIN", Conn::close),
    ("RST", Conn::reset),
    ("half-close", |conn| {
        conn.half_close();
        std::thread::sleep(Duration::from_millis(300));
    }),
];

/// The work upstream is stopped within this time.
const AT_ONCE: Duration = Duration::from_secs(1);

/// An upstream that says two words and then thinks.
fn two_words() -> Answer {
    Stream::new(9).cut(2, Cut::Silence).answer()
}

#[test]
fn after_output_began_the_prompt_and_what_was_delivered_are_charged() {
    for (how, leave) in WAYS {
        let world = World::new(|_| two_words());
        let mut conn = world.open(&stream_body(true));
        conn.read_until("word2");
        leave(conn);
        assert!(world.upstream.wait_closed(&world.upstream.last()) < AT_ONCE, "{how}: the provider works on");
        let row = world.wait_rows(1)[0].clone();
        assert_eq!((&row["outcome"], &row["metered_by"]), (&json!("client_disconnected"), &json!("estimate")), "{how}");
        let (prompt, completion) = (micro(&row, "prompt_tokens"), micro(&row, "completion_tokens"));
        let words = PROMPT.split(' ').count() as i64;
        assert!((words * 9 / 10..=2 * words).contains(&prompt), "{how}: {prompt} prompt tokens");
        assert!((2..=8).contains(&completion), "{how}: {completion} tokens for two words");
        world.wait_released();
        assert_eq!(micro(&row, "cost_micro_usd"), cost(prompt, completion));
        assert_eq!((world.balance(), world.earned()), (5_000_000 - cost(prompt, completion), cost(prompt, completion)));
    }
}

#[test]
fn what_the_provider_said_before_the_hang_up_is_believed() {
    let gate = Gate::default();
    let closed = gate.clone();
    let world = World::new(move |_| {
        // A server with a running count: the last one before the end is what was used.
        let mut word = chunk(&json!({"content": " counted"}), &Value::Null);
        word["usage"] = usage(77, 1);
        let mut answer = Stream::new(1).gate(1, &closed).answer();
        let event = crate::world::answer::http_chunk(&format!("data: {word}\n\n"));
        answer.steps.insert(1, Step::Send(event));
        answer
    });
    let mut conn = world.open(&stream_body(true));
    conn.read_until("counted");
    conn.close();
    let row = world.wait_rows(1)[0].clone();
    assert_eq!(row["outcome"], "client_disconnected");
    assert_eq!(micro(&row, "prompt_tokens"), 77, "{row}");
}

#[test]
fn before_any_output_nothing_is_charged() {
    for (how, leave) in WAYS {
        for body in [stream_body(true), chat_body()] {
            let world = World::new(|_| Answer::never());
            let conn = world.open(&body);
            world.upstream.wait_for(1);
            leave(conn);
            assert!(world.upstream.wait_closed(&world.upstream.last()) < AT_ONCE, "{how}: the provider works on");
            nothing_for_the_client_gone(&world);
        }
    }
}

/// No charge; a row, if there is one, says who left.
fn nothing_for_the_client_gone(world: &World) {
    world.wait_released();
    assert_eq!((world.balance(), world.earned()), (5_000_000, 0));
    for row in world.rows() {
        assert_eq!((&row["outcome"], micro(&row, "cost_micro_usd")), (&json!("client_disconnected"), 0), "{row}");
    }
}

#[test]
fn a_whole_answer_that_was_never_delivered_costs_nothing() {
    // The head came, and half of the body: nothing of it was passed on yet.
    for (how, leave) in WAYS {
        let half = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9000\r\n\r\n{\"id\":";
        let world = World::new(move |_| {
            let mut answer = Answer::never();
            answer.steps.insert(0, Step::Send(half.into()));
            answer
        });
        let conn = world.open(&chat_body());
        world.upstream.wait_for(1);
        std::thread::sleep(Duration::from_millis(50));
        leave(conn);
        assert!(world.upstream.wait_closed(&world.upstream.last()) < AT_ONCE, "{how}: the provider works on");
        nothing_for_the_client_gone(&world);
    }
}

#[test]
fn a_hang_up_after_the_end_changes_nothing() {
    for (_, leave) in WAYS {
        let world = World::new(honest(100, 5));
        let mut conn = world.open(&stream_body(true));
        conn.read_until("[DONE]");
        leave(conn);
        let row = world.wait_rows(1)[0].clone();
        assert_eq!((&row["outcome"], micro(&row, "cost_micro_usd")), (&json!("completed"), cost(100, 5)));
    }
}

#[test]
fn a_client_that_leaves_while_its_answer_is_counted_pays_for_it() {
    for (how, leave) in WAYS {
        // No usage: the tokenizer counts, and its first use takes a while.
        let world = World::new(|_| Stream::new(9).answer());
        let mut conn = world.open(&stream_body(true));
        conn.read_until("word9");
        std::thread::sleep(Duration::from_millis(50));
        leave(conn);
        let row = world.wait_rows(1)[0].clone();
        world.wait_released();
        assert_eq!(row["metered_by"], "estimate", "{how}");
        assert!((9..=36).contains(&micro(&row, "completion_tokens")), "{how}: {row}");
        assert_eq!(world.balance(), 5_000_000 - micro(&row, "charged_micro_usd"), "{how}");
    }
}

#[test]
fn a_client_that_stops_in_the_middle_of_its_body_is_nobody() {
    let world = World::new(honest(10, 5));
    let body = chat_body().to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
        world.payer.key,
        body.len()
    );
    for (_, leave) in WAYS {
        let mut conn = world.server.http().connect();
        conn.write(head.as_bytes());
        conn.write(&body.as_bytes()[..body.len() / 2]);
        std::thread::sleep(Duration::from_millis(20));
        leave(conn);
    }
    world.wait_released();
    assert!(world.upstream.requests().is_empty());
    assert_eq!((world.balance(), world.rows().len()), (5_000_000, 0));
}

#[test]
fn a_client_that_reads_nothing_is_cut() {
    // More than the sockets' buffers hold, so that a write must wait for the reader.
    let world = World::with("5.00", &["--write-timeout", "1"], |_| {
        let word = chunk(&json!({"content": "x", "audio": "x".repeat(64 * 1024)}), &Value::Null);
        let event = crate::world::answer::http_chunk(&format!("data: {word}\n\n"));
        let mut answer = Answer::raw(crate::world::answer::STREAM_HEAD, crate::world::answer::End::Fin);
        answer.steps.extend((0..2_000).map(|_| Step::Send(event.clone())));
        answer
    });
    let mut conn = world.open(&stream_body(true));
    conn.head();
    world.upstream.wait_closed(&world.upstream.last());
    let row = world.wait_rows(1)[0].clone();
    assert_eq!(row["outcome"], "client_disconnected", "{row}");
    assert!(micro(&row, "completion_tokens") > 0 && micro(&row, "shortfall_micro_usd") == 0, "{row}");
}

#[test]
fn a_hundred_hang_ups_leave_nothing_held_and_no_connection_open() {
    // Longer than any client stays, however slow the machine.
    let world = World::new(|_| Stream::new(200).slow(Duration::from_millis(50)).usage(usage(50, 200)).answer());
    std::thread::scope(|scope| {
        for place in 0..100_u64 {
            let world = &world;
            scope.spawn(move || {
                let mut conn = world.open(&stream_body(place % 3 == 0));
                for _ in 0..place % 7 {
                    conn.next_chunk();
                }
                if place % 2 == 0 { conn.close() } else { conn.reset() }
            });
        }
    });
    world.wait_released();
    let requests = world.upstream.requests();
    eventually("the upstream connections to close", || {
        requests.iter().filter(|r| world.upstream.closed(r.connection).is_none()).count() <= 1
    });
    let rows = world.rows();
    let spent: i64 = rows.iter().map(|r| micro(r, "cost_micro_usd")).sum();
    assert!(rows.iter().all(|r| r["outcome"] == "client_disconnected"), "{rows:?}");
    assert_eq!((world.balance(), world.earned()), (5_000_000 - spent, spent));
}
