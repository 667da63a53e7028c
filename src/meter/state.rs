//! Where a stream stands.

use bytes::Bytes;

use crate::dialect::failure::StreamFailure;

/// What one push gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// What the client may have now; may be empty.
    pub forward: Bytes,
    /// Events with data that were complete with this push. An idle timeout counts these: comments and
    /// pings are none.
    pub data_events: usize,
    /// Where the stream stands.
    pub state: StreamState,
}

/// Where a stream stands. `Ended` and `Failed` are final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamState {
    /// More is to come.
    More,
    /// The provider said its last word: settle, then send [`last_bytes`](super::StreamMeter::last_bytes).
    Ended,
    /// The provider failed; what was held back is not sent.
    Failed(StreamFailure),
}
