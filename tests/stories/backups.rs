//! Backups on a schedule, a restore after a disaster, and what `doctor` finds.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::world::answer::honest;
use crate::world::coordinator::{Cli, Coordinator, query};
use crate::world::http::{Reply, Request};
use crate::world::{World, chat_body, cost, eventually, micro, text};

pub fn copies(dir: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(dir).map(|all| all.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let mut names: Vec<String> = entries.iter().map(|one| one.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn backups_are_taken_on_a_schedule_audited_and_the_oldest_go() {
    let mut world = World::unstarted("5.00", honest(100, 20));
    let admin = world.server.admin_key();
    let dir = world.server.beside("copies");
    let at = dir.to_str().unwrap();
    world.server.start(&["--backup-dir", at, "--backup-every", "1s", "--backup-keep", "2"]);
    world.chat(&chat_body()).expect(200);
    let overview = || world.server.http().get("/v1/admin/overview", &admin).expect(200).json()["backup"].clone();
    eventually("the first backup", || overview()["last_good_at"].is_string());
    let first = copies(&dir);
    eventually("the first backup to go", || {
        let now = copies(&dir);
        now.iter().filter(|name| name.ends_with(".db")).count() == 2 && now.iter().all(|name| !first.contains(name))
    });
    let last = dir.join(copies(&dir).iter().rfind(|name| name.ends_with(".db")).unwrap());
    assert_eq!(fs::metadata(&last).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(query(&last, "select count(*) from usage")[0][0], rusqlite::types::Value::Integer(1));
    // One that does not pass is none, and is said.
    world.server.alter("update accounts set balance_micro_usd = balance_micro_usd + 1 where name = 'payer'");
    eventually("a failure to be told", || overview()["error"].is_string());
    assert!(overview()["error"].as_str().unwrap().contains("audit"), "{}", overview());
    let kept = copies(&dir);
    world.server.alter("update accounts set balance_micro_usd = balance_micro_usd - 1 where name = 'payer'");
    eventually("the next good one", || overview()["error"].is_null());
    assert_ne!(copies(&dir), kept);
    assert!(world.server.stop().success());
    // A start does not take one that is not due.
    let before = copies(&dir);
    world.server.start(&["--backup-dir", at, "--backup-every", "1h"]);
    world.chat(&chat_body()).expect(200);
    assert_eq!(copies(&dir), before);
}

/// Every id that an answer names, of whatever kind.
fn ids(world: &World) -> HashSet<String> {
    let tables = ["usage", "ledger", "withdrawals", "accounts", "keys"];
    let of = |table: &str| world.server.db(&format!("select '{table}', id from {table} where id > 1000"));
    tables.iter().flat_map(|table| of(table)).map(|row| format!("{row:?}")).collect()
}

fn credit(world: &World, admin: &str, key: &str, usd: &str) -> Reply {
    let body = json!({"account": world.payer.id, "amount_usd": usd, "note": "drill"});
    world.server.http().send(&Request::post("/v1/admin/credit").key(admin).header("idempotency-key", key).json(&body))
}

fn ask(world: &World, key: &str) -> Reply {
    world.server.http().send(&Request::post("/v1/chat/completions").key(key).json(&chat_body()))
}

fn restore(world: &World, file: &std::path::Path) -> Cli {
    world.server.cli(&["restore", file.to_str().unwrap()])
}

#[test]
fn after_a_disaster_and_a_restore_nothing_happens_twice() {
    let mut world = World::unstarted("5.00", honest(100, 20));
    let admin = world.server.admin_key();
    let owners = text(&world.server.ok(&["key", "create", "owner", "--scope", "manage"]), "key");
    let capped = world.server.ok(&["key", "create", "payer", "--limit-usd", "0.01", "--limit-reset", "monthly"]);
    let stolen = world.server.ok(&["key", "create", "payer"]);
    world.server.start(&[]);
    world.chat(&chat_body()).expect(200);
    credit(&world, &admin, "before", "1.00").expect(200);
    let sent = json!({"amount_usd": "0.00001", "note": "rent"});
    let asked = Request::post("/v1/payments/withdrawals").key(&owners).json(&sent);
    let withdrawal = world.server.http().send(&asked).json();
    let copy = world.server.beside("copy.db");
    world.server.ok(&["backup", copy.to_str().unwrap()]);
    let balance = world.balance();

    // The hours that will be lost.
    ask(&world, &text(&capped, "key")).expect(200);
    credit(&world, &admin, "lost", "2.00").expect(200);
    world.server.ok(&["credit", "payer", "0.50", "--idempotency-key", "by-command"]);
    world.server.ok(&["withdrawal", "paid", &text(&withdrawal, "id")]);
    world.server.ok(&["key", "revoke", &text(&stolen, "id")]);
    let given = ids(&world);
    let running = restore(&world, &copy);
    assert!(running.code == 1 && running.stderr.contains("another server runs"), "{running:?}");
    world.server.kill();

    let done = restore(&world, &copy).json();
    let since = &done["since"];
    let counts = |field: &str| since[field].as_i64().unwrap_or(-1);
    assert_eq!(
        (since["known"].as_bool(), counts("usage_rows"), counts("ledger_entries")),
        (Some(true), 1, 2),
        "{done}"
    );
    assert_eq!((counts("withdrawals_paid"), counts("keys_revoked"), counts("key_windows")), (1, 1, 1), "{done}");
    let kept = std::path::PathBuf::from(done["kept"].as_str().unwrap()).join("coordinator.db");
    assert_eq!(query(&kept, "select count(*) from usage")[0][0], rusqlite::types::Value::Integer(2));
    world.server.audit();
    let before = ids(&world);

    world.server.start(&[]);
    assert_eq!(world.balance(), balance, "the books are those of the backup");
    // A program that asks again gets the answer of before, or is told that there is none any more.
    credit(&world, &admin, "before", "1.00").expect(200);
    let refused = credit(&world, &admin, "lost", "2.00").expect(409);
    assert!(refused.text().contains("restore"), "{}", refused.text());
    let refused = world.server.cli(&["credit", "payer", "0.50", "--idempotency-key", "by-command"]);
    assert!(refused.code == 1 && refused.stderr.contains("restore"), "{refused:?}");
    assert_eq!(world.balance(), balance);
    credit(&world, &admin, "new", "2.00").expect(200);
    // What was paid is not paid again, a stolen key stays dead, and a cap stays used.
    assert_eq!(world.server.cli(&["withdrawal", "reject", &text(&withdrawal, "id")]).code, 1);
    ask(&world, &text(&stolen, "key")).expect(401);
    let keys = world.server.ok(&["key", "list", "payer"]);
    let cap = keys.as_array().unwrap().iter().find(|key| key["id"] == capped["id"]).unwrap();
    assert_eq!(micro(cap, "spent_micro_usd"), cost(100, 20), "{cap}");
    world.chat(&chat_body()).expect(200);
    let new: HashSet<String> = ids(&world).difference(&before).cloned().collect();
    assert!(new.len() >= 2 && new.is_disjoint(&given), "{new:?}");
    assert_eq!(world.balance(), balance + 2_000_000 - cost(100, 20));
    world.server.audit();
}

#[test]
fn ids_begin_above_those_that_a_clock_ahead_gave_out() {
    let mut world = World::unstarted("5.00", honest(100, 20));
    let copy = world.server.beside("copy.db");
    world.server.ok(&["backup", copy.to_str().unwrap()]);
    // A row of the year 2100, as a clock that was wrong would have made it.
    world.server.start(&[]);
    world.chat(&chat_body()).expect(200);
    world.server.stop();
    let ahead = 4_102_444_800_000_i64 << 20;
    world.server.alter(&format!("update usage set id = {ahead}"));
    restore(&world, &copy).json();
    world.server.start(&[]);
    world.chat(&chat_body()).expect(200);
    assert!(world.server.number("select max(id) from usage") > ahead);
}

#[test]
fn a_restore_changes_nothing_if_the_file_is_not_fit() {
    let world = World::unstarted("5.00", honest(100, 20));
    let copy = world.server.beside("copy.db");
    world.server.ok(&["backup", copy.to_str().unwrap()]);
    let wrong = rusqlite::Connection::open(&copy).unwrap();
    wrong.execute_batch("update accounts set balance_micro_usd = balance_micro_usd + 1").unwrap();
    drop(wrong);
    let text_file = world.server.beside("text.db");
    fs::write(&text_file, "no database at all".repeat(400)).unwrap();
    let empty = world.server.beside("empty.db");
    fs::write(&empty, "").unwrap();
    let before = fs::read(world.server.database()).unwrap();
    for file in [&copy, &text_file, &empty, &world.server.beside("absent.db")] {
        let said = restore(&world, file);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.stderr.contains(file.to_str().unwrap()), "{said:?}");
        assert_eq!(fs::read(world.server.database()).unwrap(), before);
    }
    let left = copies(&world.server.data_dir());
    assert!(left.iter().all(|name| !name.contains("restoring") && !name.contains("replaced")), "{left:?}");
}

#[test]
fn what_cannot_be_read_any_more_is_replaced_and_kept() {
    let world = World::unstarted("5.00", honest(100, 20));
    let copy = world.server.beside("copy.db");
    world.server.ok(&["backup", copy.to_str().unwrap()]);
    fs::write(world.server.database(), "a disk ate this".repeat(999)).unwrap();
    let doctor = world.server.cli_plain(&["doctor"]);
    assert!(doctor.code == 1 && doctor.stdout.contains("coordinator restore"), "{doctor:?}");
    let done = restore(&world, &copy).json();
    assert_eq!(done["since"]["known"], false, "{done}");
    let kept = std::path::PathBuf::from(done["kept"].as_str().unwrap()).join("coordinator.db");
    assert!(fs::read_to_string(kept).unwrap().starts_with("a disk ate this"));
    assert_eq!(micro(&world.server.ok(&["account", "show", "payer"]), "balance_micro_usd"), 5_000_000);
    // And into a directory where nothing is.
    fs::remove_dir_all(world.server.data_dir()).unwrap();
    assert_eq!(restore(&world, &copy).json()["kept"], Value::Null);
    world.server.audit();
}

/// What `doctor` finds wrong, by what it looked at.
pub fn wrongs(said: &Cli) -> Vec<(String, String)> {
    let found: Vec<Value> = serde_json::from_str(&said.stdout).unwrap();
    let wrong: Vec<_> = found.iter().filter(|one| one["ok"] == false).collect();
    assert!(wrong.iter().all(|one| one["mend"].as_str().is_some_and(|mend| !mend.is_empty())), "{said:?}");
    assert_eq!(said.code, i32::from(!wrong.is_empty()), "{said:?}");
    wrong.iter().map(|one| (text(one, "what"), text(one, "found"))).collect()
}

#[test]
fn doctor_says_what_is_wrong_and_how_to_mend_it() {
    let mut world = World::unstarted("5.00", honest(100, 20));
    world.server.start(&[]);
    assert_eq!(wrongs(&world.server.cli(&["doctor"])), []);
    let plain = world.server.cli_plain(&["doctor"]);
    assert!(plain.code == 0 && plain.stdout.contains("one runs here"), "{plain:?}");
    world.server.stop();
    let finds = |what: &str, part: &str, said: &Cli| {
        let found = wrongs(said);
        assert!(found.iter().any(|(of, text)| of == what && text.contains(part)), "{what}, {part}: {found:?}");
        assert_eq!(found.len(), 1, "{found:?}");
    };
    let doctor = || world.server.cli(&["doctor"]);
    fs::set_permissions(world.server.database(), fs::Permissions::from_mode(0o644)).unwrap();
    finds("directory", "open to others", &doctor());
    fs::set_permissions(world.server.database(), fs::Permissions::from_mode(0o600)).unwrap();
    world.server.alter(
        "insert into accounts (id, name, email, created_at) values (71, 'one', 'a@example.org', 0), (72, 'two', 'A@Example.org', 0)",
    );
    finds("accounts", "2 accounts: a@example.org", &doctor());
    world.server.alter("delete from accounts where id in (71, 72)");
    world.server.alter("update accounts set balance_micro_usd = balance_micro_usd + 1 where name = 'payer'");
    finds("books", "5000001", &doctor());
    world.server.alter("update accounts set balance_micro_usd = balance_micro_usd - 1 where name = 'payer'");
    world.server.alter("update providers set disabled_at = 1");
    finds("providers", "no provider", &doctor());
    world.server.alter("update providers set disabled_at = null, api_key = 'env:NOT_SET_ANYWHERE'");
    finds("providers", "variable", &doctor());
    world.server.alter("update providers set api_key = null");
    world.server.alter(
        "insert into events (actor, action, subject, detail, created_at) values ('cli', 'x', 'x', '{}', 4102444800000)",
    );
    finds("clock", "2100", &doctor());
    let nothing = world.server.beside("no-copies");
    let said = world.server.cli(&["doctor", "--backup-dir", nothing.to_str().unwrap()]);
    assert!(wrongs(&said).iter().any(|(what, _)| what == "backups"), "{said:?}");
    let typo = Coordinator::new();
    finds("directory", "no database", &typo.cli(&["doctor"]));
    assert!(!typo.data_dir().exists());
}
