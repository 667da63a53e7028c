//! Reading a request's body, with a limit on its size and on its patience.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{Bytes, BytesMut, Payload};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use tokio::time::{Instant, timeout_at};

use super::error::ApiError;
use super::world::World;

/// The most that is read of a stranger's body.
const SMALL: usize = 16 << 10;
/// The slowest a long body may come: 16 KiB a second.
const SLOWEST: usize = 16 << 10;

/// Reads the whole body.
///
/// # Errors
/// 413 above the limit, 408 if it comes too slowly, 400 if the client breaks off.
pub async fn read(world: &World, request: &HttpRequest, payload: Payload) -> Result<Bytes, ApiError> {
    read_up_to(world.settings.body_limit, world, request, payload).await
}

/// Reads a body from somebody who has shown no credential yet: a name and a password are never long.
///
/// # Errors
/// As [`read`].
pub async fn read_small(world: &World, request: &HttpRequest, payload: Payload) -> Result<Bytes, ApiError> {
    read_up_to(SMALL.min(world.settings.body_limit), world, request, payload).await
}

async fn read_up_to(
    limit: usize,
    world: &World,
    request: &HttpRequest,
    mut payload: Payload,
) -> Result<Bytes, ApiError> {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|n| n > limit) {
        return Err(ApiError::too_large(limit));
    }
    let began = Instant::now();
    let mut first = None;
    let mut all = BytesMut::new();
    loop {
        let size = all.len();
        let allowance = Duration::from_secs(u64::try_from(size / SLOWEST).unwrap_or(u64::MAX));
        let deadline = began + world.settings.body_timeout + allowance;
        let part = timeout_at(deadline, payload.next()).await.map_err(|_| ApiError::too_slow())?;
        let Some(part) = part else { break };
        let part = part.map_err(|e| ApiError::invalid(None, format!("the body cannot be read: {e}")))?;
        if size + first.as_ref().map_or(0, Bytes::len) + part.len() > limit {
            return Err(ApiError::too_large(limit));
        }
        // Most bodies come in one part: then nothing is copied.
        match first.take() {
            None if all.is_empty() => first = Some(part),
            before => {
                all.extend_from_slice(&before.unwrap_or_default());
                all.extend_from_slice(&part);
            }
        }
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

/// Reads a JSON body of a known shape.
///
/// # Errors
/// As [`read`]; 400 naming the field if it does not fit.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|e| {
        let text = e.to_string();
        // serde names the field in backticks: "missing field `x`", "unknown field `x`", "duplicate field `x`".
        let field = text.contains("field `").then(|| text.split('`').nth(1)).flatten();
        ApiError::invalid(field, format!("the body does not fit: {text}"))
    })
}

/// For a field that may be left out (`None`), or be null to take a value away (`Some(None)`).
///
/// # Errors
/// The value does not fit.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
