//! The end of a stream, held back until there is a receipt to put in it.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::rename::replaced_at;
use crate::dialect::MadeUp;
use crate::dialect::receipt::{self, Receipt};
use crate::domain::endpoint::Endpoint;
use crate::domain::sse::LONGEST_BLOCK;

/// The most that is held back of one stream, in bytes.
const MOST_HELD: usize = 2 * LONGEST_BLOCK;

/// Blocks up to this size are copied, in bytes.
const SMALL: usize = 4 << 10;

/// The blocks held back, in order.
#[derive(Debug, Default)]
pub struct Withheld {
    blocks: Vec<Block>,
    bytes: usize,
}

/// A block that waits for the receipt.
#[derive(Debug)]
struct Block {
    bytes: Bytes,
    kind: BlockKind,
}

/// What a block is that is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockKind {
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
    /// The end of an event that was too long to be kept.
    End {
        /// Where in it the usage object stands that takes the receipt.
        usage: Option<Range<usize>>,
    },
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
    /// The answer went beyond what was bought; in the middle of an event?
    pub stopped: Option<bool>,
    /// The running number of an event that has to be made up.
    pub sequence: u64,
}

impl Withheld {
    /// Nothing is held back.
    pub const fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// How much that is.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// It, as it came.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.blocks.iter().map(|block| &*block.bytes)
    }

    /// With this many bytes more it would be too much.
    pub const fn is_full_with(&self, more: usize) -> bool {
        !self.is_empty() && self.bytes + more > MOST_HELD
    }

    /// Holds one more block back.
    pub fn push(&mut self, bytes: Bytes, kind: BlockKind) {
        // A small block shall not keep all that came with it.
        let bytes = if bytes.len() <= SMALL { Bytes::copy_from_slice(&bytes) } else { bytes };
        self.bytes += bytes.len();
        self.blocks.push(Block { bytes, kind });
    }

    /// Holds back what comes before all that is.
    pub fn push_first(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.blocks.insert(0, Block { bytes, kind: BlockKind::Plain });
        }
    }

    /// Gives up what is held back, as it is, but for usage that the client is not to see.
    pub fn release(&mut self, endpoint: Endpoint, client_wants_usage: bool) -> Bytes {
        let held = std::mem::take(self);
        let shows_usage = client_wants_usage || !endpoint.usage_is_asked_for();
        let shown = held.blocks.iter().filter(|held| shows_usage || held.kind != BlockKind::Usage { alone: true });
        shown.flat_map(|held| held.shown(endpoint, client_wants_usage).into_owned()).collect::<Vec<_>>().into()
    }

    /// All of it, with the receipt in it, up to the last byte of the stream.
    pub fn with(self, ending: Ending<'_>) -> Bytes {
        let is_usage = |held: &Block| matches!(held.kind, BlockKind::Usage { .. } | BlockKind::End { usage: Some(_) });
        let target = self.blocks.iter().rposition(is_usage);
        let mut out = Vec::with_capacity(self.bytes + 256);
        let mut blank_follows = true;
        if let Some(in_event) = ending.stopped {
            out.extend_from_slice(if in_event { b"\n\n" } else { b"" });
            out.extend_from_slice(ending.cut().as_bytes());
        }
        let mut closing = Some(ending.closing(target.is_some()));
        for (place, held) in self.blocks.iter().enumerate() {
            match &held.kind {
                BlockKind::Blank if !blank_follows => continue,
                BlockKind::Usage { alone: true } if !ending.shows_usage() => {
                    blank_follows = false;
                    continue;
                }
                BlockKind::Usage { .. } if Some(place) == target && ending.shows_usage() => {
                    let (block, anew) = receipt::in_block(ending.endpoint, &held.bytes, ending.receipt);
                    out.extend_from_slice(&block);
                    blank_follows = !anew;
                    continue;
                }
                BlockKind::Last => {
                    let (usage_chunk, _) = closing.take().unwrap_or_default();
                    out.extend_from_slice(usage_chunk.as_bytes());
                }
                BlockKind::End { usage: Some(usage) } if Some(place) == target && ending.shows_usage() => {
                    let text = held.bytes.get(usage.clone()).and_then(|raw| std::str::from_utf8(raw).ok());
                    let billed = receipt::as_billed(ending.endpoint, text.unwrap_or("{}"), ending.receipt);
                    out.extend_from_slice(&replaced_at(&held.bytes, std::slice::from_ref(usage), billed.as_bytes()));
                    blank_follows = true;
                    continue;
                }
                BlockKind::Plain | BlockKind::Blank | BlockKind::Usage { .. } | BlockKind::End { .. } => {}
            }
            out.extend_from_slice(&held.shown(ending.endpoint, ending.client_wants_usage));
            blank_follows = true;
        }
        if let Some((usage_chunk, last)) = closing {
            out.extend_from_slice(usage_chunk.as_bytes());
            out.extend_from_slice(last.as_bytes());
        }
        out.into()
    }
}

impl Block {
    /// It without the usage that the client is not to see.
    fn shown(&self, endpoint: Endpoint, client_wants_usage: bool) -> Cow<'_, [u8]> {
        let hidden = match self.kind {
            BlockKind::Usage { .. } => receipt::hidden_usage(endpoint, &self.bytes, client_wants_usage),
            _ => None,
        };
        match hidden {
            Some(place) => replaced_at(&self.bytes, &[place], b"null").into(),
            None => Cow::Borrowed(&*self.bytes),
        }
    }
}

impl Ending<'_> {
    /// The client gets to see usage that stands alone.
    const fn shows_usage(&self) -> bool {
        self.client_wants_usage || !self.endpoint.usage_is_asked_for()
    }

    /// What says that the answer was cut at the bound, as a server that minds it says it.
    fn cut(&self) -> String {
        let Self { endpoint, identity, receipt, sequence, .. } = *self;
        (endpoint.dialect().stream.cut)(&MadeUp { identity, sequence, receipt: Some(receipt) })
    }

    /// The usage chunk that the provider owes the client, and the last event, should it be missing:
    /// client libraries wait for it.
    fn closing(&self, has_usage: bool) -> (String, &'static str) {
        let stream = &self.endpoint.dialect().stream;
        let owed = stream.usage_chunk.filter(|_| self.client_wants_usage && !has_usage);
        (owed.map_or_else(String::new, |chunk| chunk(self.identity, self.receipt)), stream.last_event)
    }
}
