//! What commands ask the running server, over the socket in its data directory.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::world::answer::{Answer, Gate, Step, completion, honest, usage};
use crate::world::coordinator::Coordinator;
use crate::world::http::Request;
use crate::world::{MODEL, World, chat_body, eventually, micro};

fn socket(server: &Coordinator) -> PathBuf {
    server.data_dir().join("coordinator.sock")
}

fn status(server: &Coordinator) -> Value {
    server.ok(&["status"])
}

/// A provider as `provider list` shows it.
fn listed(server: &Coordinator, name: &str) -> Value {
    let list = server.ok(&["provider", "list"]);
    list.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}: {list}")).clone()
}

/// The names of an object's fields, in no order.
fn fields(value: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn status_and_the_list_show_who_runs_and_who_waits() {
    let gate = Gate::default();
    let closed = gate.clone();
    let mut world = World::unstarted("5.00", move |_| Answer::chat(usage(10, 5)).after(Step::Gate(closed.clone())));
    world.server.ok(&["provider", "remove", "up"]);
    world.server.provider("narrow", &world.upstream.url(), &world.owner, &["--max-concurrent", "1"]);
    let without = listed(&world.server, "narrow");
    world.server.start(&[]);
    let first = world.open(&chat_body());
    world.upstream.wait_for(1);
    let second = world.open(&chat_body());
    eventually("one to wait", || status(&world.server)["waiting"] == 1);

    let now = status(&world.server);
    let held = micro(&world.money(), "held_micro_usd");
    assert_eq!((&now["holds"], micro(&now, "held_micro_usd")), (&json!(2), held), "{now}");
    assert!(held > 0);
    assert_eq!(now["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((micro(&now, "pid"), &now["draining"]), (i64::from(world.server.pid()), &json!(false)));
    assert_eq!(now["listening"], world.server.ready()["listening"]);
    assert!(now["longest_wait_ms"].is_u64() && now["uptime_seconds"].is_u64() && now["writer_queue"].is_u64(), "{now}");
    let capacity = world.server.http().send(&Request::get("/v1/models/capacity")).expect(200).json();
    assert_eq!(now["models"], capacity["data"]);
    let model = now["models"].as_array().unwrap().iter().find(|model| model["id"] == MODEL).unwrap();
    assert_eq!((&model["running"], &model["waiting"], &model["places"]), (&json!(1), &json!(1), &json!(1)));
    let provider = &now["providers"][0];
    assert_eq!((&provider["name"], &provider["state"]), (&json!("narrow"), &json!("unknown")), "{now}");
    assert_eq!((&provider["in_flight"], &provider["waiting"]), (&json!(1), &json!(1)), "{now}");

    let live = listed(&world.server, "narrow");
    assert_eq!((&live["in_flight"], &live["waiting"], &live["state"]), (&json!(1), &json!(1), &json!("unknown")));
    assert!(live["longest_wait_ms"].is_u64(), "{live}");
    // All else is as without a server.
    let mut rest = live;
    for field in ["in_flight", "waiting", "longest_wait_ms", "state"] {
        rest.as_object_mut().unwrap().remove(field);
        assert!(without.get(field).is_none(), "{field}: {without}");
    }
    assert_eq!(rest, without);
    let text = world.server.cli_plain(&["provider", "list"]);
    assert!(text.stdout.contains("IN FLIGHT") && text.stdout.contains("LONGEST"), "{text:?}");
    let text = world.server.cli_plain(&["status"]);
    assert!(text.stdout.contains("waiting: 1, the first for ") && text.stdout.contains("narrow"), "{text:?}");

    gate.open();
    first.finish().expect(200);
    second.finish().expect(200);
    eventually("all to be over", || status(&world.server)["holds"] == 0);
    assert_eq!(listed(&world.server, "narrow")["state"], "up");
}

/// A server that never answers the coordinator's own question, a GET, and answers requests once it is `well`: nothing
/// but a probe tells that it is back.
fn shy_server(well: &Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let well = Arc::clone(well);
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let well = Arc::clone(&well);
            std::thread::spawn(move || drop(answer_shyly(socket, &well)));
        }
    });
    address
}

fn answer_shyly(mut socket: TcpStream, well: &AtomicBool) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    // The bodies here end in a brace, and nothing else does; what has none ends with its head.
    while !request.ends_with(if request.starts_with(b"GET") { &b"\r\n\r\n"[..] } else { b"}" }) {
        let read = socket.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&buffer[..read]);
    }
    if request.starts_with(b"POST") && well.load(Ordering::SeqCst) {
        let body = completion(usage(10, 5)).to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: ";
        socket.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes())?;
    }
    socket.shutdown(Shutdown::Write)
}

#[test]
fn a_probe_through_the_server_ends_what_it_held_against_a_provider() {
    let well = Arc::new(AtomicBool::new(false));
    let mut world = World::unstarted("5.00", honest(10, 5));
    world.server.ok(&["provider", "remove", "up"]);
    world.server.provider("shy", &format!("http://{}/v1", shy_server(&well)), &world.owner, &[]);
    world.server.start(&[]);
    let mut place = 0;
    eventually("it to count as down", || {
        let mut body = chat_body();
        body["messages"][0]["content"] = json!(format!("different each time: {place}"));
        place += 1;
        assert!(matches!(world.chat(&body).status, 502 | 503));
        listed(&world.server, "shy")["state"] == "down"
    });
    well.store(true, Ordering::SeqCst);
    world.chat(&chat_body()).expect(503);
    let probed = world.server.ok(&["provider", "probe", "shy"]);
    let chat = &probed[0];
    assert_eq!((&chat["model"], &chat["serves"], &chat["reports_usage"]), (&json!(MODEL), &json!(true), &json!(true)));
    let names = ["endpoint", "error", "model", "reports_cached", "reports_usage", "serves", "stream", "total_ms"];
    assert_eq!(fields(chat), names);
    assert_eq!(listed(&world.server, "shy")["state"], "up");
    world.chat(&chat_body()).expect(200);
    eventually("its line in the log", || world.server.log().contains("a provider is back"));
    assert_eq!(world.server.cli(&["provider", "probe", "nobody"]).code, 1);
}

#[test]
fn a_probe_that_reaches_nobody_makes_the_server_ask_for_itself() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut world = World::unstarted("0", honest(10, 5));
    world.server.provider("gone", &format!("http://{nobody}/v1"), &world.owner, &[]);
    world.server.start(&[]);
    assert_eq!(listed(&world.server, "gone")["state"], "unknown");
    let probed = world.server.cli_plain(&["provider", "probe", "gone"]);
    assert!(probed.code == 1 && probed.stderr.contains("provider gone does not answer: "), "{probed:?}");
    eventually("the server to have asked", || world.server.log().contains("a provider is down"));
}

#[test]
fn the_server_probes_with_the_keys_of_its_own_environment() {
    let mut world = World::unstarted("0", |seen| match seen.header("authorization") {
        Some("Bearer only-the-server-has-it") => honest(10, 5)(seen),
        _ => Answer::json(401, &json!({"error": {"message": "who are you?"}})),
    });
    world.server.provider("keyed", &world.upstream.url(), &world.owner, &["--api-key", "env:PROVIDER_KEY_OF_A_TEST"]);
    assert_eq!(world.server.cli(&["provider", "probe", "keyed"]).code, 1, "no server, no key");
    world.server.start_in(&[], &[("PROVIDER_KEY_OF_A_TEST", "only-the-server-has-it")]);
    world.server.ok(&["provider", "probe", "keyed"]);
}

#[test]
fn nobody_but_the_owner_can_open_the_socket_and_tcp_does_not_lead_there() {
    let world = World::new(honest(10, 5));
    let found = fs::symlink_metadata(socket(&world.server)).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(world.server.data_dir()).unwrap().permissions().mode() & 0o777, 0o700);
    let http = world.server.http();
    for target in ["/status", "/providers", "/coordinator.sock", "/local/status"] {
        http.send(&Request::get(target)).expect(404);
    }
    http.send(&Request::post("/providers/up/probe")).expect(404);
    // What the API has, the socket does not: it is no way around a key either.
    let asked = UnixStream::connect(socket(&world.server)).and_then(|mut stream| {
        stream.write_all(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        std::io::read_to_string(stream)
    });
    assert!(asked.unwrap().starts_with("HTTP/1.1 404 "));
}

#[test]
fn without_a_server_status_says_so_and_makes_nothing() {
    let mut server = Coordinator::new();
    let none = server.cli(&["status"]);
    assert!(none.code == 1 && none.stdout.is_empty() && none.stderr.contains("no server runs on "), "{none:?}");
    assert!(!server.data_dir().exists());
    server.start(&[]);
    assert_eq!(micro(&status(&server), "holds"), 0);
    assert!(server.stop().success());
    assert!(!socket(&server).exists());
    assert_eq!(server.cli(&["status"]).code, 1);
}

#[test]
fn what_a_killed_server_left_is_nobodys_and_is_replaced() {
    let mut world = World::new(honest(10, 5));
    world.server.kill();
    assert!(socket(&world.server).exists());
    let none = world.server.cli(&["status"]);
    assert!(none.code == 1 && none.stderr.contains("no server runs on "), "{none:?}");
    // As without a server.
    assert_eq!(listed(&world.server, "up").get("state"), None);
    world.server.ok(&["provider", "probe", "up"]);
    world.server.start(&[]);
    assert_eq!(micro(&status(&world.server), "pid"), i64::from(world.server.pid()));
}

#[test]
fn a_server_that_says_nothing_is_an_error_and_no_hang() {
    let world = World::new(honest(10, 5));
    let signal = |signal| kill_process(Pid::from_raw(world.server.pid()).unwrap(), signal).unwrap();
    signal(Signal::STOP);
    let said: Vec<_> = std::thread::scope(|scope| {
        let ask = |args: &'static [&'static str]| scope.spawn(|| world.server.cli(args));
        let asked = [ask(&["status"]), ask(&["provider", "list"]), ask(&["provider", "probe", "up"])];
        asked.map(|one| one.join().unwrap()).into()
    });
    signal(Signal::CONT);
    for cli in &said {
        assert!(cli.code == 1 && cli.stderr.contains("no answer within 5 s"), "{cli:?}");
    }
    assert!(said[1].stdout.contains("\"up\""), "the list has what the database knows: {said:?}");
}

#[test]
fn an_answer_that_is_no_answer_is_an_error() {
    let server = Coordinator::new();
    server.ok(&["account", "create", "ada"]);
    let listener = UnixListener::bind(socket(&server)).unwrap();
    let answers = [
        "",
        "SSH-2.0\r\n",
        "HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    ];
    let serving = std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    for answer in answers {
        let said = server.cli(&["status"]);
        assert!(said.code == 1 && said.stderr.contains("the server that runs on "), "{answer:?}: {said:?}");
    }
    serving.join().unwrap();
}

#[test]
fn a_path_too_long_for_a_socket_is_said_once_and_all_else_works() {
    let server = Coordinator::new();
    let deep = server.beside(&"x".repeat(120));
    let mut command = Coordinator::command();
    command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&deep);
    let log = server.beside("deep.log");
    command.stdout(std::process::Stdio::piped()).stderr(fs::File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    let mut ready = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut ready).unwrap();
    assert!(ready.contains("listening"), "{ready}");
    eventually("a line in the log", || fs::read_to_string(&log).unwrap().contains("commands cannot ask this server"));
    let status = Coordinator::command().arg("status").arg("--data-dir").arg(&deep).output().unwrap();
    let list = Coordinator::command().args(["provider", "list", "--data-dir"]).arg(&deep).output().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(status.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&status.stderr).contains("too long"), "{status:?}");
    assert!(list.status.success(), "{list:?}");
    assert_eq!(fs::read_to_string(&log).unwrap().matches("commands cannot ask").count(), 1);
}

#[test]
fn status_tells_of_a_drain_while_it_lasts() {
    let gate = Gate::default();
    let closed = gate.clone();
    let mut world = World::new(move |_| Answer::chat(usage(10, 5)).after(Step::Gate(closed.clone())));
    let open = world.open(&chat_body());
    world.upstream.wait_for(1);
    world.server.send_term();
    eventually("the drain", || status(&world.server)["draining"] == true);
    gate.open();
    open.finish().expect(200);
    assert!(world.server.wait_ended().success());
    assert!(!socket(&world.server).exists());
}
