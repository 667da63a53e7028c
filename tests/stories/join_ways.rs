//! How a machine comes to its coordinator, and what passes there: proxies, long prompts, clients that do not keep up.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::join::{joined, joined_with, nobody_yet};
use super::join_faults::price;
use crate::world::agent::Agent;
use crate::world::answer::{Answer, End, STREAM_HEAD, Step, Stream, chunk, completion, honest, http_chunk, usage};
use crate::world::http::{Reply, Request, find};
use crate::world::line::Line;
use crate::world::upstream::{Seen, Upstream};
use crate::world::{MODEL, chat_body, cost, eventually, memory_kib, micro, stream_body};

#[test]
fn a_machine_joins_through_the_proxy_that_its_environment_names() {
    let (mut world, key) = nobody_yet(&[], honest(10, 5));
    let proxy = Line::proxy_to(world.server.http().0);
    let (port, proxy_url) = (world.server.http().0.port(), format!("http://ann:p%40ss@{}", proxy.addr));
    let args = ["--name", "kitchen", "--to", &world.upstream.url(), "--model", MODEL];
    // A name that only the proxy knows.
    let url = format!("http://coordinator.invalid:{port}");
    let agent = Agent::start_at(&url, &key, &args, &[("http_proxy", &proxy_url)]);
    agent.wait_joined();
    world.chat(&chat_body()).expect(200);
    let heads = proxy.heads();
    assert!(heads.len() >= 3, "to register, and for two lanes: {heads:?}");
    for head in heads {
        assert!(head.starts_with(&format!("CONNECT coordinator.invalid:{port} HTTP/1.1\r\n")), "{head}");
        assert!(head.contains("Proxy-Authorization: Basic YW5uOnBAc3M=\r\n"), "{head}");
    }
    assert!(!agent.log().contains("p%40ss") && !agent.log().contains("p@ss"), "{}", agent.log());
    // Whom the environment excepts is dialled, and a name that nobody knows is not there.
    let environment = [("http_proxy", proxy_url.as_str()), ("no_proxy", "localhost, .invalid")];
    let lost = Agent::start_at(&url, &key, &args, &environment);
    eventually("it to say why", || lost.log().contains("coordinator.invalid"));
    drop((agent, lost));
    // With TLS inside.
    let params = CertificateParams::new(vec!["coordinator.invalid".to_owned()]).unwrap();
    let pair = KeyPair::generate().unwrap();
    let (chain, secret) = (world.server.beside("chain.pem"), world.server.beside("key.pem"));
    std::fs::write(&chain, params.self_signed(&pair).unwrap().pem()).unwrap();
    std::fs::write(&secret, pair.serialize_pem()).unwrap();
    world.server.stop();
    let (chain, secret) = (chain.to_str().unwrap(), secret.to_str().unwrap());
    world.server.start(&["--tls-cert", chain, "--tls-key", secret]);
    let proxy = Line::proxy_to(world.server.http().0);
    let (url, proxy_url) = (format!("https://coordinator.invalid:{}", world.server.http().0.port()), proxy.addr);
    let args = [&args[..], &["--ca-file", chain]].concat();
    let agent = Agent::start_at(&url, &key, &args, &[("HTTPS_PROXY", &proxy_url.to_string())]);
    agent.wait_joined();
    eventually("it to be up", || world.state_of("kitchen") == "up");
    assert!(proxy.heads().len() >= 3);
}

/// A local server that reads no long prompt, and answers short ones.
fn takes_no_long_prompt() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let serve = |mut socket: TcpStream| {
        let (mut came, mut part) = (Vec::new(), [0; 4_096]);
        while find(&came, b"\r\n\r\n").is_none() {
            match socket.read(&mut part) {
                Ok(size @ 1..) => came.extend_from_slice(&part[..size]),
                _ => return,
            }
        }
        let head = String::from_utf8_lossy(&came).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
        if length.is_none_or(|length| length > 100_000) && head.starts_with("post") {
            std::thread::sleep(Duration::from_secs(60));
            return;
        }
        let body = completion(usage(10, 5)).to_string();
        let _ = write!(
            socket,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let _ = socket.shutdown(std::net::Shutdown::Write);
        while matches!(socket.read(&mut part), Ok(1..)) {}
    };
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve(socket));
        }
    });
    url
}

#[test]
fn prompts_that_the_local_server_does_not_take_hold_up_no_other() {
    let (world, key) = nobody_yet(&["--body-budget-mib", "512"], honest(10, 5));
    let _agent = Agent::join(&world.server, &key, "kitchen", &takes_no_long_prompt(), &["--max-concurrent", "32"]);
    let long = json!({"model": MODEL, "max_tokens": 5,
        "messages": [{"role": "user", "content": "word ".repeat(1_000_000)}]});
    // Together more than the window of all prompts of a lane.
    let stuck: Vec<_> = (0..6).map(|_| world.open(&long)).collect();
    eventually("them to be held", || micro(&world.money(), "held_micro_usd") >= 6 * 500_000);
    std::thread::sleep(Duration::from_millis(500));
    for _ in 0..5 {
        world.chat(&chat_body()).expect(200);
    }
    stuck.into_iter().for_each(|conn| conn.close());
    world.wait_released();
    assert_eq!(world.balance(), 5_000_000 - 5 * cost(10, 5));
}

#[test]
fn a_client_that_reads_nothing_holds_up_no_other_stream_of_its_machine() {
    let (world, _, _agent) = joined_with(&["--recount-every", "0"], |seen| {
        match seen.json()["max_tokens"].as_u64() {
            Some(255) => return Answer::chat(Value::Null),
            Some(256) => return Stream::new(9).usage(usage(10, 9)).answer(),
            _ => {}
        }
        // About 80 MB, more than sockets and windows take.
        let mut word = chunk(&json!({"content": " word"}), &Value::Null);
        word["padding"] = json!("x".repeat(8_000));
        let event = http_chunk(&format!("data: {word}\n\n"));
        Answer::raw([STREAM_HEAD.as_bytes(), &event.repeat(10_000)].concat(), End::Fin)
    });
    // It reports nothing, so the tokenizer is made before memory is looked at.
    let mut uncounted = chat_body();
    uncounted["max_tokens"] = json!(255);
    world.chat(&uncounted).expect(200);
    let before = memory_kib(world.server.pid(), "VmRSS:");
    let mut endless = stream_body(true);
    endless["max_tokens"] = json!(1_000_000);
    let mut conn = world.open(&endless);
    conn.read_until("word");
    std::thread::sleep(Duration::from_millis(1_500));
    for _ in 0..5 {
        let reply = world.chat(&stream_body(true)).expect(200);
        assert_eq!(reply.events().last().map(String::as_str), Some("[DONE]"));
    }
    assert!(world.rows().iter().all(|row| row["outcome"] == "completed") && world.rows().len() == 6);
    let grown = memory_kib(world.server.pid(), "VmRSS:").saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB more");
    conn.close();
    // The newest comes first, and this one began before all others but one.
    assert_eq!(world.wait_rows(7)[5]["outcome"], "client_disconnected");
}

#[test]
fn a_slow_machine_is_waited_for_as_a_slow_server_that_is_dialled_is() {
    // Longer than a connection may be silent; then a word a second.
    const THINKS: Duration = Duration::from_secs(33);
    let slow = |thinks: Duration| {
        move |seen: &Seen| {
            let answer = if seen.json()["stream"] == true {
                Stream::new(3).usage(usage(10, 3)).slow(Duration::from_secs(1)).answer()
            } else {
                Answer::chat(usage(10, 3))
            };
            answer.after(Step::Pause(thinks))
        }
    };
    let (world, key) = nobody_yet(&[], slow(THINKS));
    let dialled = Upstream::start(slow(THINKS));
    let fast = Upstream::start(honest(10, 5));
    price(&world, "joined");
    price(&world, "dialled");
    world.server.provider("fast", &fast.url(), &world.owner, &[]);
    let (owner, url) = (&world.owner.id, dialled.url());
    world.server.ok(&["provider", "add", "slow", "--url", &url, "--account", owner, "--model", "dialled=m"]);
    let args = ["--name", "kitchen", "--to", &world.upstream.url(), "--model", "joined=m"];
    let agent = Agent::start_at(&format!("http://{}", world.server.http().0), &key, &args, &[]);
    agent.wait_joined();
    let ask = |model: &str, mut body: Value| {
        body["model"] = json!(model);
        world.open(&body)
    };
    let asked = ["joined", "dialled"].map(|model| (ask(model, stream_body(true)), ask(model, chat_body())));
    for _ in 0..5 {
        world.chat(&chat_body()).expect(200);
    }
    let [(joined, joined_whole), (other, other_whole)] =
        asked.map(|(streamed, whole)| (streamed.finish(), whole.finish()));
    let told = |reply: &Reply| reply.text().replace("\"joined\"", "\"dialled\"");
    assert_eq!((joined.status, told(&joined)), (200, told(&other)));
    assert!(
        joined.text().starts_with(": keep-alive") && joined.text().ends_with("data: [DONE]\n\n"),
        "{}",
        joined.text()
    );
    assert_eq!((joined_whole.status, other_whole.status), (200, 200));
    assert_eq!(joined_whole.json()["usage"], other_whole.json()["usage"]);
    let rows = world.wait_rows(9);
    let of = |model: &str| {
        let fields = ["prompt_tokens", "completion_tokens", "cost_micro_usd", "outcome", "metered_by", "endpoint"];
        let rows = rows.iter().filter(|row| row["model"] == model);
        rows.map(|row| fields.map(|field| row[field].clone())).collect::<Vec<_>>()
    };
    assert_eq!((of("joined").len(), of("joined")), (2, of("dialled")));
    assert!(of("joined").iter().all(|row| row[2] == json!(cost(10, 3)) && row[3] == json!("completed")), "{rows:?}");
    // Whoever leaves before it has begun, or in the midst, stops it.
    let before = world.upstream.requests().len();
    let conn = ask("joined", stream_body(true));
    world.upstream.wait_for(before + 1);
    conn.close();
    assert!(world.upstream.wait_closed(&world.upstream.last()) < Duration::from_secs(1));
    world.upstream.script(slow(Duration::ZERO));
    let mut conn = ask("joined", stream_body(true));
    conn.read_until("word1");
    conn.close();
    assert!(world.upstream.wait_closed(&world.upstream.last()) < Duration::from_secs(1));
    let rows = world.wait_rows(10);
    assert_eq!(rows[0]["outcome"], "client_disconnected");
    world.wait_released();
}

#[test]
fn a_prompt_is_sent_again_where_a_kept_connection_was_closed_and_nowhere_else() {
    let (world, _, _agent) = joined(honest(10, 5));
    world.upstream.script(|_| Answer::chat(usage(10, 5)).ending(End::DropNextRequest));
    world.chat(&chat_body()).expect(200);
    // The connection that is kept is closed when the next one comes.
    world.chat(&chat_body()).expect(200);
    let before = world.upstream.requests().len();
    // On a fresh connection a server that hangs up may have seen it: it is asked once.
    std::thread::sleep(Duration::from_secs(5));
    world.upstream.script(|_| Answer::nothing(End::Fin));
    assert!(world.chat(&chat_body()).status >= 500);
    assert_eq!(world.upstream.requests().len(), before + 1, "a prompt was run twice");
}

#[test]
fn a_machine_that_speaks_chat_alone_is_asked_so_once_that_is_known() {
    let (world, _, _agent) = joined(|seen| {
        let honest = honest(10, 5);
        if seen.target == "/v1/chat/completions" {
            honest(seen)
        } else {
            Answer::json(404, &json!({"detail": "Not Found"}))
        }
    });
    let body = json!({"model": MODEL, "max_tokens": 256, "messages": [{"role": "user", "content": "hi"}]});
    for _ in 0..4 {
        world.server.http().send(&Request::post("/v1/messages").key(&world.payer.key).json(&body)).expect(200);
    }
    let targets: Vec<String> = world.upstream.requests().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets.iter().filter(|target| *target == "/v1/messages").count(), 1, "{targets:?}");
    assert_eq!(targets.len(), 5, "{targets:?}");
}

#[test]
fn the_places_of_a_local_server_are_found_wherever_it_tells_them() {
    let said = [("/slots", r#"[{"id":0},{"id":1},{"id":2}]"#), ("/get_server_info", r#"{"max_running_requests":3}"#)];
    for (path, body) in said {
        let (world, key) = nobody_yet(&[], honest(10, 5));
        let local = Upstream::start(|_| Stream::new(9).cut(2, crate::world::answer::Cut::Silence).answer());
        local.tell(move |seen| (seen.target == path).then(|| Answer::text(200, "application/json", body, "")));
        let _agent = Agent::join(&world.server, &key, "kitchen", &local.url(), &[]);
        let mut conns: Vec<_> = (0..3).map(|_| world.open(&stream_body(true))).collect();
        conns.iter_mut().for_each(|conn| drop(conn.read_until("word2")));
        let waits = world.open(&stream_body(true));
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(local.requests().len(), 3, "{path}: the fourth one waits");
        drop(waits);
    }
}
