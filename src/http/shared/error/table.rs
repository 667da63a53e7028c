//! The one table of errors: from what went wrong to what a client sees.

use std::time::Duration;

use actix_web::http::StatusCode;

use super::ApiError;
use crate::auth::{AuthError, SignInError};
use crate::dialect::request::BadRequest;
use crate::domain::time::Timestamp;
use crate::relay::Refusal;
use crate::store::StoreError;

impl From<BadRequest> for ApiError {
    fn from(e: BadRequest) -> Self {
        Self::invalid(e.param.as_deref(), e.message)
    }
}

impl From<AuthError> for ApiError {
    fn from(e: AuthError) -> Self {
        match e {
            AuthError::Invalid => Self::unauthorized(),
            AuthError::Busy => Self::unavailable("too many keys are looked at: try again", Duration::from_secs(1)),
            AuthError::Store(e) => e.into(),
        }
    }
}

impl From<SignInError> for ApiError {
    fn from(e: SignInError) -> Self {
        match e {
            SignInError::Wrong => Self::wrong_password(),
            SignInError::Wait(wait) => Self::rate_limited("too many failed attempts to sign in", wait),
            SignInError::Store(e) => e.into(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(e: StoreError) -> Self {
        let second = Duration::from_secs(1);
        match e {
            StoreError::NotFound(message) => Self::not_found(message),
            StoreError::Conflict(message) => Self::conflict(None, message),
            StoreError::Taken { field, message } => Self::conflict(Some(field), message),
            StoreError::IdempotencyKeyReused => Self::key_reused(),
            StoreError::Invalid(message) => Self::invalid(None, message),
            StoreError::InvalidField { field, message } => Self::invalid(Some(field), message),
            StoreError::Full => Self::unavailable("the disk is full", second * 10),
            StoreError::Unwritable => Self::unavailable("the database cannot be written", second * 10),
            StoreError::Busy | StoreError::Pool(_) => Self::unavailable("the database is busy", second),
            StoreError::Closed => Self::unavailable("the server is shutting down", second * 5),
            // Logged here, at the boundary that handles it; the client gets nothing of the inside.
            StoreError::Io(_) | StoreError::Sql(_) => {
                tracing::error!(error = %e, "the store failed");
                Self::internal()
            }
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(e: Refusal) -> Self {
        let message = e.to_string();
        let second = Duration::from_secs(1);
        match e {
            Refusal::BadRequest(e) => e.into(),
            Refusal::ModelNotFound(_) | Refusal::EndpointNotServed { .. } => {
                Self { param: Some("model".into()), ..Self::not_found(message) }.code("model_not_found")
            }
            Refusal::ModelNotAllowed(_) | Refusal::Suspended => Self::forbidden(message),
            Refusal::KeyNotInForce => Self::unauthorized(),
            Refusal::InsufficientFunds | Refusal::HeldByOthers => {
                Self::new(StatusCode::PAYMENT_REQUIRED, "insufficient_funds", message)
                    .code("insufficient_quota")
                    .no_retry()
            }
            Refusal::SpendLimitReached(resets) => {
                let e = Self::new(StatusCode::PAYMENT_REQUIRED, "insufficient_quota", message);
                let e = Self { limit_resets: resets.map(until), ..e.code("insufficient_quota").no_retry() };
                match e.limit_resets {
                    Some(wait) => e.retry_after(wait),
                    None => e,
                }
            }
            Refusal::TooManyRequests(rate_limit) => {
                Self { rate_limit: Some(Box::new(rate_limit)), ..Self::rate_limited(message, rate_limit.reset) }
            }
            Refusal::TooManyAtOnce => Self::rate_limited(message, second),
            Refusal::ProvidersFull(wait) => Self::rate_limited(message, wait.unwrap_or(second)),
            Refusal::NoRoom | Refusal::NoRoomToTranslate => Self::unavailable(message, second * 2),
            Refusal::ProvidersDown(wait) => Self::unavailable(message, wait),
            Refusal::ByServer(e) => Self::by_server(*e),
            Refusal::ProviderBusy { status, wait, .. } => Self::busy(status, message, wait.unwrap_or(second)),
            Refusal::ProviderFailed(_) => Self::new(StatusCode::BAD_GATEWAY, "provider_error", message),
            Refusal::ProviderError { is_final, .. } => {
                Self { final_: is_final, ..Self::new(StatusCode::BAD_GATEWAY, "provider_error", message) }
            }
            // Whoever asks again pays the same time, and the server does the same work.
            Refusal::ProviderTimeout(_) => Self::new(StatusCode::GATEWAY_TIMEOUT, "provider_error", message).no_retry(),
            Refusal::IdempotencyKeyInFlight => Self::conflict(None, message).no_retry(),
            Refusal::IdempotencyKeyReused => Self::key_reused(),
            Refusal::AlreadyCharged { .. } => Self::conflict(None, message).no_retry(),
            Refusal::Draining => Self::unavailable(message, second * 5),
            Refusal::Store(e) => e.into(),
        }
    }
}

/// How long it is until then, in whole seconds, at least one.
fn until(then: Timestamp) -> Duration {
    let seconds = then.seconds().saturating_sub(Timestamp::now().seconds());
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0).max(1))
}
