//! Reading a request's body, with limits on its size, on its patience, and on the bytes in flight.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::error::PayloadError;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{Bytes, Payload};
use futures_util::{FutureExt, StreamExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use tokio::time::{Instant, timeout_at};

use super::error::ApiError;
use super::world::World;
use crate::domain::byte_budget::{ByteBudget, BytePermit, OverBudget};
use crate::relay::{Refusal, Upload};

/// The most that is read of a stranger's body.
const SMALL: usize = 16 << 10;
/// The most that is read of a body with settings in it.
const SETTINGS: usize = 1 << 20;
/// The slowest a long body may come, in bytes a second.
const SLOWEST: usize = 16 << 10;
/// The same where bodies take more than half of their budget: those that dawdle make room for the others.
const SLOWEST_UNDER_PRESSURE: usize = 1 << 20;
/// How often it is looked whether there is pressure.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Reads a body with settings in it: a few hundred bytes in practice.
///
/// # Errors
/// 413 above a mebibyte, 408 if it comes too slowly, 400 if the client breaks off, 503 where too many bytes are in
/// flight.
pub async fn read(world: &World, request: &HttpRequest, payload: Payload) -> Result<Bytes, ApiError> {
    Reading::begin(SETTINGS, world, request, payload)?.whole().await
}

/// Reads a body from somebody who has shown no credential yet: a name and a password are never long.
///
/// # Errors
/// As [`read`].
pub async fn read_small(world: &World, request: &HttpRequest, payload: Payload) -> Result<Bytes, ApiError> {
    Reading::begin(SMALL, world, request, payload)?.whole().await
}

/// Reads the body of an inference request. What is not there yet is waited for only after `wait` said that its
/// caller may send it, and counts towards the share that `wait` returned.
///
/// # Errors
/// As [`read`], but 413 above the limit of the settings; what `wait` returns.
pub async fn read_prompt<'a>(
    world: &World,
    request: &HttpRequest,
    payload: Payload,
    wait: impl FnOnce() -> Result<Upload<'a>, Refusal>,
) -> Result<Bytes, ApiError> {
    let mut reading = Reading::begin(world.settings.body_limit, world, request, payload)?;
    if !reading.take_what_is_there()? {
        let upload = wait()?;
        reading.count_towards(&upload.share)?;
        reading.wait_for_the_rest().await?;
    }
    Ok(reading.finish())
}

/// A body as far as it was read.
struct Reading {
    payload: Payload,
    limit: usize,
    /// What the client says that it will be.
    announced: Option<usize>,
    began: Instant,
    patience: Duration,
    budget: Arc<ByteBudget>,
    permit: BytePermit,
    first: Bytes,
    /// The first part and all others, where there are others.
    all: Vec<u8>,
}

impl Reading {
    fn begin(limit: usize, world: &World, request: &HttpRequest, payload: Payload) -> Result<Self, ApiError> {
        let limit = limit.min(world.settings.body_limit);
        let announced = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|n| n > limit) {
            return Err(ApiError::too_large(limit));
        }
        let budget = Arc::clone(world.relay.body_budget());
        Ok(Self {
            payload,
            limit,
            announced,
            began: Instant::now(),
            patience: world.settings.body_timeout,
            permit: budget.permit(),
            budget,
            first: Bytes::new(),
            all: Vec::new(),
        })
    }

    async fn whole(mut self) -> Result<Bytes, ApiError> {
        self.wait_for_the_rest().await?;
        Ok(self.finish())
    }

    /// Takes the parts that came already. True if that is all.
    fn take_what_is_there(&mut self) -> Result<bool, ApiError> {
        while let Some(part) = self.payload.next().now_or_never() {
            let Some(part) = part else { return Ok(true) };
            self.push(part)?;
        }
        Ok(false)
    }

    async fn wait_for_the_rest(&mut self) -> Result<(), ApiError> {
        loop {
            let now = Instant::now();
            let deadline = self.deadline();
            if deadline <= now {
                return Err(ApiError::too_slow());
            }
            match timeout_at(deadline.min(now + LOOK_AGAIN), self.payload.next()).await {
                Err(_) => {}
                Ok(None) => return Ok(()),
                Ok(Some(part)) => self.push(part)?,
            }
        }
    }

    /// When the next part must be there. It moves with each part, and closer under pressure.
    fn deadline(&self) -> Instant {
        let is_tight = self.budget.used() > self.budget.limit() / 2;
        let a_second = if is_tight { SLOWEST_UNDER_PRESSURE } else { SLOWEST };
        let allowance = Duration::from_secs(u64::try_from(self.size() / a_second).unwrap_or(u64::MAX));
        self.began + self.patience + allowance
    }

    fn size(&self) -> usize {
        self.permit.bytes()
    }

    fn push(&mut self, part: Result<Bytes, PayloadError>) -> Result<(), ApiError> {
        let part = part.map_err(|e| ApiError::invalid(None, format!("the body cannot be read: {e}")))?;
        let size = self.size();
        if part.len() > self.limit - size {
            return Err(ApiError::too_large(self.limit));
        }
        self.permit.grow(part.len()).map_err(over_budget)?;
        // Most bodies come in one part: then nothing is copied.
        if size == 0 {
            self.first = part;
            return Ok(());
        }
        let first = std::mem::take(&mut self.first);
        if self.all.capacity() < self.size() {
            self.make_room();
        }
        self.all.extend_from_slice(&first);
        self.all.extend_from_slice(&part);
        Ok(())
    }

    /// Room for the parts that are there, and for more. What was announced is believed once a quarter of it came:
    /// from then on nothing is copied again.
    fn make_room(&mut self) {
        let size = self.size();
        let room = match self.announced {
            Some(whole) if whole / 4 <= size && whole >= size => whole,
            _ => size.saturating_mul(2).min(self.limit),
        };
        self.all.reserve_exact(room.saturating_sub(self.all.len()));
    }

    /// From now on the bytes count towards this budget.
    fn count_towards(&mut self, budget: &Arc<ByteBudget>) -> Result<(), ApiError> {
        let mut permit = budget.permit();
        permit.grow(self.size()).map_err(over_budget)?;
        self.permit = permit;
        Ok(())
    }

    fn finish(self) -> Bytes {
        let bytes = if self.all.is_empty() { self.first } else { self.all.into() };
        self.permit.tie_to(bytes)
    }
}

fn over_budget(_: OverBudget) -> ApiError {
    ApiError::unavailable("too many requests are being received: try again", Duration::from_secs(2))
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
