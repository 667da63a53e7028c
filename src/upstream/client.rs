//! Sending a request to a provider and reading its answer, with the timeouts and the one retry that
//! real servers ask for.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Uri};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Error as SendError, ResponseFuture};

use super::Target;
use super::body::UpstreamBody;
use super::connect::{self, Connector, Resolver, with_causes};
use super::failure::Failure;
use super::joined::Machines;
use super::outgoing::Outgoing;
use super::pool::{On, Pool, is_stale, mark_used};
use super::undo::Undo;
use super::{tls, wait};
use crate::domain::provider::Auth;

/// How long each part of an exchange may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Until a connection is made.
    pub connect: Duration,
    /// From the request until the head of the answer: with a busy server, the whole answer's time.
    pub first_byte: Duration,
    /// Between two reads of the answer.
    pub idle: Duration,
    /// Between two events of a stream: comments and pings alone do not extend it.
    pub event: Duration,
}

/// The head of a provider's answer, and its body to be read.
#[derive(Debug)]
pub struct UpstreamResponse {
    /// HTTP status.
    pub status: u16,
    /// Its media type, without parameters, in lower case.
    pub media_type: String,
    /// It is compressed, though nobody asked, and this is no coding that can be undone.
    pub unknown_coding: Option<String>,
    /// When it wants to be asked again.
    pub retry_after: Option<Duration>,
    /// The rest.
    pub body: UpstreamBody,
}

/// A pool of connections of one worker thread: sharing one between threads costs a fifth of the speed.
#[derive(Clone)]
pub struct Client {
    plain: Pool<Plain, Outgoing>,
    /// One for each authority that is trusted beside the machine's. Made when first needed: reading the machine's
    /// certificates takes time and memory.
    tls: Arc<Mutex<TlsPools>>,
    /// Those that are not dialled.
    machines: Arc<Machines>,
    timeouts: Timeouts,
}

type TlsPools = HashMap<Option<Arc<str>>, Pool<Tls, Outgoing>>;
type Plain = Connector<HttpConnector<Resolver>>;
type Tls = Connector<HttpsConnector<HttpConnector<Resolver>>>;

/// A request on its way.
enum Sending {
    /// On a connection of ours.
    Dialled(ResponseFuture),
    /// On one that the machine made.
    Joined(Pin<Box<dyn Future<Output = Result<http::Response<Incoming>, Failure>> + Send>>),
}

/// Why a request that was sent at `sent` has no answer.
fn not_answered(e: &SendError, target: &Target, sent: Instant) -> Failure {
    if e.is_connect() {
        let url = target.url.parse::<Uri>();
        Failure::Unreached(connect::words(e, url.as_ref().ok().and_then(Uri::host).unwrap_or_default()))
    } else if is_stale(e, sent) {
        Failure::Stale(with_causes(e))
    } else {
        Failure::NoAnswer(with_causes(e))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("timeouts", &self.timeouts).finish_non_exhaustive()
    }
}

/// What is read ahead of a client that does not keep up, in bytes; hyper's own bound is 400 KiB.
const MOST_BUFFERED: usize = 64 << 10;

impl Client {
    /// A client for the thread it is made on, which reaches no machine that joined.
    pub fn new(timeouts: Timeouts) -> Self {
        let plain = Pool::new(Connector::new(connect::tcp(timeouts.connect), timeouts.connect), MOST_BUFFERED);
        Self { plain, tls: Arc::default(), machines: Arc::default(), timeouts }
    }

    /// The same, which reaches these.
    #[must_use]
    pub fn with(self, machines: &Arc<Machines>) -> Self {
        Self { machines: Arc::clone(machines), ..self }
    }

    fn tls(&self, ca_pem: Option<&Arc<str>>) -> Result<Pool<Tls, Outgoing>, Failure> {
        let mut pools = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&ca_pem.cloned()) {
            return Ok(pool.clone());
        }
        let config = tls::config(ca_pem.map(|pem| &**pem)).map_err(Failure::Settings)?;
        let https = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config).https_only();
        let https = https.enable_http1().wrap_connector(connect::tcp(self.timeouts.connect));
        let pool = Pool::new(Connector::new(https, self.timeouts.connect), MOST_BUFFERED);
        pools.insert(ca_pem.cloned(), pool.clone());
        Ok(pool)
    }

    /// How long an answer may take to begin.
    pub const fn first_byte(&self) -> Duration {
        self.timeouts.first_byte
    }

    /// Posts `body`, which is in pieces, to `path` below the target's base URL. `headers` are the client's that may go
    /// along.
    ///
    /// # Errors
    /// No answer began. [`Failure::Stale`]: it may have on a fresh connection.
    pub fn post<'a>(
        &'a self,
        target: &'a Target,
        path: &str,
        headers: &[(&'static str, Vec<u8>)],
        body: Vec<Bytes>,
        on: On,
    ) -> impl Future<Output = Result<UpstreamResponse, Failure>> + use<'a> {
        let answer = self.exchange(target, build(target, Method::POST, path, headers, body), on);
        async move { Ok(self.answer(answer.await?)) }
    }

    /// Is the server there? Any answer to the cheapest of questions will do, on a connection of its own.
    ///
    /// # Errors
    /// No connection, or no answer on it.
    pub async fn is_there(&self, target: &Target) -> Result<(), Failure> {
        let request = build(target, Method::GET, "/models", &[], Vec::new());
        self.exchange(target, request, On::Fresh).await.map(drop)
    }

    /// What a server says at `path` below its root (the base URL without `/v1`), if it says so with status 200 and within
    /// `patience`; `most` bytes of it.
    pub async fn look_at(&self, target: &Target, path: &str, most: usize, patience: Duration) -> Option<Bytes> {
        let root = target.url.strip_suffix("/v1").unwrap_or(&target.url).to_owned();
        let request = build(&Target { url: root, ..target.clone() }, Method::GET, path, &[], Vec::new());
        let asked = tokio::time::timeout(patience, self.exchange(target, request, On::Any)).await;
        let answer = self.answer(asked.ok()?.ok()?);
        if answer.status != 200 {
            return None;
        }
        Some(answer.body.start(most, patience).await)
    }

    /// What is waited for holds no more than it needs: a future is copied with all that it may come to hold.
    fn exchange<'a>(
        &self,
        target: &'a Target,
        request: Result<Request<Outgoing>, Failure>,
        on: On,
    ) -> impl Future<Output = Result<http::Response<Incoming>, Failure>> + use<'a> {
        let (sent, first_byte) = (Instant::now(), self.timeouts.first_byte);
        let answer = request.and_then(|request| self.send(target, request, on));
        async move {
            let late = |_| Failure::Late(first_byte);
            let answer = match answer? {
                Sending::Dialled(answer) => {
                    let answer = tokio::time::timeout(first_byte, answer).await.map_err(late)?;
                    answer.map_err(|e| not_answered(&e, target, sent))?
                }
                Sending::Joined(answer) => tokio::time::timeout(first_byte, answer).await.map_err(late)??,
            };
            mark_used(answer.extensions());
            Ok(answer)
        }
    }

    fn send(&self, target: &Target, request: Request<Outgoing>, on: On) -> Result<Sending, Failure> {
        if target.joined {
            Ok(Sending::Joined(Box::pin(Arc::clone(&self.machines).send(target.provider, request))))
        } else if request.uri().scheme() == Some(&http::uri::Scheme::HTTPS) {
            Ok(Sending::Dialled(self.tls(target.ca_pem.as_ref())?.send(request, on)))
        } else {
            Ok(Sending::Dialled(self.plain.send(request, on)))
        }
    }

    fn answer(&self, answer: http::Response<Incoming>) -> UpstreamResponse {
        let (head, incoming) = answer.into_parts();
        let text = |name| head.headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
        let media_type = text(CONTENT_TYPE).unwrap_or_default();
        let (undo, unknown_coding) = match Undo::new(text(CONTENT_ENCODING).unwrap_or_default()) {
            Ok(undo) => (undo.map(Box::new), None),
            Err(name) => (None, Some(name)),
        };
        UpstreamResponse {
            status: head.status.as_u16(),
            media_type: media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase(),
            unknown_coding,
            retry_after: wait::retry_after(&head.headers, SystemTime::now()),
            body: UpstreamBody { incoming, undo, idle: self.timeouts.idle, event: self.timeouts.event, clock: None },
        }
    }
}

fn build(
    target: &Target,
    method: Method,
    path: &str,
    headers: &[(&'static str, Vec<u8>)],
    body: Vec<Bytes>,
) -> Result<Request<Outgoing>, Failure> {
    let settings = |e: &dyn std::fmt::Display| Failure::Settings(e.to_string());
    let uri: Uri = format!("{}{path}", target.url).parse().map_err(|e| settings(&e))?;
    let mut map = HeaderMap::with_capacity(headers.len() + 4);
    for (name, value) in headers {
        // A value that HTTP/1.1 cannot carry is left out; it came from a client.
        if let Ok(value) = HeaderValue::from_bytes(value) {
            map.append(HeaderName::from_static(name), value);
        }
    }
    map.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    map.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(key) = &target.api_key {
        let (name, value) = match target.manners.auth {
            Auth::Bearer => (AUTHORIZATION, HeaderValue::try_from(format!("Bearer {}", key.expose()))),
            Auth::XApiKey => (HeaderName::from_static("x-api-key"), HeaderValue::try_from(key.expose())),
        };
        let mut value = value.map_err(|e| settings(&e))?;
        value.set_sensitive(true);
        map.insert(name, value);
    }
    if target.manners.auth == Auth::XApiKey {
        // Anthropic answers nothing without one. Its clients send theirs.
        let version = HeaderName::from_static("anthropic-version");
        map.entry(version).or_insert(HeaderValue::from_static("2023-06-01"));
    }
    if let Some(host) = uri.authority().filter(|_| uri.port_u16().is_none_or(|port| port != 80 && port != 443)) {
        // What hyper would write, at the cost of spelling it anew for each request.
        map.insert(HOST, HeaderValue::from_str(host.as_str()).map_err(|e| settings(&e))?);
    }
    let mut request = Request::new(Outgoing::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = map;
    Ok(request)
}
