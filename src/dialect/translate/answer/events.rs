//! What both dialects write: blocks that open, get pieces and close.

use super::block::{Finish, Kind};
use super::counts::Counts;
use super::in_messages::InMessages;
use super::in_responses::InResponses;

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
