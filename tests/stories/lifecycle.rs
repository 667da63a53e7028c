//! Start, stop, crash, backup: the life of a data directory.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rusqlite::types::Value as Sql;

use crate::world::answer::{Cut, Gate, Stream, honest, usage};
use crate::world::coordinator::{Coordinator, query};
use crate::world::http::Request;
use crate::world::{World, chat_body, cost, eventually, stream_body, text};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap_or_else(|e| panic!("{path:?}: {e}")).permissions().mode() & 0o777
}

#[test]
fn only_the_owner_can_read_the_data() {
    let world = World::new(honest(10, 5));
    world.chat(&chat_body()).expect(200);
    let dir = world.server.data_dir();
    assert_eq!(mode(&dir), 0o700);
    let names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(names.len() >= 2, "{names:?}");
    for path in names {
        assert_eq!(mode(&path) & 0o077, 0, "{path:?}");
    }
    assert_eq!(mode(&world.server.database()), 0o600);
    let copy = world.server.beside("copy.db");
    world.server.ok(&["backup", copy.to_str().unwrap()]);
    assert_eq!(mode(&copy), 0o600);
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let mut server = Coordinator::new();
    server.start(&[]);
    let said = server.cli_plain(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(!said.stderr.trim().is_empty());
    server.http().send(&Request::get("/health")).expect(200);
    server.kill();
    server.start(&[]);
    server.http().send(&Request::get("/health")).expect(200);
}

#[test]
fn an_address_in_use_is_exit_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Coordinator::new();
    let said = server.cli_plain(&["serve", "--listen", &taken.local_addr().unwrap().to_string()]);
    assert_eq!(said.code, 1, "{said:?}");
}

/// What `serve` prints for people until it listens and is killed.
fn printed_at_start(server: &Coordinator) -> String {
    let mut command = Coordinator::command();
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("COORDINATOR_DATA_DIR", server.data_dir());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let listening = lines.find(|line| line.contains("listening")).expect("a line when it is ready");
    assert!(listening.contains("127.0.0.1:"), "{listening}");
    // Whatever else it has to say comes at once.
    std::thread::sleep(Duration::from_millis(200));
    child.kill().unwrap();
    child.wait().unwrap();
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_first_start_says_how_to_make_an_admin() {
    let server = Coordinator::new();
    let said = printed_at_start(&server);
    assert!(said.contains("coordinator admin create") && said.contains("/admin#setup="), "{said}");
    server.admin_key();
    let said = printed_at_start(&server);
    assert!(!said.contains("admin create") && !said.contains("#setup"), "with an admin it says nothing: {said}");
}

#[test]
fn serve_json_prints_one_line() {
    let mut server = Coordinator::new();
    server.start(&[]);
    server.http().send(&Request::get("/health")).expect(200);
    server.stop();
    assert_eq!(server.out().lines().count(), 1, "{}", server.out());
}

#[test]
fn a_backup_taken_while_the_server_works_is_whole() {
    let world = World::new(honest(10, 5));
    let copy = Coordinator::new();
    std::fs::create_dir(copy.data_dir()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..15).for_each(|_| drop(world.chat(&chat_body()).expect(200))));
        }
        world.server.ok(&["backup", copy.database().to_str().unwrap()]);
    });
    let copied = copy.audit();
    assert!(copied["usage_rows"].as_i64().unwrap() <= 60);
    assert_eq!(query(&copy.database(), "pragma integrity_check"), [[Sql::Text("ok".into())]]);
    world.server.ok(&["backup", copy.beside("second.db").to_str().unwrap()]);
    let rows = query(&copy.beside("second.db"), "select count(*) from usage");
    assert_eq!(rows, [[Sql::Integer(60)]]);
}

#[test]
fn sigterm_drains_open_streams() {
    let gate = Gate::default();
    let closed = gate.clone();
    let mut world = World::new(move |_| Stream::new(4).usage(usage(10, 4)).gate(2, &closed).answer());
    let open: Vec<_> = (0..5)
        .map(|_| {
            let mut conn = world.open(&stream_body(true));
            conn.read_until("word1");
            conn
        })
        .collect();
    let http = world.server.http();
    world.server.send_term();
    // From now on no new work is taken: a 503, or no listener at all.
    let refuses = || {
        let Ok(mut conn) = http.try_connect() else { return true };
        conn.write(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        matches!(conn.head().status, 0 | 503)
    };
    eventually("new work to be refused", refuses);
    std::thread::sleep(Duration::from_millis(100));
    gate.open();
    for conn in open {
        let reply = conn.finish();
        assert!(reply.whole && reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    }
    assert_eq!(world.server.wait_ended().code(), Some(0));
    assert_eq!(world.server.number("select count(*) from usage where outcome = 'completed'"), 5);
    world.server.start(&[]);
    assert_eq!(world.balance(), 5_000_000 - 5 * cost(10, 4));
}

#[test]
fn what_does_not_drain_in_time_is_settled_as_a_client_that_left() {
    let mut world = World::with("5.00", &["--drain-timeout", "1"], |_| Stream::new(9).cut(2, Cut::Silence).answer());
    let mut conn = world.open(&stream_body(true));
    conn.read_until("word2");
    assert_eq!(world.server.stop().code(), Some(0));
    assert!(!conn.finish().whole);
    let count = "select count(*) from usage where outcome = 'client_disconnected' and charged_micro_usd > 0";
    assert_eq!(world.server.number(count), 1);
}

#[test]
fn an_idle_server_ends_at_once_on_sigterm() {
    let mut world = World::new(honest(10, 5));
    world.chat(&chat_body()).expect(200);
    let began = std::time::Instant::now();
    assert_eq!(world.server.stop().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn after_kill_9_every_answered_request_is_there_and_nothing_is_held() {
    let mut world = World::new(honest(100, 20));
    for count in 1..=5 {
        for _ in 0..3 {
            world.chat(&chat_body()).expect(200);
        }
        let mut streaming = world.open(&stream_body(true));
        streaming.read_until("[DONE]");
        world.server.kill();
        world.server.start(&[]);
        assert_eq!(world.rows().len(), count * 4);
        assert_eq!(world.balance(), 5_000_000 - cost(100, 20) * i64::try_from(count).unwrap() * 4);
        assert_eq!(world.money()["held_micro_usd"], 0);
    }
}

#[test]
fn a_crash_in_mid_stream_charges_nothing() {
    let mut world = World::new(|_| Stream::new(9).cut(3, Cut::Silence).answer());
    let mut conn = world.open(&stream_body(true));
    conn.read_until("word3");
    world.server.kill();
    world.server.start(&[]);
    assert_eq!((world.balance(), world.earned(), world.rows().len()), (5_000_000, 0, 0));
}

#[test]
fn the_schema_is_strict_and_has_a_version() {
    let server = Coordinator::new();
    server.account("ada");
    assert!(server.number("pragma user_version") >= 1);
    let tables = server.db("select name, sql from sqlite_schema where type = 'table' and name not like 'sqlite_%'");
    assert!(tables.len() >= 8, "{tables:?}");
    for table in tables {
        let [Sql::Text(name), Sql::Text(sql)] = &table[..] else { panic!("{table:?}") };
        assert!(sql.contains("STRICT"), "{name} is not STRICT");
    }
    assert_eq!(server.db("pragma journal_mode"), [[Sql::Text("wal".into())]]);
    assert_eq!(server.db("pragma foreign_key_check"), Vec::<Vec<Sql>>::new());
}

#[test]
fn a_database_of_a_later_version_is_left_alone() {
    let server = Coordinator::new();
    server.ok(&["account", "create", "ada"]);
    let now = server.number("pragma user_version");
    server.alter("pragma user_version = 9999");
    for command in [&["account", "list"][..], &["serve", "--listen", "127.0.0.1:0"]] {
        let said = server.cli_plain(command);
        assert_eq!(said.code, 1, "{said:?}");
    }
    assert_eq!(server.number("pragma user_version"), 9999);
    server.alter(&format!("pragma user_version = {now}"));
}

#[test]
fn the_demo_needs_nothing_else() {
    let mut server = Coordinator::new();
    server.start(&["--demo"]);
    let ready = server.ready();
    let (base, key) = (text(&ready, "base_url"), text(&ready, "key"));
    assert!(base.starts_with("http://127.0.0.1:") && base.ends_with("/v1"), "{base}");
    let http = server.http();
    let balance =
        |key: &str| http.get("/v1/payments/balance", key).expect(200).json()["balance_micro_usd"].as_i64().unwrap();
    assert_eq!(balance(&key), 5_000_000);
    let priced = http.send(&Request::get("/v1/pricing")).expect(200).json();
    let mut spent = 0;
    for price in priced["prices"].as_array().unwrap() {
        let mut body = chat_body();
        body["model"] = price["model"].clone();
        let reply = http.send(&Request::post("/v1/chat/completions").key(&key).json(&body)).expect(200);
        spent += reply.number("x-cost-micro-usd");
        body["stream"] = true.into();
        let streamed = http.send(&Request::post("/v1/chat/completions").key(&key).json(&body)).expect(200);
        assert!(streamed.text().ends_with("data: [DONE]\n\n"));
    }
    let rows = http.get("/v1/payments/usage", &key).expect(200).json();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 8);
    assert!(spent > 0 && rows.iter().all(|r| r["metered_by"] == "provider"), "{rows:?}");
    assert_eq!(balance(&key), 5_000_000 - rows.iter().map(|r| r["cost_micro_usd"].as_i64().unwrap()).sum::<i64>());

    // A second start keeps the account and its money.
    let left = balance(&key);
    server.kill();
    server.start(&["--demo"]);
    let again = text(&server.ready(), "key");
    let now = server.http().get("/v1/payments/balance", &again).expect(200).json();
    assert_eq!(now["balance_micro_usd"], left);
}
