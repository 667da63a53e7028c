//! A call of the API as it comes into the story.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;

use super::minute::RateLimitStatus;
use super::replay::Idempotency;
use crate::domain::endpoint::Endpoint;
use crate::domain::ids::{AccountId, RequestId};
use crate::store::keys::KeyRow;

/// Who asks: an account, with one of its keys.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who pays.
    pub account: AccountId,
    /// The key's row as it was read for this request.
    pub key: Arc<KeyRow>,
}

/// A request as it came.
#[derive(Debug)]
pub struct InferenceCall {
    /// Its id, and its row's.
    pub request_id: RequestId,
    /// Where it was sent.
    pub endpoint: Endpoint,
    /// The query string, without `?`.
    pub query: String,
    /// The headers that may go to a provider.
    pub headers: Vec<(&'static str, Vec<u8>)>,
    /// The body, as it came.
    pub body: Bytes,
    /// The client's idempotency key, if it sent one.
    pub idempotency: Option<Idempotency>,
    /// Where the key stands in its minute, if it has a limit.
    pub rate_limit: Option<RateLimitStatus>,
    /// When it came.
    pub began: Instant,
    /// What is known of it before its answer is there.
    pub so_far: Arc<SoFar>,
}

/// What is known of a request before its answer is there.
#[derive(Debug, Default)]
pub struct SoFar {
    /// Filled in when it is admitted: the output bound was lowered to what the balance affords. For a head that cannot
    /// wait for the answer.
    pub output_capped: OnceLock<bool>,
    /// It waits for its turn, or did: there may be thousands.
    pub waits: AtomicBool,
}
