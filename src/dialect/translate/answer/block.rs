//! What an answer is made of, and why it ended.

/// What a piece belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Target {
    Reasoning,
    Text,
    Refusal,
    /// The call with this place among all.
    Call(usize),
}

/// What a block is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind<'a> {
    /// Its kind.
    pub target: Target,
    /// Of a call, as written between quotes.
    pub id: &'a str,
    /// Of a call: the name that the chat server has for it.
    pub name: &'a str,
}

/// Why an answer ended.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) enum Finish {
    /// It was said to the end.
    #[default]
    Stop,
    /// This text came, as the client had asked.
    StoppedBy(String),
    /// Tools are to be called.
    Calls,
    /// The bound was reached.
    Length,
    /// It was cut for what it said.
    Filter,
}
