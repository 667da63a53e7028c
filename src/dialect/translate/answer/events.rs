//! What both dialects write: blocks that open, get pieces and close.

use super::counts::Counts;
use super::in_messages::InMessages;
use super::in_responses::InResponses;
use super::order::Target;

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

/// An answer on its way to a client.
#[derive(Debug)]
pub(super) enum Writer {
    Responses(InResponses),
    Messages(InMessages),
}

impl Writer {
    /// The answer begins.
    pub fn start(&mut self, created: u64, out: &mut Vec<u8>) {
        match self {
            Self::Responses(to) => to.start(created, out),
            Self::Messages(to) => to.start(out),
        }
    }

    /// A block begins.
    pub fn open(&mut self, kind: Kind<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Responses(to) => to.open(kind, out),
            Self::Messages(to) => to.open(kind, out),
        }
    }

    /// The open block goes on: with what is written here between quotes.
    pub fn piece(&mut self, text: &str, out: &mut Vec<u8>) {
        match self {
            Self::Responses(to) => to.piece(text, out),
            Self::Messages(to) => to.piece(text, out),
        }
    }

    /// The open block is whole.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Responses(to) => to.close(out),
            Self::Messages(to) => to.close(out),
        }
    }

    /// The answer is whole.
    pub fn finish(&mut self, finish: &Finish, counts: &Counts, out: &mut Vec<u8>) {
        match self {
            Self::Responses(to) => to.finish(finish, counts, out),
            Self::Messages(to) => to.finish(finish, counts, out),
        }
    }

    /// The answer broke off: for which reason, in words for the client.
    pub fn fail(&mut self, code: &str, message: &str, out: &mut Vec<u8>) {
        match self {
            Self::Responses(to) => to.fail(code, message, out),
            Self::Messages(to) => to.fail(message, out),
        }
    }

    /// The whole answer as one object, after all blocks.
    pub fn whole(&self, finish: &Finish, counts: &Counts) -> String {
        match self {
            Self::Responses(to) => to.whole(finish, counts),
            Self::Messages(to) => to.whole(finish, counts),
        }
    }

    /// What is kept to be said again at the end, in bytes.
    pub fn kept(&self) -> usize {
        match self {
            Self::Responses(to) => to.kept(),
            Self::Messages(to) => to.kept(),
        }
    }
}
