//! Wrong flags, amounts and names on the command line: exit 1 or 2, one clear line, nothing changed.

use crate::world::answer::honest;
use crate::world::coordinator::Coordinator;
use crate::world::{MODEL, World};

#[test]
fn wrong_usage_is_exit_2() {
    let server = Coordinator::new();
    server.ok(&["account", "create", "ada"]);
    let commands: &[&[&str]] = &[
        &[],
        &["nonsense"],
        &["--nonsense"],
        &["account"],
        &["account", "create"],
        &["account", "nonsense"],
        &["account", "create", "bob", "--nonsense"],
        &["account", "create", "a", "b"],
        &["key", "create"],
        &["key", "create", "ada", "--scope", "nonsense"],
        &["key", "create", "ada", "--scope", "admin"],
        &["credit"],
        &["credit", "ada"],
        &["credit", "ada", ""],
        &["credit", "ada", "ten"],
        &["credit", "ada", "1e3"],
        &["credit", "ada", "-5"],
        &["credit", "ada", "+5"],
        &["credit", "ada", "--", "-5"],
        &["credit", "ada", "1,000"],
        &["credit", "ada", "0.0000001"],
        &["credit", "ada", ".5"],
        &["credit", "ada", "5."],
        &["credit", "ada", "$5"],
        &["credit", "ada", "NaN"],
        &["credit", "ada", "99999999999999999999"],
        &["credit", "ada", "5", "6"],
        &["price", "set", "m"],
        &["price", "set", "m", "--input", "1"],
        &["price", "set", "m", "--input", "-1", "--output", "1"],
        &["price", "set", "m", "--input", "1", "--output", "x"],
        &["price", "set", "m", "--input", "0.0000001", "--output", "1"],
        &["price", "set", "m", "--input", "1", "--output", "1", "--context", "-1"],
        &["price", "set", "m", "--input", "1", "--output", "1", "--context", "many"],
        &["price", "set", "m", "--input", "1", "--output", "1", "--max-output", "1.5"],
        &["provider", "add"],
        &["provider", "add", "p", "--account", "ada", "--model", MODEL],
        &["provider", "add", "p", "--url", "http://127.0.0.1:9/v1", "--model", MODEL],
        &["provider", "add", "p", "--url", "http://127.0.0.1:9/v1", "--account", "ada"],
        &[
            "provider",
            "add",
            "p",
            "--url",
            "http://127.0.0.1:9/v1",
            "--account",
            "ada",
            "--model",
            MODEL,
            "--max-concurrent",
            "-1",
        ],
        &["serve", "--listen", "nonsense"],
        &["serve", "--listen", "127.0.0.1:99999"],
        &["serve", "--cors-origin", "app.example"],
        &["serve", "--cors-origin", "https://app.example,https://*.example"],
        &["serve", "--workers", "-1"],
        &["serve", "--workers", "many"],
        &["usage"],
        &["ledger"],
        &["backup"],
        &["audit", "extra"],
        &["usage", "ada", "--since", "yesterday"],
    ];
    for command in commands {
        let said = server.cli_plain(command);
        assert_eq!(said.code, 2, "{command:?}: {said:?}");
        assert!(said.stdout.is_empty() && !said.stderr.trim().is_empty(), "{command:?}: {said:?}");
    }
    assert_eq!(server.number("select count(*) from ledger"), 0);
    assert_eq!(server.number("select count(*) from accounts where id <> 1"), 1);
    assert_eq!(server.number("select count(*) from keys") + server.number("select count(*) from providers"), 0);
    assert_eq!(server.number("select count(*) from prices"), 4);
}

#[test]
fn what_cannot_be_done_is_exit_1_and_one_line() {
    let server = Coordinator::new();
    server.ok(&["account", "create", "ada", "--email", "ada@example.org"]);
    let url = "http://127.0.0.1:9/v1";
    let taken = server.beside("taken");
    std::fs::write(&taken, "not a database").unwrap();
    let taken = taken.to_str().unwrap();
    let long = "n".repeat(300);
    let commands: &[&[&str]] = &[
        &["account", "create", "ada"],
        &["account", "create", "bob", "--email", "ada@example.org"],
        &["account", "create", &long],
        &["account", "show", "nobody"],
        &["account", "show", "acct_0000000000000"],
        &["account", "suspend", "nobody"],
        &["account", "resume", "nobody"],
        &["key", "create", "nobody"],
        &["key", "list", "nobody"],
        &["key", "revoke", "key_000000000000"],
        &["credit", "nobody", "5"],
        &["credit", "ada@example.com", "5"],
        &["price", "remove", "nothing"],
        &["provider", "enable", "nobody"],
        &["provider", "disable", "nobody"],
        &["provider", "remove", "nobody"],
        &["provider", "probe", "nobody"],
        &["provider", "add", "p", "--url", url, "--account", "nobody", "--model", MODEL],
        &["usage", "nobody"],
        &["ledger", "nobody"],
        &["backup", taken],
        &["backup", "/nowhere/at/all/copy.db"],
        &["admin", "key", "nobody"],
    ];
    for command in commands {
        for json in [false, true] {
            let said = if json { server.cli(command) } else { server.cli_plain(command) };
            assert_eq!(said.code, 1, "{command:?}: {said:?}");
            assert!(said.stdout.is_empty(), "{command:?}: {said:?}");
            assert_eq!(said.stderr.trim_end().lines().count(), 1, "one clear line: {command:?}: {said:?}");
        }
    }
    assert_eq!(std::fs::read_to_string(taken).unwrap(), "not a database");
    assert_eq!(server.number("select count(*) from ledger"), 0);
}

#[test]
fn values_that_no_one_can_mean_are_refused() {
    let server = Coordinator::new();
    server.ok(&["account", "create", "ada"]);
    let provider =
        |url: &str| server.cli(&["provider", "add", "p", "--url", url, "--account", "ada", "--model", MODEL]);
    for url in [
        "",
        "nonsense",
        "ftp://127.0.0.1/v1",
        "http://",
        "http:///v1",
        "//host/v1",
        "127.0.0.1:9",
        "http://a b/v1",
        "http://host:99999/v1",
        "file:///etc/passwd",
        "http://user:password@host/v1",
        "http://host/v1?x=1",
        "javascript:alert(1)",
    ] {
        let said = provider(url);
        assert!(matches!(said.code, 1 | 2), "{url}: {said:?}");
        assert!(!said.stderr.trim().is_empty(), "{url}");
    }
    let commands: &[&[&str]] = &[
        &["account", "create", ""],
        &["account", "create", "bob", "--email", ""],
        &["account", "create", "bob", "--email", "no-at-sign"],
        &["account", "create", "acct_0000000000000"],
        &["account", "create", "a\nb"],
        &["credit", "ada", "0"],
        &["credit", "ada", "0.00"],
        &["credit", "ada", "5", "--idempotency-key", ""],
        &["credit", "ada", "5", "--idempotency-key", &"k".repeat(256)],
        &["price", "set", "", "--input", "1", "--output", "1"],
        &["price", "set", "m", "--input", "1000000.000001", "--output", "1"],
        &["price", "set", "m", "--input", "1", "--output", "1", "--context", "0"],
        &["provider", "add", "", "--url", "http://127.0.0.1:9/v1", "--account", "ada", "--model", MODEL],
        &["provider", "add", "p", "--url", "http://127.0.0.1:9/v1", "--account", "ada", "--model", ""],
        &["provider", "add", "p", "--url", "http://127.0.0.1:9/v1", "--account", "ada", "--model", "=x"],
        &["provider", "add", "p", "--url", "http://127.0.0.1:9/v1", "--account", "ada", "--model", "x="],
        &[
            "provider",
            "add",
            "p",
            "--url",
            "http://127.0.0.1:9/v1",
            "--account",
            "ada",
            "--model",
            MODEL,
            "--max-concurrent",
            "0",
        ],
        &[
            "provider",
            "add",
            "p",
            "--url",
            "http://127.0.0.1:9/v1",
            "--account",
            "ada",
            "--model",
            MODEL,
            "--api-key",
            "a\r\nb: c",
        ],
    ];
    for key in ["", "env:", "two words"] {
        let url = "http://127.0.0.1:9/v1";
        let add = ["provider", "add", "p", "--url", url, "--account", "ada", "--model", MODEL, "--api-key", key];
        assert_eq!(server.cli(&add).code, 1, "a key {key:?}");
    }
    for command in commands {
        let said = server.cli(command);
        assert!(matches!(said.code, 1 | 2), "{command:?}: {said:?}");
        assert!(said.stdout.is_empty() && !said.stderr.trim().is_empty(), "{command:?}: {said:?}");
    }
    assert_eq!(server.number("select count(*) from ledger"), 0);
    assert_eq!(server.number("select count(*) from providers"), 0);
}

#[test]
fn credit_past_what_a_balance_can_hold_is_refused() {
    let world = World::new(honest(1, 1));
    let said = world.server.cli(&["credit", "payer", "9223372036854.775807"]);
    assert!(matches!(said.code, 1 | 2), "{said:?}");
    assert_eq!(world.balance(), 5_000_000);
}

#[test]
fn a_data_directory_that_cannot_be_is_exit_1() {
    let server = Coordinator::new();
    let file = server.beside("a-file");
    std::fs::write(&file, "x").unwrap();
    let not_sqlite = server.beside("not-sqlite");
    std::fs::create_dir(&not_sqlite).unwrap();
    std::fs::write(not_sqlite.join("coordinator.db"), "this is not a database, and long enough to look at".repeat(99))
        .unwrap();
    for dir in [file, not_sqlite.clone()] {
        for command in [&["audit"][..], &["account", "list"], &["serve", "--listen", "127.0.0.1:0"]] {
            let said = server.cli_plain(&[command, &["--data-dir", dir.to_str().unwrap()]].concat());
            assert_eq!(said.code, 1, "{command:?}: {said:?}");
            assert!(!said.stderr.contains("panicked"), "{said:?}");
        }
    }
    let kept = std::fs::read_to_string(not_sqlite.join("coordinator.db")).unwrap();
    assert!(kept.starts_with("this is not a database"), "and nothing is overwritten");
}

#[test]
fn an_audit_that_finds_something_is_exit_1() {
    let world = World::new(honest(1, 1));
    world.server.alter("update accounts set balance_micro_usd = balance_micro_usd + 1 where name = 'payer'");
    let said = world.server.cli(&["audit"]);
    assert_eq!(said.code, 1, "{said:?}");
    let told: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(told["ok"], false, "{told}");
    assert!(!told["problems"].as_array().unwrap().is_empty(), "{told}");
    world.server.alter("update accounts set balance_micro_usd = balance_micro_usd - 1 where name = 'payer'");
    world.server.audit();
}
