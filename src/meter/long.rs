//! An event that is too long to be kept: it passes as it comes, but for its end, and what matters in it is
//! noted on the way.

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

use super::skeleton::Skeleton;
use super::text::OutputText;
use crate::domain::endpoint::Endpoint;

/// What is not handed on before the event has ended, in bytes. The usage of a `response.completed` is there.
const TAIL: usize = 64 << 10;
/// A longer name of an event is none.
const NAME: usize = 128;

/// The event that passes.
#[derive(Debug)]
pub struct LongEvent {
    skeleton: Skeleton,
    name: Vec<u8>,
    tail: BytesMut,
    line: Line,
    /// The first bytes of the line, until they tell what it is.
    start: Vec<u8>,
    /// The line before ended with a CR.
    after_cr: bool,
    has_data: bool,
}

/// What the line is that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Unknown,
    Data,
    Name,
    Other,
}

impl LongEvent {
    /// Nothing of it has passed yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            skeleton: Skeleton::new(endpoint),
            name: Vec::new(),
            tail: BytesMut::new(),
            line: Line::Unknown,
            start: Vec::new(),
            after_cr: false,
            has_data: false,
        }
    }

    /// It has data, which could be an object.
    pub const fn has_data(&self) -> bool {
        self.has_data
    }

    /// Looks at the next bytes, and tells how many belong to the event, and whether it ends with them.
    pub fn look(&mut self, bytes: &[u8], output: &mut OutputText) -> (usize, bool) {
        let mut at = 0;
        while let Some(&next) = bytes.get(at) {
            if std::mem::take(&mut self.after_cr) && next == b'\n' {
                at += 1;
                continue;
            }
            let rest = bytes.get(at..).unwrap_or_default();
            let end = memchr2(b'\n', b'\r', rest);
            self.in_line(rest.get(..end.unwrap_or(rest.len())).unwrap_or_default(), output);
            let Some(end) = end else { return (bytes.len(), false) };
            at += end + 1;
            self.after_cr = rest.get(end) == Some(&b'\r');
            if self.line == Line::Unknown && self.start.is_empty() {
                if self.after_cr && bytes.get(at) == Some(&b'\n') {
                    at += 1;
                }
                return (at, true);
            }
            if self.line == Line::Data {
                self.skeleton.feed(b"\n", output);
            }
            self.line = Line::Unknown;
            self.start.clear();
        }
        (bytes.len(), false)
    }

    /// Looks at bytes of one line.
    fn in_line(&mut self, mut bytes: &[u8], output: &mut OutputText) {
        while self.line == Line::Unknown
            && let Some((&byte, rest)) = bytes.split_first()
        {
            self.start.push(byte);
            bytes = rest;
            self.line = match self.start.as_slice() {
                b"data:" => Line::Data,
                b"event:" => Line::Name,
                start if b"data:".starts_with(start) || b"event:".starts_with(start) => Line::Unknown,
                _ => Line::Other,
            };
            if self.line == Line::Name {
                self.name.clear();
            }
        }
        match self.line {
            Line::Data => {
                self.has_data |= bytes.trim_ascii_start().starts_with(b"{");
                self.skeleton.feed(bytes, output);
            }
            Line::Name => self.name.extend(bytes.iter().take(NAME.saturating_sub(self.name.len()))),
            Line::Unknown | Line::Other => {}
        }
    }

    /// Keeps bytes of the event, and gives those that may be handed on.
    pub fn keep(&mut self, bytes: &[u8]) -> Bytes {
        self.tail.extend_from_slice(bytes);
        let most = self.tail.len().saturating_sub(TAIL);
        self.tail.split_to(most).freeze()
    }

    /// It has ended: its name, what is left of its data (`None` if that would be too much), and the bytes that
    /// were not handed on.
    pub fn finish(self) -> (Vec<u8>, Option<Vec<u8>>, Bytes) {
        (self.name.trim_ascii().to_vec(), self.skeleton.finish(), self.tail.freeze())
    }
}
