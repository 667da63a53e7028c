//! Event framing on bytes: lines end in LF, CRLF or CR, a blank line ends a block.
//!
//! A block is what stands between two blank lines, the closing one included: one event, a comment, or
//! nothing. Blocks keep their bytes, so that what is forwarded is what came.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// The longest block that is read as a whole, in bytes; longer ones pass as they come (see `long`).
pub const LONGEST_BLOCK: usize = 256 << 10;

/// Cuts a stream into blocks, wherever the network cut it.
#[derive(Debug, Default)]
pub struct Framer {
    /// The block that is not complete yet.
    tail: BytesMut,
    /// Where its last line starts.
    line_start: usize,
    /// No line end is below this that was not seen.
    searched: usize,
    /// A CR was the last byte so far: an LF that follows belongs to the same line end.
    after_cr: bool,
    /// What is inspected starts with bytes that were pending.
    was_pending: bool,
}

impl Framer {
    /// Takes what came, and gives all that is to be inspected: after what was pending, if anything was.
    /// [`Self::close`] takes back what is not complete.
    pub fn open(&mut self, bytes: Bytes) -> Bytes {
        self.was_pending = !self.tail.is_empty();
        if !self.was_pending {
            return bytes;
        }
        self.tail.extend_from_slice(&bytes);
        std::mem::take(&mut self.tail).freeze()
    }

    /// Keeps what is behind `end`, the end of the last block, for the bytes to come. `text` may be left
    /// empty if no block ended.
    pub fn close(&mut self, text: &mut Bytes, end: usize) {
        self.line_start = self.line_start.saturating_sub(end);
        self.searched = self.searched.saturating_sub(end);
        if end == 0 && self.was_pending {
            // A long block comes in many pieces and is not copied for each of them.
            self.tail = BytesMut::from(std::mem::take(text));
        } else {
            self.tail.extend_from_slice(text.get(end..).unwrap_or_default());
        }
    }

    /// Bytes that wait for the end of their block.
    pub fn pending(&self) -> usize {
        self.tail.len()
    }

    /// The bytes that wait, given up.
    pub fn into_tail(&mut self) -> Bytes {
        (self.line_start, self.searched, self.after_cr) = (0, 0, false);
        std::mem::take(&mut self.tail).freeze()
    }

    /// A block that starts at a block's start and ends at `end` was found otherwise.
    pub fn skip_to(&mut self, end: usize) {
        (self.line_start, self.searched, self.after_cr) = (end, end, false);
    }

    /// Where in `text` the block ends that starts at `start`, going on where the last search stopped.
    pub fn next_end(&mut self, text: &[u8], start: usize) -> Option<usize> {
        while let Some(&next) = text.get(self.searched) {
            if std::mem::take(&mut self.after_cr) && next == b'\n' {
                self.searched += 1;
                let block_ended = self.line_start == start;
                self.line_start = self.searched;
                if block_ended {
                    // The CR ended a block, which is gone already: its LF comes after it alone.
                    return Some(self.searched);
                }
                continue;
            }
            let rest = text.get(self.searched..).unwrap_or_default();
            let Some(at) = memchr2(b'\n', b'\r', rest) else {
                self.searched = text.len();
                return None;
            };
            let line_end = self.searched + at;
            let mut next_line = line_end + 1;
            if rest.get(at) == Some(&b'\r') {
                match rest.get(at + 1) {
                    Some(b'\n') => next_line += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            let is_blank = line_end == self.line_start;
            self.line_start = next_line;
            self.searched = next_line;
            if is_blank {
                return Some(next_line);
            }
        }
        None
    }
}

/// The fields of one block.
#[derive(Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The value of the last `event:` line.
    pub name: Option<&'a [u8]>,
    /// The `data:` lines, joined with LF and without blanks around; empty if there is none.
    pub data: Cow<'a, [u8]>,
    /// The value of an `error:` line: old llama.cpp sends its errors so.
    pub error: Option<&'a [u8]>,
}

impl<'a> Event<'a> {
    /// Reads the lines of a block.
    pub fn read(block: &'a [u8]) -> Self {
        let mut event = Event { name: None, data: Cow::Borrowed(b""), error: None };
        for line in Lines(block) {
            event.line(line);
        }
        match &mut event.data {
            Cow::Borrowed(data) => *data = data.trim_ascii(),
            Cow::Owned(data) => *data = data.trim_ascii().to_vec(),
        }
        event
    }

    fn line(&mut self, line: &'a [u8]) {
        let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        if let Some(value) = line.strip_prefix(b"data:") {
            if self.data.is_empty() {
                self.data = Cow::Borrowed(value);
            } else {
                let joined = self.data.to_mut();
                joined.push(b'\n');
                joined.extend_from_slice(value);
            }
        } else if let Some(value) = line.strip_prefix(b"event:") {
            self.name = Some(value.trim_ascii());
        } else if let Some(value) = line.strip_prefix(b"error:") {
            self.error = Some(value.trim_ascii());
        }
    }
}

/// The lines of a block, without their ends.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let at = memchr2(b'\n', b'\r', self.0).unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at_checked(at)?;
        self.0 = rest.strip_prefix(b"\r\n").or_else(|| rest.get(1..)).unwrap_or_default();
        Some(line)
    }
}

/// Writes an event again that had several `data:` lines, with other data.
pub fn render(name: Option<&[u8]>, data: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(data.len() + 64);
    if let Some(name) = name {
        block.extend_from_slice(b"event: ");
        block.extend_from_slice(name);
        block.push(b'\n');
    }
    for line in data.split(|&b| b == b'\n') {
        block.extend_from_slice(b"data: ");
        block.extend_from_slice(line);
        block.push(b'\n');
    }
    block.push(b'\n');
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Framer {
        /// All blocks that are now complete as one piece, and where each of them ends.
        pub fn feed(&mut self, bytes: Bytes, ends: &mut Vec<usize>) -> Bytes {
            ends.clear();
            let mut text = self.open(bytes);
            let mut start = 0;
            while let Some(end) = self.next_end(&text, start) {
                ends.push(end);
                start = end;
            }
            self.close(&mut text, start);
            text.truncate(start);
            text
        }
    }

    /// The blocks of a text that comes in two pieces.
    fn blocks(text: &[u8], cut: usize) -> Vec<Vec<u8>> {
        let mut framer = Framer::default();
        let mut ends = Vec::new();
        let mut blocks = Vec::new();
        for piece in [&text[..cut], &text[cut..]] {
            let whole = framer.feed(Bytes::copy_from_slice(piece), &mut ends);
            let mut start = 0;
            for &end in &ends {
                blocks.push(whole[start..end].to_vec());
                start = end;
            }
        }
        blocks.push(framer.into_tail().to_vec());
        blocks
    }

    #[test]
    fn a_blank_line_ends_a_block_whatever_ends_a_line() {
        let rows: [(&[u8], &[&[u8]]); 8] = [
            (b"data: 1\n\ndata: 2\n\n", &[b"data: 1\n\n", b"data: 2\n\n", b""]),
            (b"data: 1\r\n\r\ndata: 2\r\n\r\n", &[b"data: 1\r\n\r\n", b"data: 2\r\n\r\n", b""]),
            (b"data: 1\r\rdata: 2\r\r", &[b"data: 1\r\r", b"data: 2\r\r", b""]),
            (b"data: 1\n\r\ndata: 2\r\n\n", &[b"data: 1\n\r\n", b"data: 2\r\n\n", b""]),
            (b": ping\n\n\n\ndata: 1\n\n", &[b": ping\n\n", b"\n", b"\n", b"data: 1\n\n", b""]),
            (b"data: 1\ndata: 2\n\nrest", &[b"data: 1\ndata: 2\n\n", b"rest"]),
            (b"\n", &[b"\n", b""]),
            (b"", &[b""]),
        ];
        for (text, expected) in rows {
            assert_eq!(blocks(text, 0), expected, "{}", text.escape_ascii());
            for cut in 0..=text.len() {
                // An LF that is cut off from its CR comes as a block of its own; all else is the same.
                let mut cut_blocks = blocks(text, cut);
                assert_eq!(cut_blocks.concat(), text);
                if let Some(lone) = cut_blocks.iter().skip(1).position(|b| b == b"\n")
                    && text.contains(&b'\r')
                {
                    cut_blocks.remove(lone + 1);
                    cut_blocks[lone].push(b'\n');
                }
                assert_eq!(cut_blocks, expected, "{} cut at {cut}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_complete_is_not_copied() {
        let mut framer = Framer::default();
        let bytes = Bytes::from_static(b"data: 1\n\ndata: 2\n\ndat");
        let whole = framer.feed(bytes.clone(), &mut Vec::new());
        assert_eq!((whole.as_ptr(), whole.len(), framer.pending()), (bytes.as_ptr(), 18, 3));
    }

    #[test]
    fn an_event_is_its_data_and_its_name() {
        let event = |name: Option<&'static str>, data: &'static str| Event {
            name: name.map(str::as_bytes),
            data: Cow::Borrowed(data.as_bytes()),
            error: None,
        };
        let rows = [
            ("data: x\n\n", event(None, "x")),
            ("data:x\n\n", event(None, "x")),
            ("\u{feff}data: x \n\n", event(None, "x")),
            ("event: ping\r\ndata: {}\r\n\r\n", event(Some("ping"), "{}")),
            ("id: 7\nretry: 10\n: comment\ndata: a\ndata: b\n\n", event(None, "a\n b")),
            (": ping\n\n", event(None, "")),
            ("data\n\n", event(None, "")),
            ("data:\n\n", event(None, "")),
            ("\n", event(None, "")),
            ("error: bad\n\n", Event { error: Some(b"bad"), ..event(None, "") }),
        ];
        for (block, expected) in rows {
            assert_eq!(Event::read(block.as_bytes()), expected, "{block:?}");
        }
    }
}
