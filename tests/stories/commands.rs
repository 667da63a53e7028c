//! Every command of the command line, with the server running and without.

use serde_json::{Value, json};

use crate::world::answer::honest;
use crate::world::coordinator::Coordinator;
use crate::world::{MODEL, World, chat_body, micro, text};

/// The entry of an array whose `field` is `value`.
fn entry<'a>(list: &'a Value, field: &str, value: &str) -> Option<&'a Value> {
    list.as_array().expect("an array").iter().find(|e| e[field] == value)
}

fn accounts(server: &Coordinator) {
    let made = server.ok(&["account", "create", "ada", "--email", "ada@example.org"]);
    assert_eq!((&made["name"], &made["email"]), (&json!("ada"), &json!("ada@example.org")));
    let id = text(&made, "id");
    assert!(id.starts_with("acct_"), "{id}");
    assert_eq!(server.ok(&["account", "create", "bob"])["email"], Value::Null);
    let list = server.ok(&["account", "list"]);
    assert!(entry(&list, "id", &id).is_some() && entry(&list, "name", "bob").is_some(), "{list}");
    for name in [id.as_str(), "ada", "ada@example.org"] {
        let shown = server.ok(&["account", "show", name]);
        assert_eq!(
            (&shown["id"], &shown["name"], &shown["email"]),
            (&made["id"], &made["name"], &made["email"]),
            "{name}"
        );
        assert_eq!((micro(&shown, "balance_micro_usd"), micro(&shown, "withdrawable_micro_usd")), (0, 0));
    }
    server.ok(&["account", "suspend", "ada"]);
    server.ok(&["account", "resume", "ada@example.org"]);
    let twice = server.cli(&["account", "create", "ada"]);
    assert_eq!(twice.code, 1, "a name is taken once: {twice:?}");
}

fn credits(server: &Coordinator) {
    let done = server.ok(&["credit", "ada@example.org", "10.00", "--note", "first"]);
    assert_eq!((micro(&done, "credited_micro_usd"), micro(&done, "balance_micro_usd")), (10_000_000, 10_000_000));
    assert!(done["account_id"].is_string() && done["ledger_id"].is_string(), "{done}");
    assert_eq!(micro(&server.ok(&["credit", "ada", "0.000001"]), "balance_micro_usd"), 10_000_001);
    assert_eq!(micro(&server.ok(&["account", "show", "ada"]), "balance_micro_usd"), 10_000_001);
    let ledger = server.ok(&["ledger", "ada"]);
    let entries = ledger.as_array().expect("an array");
    assert_eq!(entries.len(), 2);
    assert_eq!(micro(&entries[0], "balance_after_micro_usd"), 10_000_001, "newest first: {ledger}");
    assert_eq!((&entries[1]["note"], micro(&entries[1], "amount_micro_usd")), (&json!("first"), 10_000_000));
    assert_eq!(server.ok(&["usage", "ada"]), json!([]));
}

fn keys(server: &Coordinator) {
    let made = server.ok(&["key", "create", "ada", "--name", "laptop"]);
    let (key, id) = (text(&made, "key"), text(&made, "id"));
    assert!(key.starts_with("sk-db-") && id.starts_with("key_"), "{made}");
    assert_eq!(made["account_id"], server.ok(&["account", "show", "ada"])["id"]);
    let list = server.ok(&["key", "list", "ada"]);
    assert_eq!(entry(&list, "id", &id).expect("the key")["name"], "laptop");
    assert!(!list.to_string().contains(&key), "the plaintext is shown once: {list}");
    let rotated = server.ok(&["key", "rotate", &id]);
    assert_eq!((&rotated["id"], &rotated["name"]), (&json!(id), &json!("laptop")));
    assert!(text(&rotated, "key").starts_with("sk-db-") && text(&rotated, "key") != key, "{rotated}");
    server.ok(&["key", "revoke", &id]);
    for (no, why) in [(id.as_str(), "is revoked"), ("key_000000000000", "no key")] {
        let said = server.cli(&["key", "rotate", no]);
        assert!(said.code == 1 && said.stderr.contains(why), "{said:?}");
    }
    let scoped = server.ok(&["key", "create", "ada", "--scope", "inference", "--scope", "manage"]);
    let list = server.ok(&["key", "list", "ada"]);
    assert_eq!(entry(&list, "id", &text(&scoped, "id")).expect("the key")["scopes"], json!(["inference", "manage"]));
}

fn prices(server: &Coordinator) {
    assert!(entry(&server.ok(&["price", "list"]), "model", MODEL).is_some());
    server.ok(&["price", "set", "mine", "--input", "0.5", "--output", "1"]);
    let list = server.ok(&["price", "list"]);
    let mine = entry(&list, "model", "mine").expect("the price");
    assert_eq!((micro(mine, "input_price"), micro(mine, "output_price")), (500_000, 1_000_000));
    assert_eq!(mine["cache_read_price"], Value::Null);
    server.ok(&["price", "remove", "mine"]);
    assert!(entry(&server.ok(&["price", "list"]), "model", "mine").is_none());
    assert_eq!(server.cli(&["price", "remove", "mine"]).code, 1);
}

fn providers(server: &Coordinator, url: &str) {
    let models = ["--model", MODEL, "--model", "alias=their/name", "--max-concurrent", "4"];
    let add = ["provider", "add", "gpu-1", "--url", url, "--account", "bob"];
    let made = server.ok(&[&add[..], &models].concat());
    assert!(text(&made, "id").starts_with("prov_") && made["name"] == "gpu-1", "{made}");
    assert_eq!(server.cli(&[&add[..], &models].concat()).code, 1, "a name is taken once");
    assert!(entry(&server.ok(&["provider", "list"]), "name", "gpu-1").is_some());
    let probe = server.cli(&["provider", "probe", "gpu-1"]);
    assert!(serde_json::from_str::<Value>(&probe.stdout).is_ok(), "{probe:?}");
    server.ok(&["provider", "disable", "gpu-1"]);
    server.ok(&["provider", "enable", "gpu-1"]);
    server.ok(&["provider", "remove", "gpu-1"]);
    assert!(entry(&server.ok(&["provider", "list"]), "name", "gpu-1").is_none());
    server.ok(&[&add[..], &models].concat());
    server.ok(&["provider", "remove", "gpu-1"]);
}

fn admins(server: &Coordinator) {
    let key = server.admin_key();
    assert!(key.starts_with("sk-db-"), "{key}");
    let made = server.cli_with_input(&["admin", "create", "root", "--password-stdin"], "another long password");
    assert_eq!(made.code, 1, "a name is taken once: {made:?}");
    assert_eq!(server.cli(&["admin", "key", "nobody"]).code, 1);
    let id = format!("key_{}", key.split('-').nth(2).unwrap());
    let said = server.cli(&["key", "rotate", &id]);
    assert!(said.code == 1 && said.stderr.contains("is an admin's"), "{said:?}");
}

fn audit_and_backup(server: &Coordinator) {
    let audit = server.audit();
    assert!(micro(&audit, "accounts") >= 2 && micro(&audit, "usage_rows") == 0, "{audit}");
    let copy = server.beside("copy.db");
    server.ok(&["backup", copy.to_str().unwrap()]);
    assert!(copy.exists());
    let over = server.cli(&["backup", copy.to_str().unwrap()]);
    assert_eq!(over.code, 1, "a backup does not overwrite: {over:?}");
}

/// Every command, in the order an operator would need them.
fn every_command(server: &Coordinator) {
    let upstream = crate::world::upstream::Upstream::start(honest(10, 5));
    accounts(server);
    credits(server);
    keys(server);
    prices(server);
    providers(server, &upstream.url());
    admins(server);
    audit_and_backup(server);
}

#[test]
fn every_command_works_without_a_server() {
    every_command(&Coordinator::new());
}

#[test]
fn every_command_works_while_the_server_runs() {
    let mut server = Coordinator::new();
    server.start(&[]);
    every_command(&server);
}

#[test]
fn every_command_prints_text_without_json() {
    let world = World::new(honest(412, 187));
    world.chat(&chat_body()).expect(200);
    let id = world.payer.id.clone();
    let commands: &[&[&str]] = &[
        &["account", "list"],
        &["account", "show", &id],
        &["account", "create", "ada"],
        &["account", "suspend", "ada"],
        &["account", "resume", "ada"],
        &["key", "create", "ada"],
        &["key", "list", &id],
        &["key", "rotate", &world.owner.key_id],
        &["key", "revoke", &world.owner.key_id],
        &["credit", "ada", "1"],
        &["price", "list"],
        &["price", "set", "m", "--input", "1", "--output", "2"],
        &["price", "remove", "m"],
        &["provider", "list"],
        &["provider", "probe", "up"],
        &["provider", "disable", "up"],
        &["provider", "enable", "up"],
        &["provider", "remove", "up"],
        &["usage", &id],
        &["ledger", &id],
        &["audit"],
    ];
    for command in commands {
        let said = world.server.cli_plain(command);
        assert_eq!(said.code, 0, "{command:?}: {said:?}");
        assert!(!said.stdout.trim().is_empty(), "{command:?} says nothing");
        assert!(!said.stdout.trim_start().starts_with(['{', '[']), "{command:?}: {}", said.stdout);
        assert!(said.stderr.is_empty(), "{command:?}: {}", said.stderr);
    }
    let usage = world.server.cli_plain(&["usage", &id]).stdout;
    assert!(usage.contains("412") && usage.contains("187"), "{usage}");
}

#[test]
fn flags_may_be_given_in_the_environment() {
    let server = Coordinator::new();
    let elsewhere = server.beside("elsewhere");
    let run = |arguments: &[&str], variable: Option<&str>| {
        let mut command = Coordinator::command();
        command.args(arguments);
        if let Some(dir) = variable {
            command.env("COORDINATOR_DATA_DIR", dir);
        }
        assert!(command.output().unwrap().status.success(), "{arguments:?}");
    };
    let dir = elsewhere.to_str().unwrap();
    run(&["account", "create", "ada", "--data-dir", dir], None);
    run(&["account", "show", "ada"], Some(dir));
    run(&["--data-dir", dir, "account", "show", "ada"], Some("/nowhere/at/all"));
    assert!(elsewhere.join("coordinator.db").exists());
}

#[test]
fn help_and_version_are_for_people() {
    for arguments in [&["--help"][..], &["help"], &["credit", "--help"], &["serve", "--help"], &["--version"]] {
        let said = Coordinator::new().cli_plain(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        assert!(!said.stdout.is_empty());
    }
    let help = Coordinator::new().cli_plain(&["--help"]).stdout;
    for command in [
        "serve", "admin", "account", "key", "credit", "debit", "price", "provider", "usage", "ledger", "audit",
        "backup",
    ] {
        assert!(help.contains(command), "{command} in {help}");
    }
}
