//! The server's own https: from files, read again when they change, and from an authority (Debian's `pebble`).

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

use crate::world::coordinator::Coordinator;
use crate::world::{eventually, free_port, text};

/// A certificate of its own for `name`, and its key, both PEM.
fn pair(name: &str, until: i32) -> (String, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn put(dir: &Path, (chain, key): &(String, String)) {
    fs::write(dir.join("chain.pem"), chain).unwrap();
    fs::write(dir.join("key.pem"), key).unwrap();
}

/// Asks over TLS as `name`, trusting what `roots` (PEM) says; gives the whole answer and the server's certificate.
fn ask(
    address: SocketAddr,
    name: &str,
    roots: &str,
    request: &str,
    alpn: &[&str],
) -> Result<(String, Vec<u8>), String> {
    let mut trusted = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        trusted.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(trusted).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut stream = StreamOwned::new(client, socket);
    stream.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
    let mut said = String::new();
    match stream.read_to_string(&mut said) {
        Ok(_) => {}
        Err(e) if !said.is_empty() => assert_eq!(e.kind(), std::io::ErrorKind::UnexpectedEof),
        Err(e) => return Err(e.to_string()),
    }
    let shown = stream.conn.peer_certificates().and_then(|chain| chain.first()).map(|first| first.to_vec());
    Ok((said, shown.unwrap_or_default()))
}

fn get(path: &str, name: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n")
}

fn address(server: &Coordinator) -> SocketAddr {
    text(&server.ready(), "listening").parse().unwrap()
}

#[test]
fn a_certificate_from_files_is_shown_and_shown_anew_when_they_change() {
    let mut server = Coordinator::new();
    let dir = server.beside("tls");
    fs::create_dir(&dir).unwrap();
    let (chain, key) = (dir.join("chain.pem"), dir.join("key.pem"));
    let files = ["--tls-cert", chain.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let first = pair("ai.example.test", 2090);
    put(&dir, &first);
    server.start(&[&files[..], &["--demo"]].concat());
    let at = address(&server);
    let key_text = text(&server.ready(), "key");
    assert_eq!(server.ready()["base_url"], format!("https://{at}/v1"));
    let (said, _) = ask(at, "ai.example.test", &first.0, &get("/health", "x"), &["h2", "http/1.1"]).unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    // HTTP/2 alone is not spoken, and that is said in the handshake; another name's client does not take it.
    assert!(ask(at, "ai.example.test", &first.0, &get("/health", "x"), &["h2"]).is_err());
    assert!(ask(at, "other.test", &first.0, &get("/health", "x"), &[]).is_err());

    // A billed stream, to its end.
    let body = json!({"model": "qwen3.5-27b-claude-opus-8bit", "stream": true, "max_tokens": 20,
        "messages": [{"role": "user", "content": "hello"}]})
    .to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {key_text}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (said, _) = ask(at, "ai.example.test", &first.0, &request, &[]).unwrap();
    assert!(said.contains("data: [DONE]"), "{said}");

    // Another pair; a key that does not fit it; and the pair again.
    let second = pair("ai.example.test", 2091);
    put(&dir, &(second.0.clone(), first.1.clone()));
    eventually("the log to say that the files cannot be used", || {
        server.log().contains("the private key is not that of the certificate")
    });
    assert!(ask(at, "ai.example.test", &first.0, &get("/health", "x"), &[]).is_ok(), "the old one stays");
    put(&dir, &second);
    eventually("the other certificate", || ask(at, "ai.example.test", &second.0, &get("/health", "x"), &[]).is_ok());
    server.stop();

    // At the start what cannot be used is said at once.
    for (bad, says) in [
        ((second.0.clone(), first.1), "the private key is not that of the certificate"),
        (pair("ai.example.test", 2001), "the certificate has expired"),
        (("hello".to_owned(), second.1), "there is no certificate in PEM"),
    ] {
        put(&dir, &bad);
        let said = server.cli_plain(&[&["serve", "--listen", "127.0.0.1:0"], &files[..]].concat());
        assert!(said.code == 1 && said.stderr.contains(says) && said.stderr.contains("chain.pem"), "{said:?}");
    }
    fs::remove_file(&chain).unwrap();
    let said = server.cli_plain(&[&["serve", "--listen", "127.0.0.1:0"], &files[..]].concat());
    assert!(said.code == 1 && said.stderr.contains("chain.pem: No such file"), "{said:?}");
}

#[test]
fn port_80_sends_browsers_on_and_tells_programs() {
    let mut server = Coordinator::new();
    let port = free_port();
    let redirect = format!("127.0.0.1:{port}");
    server.start(&["--public-url", "https://ai.example.org", "--redirect-listen", &redirect]);
    let ask = |request: &str| {
        let mut socket = TcpStream::connect(&redirect).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut said = String::new();
        socket.read_to_string(&mut said).unwrap();
        said
    };
    let said = ask(&get("/admin", "x"));
    assert!(said.starts_with("HTTP/1.1 308") && said.contains("location: https://ai.example.org/admin\r\n"), "{said}");
    let told = ask("POST /v1/messages HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        told.contains("the base URL is https://ai.example.org/v1") && told.contains("\"type\":\"error\""),
        "{told}"
    );
    server.stop();
    let said = server.cli_plain(&["serve", "--listen", "127.0.0.1:0", "--redirect-listen", &redirect]);
    assert!(said.code == 1 && said.stderr.contains("--redirect-listen sends browsers on to https"), "{said:?}");
}

/// An authority, and a DNS that sends every name here.
struct Authority {
    children: [Child; 2],
    directory: String,
}

impl Authority {
    /// `None` where Debian's `pebble` is not installed.
    ///
    /// Its certificates are valid for so many seconds.
    fn start(dir: &Path, tls_port: u16, valid: u32) -> Option<Self> {
        let there = |name: &str| Command::new(name).arg("-h").stderr(Stdio::null()).stdout(Stdio::null()).status();
        if there("pebble").is_err() || there("pebble-challtestsrv").is_err() {
            println!("skipped: pebble is not installed");
            return None;
        }
        let (listen, manage, dns, dns_manage) = (free_port(), free_port(), free_port(), free_port());
        let (chain, key) = pair("127.0.0.1", 2090);
        fs::write(dir.join("pebble.pem"), &chain).unwrap();
        fs::write(dir.join("pebble.key"), key).unwrap();
        let config = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{listen}"), "managementListenAddress": format!("127.0.0.1:{manage}"),
            "certificate": dir.join("pebble.pem"), "privateKey": dir.join("pebble.key"),
            "httpPort": 1, "tlsPort": tls_port, "ocspResponderURL": "",
            "certificateValidityPeriod": valid,
        }});
        fs::write(dir.join("pebble.json"), config.to_string()).unwrap();
        let quiet = |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let names = quiet(Command::new("pebble-challtestsrv").args([
            "-dns01",
            &format!("127.0.0.1:{dns}"),
            "-management",
            &format!("127.0.0.1:{dns_manage}"),
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
            "-defaultIPv4",
            "127.0.0.1",
            "-defaultIPv6",
            "",
        ]));
        let authority = quiet(
            Command::new("pebble")
                .args(["-config", dir.join("pebble.json").to_str().unwrap(), "-dnsserver", &format!("127.0.0.1:{dns}")])
                .envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "5")]),
        );
        let started = Self { children: [names, authority], directory: format!("https://127.0.0.1:{listen}/dir") };
        eventually("the authority to listen", || TcpStream::connect(("127.0.0.1", listen)).is_ok());
        Some(started)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Where the server keeps what it got.
fn kept_certificate(server: &Coordinator) -> PathBuf {
    let mut kept = fs::read_dir(server.data_dir().join("certificates")).unwrap().flatten().map(|entry| entry.path());
    kept.find(|path| path.extension().is_some_and(|e| e == "pem")).unwrap()
}

/// Who signed it is known to the authority alone: the chain holds the one in between.
fn issuer(pem: &Path) -> String {
    let chain = fs::read_to_string(pem).unwrap();
    format!("-----BEGIN CERTIFICATE-----{}", chain.rsplit("-----BEGIN CERTIFICATE-----").next().unwrap())
}

#[test]
fn a_domain_gets_its_certificate_over_its_own_port_and_keeps_it() {
    let mut server = Coordinator::new();
    let dir = server.beside("authority");
    fs::create_dir(&dir).unwrap();
    let port = free_port();
    let Some(authority) = Authority::start(&dir, port, 90 * 86_400) else { return };
    let listen = format!("127.0.0.1:{port}");
    let root = dir.join("pebble.pem");
    let trust = [("SSL_CERT_FILE", root.to_str().unwrap())];
    let args = [
        "--listen",
        &listen,
        "--domain",
        "ai.example.test",
        "--acme-email",
        "ops@example.test",
        "--acme-directory",
        &authority.directory,
    ];
    server.start_in(&args, &trust);
    assert!(text(&server.ready(), "setup_url").starts_with(&format!("https://ai.example.test:{port}/admin#setup=")));
    eventually("a certificate", || server.log().contains("got a certificate"));
    let pem = kept_certificate(&server);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&pem).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let issuer = issuer(&pem);
    let at: SocketAddr = listen.parse().unwrap();
    let (said, shown) = ask(at, "ai.example.test", &issuer, &get("/health", "x"), &["http/1.1"]).unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    server.stop();

    // Kept: after a restart it is there at once, and nobody is asked.
    let asked = server.log().matches("asking for a certificate").count();
    server.start_in(&args, &trust);
    let (_, again) = ask(at, "ai.example.test", &issuer, &get("/health", "x"), &[]).unwrap();
    assert_eq!(shown, again);
    server.stop();
    assert_eq!(server.log().matches("asking for a certificate").count(), asked);

    // A domain that does not lead here: the authority looks elsewhere, and the log says what it found.
    let other = format!("127.0.0.1:{}", free_port());
    let args = ["--listen", &other, "--domain", "elsewhere.example.test", "--acme-directory", &authority.directory];
    server.start_in(&args, &trust);
    eventually("a refusal", || server.log().contains("no certificate"));
    let log = server.log();
    let refused = log.lines().find(|line| line.contains("no certificate")).unwrap();
    for part in ["elsewhere.example.test", "Failed to connect to", "Does the domain lead to this machine"] {
        assert!(refused.contains(part), "{refused}");
    }
    assert!(ask(other.parse().unwrap(), "elsewhere.example.test", &issuer, &get("/", "x"), &[]).is_err());
    server.stop();
    for (domain, says) in
        [("*.example.org", "a wildcard cannot be proved"), ("localhost", "no authority knows this name")]
    {
        let said = server.cli_plain(&["serve", "--domain", domain]);
        assert!(said.code == 2 && said.stderr.contains(says), "{said:?}");
    }
}

#[test]
fn a_certificate_is_renewed_in_good_time_and_nobody_waits_for_it() {
    let mut server = Coordinator::new();
    let dir = server.beside("authority");
    fs::create_dir(&dir).unwrap();
    let port = free_port();
    let Some(authority) = Authority::start(&dir, port, 15) else { return };
    let listen = format!("127.0.0.1:{port}");
    let root = dir.join("pebble.pem");
    let name = "ai.example.test";
    let args = ["--listen", &listen, "--domain", name, "--acme-directory", &authority.directory];
    server.start_in(&args, &[("SSL_CERT_FILE", root.to_str().unwrap())]);
    let at: SocketAddr = listen.parse().unwrap();
    let got = || server.log().matches("got a certificate").count();
    eventually("a certificate", || got() >= 1);
    let issuer = issuer(&kept_certificate(&server));
    // The client refuses one that has expired: the next one is there before.
    let shown = || ask(at, name, &issuer, &get("/health", "x"), &[]).expect("a good certificate all the time").1;
    let first = shown();
    eventually("another certificate", || shown() != first);
    eventually("the log to say so", || got() == 2);
    assert!(!server.log().contains("no certificate"), "{}", server.log());
}
