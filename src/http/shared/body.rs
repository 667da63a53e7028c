//! Reading a request's body, with limits on its size, on its patience, and on the bytes in flight.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use actix_web::web::{Bytes, Payload};
use futures_util::{FutureExt, StreamExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::domain::byte_budget::{ByteBudget, BytePermit, OverBudget};
use crate::domain::inflate::{Coding, InflateError, Inflater};
use crate::http::shared::error::ApiError;
use crate::http::state::AppState;
use crate::relay::{Refusal, Upload};

/// The most that is read of a stranger's body.
const SMALL: usize = 16 << 10;
/// The most that is read of a body with settings in it.
const SETTINGS: usize = 1 << 20;
/// The slowest a long body may come, in bytes a second.
const SLOWEST: usize = 16 << 10;
/// The same where bodies take more than half of their budget: those that dawdle make room for the others.
const SLOWEST_UNDER_PRESSURE: usize = 1 << 20;
/// How many bodies are inflated at once; each needs a decoder of up to 24 MiB besides.
static INFLATING: Semaphore = Semaphore::const_new(4);
/// How often it is looked whether there is pressure.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Reads a body with settings in it: a few hundred bytes in practice.
///
/// # Errors
/// 413 above a mebibyte, also once inflated, 415 for an unknown coding, 408 if it comes too slowly, 400 if the client
/// breaks off, 503 where too many bytes are in flight.
pub async fn read(state: &AppState, request: &HttpRequest, payload: Payload) -> Result<Bytes, ApiError> {
    Reading::begin(SETTINGS, state, request, payload)?.whole().await
}

/// Reads a body from somebody who has shown no credential yet: a name and a password are never long.
pub async fn read_small(state: &AppState, request: &HttpRequest, payload: Payload) -> Result<Bytes, ApiError> {
    Reading::begin(SMALL, state, request, payload)?.whole().await
}

/// Reads the body of an inference request. What is not there yet is waited for only after `wait` said that its
/// caller may send it, and counts towards the share that `wait` returned.
///
/// # Errors
/// As [`read`], but 413 above the limit of the settings; what `wait` returns.
pub async fn read_prompt<'a>(
    state: &AppState,
    request: &HttpRequest,
    payload: Payload,
    wait: impl FnOnce() -> Result<Upload<'a>, Refusal>,
) -> Result<Bytes, ApiError> {
    let mut reading = Reading::begin(state.settings.body_limit, state, request, payload)?;
    // To inflate a body is work, so that is waited for too.
    if !reading.take_what_came().await? || !reading.codings.is_empty() {
        let upload = wait()?;
        reading.count_towards(&upload.share)?;
        Box::pin(reading.wait_for_the_rest()).await?;
    }
    reading.finish().await
}

/// A body as far as it was read.
struct Reading {
    payload: Payload,
    limit: usize,
    /// What was applied to it, in order.
    codings: Vec<Coding>,
    /// What the client says that it will be.
    announced: Option<usize>,
    patience: Duration,
    budget: Arc<ByteBudget>,
    permit: BytePermit,
    first: Bytes,
    /// The first part and all others, where there are others.
    all: Vec<u8>,
}

impl Reading {
    fn begin(limit: usize, state: &AppState, request: &HttpRequest, payload: Payload) -> Result<Self, ApiError> {
        let limit = limit.min(state.settings.body_limit);
        let announced = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|n| n > limit) {
            return Err(ApiError::too_large(limit));
        }
        let mut values =
            request.headers().get_all(CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?")).peekable();
        let codings = match values.peek() {
            None => Vec::new(),
            Some(_) => {
                Coding::all_of(&values.collect::<Vec<_>>().join(",")).map_err(|name| ApiError::unknown_coding(&name))?
            }
        };
        let budget = Arc::clone(state.relay.body_budget());
        Ok(Self {
            payload,
            limit,
            codings,
            announced,
            patience: state.settings.body_timeout,
            permit: budget.permit(),
            budget,
            first: Bytes::new(),
            all: Vec::new(),
        })
    }

    async fn whole(mut self) -> Result<Bytes, ApiError> {
        self.wait_for_the_rest().await?;
        self.finish().await
    }

    /// Takes the parts that came with the head, too. True if that is all. What stands behind a head is decoded only after
    /// whoever reads it was asked once.
    async fn take_what_came(&mut self) -> Result<bool, ApiError> {
        if self.take_what_is_there()? {
            return Ok(true);
        }
        let mut was_asked = false;
        let asked_again = poll_fn(|cx| {
            if std::mem::replace(&mut was_asked, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        asked_again.await;
        self.take_what_is_there()
    }

    /// Takes the parts that were decoded. True if that is all.
    fn take_what_is_there(&mut self) -> Result<bool, ApiError> {
        while let Some(part) = self.payload.next().now_or_never() {
            let Some(part) = part else { return Ok(true) };
            self.push(part)?;
        }
        Ok(false)
    }

    async fn wait_for_the_rest(&mut self) -> Result<(), ApiError> {
        let began = Instant::now();
        loop {
            let now = Instant::now();
            let deadline = self.deadline(began);
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
    fn deadline(&self, began: Instant) -> Instant {
        let is_tight = self.budget.used() > self.budget.limit() / 2;
        let a_second = if is_tight { SLOWEST_UNDER_PRESSURE } else { SLOWEST };
        let allowance = Duration::from_secs(u64::try_from(self.size() / a_second).unwrap_or(u64::MAX));
        began + self.patience + allowance
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

    async fn finish(self) -> Result<Bytes, ApiError> {
        let bytes = if self.all.is_empty() { self.first } else { self.all.into() };
        let room = self.permit.beside();
        let bytes = self.permit.tie_to(bytes);
        if self.codings.is_empty() || bytes.is_empty() {
            return Ok(bytes);
        }
        let (codings, limit) = (self.codings, self.limit);
        Box::pin(inflate_in_turn(bytes, codings, limit, room)).await
    }
}

async fn inflate_in_turn(
    bytes: Bytes,
    codings: Vec<Coding>,
    limit: usize,
    room: BytePermit,
) -> Result<Bytes, ApiError> {
    let Ok(_turn) = INFLATING.acquire().await else { return Err(ApiError::internal()) };
    let inflated = tokio::task::spawn_blocking(move || inflate(bytes, &codings, limit, room)).await;
    inflated.unwrap_or_else(|_| Err(ApiError::internal()))
}

/// Undoes the codings of a body. Where it is plain after all, its header was wrong, which many servers never notice.
fn inflate(bytes: Bytes, codings: &[Coding], limit: usize, mut permit: BytePermit) -> Result<Bytes, ApiError> {
    let (mut inflater, mut all) = (Inflater::new(codings, limit), Vec::new());
    let mut take = |out: &[u8]| {
        permit.grow(out.len())?;
        all.extend_from_slice(out);
        Ok(())
    };
    match inflater.push(&bytes, &mut take).and_then(|()| inflater.finish(&mut take)) {
        Ok(()) => Ok(permit.tie_to(all.into())),
        Err(InflateError::Taker(e)) => Err(over_budget(e)),
        Err(_) if is_plain(&bytes) => Ok(bytes),
        Err(InflateError::TooLarge) => Err(ApiError::too_large(limit)),
        Err(e @ InflateError::Corrupt(_)) => Err(ApiError::invalid(None, format!("the body cannot be inflated: {e}"))),
    }
}

/// The bytes are a JSON object or array as they are, or look like one.
fn is_plain(bytes: &[u8]) -> bool {
    matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'[')) && std::str::from_utf8(bytes).is_ok()
}

fn over_budget(_: OverBudget) -> ApiError {
    ApiError::unavailable("too many requests are being received: try again", Duration::from_secs(2))
}

/// Reads a JSON body of a known shape: an object.
///
/// # Errors
/// As [`read`]; 400 naming the field if it does not fit.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // serde takes a list for the fields in their order.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(ApiError::invalid(None, "the body does not fit: it is no object"));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::byte_budget::ByteBudget;

    #[test]
    fn what_is_not_what_its_header_says_is_taken_as_it_is() {
        let budget = ByteBudget::new(1_000);
        let plain = Bytes::from_static(b" {\"model\":\"m\"}");
        let status = |bytes: &'static [u8], codings: &[Coding]| {
            let inflated = inflate(Bytes::from_static(bytes), codings, 100, budget.permit());
            inflated.map_or_else(|e| e.status().as_u16(), |_| 200)
        };
        for coding in [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd] {
            let taken = inflate(plain.clone(), &[coding], 100, budget.permit());
            assert_eq!(taken.ok().as_ref(), Some(&plain), "{coding:?}");
            assert_eq!(status(b"nonsense", &[coding]), 400, "{coding:?}");
        }
        // 29 bytes that are a kibibyte of zeros by gzip, in the limit of 100.
        let zeros = b"\x1f\x8b\x08\0\0\0\0\0\x02\xffc`\x18\x05\xa3`\x14\x8cT\0\0.\xaf\xb5\xef\0\x04\0\0";
        assert_eq!(status(zeros, &[Coding::Gzip]), 413);
        assert_eq!(budget.used(), 0);
    }
}
