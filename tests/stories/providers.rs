//! Adding a provider: what was pasted, whom to trust, and what a probe that finds nothing says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use serde_json::json;

use crate::world::answer::{Answer, completion, honest, usage};
use crate::world::http::Request;
use crate::world::upstream::Upstream;
use crate::world::{MODEL, World, chat_body, eventually};

pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

/// What a server shows with a fixture's certificate.
pub fn tls_config(certificate: &str) -> Arc<rustls::ServerConfig> {
    let chain = vec![CertificateDer::from_pem_file(fixture(certificate)).unwrap()];
    let key = PrivateKeyDer::from_pem_file(fixture("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
}

/// A server behind TLS with that certificate. Every request gets a chat completion.
fn tls_server(certificate: &str) -> SocketAddr {
    let config = tls_config(certificate);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let config = Arc::clone(&config);
            std::thread::spawn(move || drop(serve_tls(socket, config)));
        }
    });
    address
}

fn serve_tls(mut socket: TcpStream, config: Arc<rustls::ServerConfig>) -> std::io::Result<()> {
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut tls = rustls::ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    // The bodies of these stories end in a brace, and nothing else does.
    while !request.ends_with(b"}") {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&buffer[..read]);
    }
    let body = completion(usage(10, 5)).to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: ";
    stream.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// Adds a provider of the model at an `https` URL of this address, in place of `up`.
fn add(world: &World, name: &str, address: SocketAddr, more: &[&str]) -> crate::world::coordinator::Cli {
    let url = format!("https://localhost:{}/v1", address.port());
    let args = ["provider", "add", name, "--url", &url, "--account", "owner", "--model", MODEL];
    world.server.cli(&[&args, more].concat())
}

#[test]
fn a_private_authority_is_trusted_where_it_is_given() {
    let mut world = World::unstarted("5.00", honest(10, 5));
    world.server.ok(&["provider", "remove", "up"]);
    let ca = fixture("ca.pem");
    let added = add(&world, "private", tls_server("server.pem"), &["--ca-file", ca.to_str().unwrap()]).json();
    assert_eq!(added["has_ca"], true, "{added}");
    world.server.start(&[]);
    for _ in 0..2 {
        world.chat(&chat_body()).expect(200);
    }
    // For this provider alone.
    let stranger = tls_server("server.pem");
    add(&world, "stranger", stranger, &[]).json();
    let probed = world.server.cli_plain(&["provider", "probe", "stranger"]);
    assert_eq!(probed.code, 1);
    assert!(probed.stderr.contains("not trusted") && probed.stderr.contains("--ca-file"), "{}", probed.stderr);
    assert!(probed.stderr.contains("SSL_CERT_FILE"), "{}", probed.stderr);
}

#[test]
fn all_providers_may_be_trusted_by_ssl_cert_file() {
    let mut world = World::unstarted("5.00", honest(10, 5));
    world.server.ok(&["provider", "remove", "up"]);
    add(&world, "private", tls_server("server.pem"), &[]).json();
    let ca = fixture("ca.pem");
    world.server.start_in(&[], &[("SSL_CERT_FILE", ca.to_str().unwrap())]);
    world.chat(&chat_body()).expect(200);
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_in_plain_words() {
    let mut world = World::unstarted("5.00", honest(10, 5));
    world.server.ok(&["provider", "remove", "up"]);
    let ca = fixture("ca.pem");
    let rows = [("other.pem", "is for another name than localhost"), ("expired.pem", "has expired")];
    for (certificate, words) in rows {
        add(&world, certificate, tls_server(certificate), &["--ca-file", ca.to_str().unwrap()]).json();
        let probed = world.server.cli_plain(&["provider", "probe", certificate]);
        assert_eq!(probed.code, 1);
        assert!(probed.stderr.contains(words), "{}", probed.stderr);
    }
    world.server.start(&[]);
    assert_eq!(world.chat(&chat_body()).status, 502);
    for (_, words) in rows {
        eventually(&format!("{words} in the log"), || world.server.log().contains(words));
    }
}

#[test]
fn a_handshake_that_does_not_end_is_bounded_by_the_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).collect::<Vec<_>>());
    let mut world = World::unstarted("5.00", honest(10, 5));
    world.server.ok(&["provider", "remove", "up"]);
    add(&world, "mute", address, &[]).json();
    world.server.start(&["--connect-timeout", "1"]);
    let began = Instant::now();
    assert_eq!(world.chat(&chat_body()).status, 502);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    eventually("the words in the log", || world.server.log().contains("no TLS handshake within 1 s"));
}

#[test]
fn a_file_without_certificates_is_refused_at_once() {
    let world = World::unstarted("0", honest(10, 5));
    let missing = fixture("nothing.pem");
    for file in [fixture("server.key"), PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md"), missing] {
        let refused = add(&world, "p", "127.0.0.1:9".parse().unwrap(), &["--ca-file", file.to_str().unwrap()]);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains("--ca-file"), "{refused:?}");
    }
    assert!(!world.server.ok(&["provider", "list"]).to_string().contains("\"p\""));
}

#[test]
fn a_pasted_endpoint_is_cut_down_or_named() {
    let world = World::unstarted("0", honest(10, 5));
    let add = |name: &str, url: &str| {
        world.server.cli(&["provider", "add", name, "--url", url, "--account", "owner", "--model", MODEL])
    };
    for (place, pasted) in
        ["/v1/chat/completions", "/v1/models", "/v1/responses/", "/v1/messages", "", "//"].iter().enumerate()
    {
        let added = add(&format!("p{place}"), &format!("http://127.0.0.1:9{pasted}")).json();
        assert_eq!(added["url"], "http://127.0.0.1:9/v1", "{pasted}");
    }
    for pasted in ["/api", "/api/chat"] {
        let refused = add("ollama", &format!("http://127.0.0.1:11434{pasted}"));
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.stderr.contains("http://127.0.0.1:11434/v1"), "{refused:?}");
    }
}

#[test]
fn a_provider_that_serves_nothing_says_so_loudly() {
    let world = World::unstarted("0", |_| Answer::json(404, &json!({"detail": "Not Found"})));
    let url = world.upstream.url();
    let added =
        world.server.cli_plain(&["provider", "add", "lame", "--url", &url, "--account", "owner", "--model", MODEL]);
    assert_eq!(added.code, 1, "{added:?}");
    assert!(added.stdout.contains("added provider lame"), "{added:?}");
    assert!(added.stderr.contains("provider lame was added, but it serves nothing: it answered 404"), "{added:?}");
    let probed = world.server.cli_plain(&["provider", "probe", "lame"]);
    assert!(probed.code == 1 && probed.stderr.contains("serves nothing"), "{probed:?}");
    let listed = world.server.ok(&["provider", "list"]);
    let row = listed.as_array().unwrap().iter().find(|row| row["name"] == "lame").unwrap();
    assert_eq!(row["probe"], "serves nothing", "{row}");
    assert!(row["probe_error"].as_str().unwrap().contains("404"), "{row}");
    assert!(world.server.cli_plain(&["provider", "list"]).stdout.contains("serves nothing"));
}

#[test]
fn an_address_that_no_provider_has_is_refused_on_the_connection_too() {
    let mut world = World::unstarted("5.00", honest(10, 5));
    let id = world.server.ok(&["provider", "list"])[0]["id"].as_str().unwrap().to_owned();
    // As an older version may have stored it, or a name that changed its mind: the check at adding is not all.
    assert!(id.starts_with("prov_"));
    world.server.alter("UPDATE providers SET url = 'http://[2002:a9fe:a9fe::1]:80/v1'");
    world.server.start(&["--connect-timeout", "2"]);
    assert_eq!(world.chat(&chat_body()).status, 502);
    let words = "2002:a9fe:a9fe::1 is no address of a provider";
    eventually("the words in the log", || world.server.log().contains(words));
}

#[test]
fn a_server_that_wants_its_key_as_anthropic_does_gets_it_so() {
    let world = World::unstarted("5", honest(40, 7));
    let anthropic = Upstream::start(|seen| {
        let is_known = seen.header("x-api-key") == Some("sk-ant") && seen.header("anthropic-version").is_some();
        match seen.target.as_str() {
            _ if !is_known || seen.header("authorization").is_some() => {
                Answer::json(401, &json!({"type": "error", "error": {"type": "authentication_error", "message": "no"}}))
            }
            "/v1/messages" => Answer::json(
                200,
                &json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
                    "content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 3, "output_tokens": 2}}),
            ),
            _ => Answer::json(404, &json!({"type": "error", "error": {"type": "not_found_error", "message": "no"}})),
        }
    });
    let mut world = world;
    world.server.ok(&["provider", "remove", "up"]);
    world.server.provider("up", &anthropic.url(), &world.owner, &["--auth", "x-api-key", "--api-key", "sk-ant"]);
    world.server.start(&[]);
    world.server.ok(&["provider", "probe", "up"]);
    let body = json!({"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    let ask = Request::post("/v1/messages").key(&world.payer.key).json(&body);
    world.server.http().send(&ask).expect(200);
    assert_eq!(anthropic.last().header("anthropic-version"), Some("2023-06-01"));
    world.server.http().send(&ask.clone().header("anthropic-version", "2025-01-01")).expect(200);
    assert_eq!(anthropic.last().header("anthropic-version"), Some("2025-01-01"));
    assert_eq!(world.server.ok(&["provider", "list"])[0]["auth"], "x-api-key");
    assert_eq!(world.rows().len(), 2);
    let refused = world.server.cli(&[
        "provider",
        "add",
        "x",
        "--url",
        "http://127.0.0.1:1/v1",
        "--account",
        "owner",
        "--model",
        "m",
        "--auth",
        "basic",
    ]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
}
