//! An error as a client sees it: status, type, code and envelope. From what went wrong to it: `table`.

mod table;

use std::borrow::Cow;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde_json::{Value, json};

use crate::dialect::Envelope;
use crate::domain::endpoint::Endpoint;
use crate::domain::ids::RequestId;
use crate::domain::inflate;
use crate::domain::metrics;
use crate::http::shared::browser;
use crate::http::shared::seen::Seen;
use crate::relay::{RateLimitStatus, Reason, ServerError};

/// An error as a client sees it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<Box<str>>,
    message: Box<str>,
    /// For `Retry-After`.
    retry_after: Option<Duration>,
    /// Asking again cannot help: tells the SDKs.
    final_: bool,
    /// Where the key stands in its minute.
    rate_limit: Option<Box<RateLimitStatus>>,
    /// A server's own words, which programs branch on.
    reason: Option<Box<Reason>>,
    /// Until the key's spend limit begins anew.
    limit_resets: Option<Duration>,
}

/// The envelope of what is answered at a path: that of the endpoint there or above it, else OpenAI's.
pub fn envelope_of(path: &str) -> Envelope {
    let is_below = |endpoint: &Endpoint| {
        path.strip_prefix(endpoint.path()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let endpoint = Endpoint::ALL.into_iter().find(is_below);
    endpoint.map_or(Envelope::OpenAi, |endpoint| endpoint.dialect().errors.envelope)
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            code: None,
            param: None,
            message: message.into().into(),
            retry_after: None,
            final_: false,
            rate_limit: None,
            reason: None,
            limit_resets: None,
        }
    }

    pub(crate) const fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    const fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    const fn no_retry(mut self) -> Self {
        self.final_ = true;
        self
    }

    /// 400: something is wrong with the request; `param` names the field.
    pub fn invalid(param: Option<&str>, message: impl Into<String>) -> Self {
        let mut e = Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message);
        e.param = param.map(Into::into);
        e
    }

    /// 401: one text for every cause.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", "the API key is missing or not valid")
            .code("invalid_api_key")
    }

    /// 401: two keys of this server, and no telling which one is meant.
    pub fn two_keys() -> Self {
        let message = "Authorization and x-api-key carry two different keys of this server: send one of them";
        Self { message: message.into(), ..Self::unauthorized() }
    }

    /// 405: a known path, and a method that it does not take.
    pub fn wrong_method(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
    }

    /// 426: a WebSocket, where there is plain HTTP only.
    pub fn no_upgrade() -> Self {
        let message = "no WebSocket is spoken here: send the request as a POST, streamed with server-sent events";
        Self::new(StatusCode::UPGRADE_REQUIRED, "invalid_request_error", message)
    }

    /// 401: nobody is signed in, or not any more.
    pub fn session_expired() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", "the session is over: sign in again")
            .code("session_expired")
    }

    /// 401: one text for an unknown name and a wrong password.
    fn wrong_password() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", "the name or the password is wrong")
            .code("invalid_login")
    }

    /// 401: the one-time link is wrong, or was used.
    pub fn wrong_setup_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", "this link is wrong or was used already")
            .code("invalid_setup_token")
    }

    /// 403: a page of another origin asked, with the browser's cookie.
    pub fn cross_site(headers: &HeaderMap, seen: &Seen<'_>) -> Self {
        Self::forbidden(browser::stranger(headers, seen)).code("cross_site")
    }

    /// 403: a browser that keeps no cookie of this address wants to sign in.
    pub fn cookie_dropped() -> Self {
        Self::forbidden(browser::DROPPED).code("insecure_http")
    }

    /// 403: the right key, but not for this.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_error", message)
    }

    /// 404: what was named is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found_error", message)
    }

    /// 409: it is there already, or was decided already; `param` names the field.
    pub fn conflict(param: Option<&str>, message: impl Into<String>) -> Self {
        let mut e = Self::new(StatusCode::CONFLICT, "conflict_error", message);
        e.param = param.map(Into::into);
        e
    }

    /// 422: an idempotency key came back with another request.
    pub fn key_reused() -> Self {
        let message = "this Idempotency-Key was used with another request";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "conflict_error", message).no_retry()
    }

    /// 413: more bytes than are read.
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request_error",
            format!("the body is larger than {limit} bytes"),
        )
        .code("payload_too_large")
    }

    /// 415: a `Content-Encoding` that cannot be undone.
    pub fn unknown_coding(name: &str) -> Self {
        let message = format!("the content encoding {name:?} is not known: send one of {}", inflate::ACCEPTED);
        let mut e = Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request_error", message);
        e.param = Some("Content-Encoding".into());
        e
    }

    /// 408: the client was too slow to send its request.
    pub fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", "the request took too long to arrive")
    }

    /// 429: too much, for now.
    pub fn rate_limited(message: impl Into<String>, wait: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
            .code("rate_limit_exceeded")
            .retry_after(wait)
    }

    /// 503: not now.
    pub fn unavailable(message: impl Into<String>, wait: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "service_unavailable", message).retry_after(wait)
    }

    /// 500: the log knows more.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "internal error")
    }

    /// What is wrong, for the client.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The HTTP status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The JSON text of the error. What it repeats of a request is shortened here, wherever it came from.
    pub fn body(&self, envelope: Envelope, request_id: Option<RequestId>) -> String {
        let message = shortened(&self.message, LONGEST_MESSAGE);
        let param = self.param.as_deref().map(|param| shortened(param, LONGEST_NAME));
        match envelope {
            Envelope::OpenAi => json!({"error": self.with_reason(envelope, json!({
                "message": message, "type": self.kind, "code": self.code, "param": param,
            }))}),
            Envelope::Anthropic => json!({
                "type": "error",
                "error": self.with_reason(envelope, json!({"type": self.kind, "message": message})),
                "request_id": request_id,
            }),
        }
        .to_string()
    }

    /// The error with what the server said of it, in the words of the caller's dialect.
    fn with_reason(&self, envelope: Envelope, mut error: Value) -> Value {
        let (Some(reason), Some(fields)) = (&self.reason, error.as_object_mut()) else { return error };
        // Anthropic's types end so, others' names are of another dialect.
        let kind = reason.kind.as_ref().filter(|kind| envelope == Envelope::OpenAi || kind.ends_with("_error"));
        let words = [
            ("type", kind.map(|kind| json!(kind))),
            ("code", reason.code.as_ref().map(|code| json!(code))),
            ("param", reason.param.as_ref().map(|param| json!(param))),
        ];
        for (name, value) in words {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        }
        for (name, value) in &reason.numbers {
            fields.entry(name).or_insert_with(|| value.clone());
        }
        error
    }

    /// A server's refusal: its status and words.
    fn by_server(e: ServerError) -> Self {
        let bad = Self::invalid(None, e.reason.message.clone());
        let bad = match e.status {
            404 => Self::not_found(bad.message),
            409 => Self::conflict(None, bad.message),
            413 => Self { status: StatusCode::PAYLOAD_TOO_LARGE, ..bad }.code("payload_too_large"),
            422 => Self { status: StatusCode::UNPROCESSABLE_ENTITY, ..bad },
            _ => bad,
        };
        Self { reason: Some(Box::new(e.reason)), ..bad }
    }

    /// A server has no room, or is not ready: with its status.
    fn busy(status: u16, message: String, wait: Duration) -> Self {
        match (status, StatusCode::from_u16(status)) {
            (503, _) => Self::unavailable(message, wait),
            (529, Ok(status)) => Self::new(status, "overloaded_error", message).retry_after(wait),
            _ => Self::rate_limited(message, wait),
        }
    }

    /// Asking again cannot help. Without a word some agents ask again for minutes; what passes by itself is never
    /// final.
    const fn is_final(&self) -> bool {
        match self.status {
            StatusCode::UNAUTHORIZED => true,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => false,
            _ => self.final_,
        }
    }

    /// The whole response.
    pub fn response(&self, envelope: Envelope, request_id: Option<RequestId>) -> HttpResponse {
        if let Some(metrics) = metrics::on() {
            metrics.refused(self.status.as_u16(), self.code.unwrap_or(self.kind));
        }
        let mut response = HttpResponse::build(self.status);
        response.content_type("application/json");
        if let Some(wait) = self.retry_after {
            // Whole seconds, rounded up: earlier would be too early.
            response.insert_header((RETRY_AFTER, wait.as_millis().div_ceil(1_000).max(1).to_string()));
        }
        if self.is_final() {
            response.insert_header((HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false")));
        }
        if let Some(wait) = self.limit_resets {
            let name = HeaderName::from_static("x-ratelimit-reset-spend");
            response.insert_header((name, format!("{}s", wait.as_secs())));
        }
        if envelope == Envelope::Anthropic
            && let Some(id) = request_id
        {
            response.insert_header((HeaderName::from_static("request-id"), id.to_string()));
        }
        if let Some(rate_limit) = &self.rate_limit {
            rate_limit_headers(&mut response, **rate_limit);
        }
        response.body(self.body(envelope, request_id))
    }
}

/// A longer text of an error says no more.
const LONGEST_MESSAGE: usize = 4_000;
/// A longer name of a field or a path is shortened where it is repeated, in bytes.
pub const LONGEST_NAME: usize = 200;

/// `text`, or its beginning if it is longer than that many bytes.
pub fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let kept = text.get(..end).unwrap_or_default();
    Cow::Owned(format!("{kept}… ({} bytes)", text.len()))
}

/// The headers that say where a key stands in its minute.
pub fn rate_limit_headers(response: &mut HttpResponseBuilder, rate_limit: RateLimitStatus) {
    let reset = format!("{}s", rate_limit.reset.as_millis().div_ceil(1_000));
    for (name, value) in [
        ("x-ratelimit-limit-requests", rate_limit.limit.to_string()),
        ("x-ratelimit-remaining-requests", rate_limit.remaining.to_string()),
        ("x-ratelimit-reset-requests", reset),
    ] {
        response.insert_header((HeaderName::from_static(name), value));
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        self.response(Envelope::OpenAi, None)
    }
}

#[cfg(test)]
mod tests;
