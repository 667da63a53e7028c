//! Writes of money that a client may send twice: done once, answered twice.

use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};

use crate::domain::time::Timestamp;
use crate::http::shared::error::ApiError;
use crate::http::state::AppState;
use crate::relay::Idempotency;
use crate::store::idempotency::{self, Answer};
use crate::store::{StoreError, Tx};

/// The answer to a money write, to be stored with it.
///
/// # Errors
/// None that can happen: what is answered can always be written as JSON.
pub fn answer(status: u16, body: &impl serde::Serialize) -> Result<Answer, StoreError> {
    let body = serde_json::to_string(body).map_err(|e| StoreError::Invalid(e.to_string()))?;
    Ok(Answer { status, body })
}

/// Runs a money write of `actor`, at most once for its `Idempotency-Key`.
///
/// # Errors
/// 400 for a bad key, 422 for one that was used with another request, what `write` returns.
pub async fn money_write(
    request: &HttpRequest,
    state: &AppState,
    actor: String,
    body: &Bytes,
    mut write: impl FnMut(&Tx, &str, Timestamp) -> Result<Answer, StoreError> + Send + 'static,
) -> Result<HttpResponse, ApiError> {
    let key = idempotency_key(request, &actor, body)?;
    let now = Timestamp::now();
    let done = state.writer.write(move |conn| match &key {
        Some(key) => match idempotency::once(conn, key, now, || write(conn, &actor, now)) {
            Err(StoreError::Conflict(text)) if text == idempotency::REUSED => Ok(None),
            other => other.map(Some),
        },
        None => write(conn, &actor, now).map(Some),
    });
    let answer = done.await?.ok_or_else(ApiError::key_reused)?;
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    Ok(HttpResponse::build(status).content_type("application/json").body(answer.body))
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
