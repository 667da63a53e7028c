//! What this machine asks of the coordinator before that one asks: prices, its place, and connections.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Deserialize;

use super::Options;
use super::dial::{self, Address};
use crate::domain::secret::Secret;
use crate::tunnel::{self, Hello, MACHINES, OCCUPIED, SESSION, TUNNEL, Welcome};

/// How long the coordinator may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is read.
const LONGEST: usize = 4 << 20;

/// The coordinator, as this process knows it.
#[derive(Debug)]
pub struct Coordinator {
    address: Address,
    /// Before the paths of the API, where a proxy serves it below one.
    prefix: String,
    key: Secret,
    /// Random, of this process.
    pub instance: String,
}

/// Why it did not join.
#[derive(Debug)]
pub struct NotJoined {
    /// In a sentence.
    pub why: String,
    /// It would not another time either.
    pub is_final: bool,
    /// Another process has its place: perhaps this one's own from before, of which the coordinator has not heard yet
    /// that it is gone.
    pub is_occupied: bool,
}

impl NotJoined {
    /// It would not another time either.
    pub const fn finally(why: String) -> Self {
        Self { why, is_final: true, is_occupied: false }
    }
}

impl From<String> for NotJoined {
    fn from(why: String) -> Self {
        Self { why, is_final: false, is_occupied: false }
    }
}

#[derive(Deserialize)]
struct Prices {
    prices: Vec<Price>,
}

#[derive(Deserialize)]
struct Price {
    model: String,
}

#[derive(Deserialize)]
struct Refused {
    error: Reason,
}

#[derive(Deserialize)]
struct Reason {
    message: String,
    code: Option<String>,
}

impl Coordinator {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// A URL is none.
    pub fn new(options: &Options) -> Result<Self, String> {
        let address = Address::read(&options.url)?.through(options.proxy.as_deref(), options.ca_pem.as_deref())?;
        let instance = tunnel::new_key().ok_or("the operating system gives no random bytes")?;
        let path = options.url.splitn(4, '/').nth(3).unwrap_or_default().trim_matches('/');
        let prefix = if path.is_empty() { String::new() } else { format!("/{path}") };
        Ok(Self { address, prefix, key: options.key.clone(), instance })
    }

    /// The public names of the models that have a price.
    ///
    /// # Errors
    /// It does not say.
    pub async fn priced(&self) -> Result<Vec<String>, NotJoined> {
        let (status, body) =
            dial::get(&self.address, format!("{}/v1/pricing", self.prefix), None, PATIENCE, LONGEST).await?;
        let prices: Option<Prices> = serde_json::from_slice(&body).ok().filter(|_| status == 200);
        let prices = prices.ok_or_else(|| format!("{} does not look like a coordinator", self.address.authority()))?;
        Ok(prices.prices.into_iter().map(|price| price.model).collect())
    }

    /// Registers.
    ///
    /// # Errors
    /// It refuses, or does not answer.
    pub async fn register(&self, hello: &Hello) -> Result<Welcome, NotJoined> {
        let text = serde_json::to_vec(hello).map_err(|e| NotJoined::from(e.to_string()))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{MACHINES}", self.prefix))
            .header(AUTHORIZATION, self.bearer())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(text)))
            .map_err(|e| NotJoined::finally(e.to_string()))?;
        let asked = async {
            let answer = dial::send(&self.address, request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LONGEST).collect().await.map_err(|e| e.to_string())?;
            Ok((status, body.to_bytes()))
        };
        let (status, body) = in_time(asked).await?;
        if status.is_success() {
            let welcome = serde_json::from_slice(&body);
            return welcome.map_err(|e| NotJoined::from(format!("the coordinator's answer is not understood: {e}")));
        }
        Err(self.refused(status, &body))
    }

    /// Makes a connection.
    ///
    /// # Errors
    /// It refuses, or something between does not pass WebSockets on.
    pub async fn connect(&self, session: &str) -> Result<TokioIo<Upgraded>, NotJoined> {
        let key = tunnel::new_key().ok_or_else(|| "the operating system gives no random bytes".to_owned())?;
        let request = Request::builder()
            .uri(format!("{}{TUNNEL}", self.prefix))
            .header(AUTHORIZATION, self.bearer())
            .header(SESSION, session)
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", &key)
            .body(Empty::<Bytes>::new())
            .map_err(|e| NotJoined::finally(e.to_string()))?;
        let answer = in_time(dial::send(&self.address, request)).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LONGEST).collect().await;
            let NotJoined { why, .. } = self.refused(status, &body.map(|body| body.to_bytes()).unwrap_or_default());
            // A session that nobody knows any more is registered anew.
            return Err(format!("no WebSocket: {why}").into());
        }
        if answer.headers().get("sec-websocket-accept").is_none_or(|value| *value != *tunnel::accept(&key)) {
            return Err("no WebSocket: something between answers in the coordinator's place".to_owned().into());
        }
        let upgraded = hyper::upgrade::on(answer).await.map_err(|e| NotJoined::from(e.to_string()))?;
        Ok(TokioIo::new(upgraded))
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.key.expose())
    }

    /// What a refusal says, and whether it will say so again.
    fn refused(&self, status: StatusCode, body: &[u8]) -> NotJoined {
        let said: Option<Refused> = serde_json::from_slice(body).ok();
        let Some(Refused { error }) = said else {
            return format!("{} answered {status}", self.address.authority()).into();
        };
        let why: String = error.message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1_000).collect();
        let is_final =
            status.is_client_error() && !matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        NotJoined { why, is_final, is_occupied: error.code.as_deref() == Some(OCCUPIED) }
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, String>>) -> Result<T, NotJoined> {
    let answered = tokio::time::timeout(PATIENCE, asked).await;
    let answered = answered.map_err(|_| format!("the coordinator does not answer within {} s", PATIENCE.as_secs()))?;
    answered.map_err(NotJoined::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_is_in_use_may_be_free_another_time() {
        let options = Options {
            url: "http://127.0.0.1:1".into(),
            key: Secret::new("k".into()),
            to: None,
            local_key: None,
            name: "a".into(),
            models: Vec::new(),
            max_concurrent: None,
            replace: false,
            proxy: None,
            ca_pem: None,
            drain: Duration::ZERO,
        };
        let coordinator = Coordinator::new(&options).unwrap();
        // status, code, final, occupied
        for (status, code, is_final, is_occupied) in [
            (409, r#""machine_occupied""#, true, true),
            // It has all its machines, or another provider is called so.
            (409, "null", true, false),
            (403, r#""machine_limit""#, true, false),
            (429, "null", false, false),
            (503, "null", false, false),
        ] {
            let body = format!(r#"{{"error":{{"message":"no","type":"x","code":{code},"param":"name"}}}}"#);
            let said = coordinator.refused(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!((said.why.as_str(), said.is_final, said.is_occupied), ("no", is_final, is_occupied), "{status}");
        }
    }
}
