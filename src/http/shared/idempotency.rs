//! Writes of money that a client may send twice: done once, answered twice.

use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};

use crate::domain::time::Timestamp;
use crate::http::shared::error::ApiError;
use crate::http::state::AppState;
use crate::relay::Idempotency;
use crate::store::idempotency::{self, SavedAnswer};
use crate::store::{StoreError, Tx};

/// The answer to a money write, to be stored with it.
///
/// # Errors
/// Never fails in practice: what is answered can always be written as JSON.
pub fn answer(status: u16, body: &impl serde::Serialize) -> Result<SavedAnswer, StoreError> {
    let body = serde_json::to_string(body).map_err(|e| StoreError::Invalid(e.to_string()))?;
    Ok(SavedAnswer { status, body })
}

/// Why a money write was not done.
#[derive(Debug)]
pub enum NotWritten {
    /// Its `Idempotency-Key` is none: 400.
    BadKey(ApiError),
    /// The key was used with another request, or what the write returned.
    Store(StoreError),
}

impl From<NotWritten> for ApiError {
    fn from(e: NotWritten) -> Self {
        match e {
            NotWritten::BadKey(e) => e,
            NotWritten::Store(e) => e.into(),
        }
    }
}

/// Runs a money write of `actor`, at most once for its `Idempotency-Key`.
pub async fn money_write(
    request: &HttpRequest,
    state: &AppState,
    actor: String,
    body: &Bytes,
    write: impl FnMut(&Tx, &str, Timestamp) -> Result<SavedAnswer, StoreError> + Send + 'static,
) -> Result<HttpResponse, NotWritten> {
    let answer = money_write_saved(request, state, actor, body, write).await?;
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    Ok(HttpResponse::build(status).content_type("application/json").body(answer.body))
}

/// As [`money_write`]; gives the answer as it is stored.
pub async fn money_write_saved(
    request: &HttpRequest,
    state: &AppState,
    actor: String,
    body: &Bytes,
    mut write: impl FnMut(&Tx, &str, Timestamp) -> Result<SavedAnswer, StoreError> + Send + 'static,
) -> Result<SavedAnswer, NotWritten> {
    let key = idempotency_key(request, &actor, body).map_err(NotWritten::BadKey)?;
    let now = Timestamp::now();
    let done = state.writer.write(move |conn| match &key {
        Some(key) => idempotency::once(conn, key, now, || write(conn, &actor, now)),
        None => write(conn, &actor, now),
    });
    done.await.map_err(NotWritten::Store)
}

fn idempotency_key(request: &HttpRequest, actor: &str, body: &Bytes) -> Result<Option<idempotency::Key>, ApiError> {
    let body_hash = request_hash(request, body);
    Ok(header(request)?.map(|key| idempotency::Key { actor: actor.to_owned(), key: key.to_owned(), body_hash }))
}

/// The hashes of an inference request's `Idempotency-Key` and of the request, if it has one.
///
/// # Errors
/// 400 for a bad key.
pub fn inference_key(request: &HttpRequest, body: &Bytes) -> Result<Option<Idempotency>, ApiError> {
    let hashes = |key: &str| Idempotency {
        key_hash: idempotency::hash(&[key.as_bytes()]),
        body_hash: request_hash(request, body),
    };
    Ok(header(request)?.map(hashes))
}

fn header(request: &HttpRequest) -> Result<Option<&str>, ApiError> {
    let Some(value) = request.headers().get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| (1..=255).contains(&text.len()));
    let bad = || ApiError::invalid(Some("Idempotency-Key"), "Idempotency-Key must be 1 to 255 characters");
    text.map(Some).ok_or_else(bad)
}

/// What makes two requests the same: method, path, query, body.
fn request_hash(request: &HttpRequest, body: &Bytes) -> [u8; 32] {
    let (method, path) = (request.method().as_str().as_bytes(), request.path().as_bytes());
    idempotency::hash(&[method, b" ", path, b"?", request.query_string().as_bytes(), b"\n", body])
}
