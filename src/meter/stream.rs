//! One streamed answer as it passes.

use bytes::Bytes;

use super::receipt::Receipt;
use crate::domain::request::Endpoint;
use crate::domain::usage::Reported;

/// One streamed answer as it passes.
#[derive(Debug)]
pub struct StreamMeter {
    endpoint: Endpoint,
    client_wants_usage: bool,
}

/// What one push gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// What the client may have now; may be empty.
    pub forward: Bytes,
    /// Events with data that were complete with this push. An idle timeout counts these: comments and
    /// pings are none.
    pub data_events: usize,
    /// Where the stream stands.
    pub state: State,
}

/// Where a stream stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// More is to come.
    More,
    /// The provider said its last word: settle, then send [`StreamMeter::last_bytes`].
    Ended,
    /// The provider failed.
    Failed(Failure),
}

/// Why a stream is a provider's failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// An event that says there was an error.
    #[error("the provider sent an error event: {0}")]
    ErrorEvent(String),
    /// `response.failed` without usage.
    #[error("the provider's response failed: {0}")]
    ResponseFailed(String),
    /// The body ended before the answer did.
    #[error("the stream broke off before the answer was finished")]
    Truncated,
    /// The terminal event came with neither a finish reason nor usage before it.
    #[error("the stream ended with neither a finish reason nor usage")]
    Unfinished,
    /// Not one event with data.
    #[error("the stream was empty")]
    Empty,
    /// An event, or all that is held back, is larger than the bound.
    #[error("an event of the stream is too long")]
    TooLong,
    /// An event that is not JSON.
    #[error("an event of the stream is malformed: {0}")]
    Malformed(String),
}

impl StreamMeter {
    /// A meter for an answer of `endpoint`. `client_wants_usage`: the client asked for a usage chunk
    /// (chat and completions; the other dialects always carry usage).
    pub fn new(endpoint: Endpoint, client_wants_usage: bool) -> Self {
        Self { endpoint, client_wants_usage }
    }

    /// Looks at the next bytes from the provider.
    pub fn push(&mut self, bytes: Bytes) -> Pushed {
        let _ = (self.endpoint, self.client_wants_usage);
        Pushed { forward: bytes, data_events: 1, state: State::More }
    }

    /// The provider closed the body cleanly.
    pub fn end_of_input(&mut self) -> State {
        State::Ended
    }

    /// What the provider said so far.
    pub fn reported(&self) -> Reported {
        Reported::default()
    }

    /// At least one event with data was handed out to forward.
    pub fn output_started(&self) -> bool {
        true
    }

    /// The tokenizer's count of the output text that passed so far.
    pub fn estimate_completion(&mut self) -> u64 {
        0
    }

    /// What was held back, with the receipt in it, up to the end of the stream.
    pub fn last_bytes(self, receipt: &Receipt) -> Bytes {
        let _ = receipt;
        Bytes::new()
    }
}
