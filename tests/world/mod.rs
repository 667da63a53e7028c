//! The world of a story: a coordinator, an upstream that does what the story says, accounts with money.

pub mod agent;
pub mod answer;
pub mod coordinator;
pub mod http;
pub mod line;
pub mod mailbox;
pub mod upstream;
pub mod wire;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use answer::Answer;
use coordinator::Coordinator;
use http::{Conn, Reply, Request};
use upstream::{Seen, Upstream};

/// The model of most stories: $0.10 and $0.78 per 1M tokens.
pub const MODEL: &str = "qwen3.5-27b-claude-opus-8bit";

/// Long enough that a few hundred prompt tokens are within the bound of a token a byte.
pub const PROMPT: &str = "Explain gradient descent in one paragraph, then again in two, then as a letter to a friend \
    who has never seen a derivative, then as a recipe, then as directions to a valley in fog, then as the memoirs of \
    a ball that rolls. Keep every one of them short, never use the word slope, and end each with a question that the \
    next one answers. If a sentence has more than twenty words, cut it in two. If a paragraph has more than five \
    sentences, cut it too. Write nothing before the first paragraph and nothing after the last one, thank you.";

/// Waits until `done`: twenty seconds at the most, since a busy disk can hold a commit back for long.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An account and a key of it.
#[derive(Debug, Clone)]
pub struct Account {
    pub id: String,
    pub key: String,
    pub key_id: String,
}

/// A text of a JSON object.
pub fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no text {field} in {value}")).to_owned()
}

impl Coordinator {
    /// Makes an account with a key.
    pub fn account(&self, name: &str) -> Account {
        let account = self.ok(&["account", "create", name]);
        let key = self.ok(&["key", "create", name]);
        Account { id: text(&account, "id"), key: text(&key, "key"), key_id: text(&key, "id") }
    }

    /// Adds a provider of [`MODEL`].
    pub fn provider(&self, name: &str, url: &str, owner: &Account, more: &[&str]) {
        let args = ["provider", "add", name, "--url", url, "--account", &owner.id, "--model", MODEL];
        self.ok(&[&args, more].concat());
    }

    /// Makes an admin and a key of it.
    pub fn admin_key(&self) -> String {
        let password = "correct horse battery staple";
        let made = self.cli_with_input(&["admin", "create", "root", "--password-stdin"], password);
        assert_eq!(made.code, 0, "{made:?}");
        text(&self.ok(&["admin", "key", "root"]), "key")
    }
}

/// A server with one payer, one provider `up` owned by another account, and its upstream.
pub struct World {
    pub server: Coordinator,
    pub upstream: Upstream,
    pub payer: Account,
    pub owner: Account,
}

impl World {
    /// $5.00 of credit.
    pub fn new(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::with("5.00", &[], script)
    }

    /// That credit, and more arguments for `serve`.
    pub fn with(credit: &str, serve: &[&str], script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let mut world = Self::unstarted(credit, script);
        world.server.start(serve);
        world
    }

    /// Everything but a running server.
    pub fn unstarted(credit: &str, script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let (server, upstream) = (Coordinator::new(), Upstream::start(script));
        let (payer, owner) = (server.account("payer"), server.account("owner"));
        if credit != "0" {
            server.ok(&["credit", &payer.id, credit]);
        }
        server.provider("up", &upstream.url(), &owner, &[]);
        Self { server, upstream, payer, owner }
    }

    /// A chat request of the payer.
    pub fn request(&self, body: &Value) -> Request {
        Request::post("/v1/chat/completions").key(&self.payer.key).json(body)
    }

    /// Sends a chat request of the payer and reads the whole reply.
    pub fn chat(&self, body: &Value) -> Reply {
        self.server.http().send(&self.request(body))
    }

    /// Sends a chat request of the payer and reads nothing yet.
    pub fn open(&self, body: &Value) -> Conn {
        self.server.http().open(&self.request(body))
    }

    /// The payer's balance, as the API tells it.
    pub fn money(&self) -> Value {
        self.money_of(&self.payer)
    }

    pub fn money_of(&self, account: &Account) -> Value {
        self.server.http().get("/v1/payments/balance", &account.key).expect(200).json()
    }

    /// The payer's balance in micro-USD.
    pub fn balance(&self) -> i64 {
        micro(&self.money(), "balance_micro_usd")
    }

    /// What the provider's owner has earned.
    pub fn earned(&self) -> i64 {
        micro(&self.money_of(&self.owner), "withdrawable_micro_usd")
    }

    /// The payer's usage rows, newest first.
    pub fn rows(&self) -> Vec<Value> {
        let rows = self.server.http().get("/v1/payments/usage?limit=1000", &self.payer.key).expect(200).json();
        rows.as_array().expect("a bare array").clone()
    }

    /// The newest row, of this many.
    pub fn row(&self, of: usize) -> Value {
        let rows = self.rows();
        assert_eq!(rows.len(), of, "{rows:?}");
        rows[0].clone()
    }

    /// Waits for that many rows: a hang-up is settled when nobody waits for an answer.
    pub fn wait_rows(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} usage rows"), || self.rows().len() >= count);
        let rows = self.rows();
        assert_eq!(rows.len(), count, "{rows:?}");
        rows
    }

    /// What a provider's state is said to be; empty if there is none of this name.
    pub fn state_of(&self, provider: &str) -> String {
        let list = self.server.ok(&["provider", "list"]);
        let all = list.as_array().unwrap();
        all.iter().find(|p| p["name"] == provider).map_or_else(String::new, |p| text(p, "state"))
    }

    /// Waits until no request holds money.
    pub fn wait_released(&self) {
        eventually("the holds to be released", || micro(&self.money(), "held_micro_usd") == 0);
    }
}

/// A whole number of a JSON object.
pub fn micro(value: &Value, field: &str) -> i64 {
    value[field].as_i64().unwrap_or_else(|| panic!("no whole number {field} in {value}"))
}

/// A chat body of [`MODEL`] with [`PROMPT`].
pub fn chat_body() -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 256})
}

/// The same, streamed, with a usage chunk or without.
pub fn stream_body(include_usage: bool) -> Value {
    let mut body = chat_body();
    body["stream"] = json!(true);
    if include_usage {
        body["stream_options"] = json!({"include_usage": true});
    }
    body
}

/// The cost of a row at $0.10 and $0.78 per 1M tokens, in micro-USD.
pub fn cost(prompt: i64, completion: i64) -> i64 {
    (prompt * 100_000 + completion * 780_000 + 999_999) / 1_000_000
}

/// What a process takes of the memory, in KiB: `VmRSS:` now, `VmHWM:` at the most.
pub fn memory_kib(pid: impl std::fmt::Display, which: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(which)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
