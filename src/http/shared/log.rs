//! One id and one log line for every request.

use std::borrow::Cow;
use std::time::Instant;

use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpMessage, HttpRequest};

use crate::dialect::Envelope;
use crate::domain::ids::{AccountId, RequestId};
use crate::domain::keys::KeyId;
use crate::domain::time::{Timestamp, millis};
use crate::http::shared::error::{LONGEST_NAME, envelope_of, shortened};

/// The id of the request at hand, and when it came.
#[derive(Debug, Clone, Copy)]
pub struct Arrived {
    /// Sent back as `x-request-id`.
    pub id: RequestId,
    /// When it came.
    pub at: Instant,
}

/// Who asked, once that is known.
#[derive(Debug, Clone, Copy)]
struct Known(AccountId, KeyId);

/// The public name of the model that was asked for.
#[derive(Debug, Clone)]
struct Model(String);

/// The request was a HEAD; the routes see a GET.
#[derive(Debug, Clone, Copy)]
pub struct WasHead;

/// The request has its own, fuller line.
#[derive(Debug, Clone, Copy)]
pub struct LoggedElsewhere;

/// The id of the request at hand.
pub fn arrived(request: &HttpRequest) -> Arrived {
    let known = request.extensions().get::<Arrived>().copied();
    known.unwrap_or_else(|| Arrived { id: RequestId::generate(Timestamp::now()), at: Instant::now() })
}

/// Remembers who asked, for the line.
pub fn note_caller(request: &HttpRequest, account: AccountId, key: KeyId) {
    request.extensions_mut().insert(Known(account, key));
}

/// Remembers the model that was asked for, for the line.
pub fn note_model(request: &HttpRequest, model: &str) {
    request.extensions_mut().insert(Model(shortened(model, LONGEST_NAME).into_owned()));
}

/// Gives the request its id.
pub fn begin(request: &ServiceRequest) -> Arrived {
    let arrived = Arrived { id: RequestId::generate(Timestamp::now()), at: Instant::now() };
    request.extensions_mut().insert(arrived);
    arrived
}

/// Says the id in the response, and logs the request unless it is logged elsewhere.
pub fn end<B>(response: &mut ServiceResponse<B>, arrived: Arrived) {
    if let Ok(value) = HeaderValue::try_from(arrived.id.to_string()) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), value);
    }
    // The name under which Anthropic's SDKs look for it.
    if envelope_of(response.request().path()) == Envelope::Anthropic
        && let Some(id) = response.headers().get("x-request-id").cloned()
    {
        response.headers_mut().insert(HeaderName::from_static("request-id"), id);
    }
    if response.response().extensions().get::<LoggedElsewhere>().is_none() {
        line(response, arrived);
    }
}

fn line<B>(response: &ServiceResponse<B>, arrived: Arrived) {
    let (request, status) = (response.request(), response.status().as_u16());
    // Probes of a load balancer would drown everything else.
    if matches!(request.path(), "/health" | "/readyz") && status == 200 {
        let ((method, path), total_ms) = (told(request), millis(arrived.at.elapsed()));
        tracing::debug!(request_id = %arrived.id, method = &*method, path = &*path, status, total_ms, "request");
        return;
    }
    write(request, arrived, status, None);
}

/// The line of a request that no model's answer tells of.
fn write(request: &HttpRequest, arrived: Arrived, status: u16, outcome: Option<&str>) {
    let extensions = request.extensions();
    let known = extensions.get::<Known>();
    let (method, path) = told(request);
    tracing::info!(
        request_id = %arrived.id,
        method = &*method,
        path = &*path,
        status,
        account = known.map(|k| tracing::field::display(k.0)),
        key_id = known.map(|k| tracing::field::display(k.1)),
        model = extensions.get::<Model>().map(|m| m.0.as_str()),
        outcome,
        total_ms = millis(arrived.at.elapsed()),
        "request"
    );
}

/// Holds a request, and logs it if its client goes away before it is answered.
#[derive(Debug)]
pub struct GoneGuard {
    request: ServiceRequest,
    is_light: bool,
    answered: bool,
}

impl GoneGuard {
    /// Of a request that nobody else holds.
    pub const fn new(request: ServiceRequest) -> Self {
        Self { request, is_light: false, answered: false }
    }

    /// The request at hand.
    pub fn request(&self) -> &HttpRequest {
        self.request.request()
    }

    /// Gives back the memory of its headers, which nobody reads any more: seven KiB, of each request that waits. Nobody
    /// else may hold the request.
    pub fn lighten(&mut self) {
        if !self.is_light {
            self.is_light = true;
            self.request.head_mut().headers = HeaderMap::new();
        }
    }

    /// It was answered.
    pub fn answered(mut self) -> HttpRequest {
        self.answered = true;
        self.request.request().clone()
    }

    /// It was answered with this status, in a body whose head said another one.
    pub fn answered_late(self, status: u16) {
        self.line(status, None);
        self.answered();
    }

    fn line(&self, status: u16, outcome: Option<&str>) {
        write(self.request(), arrived(self.request()), status, outcome);
    }
}

/// Method and path as a line tells them: a stranger chooses how long they are.
fn told(request: &HttpRequest) -> (Cow<'_, str>, Cow<'_, str>) {
    let method = if request.extensions().get::<WasHead>().is_some() { "HEAD" } else { request.method().as_str() };
    (shortened(method, LONGEST_NAME), shortened(request.path(), LONGEST_NAME))
}

impl Drop for GoneGuard {
    fn drop(&mut self) {
        if !self.answered {
            // What nginx logs for a client that closed its connection.
            self.line(499, Some("client_gone"));
        }
    }
}
