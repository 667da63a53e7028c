//! Several providers: the next one before the first byte, the busy and the failing left alone.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::answer::{Answer, Cut, End, Gate, Step, Stream, honest, usage};
use crate::world::upstream::{Seen, Upstream};
use crate::world::{World, chat_body, cost, micro, stream_body};

/// A world with a second provider `spare` of the same model on its own upstream.
fn with_spare(
    serve: &[&str],
    first: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    second: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
) -> (World, Upstream) {
    let spare = Upstream::start(second);
    let mut world = World::unstarted("5.00", first);
    world.server.provider("spare", &spare.url(), &world.owner, &[]);
    world.server.start(serve);
    (world, spare)
}

#[test]
fn the_next_provider_is_tried_before_the_first_byte() {
    let ways: [fn(&Seen) -> Answer; 6] = [
        |_| Answer::json(500, &json!({})),
        |_| Answer::json(429, &json!({})),
        |_| Answer::json(401, &json!({})),
        |_| Answer::text(302, "text/html", "", "location: /\r\n"),
        |_| Answer::nothing(End::Fin),
        |_| Answer::nothing(End::Reset),
    ];
    for way in ways {
        let (world, spare) = with_spare(&[], way, honest(10, 5));
        // Whichever is asked first, every request is served, and charged once.
        for (place, body) in [chat_body(), stream_body(true), chat_body()].iter().enumerate() {
            world.chat(body).expect(200);
            let row = world.row(place + 1);
            assert_eq!((&row["outcome"], micro(&row, "cost_micro_usd")), (&json!("completed"), cost(10, 5)));
        }
        assert_eq!(spare.requests().len(), 3);
        assert_eq!(world.balance(), 5_000_000 - 3 * cost(10, 5));
    }
}

#[test]
fn a_provider_nobody_listens_at_is_passed_over() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut world = World::unstarted("5.00", honest(10, 5));
    world.server.provider("gone", &format!("http://{nobody}/v1"), &world.owner, &[]);
    world.server.start(&[]);
    for _ in 0..4 {
        world.chat(&chat_body()).expect(200);
    }
    assert_eq!(world.rows().len(), 4);
}

#[test]
fn a_failing_provider_is_left_alone_for_a_while() {
    let (world, spare) = with_spare(&[], |_| Answer::json(500, &json!({})), honest(10, 5));
    for _ in 0..20 {
        world.chat(&chat_body()).expect(200);
    }
    assert_eq!(spare.requests().len(), 20);
    let tries = world.upstream.requests().len();
    assert!((1..=5).contains(&tries), "the failing one was tried {tries} times in 20");
}

#[test]
fn there_is_no_second_try_after_the_first_byte() {
    let die = |_: &Seen| Stream::new(9).slow(Duration::from_millis(5)).cut(2, Cut::Fin).answer();
    let (world, spare) = with_spare(&[], die, die);
    let reply = world.chat(&stream_body(true)).expect(200);
    assert!(!reply.text().contains("[DONE]"));
    assert_eq!(world.upstream.requests().len() + spare.requests().len(), 1);
    assert_eq!(world.wait_rows(1)[0]["outcome"], "provider_error");
}

#[test]
fn a_bad_request_is_not_tried_twice() {
    let refuse = |_: &Seen| Answer::json(400, &json!({"error": {"message": "no"}}));
    let (world, spare) = with_spare(&[], refuse, refuse);
    assert_eq!(world.chat(&chat_body()).status, 400);
    assert_eq!(world.upstream.requests().len() + spare.requests().len(), 1);
}

#[test]
fn requests_go_to_the_least_busy() {
    let gate = Gate::default();
    let (a, b) = (gate.clone(), gate.clone());
    let wait = |gate: Gate| move |_: &Seen| Answer::chat(usage(10, 5)).after(Step::Gate(gate.clone()));
    let (world, spare) = with_spare(&[], wait(a), wait(b));
    let open: Vec<_> = (1..=6)
        .map(|count| {
            let conn = world.open(&chat_body());
            crate::world::eventually("the request upstream", || {
                world.upstream.requests().len() + spare.requests().len() == count
            });
            conn
        })
        .collect();
    assert_eq!((world.upstream.requests().len(), spare.requests().len()), (3, 3));
    gate.open();
    for conn in open {
        conn.finish().expect(200);
    }
}

#[test]
fn a_full_provider_is_429_and_free_again_afterwards() {
    let gate = Gate::default();
    let closed = gate.clone();
    let mut world = World::unstarted("5.00", move |_| Answer::chat(usage(10, 5)).after(Step::Gate(closed.clone())));
    world.server.ok(&["provider", "remove", "up"]);
    world.server.provider("narrow", &world.upstream.url(), &world.owner, &["--max-concurrent", "2"]);
    world.server.start(&["--queue-timeout", "0"]);
    let running: Vec<_> = (1..=2)
        .map(|count| {
            let conn = world.open(&chat_body());
            world.upstream.wait_for(count);
            conn
        })
        .collect();
    let full = world.chat(&chat_body());
    assert_eq!(full.status, 429, "{}", full.text());
    assert_eq!((full.error().0.as_str(), full.error().1.as_str()), ("rate_limit_error", "rate_limit_exceeded"));
    assert!(full.number("retry-after") > 0);
    assert_eq!(world.upstream.requests().len(), 2);
    gate.open();
    for conn in running {
        conn.finish().expect(200);
    }
    world.chat(&chat_body()).expect(200);
    assert_eq!(world.rows().len(), 3);
}

#[test]
fn a_full_provider_is_passed_over() {
    let gate = Gate::default();
    let closed = gate.clone();
    let spare = Upstream::start(honest(10, 5));
    let mut world = World::unstarted("5.00", move |_| Answer::chat(usage(10, 5)).after(Step::Gate(closed.clone())));
    world.server.ok(&["provider", "remove", "up"]);
    world.server.provider("narrow", &world.upstream.url(), &world.owner, &["--max-concurrent", "1"]);
    world.server.start(&[]);
    let running = world.open(&chat_body());
    world.upstream.wait_for(1);
    world.server.provider("spare", &spare.url(), &world.owner, &[]);
    for _ in 0..3 {
        world.chat(&chat_body()).expect(200);
    }
    assert_eq!((world.upstream.requests().len(), spare.requests().len()), (1, 3));
    gate.open();
    running.finish().expect(200);
}

#[test]
fn a_disabled_or_removed_provider_gets_nothing() {
    let (world, spare) = with_spare(&[], honest(10, 5), honest(10, 5));
    world.server.ok(&["provider", "disable", "up"]);
    for _ in 0..4 {
        world.chat(&chat_body()).expect(200);
    }
    assert_eq!((world.upstream.requests().len(), spare.requests().len()), (0, 4));
    world.server.ok(&["provider", "remove", "spare"]);
    let reply = world.chat(&chat_body());
    assert!(matches!(reply.status, 404 | 503), "{}: {}", reply.status, reply.text());
    reply.error();
    world.server.ok(&["provider", "enable", "up"]);
    world.chat(&chat_body()).expect(200);
    assert_eq!(world.upstream.requests().len(), 1);
}

#[test]
fn a_stale_pooled_connection_is_tried_once_more_on_a_fresh_one() {
    // One worker has one pool.
    let world = World::with("5.00", &["--workers", "1"], |seen| {
        let answer = honest(10, 5)(seen);
        answer.ending(if seen.place == 0 { End::DropNextRequest } else { End::KeepAlive })
    });
    world.chat(&chat_body()).expect(200);
    world.chat(&chat_body()).expect(200);
    let requests = world.upstream.requests();
    assert_eq!(requests.len(), 3, "the second request was sent twice");
    assert_eq!(requests[0].connection, requests[1].connection, "first on the pooled connection");
    assert_ne!(requests[1].connection, requests[2].connection, "then on a fresh one");
    assert_eq!(requests[1].body, requests[2].body);
    assert_eq!(world.rows().len(), 2);
}

#[test]
fn a_connection_closed_while_idle_is_no_failure() {
    let world = World::new(|seen| honest(10, 5)(seen).ending(End::Fin));
    for streamed in [false, true, false, true] {
        world.chat(&if streamed { stream_body(true) } else { chat_body() }).expect(200);
    }
    assert_eq!((world.upstream.requests().len(), world.rows().len()), (4, 4));
}

#[test]
fn a_fresh_connection_that_fails_is_not_tried_for_ever() {
    let world = World::new(|_| Answer::nothing(End::Fin));
    assert_eq!(world.chat(&chat_body()).status, 502);
    assert!(world.upstream.requests().len() <= 2, "{} tries", world.upstream.requests().len());
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = Upstream::start(honest(10, 5));
    let target = format!("location: http://{}/v1/chat/completions\r\n", elsewhere.addr);
    let world = World::new(honest(1, 1));
    for status in [301, 302, 303, 307, 308] {
        world.server.ok(&["provider", "enable", "up"]);
        let target = target.clone();
        world.upstream.script(move |_| Answer::text(status, "text/html", "", &target));
        let reply = world.chat(&chat_body());
        assert!(matches!(reply.status, 502 | 503), "{status}: {}", reply.status);
        assert_eq!(reply.header("location"), None);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn each_provider_earns_what_it_served() {
    let spare = Upstream::start(|_| Answer::chat(usage(100, 100)));
    let mut world = World::unstarted("5.00", honest(10, 5));
    let other = world.server.account("other-owner");
    world.server.ok(&["price", "set", "rare", "--input", "0.10", "--output", "0.78"]);
    let url = spare.url();
    world.server.ok(&["provider", "add", "spare", "--url", &url, "--account", &other.id, "--model", "rare"]);
    world.server.start(&[]);
    world.chat(&chat_body()).expect(200);
    let mut rare = chat_body();
    rare["model"] = json!("rare");
    world.chat(&rare).expect(200);
    let earned = |account| micro(&world.money_of(account), "withdrawable_micro_usd");
    assert_eq!((earned(&world.owner), earned(&other)), (cost(10, 5), cost(100, 100)));
}

#[test]
fn provider_list_shows_what_was_added_but_not_its_key() {
    let (world, _spare) = with_spare(&[], honest(1, 1), honest(1, 1));
    world.server.provider("keyed", "http://127.0.0.1:9/v1", &world.owner, &["--api-key", "canary-provider-key"]);
    let listed = world.server.ok(&["provider", "list"]);
    let names: Vec<&str> = listed.as_array().unwrap().iter().filter_map(|p: &Value| p["name"].as_str()).collect();
    for name in ["up", "spare", "keyed"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert!(!listed.to_string().contains("canary-provider-key"), "{listed}");
}
