//! Why a request gets no answer from a model, in the terms of the story. How it looks on the wire is
//! the floor above's business.

use std::borrow::Cow;
use std::time::Duration;

use super::RateLimitStatus;
use super::reason::Reason;
use crate::dialect::request::{BadRequest, Endpoint};
use crate::domain::ids::RequestId;
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// A request refused or failed. Nothing was charged.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The request cannot be read, or asks for what is not sold.
    #[error("{0}")]
    BadRequest(#[from] BadRequest),
    /// The model has no price, or nobody serves it.
    #[error("the model \"{0}\" does not exist or is not served here")]
    ModelNotFound(String),
    /// The model is served, but not in this dialect.
    #[error("the model \"{model}\" is not served on {endpoint}; it is on: {served}")]
    EndpointNotServed {
        /// The public name.
        model: String,
        /// Where it was asked for.
        endpoint: Endpoint,
        /// Where it is served, for people.
        served: String,
    },
    /// The key may not use this model.
    #[error("this key may not use the model \"{0}\"")]
    ModelNotAllowed(String),
    /// The key was revoked, or its time ended, while the request waited.
    #[error("the API key is missing or not valid")]
    KeyNotInForce,
    /// The account was suspended while the request waited.
    #[error("this account is suspended")]
    Suspended,
    /// What is available does not cover even the prompt.
    #[error("the balance does not cover this request: add credit")]
    InsufficientFunds,
    /// What other requests of the account do not hold does not cover it.
    #[error("other requests in flight hold the balance that this one needs: wait for them, or add credit")]
    HeldByOthers,
    /// What the key may still spend does not cover even the prompt; when its limit begins anew, if ever.
    #[error("what is left of this key's spend limit does not cover this request{}", resets(*.0))]
    SpendLimitReached(Option<Timestamp>),
    /// More requests a minute than the key may make.
    #[error("too many requests a minute for this key: {} are allowed, and the count begins anew in {} s", .0.limit,
        .0.reset.as_millis().div_ceil(1_000))]
    TooManyRequests(RateLimitStatus),
    /// More requests at once than the key may make.
    #[error("too many requests at once for this key")]
    TooManyAtOnce,
    /// All providers serve as many requests as they take.
    #[error("all providers of this model are busy")]
    ProvidersFull(Option<Duration>),
    /// All providers are down.
    #[error("no provider of this model is up")]
    ProvidersDown(Duration),
    /// The server says that the request is at fault.
    #[error("{}", .0.reason.message)]
    ByServer(Box<ServerError>),
    /// All servers have no room, or are loading their model.
    #[error("{}", says.as_deref().unwrap_or("all providers of this model are busy"))]
    ProviderBusy {
        /// What the last one answered with: 429, 503 or 529.
        status: u16,
        /// Its own words, made fit to be shown.
        says: Option<String>,
        /// When it wants to be asked again.
        wait: Option<Duration>,
    },
    /// The servers that were asked failed before the first byte.
    #[error("the provider failed: {says}")]
    ProviderError {
        /// What the last one said or did.
        says: Cow<'static, str>,
        /// Two did the same: the request is at fault, and asking again does not help.
        is_final: bool,
    },
    /// The provider failed after it began.
    #[error("the provider failed: {0}")]
    ProviderFailed(Cow<'static, str>),
    /// The provider's answer is large, and those on their way to their clients leave it no room.
    #[error("too many large answers are on their way: try again")]
    NoRoom,
    /// A chat request is to be made of this one, and the requests that are received leave that no room.
    #[error("too many requests are being received: try again")]
    NoRoomToTranslate,
    /// A provider took longer than a limit of ours, which the text names.
    #[error("{0}")]
    ProviderTimeout(String),
    /// A request with this idempotency key runs now.
    #[error("a request with this Idempotency-Key is in flight")]
    IdempotencyKeyInFlight,
    /// The idempotency key was used with another request.
    #[error("this Idempotency-Key was used with another request")]
    IdempotencyKeyReused,
    /// The request was charged under this idempotency key, and its answer is not kept any more.
    #[error("this request was answered as {request_id} for {charged}; its answer is not kept any more")]
    AlreadyCharged {
        /// The request that was charged.
        request_id: RequestId,
        /// What it was charged.
        charged: MicroUsd,
    },
    /// The server is about to stop.
    #[error("the server is shutting down")]
    Draining,
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A server's refusal, as it gave it.
#[derive(Debug)]
pub struct ServerError {
    /// 400, 404, 409, 413 or 422.
    pub status: u16,
    /// Its own words.
    pub reason: Reason,
}

fn resets(at: Option<Timestamp>) -> String {
    at.map_or_else(
        || "; the limit does not begin anew by itself".to_owned(),
        |at| format!("; the limit begins anew at {at}"),
    )
}
