//! Why a stream is a provider's failure.

/// Why a stream is a provider's failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamFailure {
    /// An event that says there was an error, with what it says.
    // Not what it says: that may quote a prompt, and this goes to the log.
    #[error("the provider sent an error event")]
    ErrorEvent(String),
    /// `response.failed` without usage.
    #[error("the provider's response failed")]
    ResponseFailed(String),
    /// The body ended before the answer did.
    #[error("the stream broke off before the answer was finished")]
    Truncated,
    /// Not one event with data.
    #[error("the stream was empty")]
    Empty,
    /// An event, or all that is held back, is larger than the bound.
    #[error("an event of the stream is too long")]
    TooLong,
    /// More of it has to be kept for its last event than there is room for, where it is translated. The server is none
    /// to blame: what was delivered is charged for.
    #[error("the answer is too long to be told in this dialect")]
    TooMuchToKeep,
    /// An event that is not a JSON object.
    #[error("an event of the stream is malformed: {0}")]
    Malformed(String),
}

impl StreamFailure {
    /// What the server said of it, in its own words.
    pub fn says(&self) -> Option<&str> {
        match self {
            Self::ErrorEvent(text) | Self::ResponseFailed(text) => Some(text),
            Self::Truncated | Self::Empty | Self::TooLong | Self::TooMuchToKeep | Self::Malformed(_) => None,
        }
    }
}
