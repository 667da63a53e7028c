//! zstd's frames, block by block: a block makes at most 128 KiB, so what comes out is bounded as it comes.

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::{InflateError, MOST_MEMBERS, Stopped, Take};

/// What a frame may ask to be remembered, in bytes: as much as RFC 9659 allows.
const WINDOW: u64 = 8 << 20;
/// No frame's header is longer.
const LONGEST_HEADER: usize = 18;
/// A block's header.
const BLOCK_HEADER: usize = 3;

/// Frames one after another.
pub struct Frames {
    decoder: FrameDecoder,
    /// What came of a header or a block that is not whole.
    pending: Vec<u8>,
    /// Within a frame: whether a checksum follows its last block.
    frame: Option<bool>,
    /// At least one frame ended.
    any: bool,
    frames: usize,
}

impl Frames {
    pub fn new() -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW);
        Self { decoder, pending: Vec::new(), frame: None, any: false, frames: 0 }
    }

    /// Takes bytes; `is_end` if they are the last.
    pub fn feed<E>(&mut self, bytes: &[u8], is_end: bool, take: Take<'_, E>) -> Result<(), Stopped<E>> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(rest) = pending.get(at..) {
            let read = match self.frame {
                None if rest.is_empty() || (rest.len() < LONGEST_HEADER && !is_end) => break,
                None => self.begin(rest)?,
                Some(has_checksum) => match block(rest, has_checksum) {
                    Some(size) => self.block(rest.get(..size).unwrap_or_default(), take)?,
                    None => break,
                },
            };
            at += read;
        }
        pending.drain(..at);
        self.pending = pending;
        let is_whole = self.frame.is_none() && self.pending.is_empty() && self.any;
        if is_end && !is_whole { Err(Stopped::Corrupt) } else { Ok(()) }
    }

    /// Reads a frame's header, and says how long it is.
    fn begin<E>(&mut self, rest: &[u8]) -> Result<usize, Stopped<E>> {
        self.frames += 1;
        if self.frames > MOST_MEMBERS {
            return Err(Stopped::Taker(InflateError::TooLarge));
        }
        let mut left = rest;
        self.decoder.reset(&mut left).map_err(|_| Stopped::Corrupt)?;
        // The frame header's descriptor stands after the magic number; its third bit says it.
        self.frame = Some(rest.get(4).is_some_and(|descriptor| descriptor & 4 != 0));
        Ok(rest.len() - left.len())
    }

    /// Inflates a whole block.
    fn block<E>(&mut self, whole: &[u8], take: Take<'_, E>) -> Result<usize, Stopped<E>> {
        let one = BlockDecodingStrategy::UptoBlocks(1);
        let mut left = whole;
        let finished = self.decoder.decode_blocks(&mut left, one).map_err(|_| Stopped::Corrupt)?;
        if finished {
            (self.frame, self.any) = (None, true);
        }
        if let Some(out) = self.decoder.collect().filter(|out| !out.is_empty()) {
            take(&out).map_err(Stopped::Taker)?;
        }
        Ok(whole.len() - left.len())
    }
}

/// The size of the block at the beginning of `rest`, with the checksum where one follows; `None` if not all of it
/// is there.
fn block(rest: &[u8], has_checksum: bool) -> Option<usize> {
    let header = rest.get(..BLOCK_HEADER)?;
    let bits = header.iter().rev().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
    let (is_last, kind, size) = (bits & 1 == 1, bits >> 1 & 3, bits >> 3);
    // One byte, repeated.
    let content = if kind == 1 { 1 } else { size };
    let whole = BLOCK_HEADER + content + if is_last && has_checksum { 4 } else { 0 };
    (rest.len() >= whole).then_some(whole)
}
