//! The data of every released schema opens, audits and serves.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde_json::json;

use crate::world::answer::honest;
use crate::world::coordinator::Coordinator;
use crate::world::http::Request;
use crate::world::upstream::Upstream;
use crate::world::{PROMPT, micro, text};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// How many versions there were and are: each has the step that leads away from it, but the last.
fn versions() -> i64 {
    let steps = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/sqlite/steps")).unwrap();
    1 + i64::try_from(steps.count()).unwrap()
}

/// Makes a data directory as a coordinator of that version left it: rows in every table that the first one had.
fn leave(server: &Coordinator, version: i64) {
    fs::DirBuilder::new().mode(0o700).create(server.data_dir()).unwrap();
    let db = rusqlite::Connection::open(server.database()).unwrap();
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = OFF; BEGIN").unwrap();
    db.execute_batch(&read("tests/fixtures/schema-1.sql")).unwrap();
    db.execute_batch(&read("tests/fixtures/rows-1.sql")).unwrap();
    for step in 1..version {
        db.execute_batch(&read(&format!("src/store/sqlite/steps/{step}.sql"))).unwrap();
    }
    db.execute_batch(&format!("PRAGMA user_version = {version}; COMMIT")).unwrap();
}

#[test]
fn the_data_of_every_version_opens_audits_and_serves() {
    let upstream = Upstream::start(honest(100, 20));
    let versions = versions();
    assert!(versions >= 11);
    for version in 1..=versions {
        let mut server = Coordinator::new();
        leave(&server, version);
        let audit = server.audit();
        assert_eq!((&audit["usage_rows"], &audit["accounts"]), (&json!(3), &json!(3)), "version {version}");
        assert_eq!(server.number("select user_version from pragma_user_version"), versions, "it was upgraded");
        // Who was there is there still, with her money; what she asked once is still known.
        assert_eq!(micro(&server.ok(&["account", "show", "ada@example.org"]), "balance_micro_usd"), 9_890);
        let owner = text(&server.ok(&["account", "create", "owner"]), "id");
        for name in ["shed", "own"] {
            server.ok(&["provider", "remove", name]);
        }
        let url = upstream.url();
        server.ok(&["provider", "add", "up", "--url", &url, "--account", &owner, "--model", "m"]);
        server.ok(&["credit", "ada", "1.00"]);
        let key = text(&server.ok(&["key", "create", "ada"]), "key");
        server.start(&[]);
        let body = json!({"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": PROMPT}]});
        let reply = server.http().send(&Request::post("/v1/chat/completions").key(&key).json(&body)).expect(200);
        assert_eq!(reply.header("x-cost-micro-usd"), Some("120"), "a dollar for a million of either");
        let usage = server.http().get("/v1/payments/usage", &key).expect(200).json();
        assert_eq!(usage.as_array().map(Vec::len), Some(4), "version {version}: {usage}");
        assert_eq!(micro(&server.ok(&["account", "show", "ada"]), "balance_micro_usd"), 1_009_890 - 120);
        assert_eq!(server.audit()["usage_rows"], 4, "version {version}");
        server.stop();
    }
}
