//! Mail to a real server over TLS: what arrives, what is refused, and what the line between them carried meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::alerts::{events, manage, put, threshold};
use super::providers::{fixture, tls_config};
use crate::world::answer::honest;
use crate::world::http::{Request, find};
use crate::world::line::Line;
use crate::world::mailbox::Mailbox;
use crate::world::{World, chat_body, eventually, text};

const USER: &str = "ada";
const PASSWORD: &str = "canary-mail-password";

/// The two ways of a mail server to speak TLS, and what each is told with.
const WAYS: [(&str, &str); 2] = [("starttls", "--starttls"), ("tls", "--tls")];

fn path(fixture_name: &str) -> String {
    fixture(fixture_name).to_str().unwrap().to_owned()
}

/// A server that tells what happens by mail, the mail server, and the line between the two.
struct Post {
    world: World,
    admin: String,
    mailbox: Mailbox,
    line: Line,
}

impl Post {
    /// The mail server shows `certificate` (none: speaks no TLS), and whoever it does not know may not send; the
    /// coordinator trusts the fixtures' authority if it is `trusting`. `None` where there is no mail server.
    fn start(way: (&str, Option<&str>), trusting: bool, host: &str, password: &str) -> Option<Self> {
        let (security, certificate) = way;
        let mut world = World::unstarted("0.05", honest(100, 20));
        let admin = world.server.admin_key();
        let files = certificate.map(|name| (path(name), path("server.key")));
        let (_, flag) = WAYS.iter().find(|(name, _)| *name == security).unwrap();
        let tls = files.as_ref().map(|(chain, key)| vec![*flag, chain, key]).unwrap_or_default();
        let mailbox =
            Mailbox::start(&world.server.beside("maildir"), None, &[&tls[..], &["--user", USER, PASSWORD]].concat())?;
        let line = Line::overheard(([127, 0, 0, 1], mailbox.port).into());
        let ca = path("ca.pem");
        let trusts = [("SSL_CERT_FILE", ca.as_str())];
        world.server.start_in(&[], &trusts[..usize::from(trusting)]);
        let post = Self { world, admin, mailbox, line };
        post.set(security, host, password);
        Some(post)
    }

    fn set(&self, security: &str, host: &str, password: &str) {
        let settings = json!({"email": {"host": host, "port": self.line.addr.port(), "security": security,
            "username": USER, "password": password, "from": "alerts@example.org", "to": ["ops@example.org"]}});
        put(&self.world, &self.admin, &settings).expect(200);
    }

    /// Makes the payer's balance fall below its threshold.
    fn cause(&self) {
        threshold(&self.world, &manage(&self.world, "payer"), &json!("0.05")).expect(200);
        self.world.chat(&chat_body()).expect(200);
    }

    /// What came of a test.
    fn test(&self) -> Value {
        let test = Request::post("/v1/admin/alerts/test").key(&self.admin);
        self.world.server.http().send(&test).expect(200).json()["email"].clone()
    }

    /// What came of the one thing that happened.
    fn delivery(&self) -> Value {
        events(&self.world, &self.admin).first().map_or(Value::Null, |event| event["deliveries"][0].clone())
    }

    /// A test and what happens are both not sent, and why is said: all of `parts`.
    fn is_refused(&self, parts: &[&str]) {
        let tested = self.test();
        let said = tested["error"].as_str().unwrap_or_default();
        assert!(tested["delivered"] == false && parts.iter().all(|part| said.contains(part)), "{tested}");
        self.cause();
        eventually("a try in vain", || self.delivery()["error"].is_string());
        let delivery = self.delivery();
        let said = text(&delivery, "error");
        assert!(delivery["state"] == "waiting" && parts.iter().all(|part| said.contains(part)), "{delivery}");
        assert_eq!(self.mailbox.letters().len(), 0);
        eventually("the log to say so", || self.world.server.log().contains("an alert was not delivered"));
        self.nothing_could_be_read();
    }

    /// No password and no message was in the clear on the line, nor is a password in the log.
    fn nothing_could_be_read(&self) {
        let said = self.line.said();
        let plain = STANDARD.encode(format!("\0{USER}\0{PASSWORD}"));
        let (user, password) = (STANDARD.encode(USER), STANDARD.encode(PASSWORD));
        let secret = [PASSWORD, &plain, &user, &password, "AUTH", "MAIL FROM", "example.org", "[coordinator]"];
        for part in secret {
            assert_eq!(find(&said, part.as_bytes()), None, "{part}: {}", String::from_utf8_lossy(&said));
        }
        assert!(!self.world.server.log().contains(PASSWORD));
    }
}

#[test]
fn mail_over_tls_arrives_with_a_password_and_cannot_be_read_on_its_way() {
    for ((security, _), host) in WAYS.into_iter().zip(["localhost", "127.0.0.1"]) {
        let Some(post) = Post::start((security, Some("server.pem")), true, host, PASSWORD) else { return };
        assert_eq!(post.test()["delivered"], true, "{security}: {}", post.test());
        post.cause();
        eventually("the letter", || post.mailbox.to("ops@example.org").len() == 2);
        let letters = post.mailbox.letters();
        assert!(letters.iter().any(|letter| letter.contains("The balance of payer is below $0.05")), "{letters:?}");
        eventually("the delivery to be noted", || post.delivery()["state"] == "delivered");
        let began = post.line.said();
        assert_eq!(find(&began, b"STARTTLS\r\n").is_some(), security == "starttls", "{security}");
        post.nothing_could_be_read();
    }
}

#[test]
fn a_server_that_offers_no_starttls_gets_neither_password_nor_message() {
    let Some(post) = Post::start(("starttls", None), true, "localhost", PASSWORD) else { return };
    post.is_refused(&["STARTTLS"]);
    // Nor does one that is taken for one of TLS from the start.
    post.set("tls", "localhost", PASSWORD);
    let said = text(&post.test(), "error");
    assert!(said.contains("does not speak TLS") && said.contains("STARTTLS"), "{said}");
    post.nothing_could_be_read();
    // What was asked for: in the clear, on this machine. So the line does carry what the stories look for.
    post.set("none", "localhost", PASSWORD);
    assert_eq!(post.test()["delivered"], true);
    assert!(find(&post.line.said(), STANDARD.encode(format!("\0{USER}\0{PASSWORD}")).as_bytes()).is_some());
    assert!(find(&post.line.said(), b"[coordinator]").is_some());
}

#[test]
fn a_mail_server_whose_certificate_is_not_good_gets_nothing_and_why_is_said() {
    let rows = [
        ("server.pem", false, "localhost", "its certificate is not trusted"),
        ("other.pem", true, "localhost", "its certificate is for another name than localhost"),
        ("expired.pem", true, "127.0.0.1", "its certificate has expired"),
    ];
    for (security, _) in WAYS {
        for (certificate, trusting, host, says) in rows {
            let way = (security, Some(certificate));
            let Some(post) = Post::start(way, trusting, host, PASSWORD) else { return };
            let hint = if trusting { "certificate" } else { "SSL_CERT_FILE" };
            post.is_refused(&[says, hint]);
        }
    }
}

#[test]
fn a_password_that_the_mail_server_does_not_take_is_told_and_the_right_one_brings_what_waits() {
    let Some(post) = Post::start(("starttls", Some("server.pem")), true, "localhost", "canary-wrong") else { return };
    post.is_refused(&["it does not take the user or the password", "535"]);
    assert!(!post.world.server.log().contains("canary-wrong"));
    post.set("starttls", "localhost", PASSWORD);
    eventually("what waited", || post.mailbox.letters().len() == 1);
    eventually("the delivery to be noted", || post.delivery()["state"] == "delivered");
    post.nothing_could_be_read();
}

/// A server of which somebody on the line has put `behind` behind its word that TLS may begin. Its TLS is real.
fn meddled_with(behind: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let talk = move |mut socket: TcpStream| -> std::io::Result<()> {
        let mut heard = [0; 1_000];
        socket.write_all(b"220 mail.example\r\n")?;
        let _ = socket.read(&mut heard)?;
        socket.write_all(b"250-mail.example\r\n250 STARTTLS\r\n")?;
        let _ = socket.read(&mut heard)?;
        socket.write_all(format!("220 go ahead\r\n{behind}").as_bytes())?;
        let mut tls = rustls::ServerConnection::new(tls_config("server.pem")).map_err(std::io::Error::other)?;
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        while stream.read(&mut heard)? > 0 {}
        Ok(())
    };
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(|socket| drop(talk(socket))));
    address
}

#[test]
fn what_is_said_in_the_clear_is_not_taken_for_the_servers_answer_inside_of_tls() {
    let mut world = World::unstarted("0", honest(100, 20));
    let admin = world.server.admin_key();
    let ca = path("ca.pem");
    world.server.start_in(&[], &[("SSL_CERT_FILE", &ca)]);
    // All that a client waits for until its message is taken.
    let all =
        "250-mail.example\r\n250 AUTH PLAIN\r\n235 ok\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 taken\r\n221 bye\r\n";
    let settings = json!({"email": {"host": "localhost", "port": meddled_with(all).port(), "security": "starttls",
        "username": USER, "password": PASSWORD, "from": "alerts@example.org", "to": ["ops@example.org"]}});
    put(&world, &admin, &settings).expect(200);
    let test = Request::post("/v1/admin/alerts/test").key(&admin);
    let tested = world.server.http().send(&test).expect(200).json();
    assert_eq!(tested["email"]["delivered"], false, "{tested}");
    assert!(text(&tested["email"], "error").contains("TLS"), "{tested}");
}
