//! How long a chat request may become. Some of what is said in a few bytes takes many there: a tool without a schema, a
//! namespace before each of its tools, a text in the escapes of a text.

use std::cell::Cell;

use crate::dialect::request::BadRequest;

/// Why a request has no chat request in its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untranslated {
    /// It is malformed, or asks for what no chat server can do.
    #[error(transparent)]
    Bad(#[from] BadRequest),
    /// Its chat request would be longer than it may be.
    #[error("as a chat request, which is what the servers of this model understand, it would be too long")]
    TooLong,
}

/// What is kept of an entry of a list, beside its text: an empty part of a message is 26 bytes of a body, and more here.
pub(super) const ENTRY: usize = 96;

/// The bytes that may still be made. Asked before they are.
#[derive(Debug)]
pub(super) struct Room {
    most: usize,
    left: Cell<usize>,
}

impl Room {
    pub(super) const fn new(most: usize) -> Self {
        Self { most, left: Cell::new(most) }
    }

    /// Takes room for something that is made beside the body, or kept.
    pub(super) fn take(&self, bytes: usize) -> Result<(), Untranslated> {
        let left = self.left.get().checked_sub(bytes).ok_or(Untranslated::TooLong)?;
        self.left.set(left);
        Ok(())
    }

    /// So much is written of the body: is that all right?
    pub(super) const fn holds(&self, written: usize) -> Result<(), Untranslated> {
        if written <= self.most { Ok(()) } else { Err(Untranslated::TooLong) }
    }
}
