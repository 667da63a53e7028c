//! Why a provider's answer is of no use.

use std::time::Duration;

/// Why a provider's answer is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Its URL or key cannot be used.
    #[error("the provider's settings: {0}")]
    Settings(String),
    /// No connection was made: the request reached nobody.
    #[error("it cannot be reached: {0}")]
    Unreached(String),
    /// A kept connection broke at once: it may have been closed at the other end without our having seen it yet.
    #[error("a kept connection was closed: {0}")]
    Stale(String),
    /// The connection broke before the answer began.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// It broke in the middle of the answer.
    #[error("the answer broke off: {0}")]
    BrokeOff(String),
    /// The answer did not begin in time.
    #[error("no answer began within {} s", .0.as_secs())]
    Late(Duration),
    /// Nothing came for too long in the middle of an answer.
    #[error("nothing came for {} s", .0.as_secs())]
    Silent(Duration),
    /// A whole answer went on coming for too long.
    #[error("the answer did not end within {} s", .0.as_secs())]
    Endless(Duration),
    /// It came in a coding that nobody asked for, and is not what that says.
    #[error("it came compressed, unasked: {0}")]
    NotInflated(String),
    /// More than an answer may have.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The answers on their way leave it no room, and did not for some time.
    #[error("there is no room for its answer")]
    NoRoom,
}
