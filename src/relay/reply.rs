//! What the story gives a client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::minute::RateLimitStatus;
use super::replay::SavedResponse;
use super::settle::Closing;
use super::stream::ReplyStream;
use crate::domain::money::MicroUsd;
use crate::domain::usage::Usage;

/// What the client gets.
#[derive(Debug)]
pub struct InferenceReply {
    /// The body.
    pub body: ReplyBody,
    /// The output bound was lowered to what the balance affords.
    pub output_capped: bool,
    /// Where the key stands in its minute, if it has a limit.
    pub rate_limit: Option<RateLimitStatus>,
}

/// The body of an answer.
#[derive(Debug)]
pub enum ReplyBody {
    /// Settled, and whole.
    Whole {
        /// With the receipt in it, in pieces.
        body: Vec<Bytes>,
        /// What was debited.
        cost: MicroUsd,
        /// What is left.
        balance: MicroUsd,
        /// What was used.
        usage: Usage,
        /// How long the request waited for a place.
        waited: Duration,
    },
    /// To be read on; settled before its end.
    Stream(ReplyStream),
    /// What the same request was answered before: charged once.
    Replay(Arc<SavedResponse>),
}

impl InferenceReply {
    pub(super) fn replay(saved: Arc<SavedResponse>, rate_limit: Option<RateLimitStatus>) -> Self {
        Self { output_capped: saved.output_capped, rate_limit, body: ReplyBody::Replay(saved) }
    }
}

impl ReplyBody {
    pub(super) fn whole(closing: Closing<Vec<Bytes>>, waited: Duration) -> Self {
        let Closing { pieces: body, usage, settled } = closing;
        Self::Whole { body, cost: settled.charged, balance: settled.balance, usage, waited }
    }
}
