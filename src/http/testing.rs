//! A whole server in one process, for tests: routes, store, writer, and the demo provider on a socket.

use std::sync::Arc;
use std::time::Duration;

use actix_http::Request;
use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use actix_web::{Error, test};
use serde_json::Value;

use crate::auth::hash_key;
use crate::demo::{self, Imitate};
use crate::domain::byte_budget::ByteBudget;
use crate::domain::ids::AccountId;
use crate::domain::key_limits::KeyLimits;
use crate::domain::keys::{PlainKey, Scopes};
use crate::domain::money::MicroUsd;
use crate::domain::settle::Terms;
use crate::domain::time::Timestamp;
use crate::http::AppState;
use crate::http::Settings;
use crate::http::routes;
use crate::http::server::{self, Shared};
use crate::http::shared::outside::Outside;
use crate::relay::{QueueLimits, Relay, Rooms};
use crate::store::keys::{self, NewKey, Owner};
use crate::store::providers::{self, NewProvider};
use crate::store::{Store, StoreError, Tx, Writer, accounts, admins, audit, ledger, prices};
use crate::upstream::Timeouts;

/// A model of the published table: $0.10 in, $0.78 out.
pub const MODEL: &str = "qwen3.5-27b-claude-opus-8bit";

/// The state of one test, gone with it.
pub struct Bench {
    pub state: AppState,
    _dir: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub json: Value,
    pub text: String,
}

impl Reply {
    /// A header's text, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// An integer of the body.
    pub fn micro(&self, field: &str) -> i64 {
        self.json[field].as_i64().unwrap_or_else(|| panic!("no {field} in {}", self.text))
    }

    /// A string of the body.
    pub fn str(&self, field: &str) -> &str {
        self.json[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.text))
    }
}

impl Bench {
    /// A server with a demo provider that offers [`MODEL`] and earns for the account `lab`.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("a store");
        let (writer, _) = Writer::start(&store).expect("a writer");
        // Nobody waits, so that a test sees at once who would.
        let queue = QueueLimits { timeout: Duration::ZERO, length: 100, affinity: true };
        let room = || ByteBudget::new(64 << 20);
        let rooms = Rooms { bodies: room(), answers: room(), longest_body: 1 << 20, queue };
        let relay = Relay::new(store.clone(), writer.clone(), Terms::default(), rooms, |key| Some(key.clone()));
        let second = Duration::from_secs(1);
        let settings = Settings {
            body_limit: 1 << 20,
            body_timeout: second * 10,
            write_timeout: second * 10,
            sign_of_life: second * 10,
            keep_alive: second * 10,
            drain: second,
            workers: 1,
            cors_origins: Vec::new(),
            outside: Outside::default(),
            timeouts: Timeouts { connect: second * 5, first_byte: second * 60, idle: second * 60, event: second * 60 },
        };
        let bench =
            Self { state: AppState::new(Arc::new(relay), store, writer, settings).expect("a state"), _dir: dir };
        let (address, server) = demo::start(vec![MODEL.into()], Imitate::default(), None).expect("a demo");
        super::spawn(server);
        let lab = bench.account("lab", 0);
        bench.write(|conn, now| {
            let new = NewProvider { url: format!("http://{address}/v1"), ..NewProvider::of(lab, "demo", MODEL) };
            providers::create(conn, &new, "test", now)
        });
        bench
    }

    /// Writes to the database.
    pub fn write<T>(&self, write: impl FnOnce(&Tx, Timestamp) -> Result<T, StoreError>) -> T {
        self.state.store.write_exclusive(|conn| write(conn, Timestamp::now())).expect("a write")
    }

    /// An account with so much prepaid credit.
    pub fn account(&self, name: &str, micro: i64) -> AccountId {
        self.write(|conn, now| {
            let id = accounts::create(conn, name, None, "test", now)?.id;
            if micro > 0 {
                ledger::credit(conn, id, MicroUsd::new(micro), "", "test", now)?;
            }
            Ok(id)
        })
    }

    /// A key of an account.
    pub fn key(&self, account: AccountId, scopes: &str, limits: KeyLimits) -> String {
        let scopes = Scopes::parse(scopes).expect("scopes");
        self.mint(Owner::Account(account), scopes, limits)
    }

    /// A key of an admin.
    pub fn admin_key(&self) -> String {
        let admin = self.write(|conn, now| admins::create(conn, "ada", None, "test", now));
        self.mint(Owner::Admin(admin.id), Scopes::ADMIN, KeyLimits::default())
    }

    fn mint(&self, owner: Owner, scopes: Scopes, limits: KeyLimits) -> String {
        let key = PlainKey::generate().expect("entropy");
        let hash = hash_key(&key).expect("a hash");
        let new = NewKey { id: key.id(), hash, owner, name: "test".into(), scopes, limits };
        self.write(|conn, now| keys::create(conn, &new, "test", now));
        key.expose().to_owned()
    }

    /// Prices [`MODEL`] anew, in micro-USD per 1M tokens.
    pub fn price(&self, input: i64, output: i64) {
        let price = crate::domain::price::Price {
            input: MicroUsd::new(input),
            output: MicroUsd::new(output),
            cache_read: None,
            cache_write: None,
            cache_write_1h: None,
        };
        let new = prices::NewPrice {
            model: MODEL.into(),
            display_name: None,
            price,
            context_length: None,
            max_output: None,
            max_running: None,
            keep: true,
        };
        self.write(|conn, now| prices::set(conn, &new, "test", now).map(drop));
    }

    /// The books agree.
    pub fn audit(&self) {
        let report = self.state.store.read_inline(audit::audit).expect("an audit");
        assert!(report.ok, "{:?}", report.problems);
    }

    /// The routes.
    pub async fn app(&self) -> impl Service<Request, Response = ServiceResponse<impl MessageBody>, Error = Error> {
        let app = server::app(&Shared::new(self.state.clone()), routes);
        test::init_service(app).await
    }
}

/// Sends `method path` (`POST /v1/keys`) with a key and a JSON body; null sends none.
pub async fn call<S, B>(app: &S, line: &str, key: &str, body: Value) -> Reply
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    call_with(app, line, key, body, &[]).await
}

/// As [`call`], with headers.
pub async fn call_with<S, B>(app: &S, line: &str, key: &str, body: Value, headers: &[(&str, &str)]) -> Reply
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    let (method, path) = line.split_once(' ').expect("METHOD PATH");
    let mut request =
        test::TestRequest::with_uri(path).method(Method::from_bytes(method.as_bytes()).expect("a method"));
    if !key.is_empty() {
        request = request.insert_header(("authorization", format!("Bearer {key}")));
    }
    for header in headers {
        request = request.insert_header(*header);
    }
    if !body.is_null() {
        request = request.set_json(body);
    }
    let response = test::call_service(app, request.to_request()).await;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = String::from_utf8_lossy(&test::read_body(response).await).into_owned();
    Reply { status, headers, json: serde_json::from_str(&text).unwrap_or_default(), text }
}

/// A chat request for an answer of that many tokens.
pub fn chat(tokens: u32) -> Value {
    serde_json::json!({
        "model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": tokens, "demo_tokens": tokens,
        "demo_delay_ms": 0,
    })
}
