//! One request of the coordinator, to the local server, and its answer back.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Error, ResponseFuture};

use super::local::ModelServer;
use crate::domain::secret::Secret;
use crate::tunnel::{LOCAL_FAILURE, LONG_PROMPT, may_be_asked};
use crate::upstream::{self, Connector, On, Pool, Resolver, tls_config};

/// A body on its way, either way: read already, or as it comes.
pub type Passed = Either<Full<Bytes>, Incoming>;
type Tcp = HttpConnector<Resolver>;

/// Connections to the local server: below TLS each of them takes more room, and so does knowing whom to trust.
#[derive(Debug)]
enum LocalPool {
    Plain(Pool<Connector<Tcp>, Passed>),
    Tls(Pool<Connector<HttpsConnector<Tcp>>, Passed>),
}

impl LocalPool {
    fn new(base: &str) -> Result<Self, String> {
        let tcp = upstream::tcp(CONNECT_WITHIN);
        if base.starts_with("http://") {
            return Ok(Self::Plain(Pool::new(Connector::new(tcp, CONNECT_WITHIN), MOST_BUFFERED)));
        }
        let https = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls_config(None)?);
        let https = https.https_only().enable_http1().wrap_connector(tcp);
        Ok(Self::Tls(Pool::new(Connector::new(https, CONNECT_WITHIN), MOST_BUFFERED)))
    }

    fn send(&self, request: Request<Passed>, on: On) -> ResponseFuture {
        match self {
            Self::Plain(pool) => pool.send(request, on),
            Self::Tls(pool) => pool.send(request, on),
        }
    }
}

/// Headers of a request that the local server gets. No credential is among them.
const ASKED: [&str; 5] = ["accept", "content-type", "user-agent", "anthropic-version", "anthropic-beta"];
/// Headers of its answer that the coordinator gets.
const ANSWERED: [HeaderName; 3] = [CONTENT_TYPE, CONTENT_ENCODING, RETRY_AFTER];
/// How long a connection to the local server may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// What is read ahead of a coordinator that does not keep up, in bytes.
const MOST_BUFFERED: usize = 16 << 10;

/// Passes requests on to the local server, and to nobody else.
#[derive(Debug)]
pub struct Forwarder {
    base: String,
    key: Option<HeaderValue>,
    pool: LocalPool,
}

impl Forwarder {
    /// To this server; `key` is what it asks for.
    ///
    /// # Errors
    /// The key cannot stand in a header, or no certificates can be read.
    pub fn new(local: &ModelServer, key: Option<Secret>) -> Result<Self, String> {
        let pool = LocalPool::new(&local.base)?;
        let key = key.map(|key| HeaderValue::try_from(format!("Bearer {}", key.expose()))).transpose();
        let key = key.map_err(|_| "the local server's key cannot stand in a header".to_owned())?;
        Ok(Self { base: local.base.clone(), key, pool })
    }

    /// Where a path is asked for, if it may be.
    fn url(&self, method: &str, uri: &Uri) -> Option<Uri> {
        if !may_be_asked(method, uri.path()) {
            return None;
        }
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let url = match uri.path().strip_prefix("/v1") {
            Some(path) => format!("{}{path}{query}", self.base),
            None => format!("{}{}{query}", self.base.strip_suffix("/v1").unwrap_or(&self.base), uri.path()),
        };
        url.parse().ok()
    }

    /// Asks the local server. Dropping the answer's body closes the connection, which stops the server.
    pub async fn forward(&self, request: Request<Incoming>) -> Response<Passed> {
        let Some(url) = self.url(request.method().as_str(), request.uri()) else {
            return plain(StatusCode::NOT_FOUND, "this machine is not asked for that");
        };
        let (head, body) = request.into_parts();
        let again = |body: Passed| {
            let mut request = Request::new(body);
            *request.method_mut() = head.method.clone();
            *request.uri_mut() = url.clone();
            *request.headers_mut() = self.headers(&head.headers);
            request
        };
        let is_long = body.size_hint().upper().is_none_or(|most| most > LONG_PROMPT as u64);
        if is_long {
            // It cannot be sent twice, and so not on a connection that may be closed already.
            return answered(self.pool.send(again(Either::Right(body)), On::Fresh).await);
        }
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return plain(StatusCode::BAD_REQUEST, "the request broke off"),
        };
        let sent = Instant::now();
        match self.pool.send(again(Either::Left(Full::new(body.clone()))), On::Any).await {
            Err(e) if upstream::is_stale(&e, sent) => {
                answered(self.pool.send(again(Either::Left(Full::new(body))), On::Fresh).await)
            }
            answer => answered(answer),
        }
    }

    fn headers(&self, came: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for name in ASKED.map(HeaderName::from_static) {
            for value in came.get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
        headers.insert(http::header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(key) = &self.key {
            headers.insert(AUTHORIZATION, key.clone());
        }
        headers
    }
}

fn answered(answer: Result<Response<Incoming>, Error>) -> Response<Passed> {
    match answer {
        Ok(answer) => {
            upstream::mark_used(answer.extensions());
            let (head, body) = answer.into_parts();
            let mut passed = Response::new(Either::Right(body));
            *passed.status_mut() = head.status;
            for name in ANSWERED.into_iter().chain([HeaderName::from_static("retry-after-ms")]) {
                if let Some(value) = head.headers.get(&name) {
                    passed.headers_mut().insert(name, value.clone());
                }
            }
            passed
        }
        Err(e) => {
            let kind = if e.is_connect() { "unreached" } else { "no-answer" };
            let mut why = e.to_string();
            let mut cause = std::error::Error::source(&e);
            while let Some(e) = cause {
                why = e.to_string();
                cause = e.source();
            }
            tracing::warn!(why, "the local server failed");
            let mut failed = plain(StatusCode::BAD_GATEWAY, "the local server failed");
            let text: String = format!("{kind}: {why}").chars().filter(|c| (' '..='~').contains(c)).take(300).collect();
            if let Ok(value) = HeaderValue::try_from(text) {
                failed.headers_mut().insert(HeaderName::from_static(LOCAL_FAILURE), value);
            }
            failed
        }
    }
}

/// An answer of the agent itself.
pub fn plain(status: StatusCode, text: &'static str) -> Response<Passed> {
    let mut answer = Response::new(Either::Left(Full::new(Bytes::from_static(text.as_bytes()))));
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_paths_of_models_lead_to_the_local_server_and_no_credential_does() {
        let local = ModelServer { base: "http://127.0.0.1:9/own/v1".into(), models: Vec::new(), at_once: None };
        let forwarder = Forwarder::new(&local, Some(Secret::new("own".into()))).unwrap();
        let url =
            |method: &str, uri: &'static str| forwarder.url(method, &Uri::from_static(uri)).map(|url| url.to_string());
        let asked = url("POST", "http://machine/v1/chat/completions?a=b");
        assert_eq!(asked.as_deref(), Some("http://127.0.0.1:9/own/v1/chat/completions?a=b"));
        assert_eq!(url("GET", "http://machine/props").as_deref(), Some("http://127.0.0.1:9/own/props"));
        for (method, uri) in
            [("GET", "http://machine/admin"), ("POST", "http://elsewhere/v1/models"), ("PUT", "/v1/models")]
        {
            assert_eq!(url(method, uri), None, "{method} {uri}");
        }
        let mut came = HeaderMap::new();
        for name in ["authorization", "x-api-key", "cookie", "host", "content-type", "x-forwarded-for"] {
            came.insert(HeaderName::from_static(name), HeaderValue::from_static("theirs"));
        }
        let sent = forwarder.headers(&came);
        assert_eq!(sent.len(), 3, "{sent:?}");
        assert_eq!(sent.get(AUTHORIZATION).unwrap(), "Bearer own");
    }
}
