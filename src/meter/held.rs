//! The end of a stream, held back until there is a receipt to put in it.

use bytes::Bytes;

use super::receipt::{self, Receipt};
use super::sse::LONGEST_BLOCK;
use super::state::Failure;
use crate::domain::request::Endpoint;

/// The most that is held back, in bytes.
const MOST_HELD: usize = 2 * LONGEST_BLOCK;

/// The blocks held back, in order.
#[derive(Debug, Default)]
pub struct HeldBack {
    blocks: Vec<Held>,
    bytes: usize,
}

/// A block that waits for the receipt.
#[derive(Debug)]
struct Held {
    bytes: Bytes,
    kind: HeldKind,
}

/// What a block is that is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldKind {
    /// Goes out as it is.
    Plain,
    /// A blank line more than needed, or an LF cut off from its CR: goes the way of what it follows.
    Blank,
    /// Has a usage object, which takes the receipt.
    Usage {
        /// There is nothing else in it.
        alone: bool,
    },
    /// The last event.
    Last,
}

/// What the end of a stream has to be made of, besides what was held back.
#[derive(Debug, Clone, Copy)]
pub struct Ending<'a> {
    /// The dialect.
    pub endpoint: Endpoint,
    /// The client asked for a usage chunk (chat and completions).
    pub client_wants_usage: bool,
    /// The identity of the chunks before, for one that has to be made up.
    pub identity: &'a str,
    /// What goes into the usage.
    pub receipt: &'a Receipt,
}

impl HeldBack {
    /// Nothing is held back.
    pub const fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Holds one more block back.
    ///
    /// # Errors
    /// That is too much.
    pub fn push(&mut self, bytes: Bytes, kind: HeldKind) -> Result<(), Failure> {
        self.bytes += bytes.len();
        self.blocks.push(Held { bytes, kind });
        if self.bytes > MOST_HELD { Err(Failure::TooLong) } else { Ok(()) }
    }

    /// All of it, with the receipt in it, up to the last byte of the stream.
    pub fn with(self, ending: Ending<'_>) -> Bytes {
        let is_usage = |held: &Held| matches!(held.kind, HeldKind::Usage { .. });
        let target = self.blocks.iter().rposition(is_usage);
        let mut out = Vec::with_capacity(self.bytes + 256);
        let mut blank_follows = true;
        let mut closing = Some(ending.closing(target.is_some()));
        for (place, held) in self.blocks.iter().enumerate() {
            match held.kind {
                HeldKind::Blank if !blank_follows => continue,
                HeldKind::Usage { alone: true } if !ending.shows_usage() => {
                    blank_follows = false;
                    continue;
                }
                HeldKind::Usage { .. } if Some(place) == target && ending.shows_usage() => {
                    let (block, anew) = receipt::in_block(ending.endpoint, &held.bytes, ending.receipt);
                    out.extend_from_slice(&block);
                    blank_follows = !anew;
                    continue;
                }
                HeldKind::Last => {
                    let (usage_chunk, _) = closing.take().unwrap_or_default();
                    out.extend_from_slice(usage_chunk.as_bytes());
                }
                HeldKind::Plain | HeldKind::Blank | HeldKind::Usage { .. } => {}
            }
            out.extend_from_slice(&held.bytes);
            blank_follows = true;
        }
        if let Some((usage_chunk, last)) = closing {
            out.extend_from_slice(usage_chunk.as_bytes());
            out.extend_from_slice(last.as_bytes());
        }
        out.into()
    }
}

impl Ending<'_> {
    /// The client gets to see usage that stands alone.
    const fn shows_usage(&self) -> bool {
        self.client_wants_usage || matches!(self.endpoint, Endpoint::Responses | Endpoint::Messages)
    }

    /// The usage chunk that the provider owes the client, and the last event, should it be missing:
    /// client libraries wait for it.
    fn closing(&self, has_usage: bool) -> (String, &'static str) {
        match self.endpoint {
            Endpoint::ChatCompletions | Endpoint::Completions | Endpoint::Embeddings => {
                let owed = self.client_wants_usage && !has_usage;
                let chunk = match owed {
                    true => receipt::usage_chunk(self.endpoint, self.identity, self.receipt),
                    false => String::new(),
                };
                (chunk, "data: [DONE]\n\n")
            }
            Endpoint::Responses => (String::new(), ""),
            Endpoint::Messages => (String::new(), "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
        }
    }
}
