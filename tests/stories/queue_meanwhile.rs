//! What changes while requests wait: providers, keys, accounts, and who else wants a place in the line.

use super::queue::{Desk, desk, named, open_and_hold, stand_in_line};
use crate::world::http::{Conn, Request};
use crate::world::{Account, eventually, text};

#[test]
fn a_provider_that_was_disabled_gets_nobody_of_those_who_wait_for_it() {
    let (world, desk) = desk("1", &[]);
    let first = stand_in_line(&world, &world.payer, "first");
    let waiting: Vec<Conn> = (0..2).map(|_| stand_in_line(&world, &world.payer, "waiting")).collect();
    world.server.ok(&["provider", "disable", "narrow"]);
    desk.serve(0);
    first.finish().expect(200);
    for conn in waiting {
        assert_eq!(conn.finish().expect(404).error().1, "model_not_found");
    }
    assert_eq!(desk.names(), ["first"]);
    world.wait_released();
}

#[test]
fn a_provider_that_is_added_serves_those_who_wait() {
    let (world, desk) = desk("1", &[]);
    let other = world.server.account("other");
    world.server.ok(&["credit", &other.id, "5.00"]);
    let mut conns = vec![stand_in_line(&world, &world.payer, "first")];
    eventually("the first", || desk.names() == ["first"]);
    conns.extend([&world.payer, &world.payer, &other].map(|of| stand_in_line(&world, of, &of.id)));
    let new = Desk::default();
    let script = new.clone();
    let upstream = crate::world::upstream::Upstream::start(move |seen| script.answer(seen));
    world.server.provider("new", &upstream.url(), &world.owner, &["--max-concurrent", "2"]);
    // One of each account, as their turn is, without anybody coming or going.
    eventually("two of them to be there", || new.names().len() == 2);
    let mut there = new.names();
    there.sort();
    let mut accounts = [world.payer.id.clone(), other.id];
    accounts.sort();
    assert_eq!((there, desk.names().len()), (accounts.to_vec(), 1));
    (0..3).for_each(|place| new.serve(place));
    desk.serve(0);
    conns.into_iter().for_each(|conn| drop(conn.finish().expect(200)));
    assert_eq!(new.names().len(), 3);
    world.wait_released();
    assert_eq!(world.rows().len(), 3, "of the payer");
}

#[test]
fn nothing_of_a_key_that_works_no_longer_or_an_account_that_was_suspended_runs_when_its_turn_comes() {
    let (world, desk) = desk("1", &[]);
    let other = world.server.account("other");
    world.server.ok(&["credit", &other.id, "5.00"]);
    let first = stand_in_line(&world, &world.payer, "first");
    eventually("the first", || desk.names() == ["first"]);
    let key = |name| {
        let key = world.server.ok(&["key", "create", "payer", "--name", name]);
        Account { key: text(&key, "key"), key_id: text(&key, "id"), ..world.payer.clone() }
    };
    let second = key("revoked");
    let revoked = stand_in_line(&world, &second, "revoked");
    let expired = stand_in_line(&world, &key("expired"), "expired");
    let suspended = stand_in_line(&world, &other, "suspended");
    let last = stand_in_line(&world, &world.payer, "last");
    world.server.ok(&["key", "revoke", &second.key_id]);
    world.server.alter("update keys set expires_at = 1000 where name = 'expired'");
    world.server.ok(&["account", "suspend", &other.id]);
    (0..2).for_each(|place| desk.serve(place));
    first.finish().expect(200);
    last.finish().expect(200);
    for gone in [revoked, expired] {
        assert_eq!(gone.finish().expect(401).error().1, "invalid_api_key");
    }
    assert_eq!(suspended.finish().expect(403).error().0, "permission_error");
    assert_eq!(desk.names(), ["first", "last"]);
    world.wait_released();
    assert_eq!(world.rows().len(), 2);
}

#[test]
fn who_has_two_in_a_full_line_makes_room_for_who_has_none() {
    let (world, desk) = desk("1", &["--queue-length", "8"]);
    let first = stand_in_line(&world, &world.payer, "first");
    let others: Vec<Account> = (0..7).map(|n| world.server.account(&format!("other-{n}"))).collect();
    for other in &others {
        world.server.ok(&["credit", &other.id, "1.00"]);
    }
    let mut conns: Vec<Conn> =
        ["kept", "dropped"].iter().map(|name| stand_in_line(&world, &world.payer, name)).collect();
    conns.extend(others[..6].iter().map(|other| stand_in_line(&world, other, "other")));
    let newcomer = open_and_hold(&world, &others[6], "newcomer");
    let dropped = conns.remove(1).finish().expect(429);
    assert_eq!(dropped.error().1, "rate_limit_exceeded");
    assert!(dropped.number("retry-after") > 0 && dropped.header("x-should-retry").is_none());
    // All have one now.
    let late = world.server.account("late");
    world.server.ok(&["credit", &late.id, "1.00"]);
    let refused = world.server.http().send(&Request::post("/v1/chat/completions").key(&late.key).json(&named("late")));
    refused.expect(429);
    (0..9).for_each(|place| desk.serve(place));
    for conn in conns.into_iter().chain([first, newcomer]) {
        conn.finish().expect(200);
    }
    let names = desk.names();
    assert!(names[0] == "first" && names.contains(&"kept".to_owned()) && names[8] == "newcomer", "{names:?}");
    world.wait_released();
}
