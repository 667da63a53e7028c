//! The shape that the events of one stream have in common.
//!
//! From one event to the next a provider writes the same bytes around another text. Once one such event
//! was read, those that differ from it in the text alone mean the same, and comparing them costs less
//! than reading them.

use std::ops::Range;

use crate::dialect::marks::MARKS;
use crate::domain::json::fields::place_of;
use crate::domain::json::scan::RawText;

/// Longer blocks are no model for others, and a stream shall not keep them.
const LONGEST: usize = 1 << 10;

/// A block whose text may be another one, and its running number too. The default is like no block.
#[derive(Debug, Default)]
pub struct Shape {
    /// The block, and behind it once more what stands before its text: between two texts, that is one comparison.
    block: Vec<u8>,
    /// How long the block is.
    length: usize,
    number: Range<usize>,
    text: Range<usize>,
    /// A name of the model that is not to be shown: before or behind all that may differ.
    model: Option<Range<usize>>,
}

/// A block of a known shape.
#[derive(Debug, PartialEq, Eq)]
pub struct Alike<'a> {
    /// How long it is, in bytes.
    pub length: usize,
    /// The text in it.
    pub text: RawText<'a>,
    /// There is an escape in the text, or may be.
    pub is_escaped: bool,
    /// The digits of its running number, if it has one.
    pub number: &'a [u8],
    /// Where in it a name of the model stands that is not to be shown.
    pub model: Option<Range<usize>>,
}

impl Shape {
    /// Learns from a block in which nothing matters but `text`, a string of it. What could be taken
    /// otherwise with another text in it is not learned.
    pub fn learn(&mut self, block: &[u8], text: RawText<'_>, model: Option<Range<usize>>) {
        let text = place_of(block, text.inner);
        let (Some(before), Some(after)) = (block.get(..text.start), block.get(text.end..)) else { return };
        // The string is a value, and no quote of it can be taken for the start or end of a key.
        let is_value = (before.ends_with(b":\"") || before.ends_with(b": \""))
            && (after.starts_with(b"\",") || after.starts_with(b"\"}"));
        // A CR at the end may have its LF yet to come. A line end at the start belongs to what was before.
        let stands_alone = after.ends_with(b"\n") && !before.starts_with(b"\n") && !before.starts_with(b"\r");
        if !is_value || !stands_alone || block.len() > LONGEST {
            return;
        }
        let number = MARKS.sequence_number.values(block).next().map(|value| place_of(block, digits(value)));
        let number = number.filter(|n| n.end <= text.start || n.start >= text.end).unwrap_or_default();
        let differs =
            |n: &Range<usize>| if n.is_empty() { text.clone() } else { n.start.min(text.start)..n.end.max(text.end) };
        let differs = differs(&number);
        if model.as_ref().is_some_and(|model| model.end > differs.start && model.start < differs.end) {
            return;
        }
        self.block.clear();
        self.block.reserve_exact(block.len() + before.len());
        self.block.extend_from_slice(block);
        self.block.extend_from_slice(before);
        self.length = block.len();
        (self.number, self.text, self.model) = (number, text, model);
    }

    /// Reads the blocks of this shape that some bytes start with, one after the other.
    pub const fn run<'s, 'a>(&'s self, bytes: &'a [u8]) -> AlikeBlocks<'s, 'a> {
        AlikeBlocks { shape: self, bytes, has_begun: false }
    }

    /// About how much of `bytes` is text, if all of it is in blocks like this one.
    pub fn text_in(&self, bytes: usize) -> usize {
        // What learned from an empty text, or a short one, meets longer ones.
        bytes.checked_div(self.length).map_or(0, |blocks| blocks.saturating_mul(self.text.len().max(8)))
    }

    /// About how many bytes there are if in all blocks of `bytes` there is a name of `length` bytes in place of the other.
    pub fn renamed(&self, bytes: usize, length: usize) -> usize {
        let longer = length.saturating_sub(self.model.as_ref().map_or(length, ExactSizeIterator::len));
        bytes.saturating_add((bytes / self.length.max(1) + 1).saturating_mul(longer))
    }

    /// Reads a block of this shape, which has a number, at the start of some bytes.
    fn read<'a>(&self, bytes: &'a [u8]) -> Option<Alike<'a>> {
        let end = self.length;
        let (rest, text, number) = if self.number.start < self.text.start {
            let (rest, number) = self.after_number(bytes, 0)?;
            let (rest, text) = self.after_text(rest, self.number.end)?;
            (self.same(rest, self.text.end..end)?, text, number)
        } else {
            let (rest, text) = self.after_text(bytes, 0)?;
            let (rest, number) = self.after_number(rest, self.text.end)?;
            (self.same(rest, self.number.end..end)?, text, number)
        };
        let length = bytes.len() - rest.len();
        Some(Alike { length, text, is_escaped: true, number, model: self.model_in(length) })
    }

    /// Where the model's name stands in a block of this shape and this length.
    fn model_in(&self, length: usize) -> Option<Range<usize>> {
        let model = self.model.clone()?;
        // What differs is before it or behind it.
        let moved = if model.start < self.text.start { 0 } else { length.wrapping_sub(self.length) };
        Some(model.start.wrapping_add(moved)..model.end.wrapping_add(moved))
    }

    /// What follows the bytes of this block at `place`.
    fn same<'a>(&self, bytes: &'a [u8], place: Range<usize>) -> Option<&'a [u8]> {
        bytes.strip_prefix(self.block.get(place)?)
    }

    /// What follows the number, if all from `start` on is the same; and its digits.
    fn after_number<'a>(&self, bytes: &'a [u8], start: usize) -> Option<(&'a [u8], &'a [u8])> {
        let rest = self.same(bytes, start..self.number.start)?;
        let number = digits(rest);
        Some((rest.get(number.len()..)?, number))
    }

    /// What follows the text, if all from `start` on is the same; and the text.
    fn after_text<'a>(&self, bytes: &'a [u8], start: usize) -> Option<(&'a [u8], RawText<'a>)> {
        let rest = self.same(bytes, start..self.text.start)?;
        let (inner, rest) = rest.split_at_checked(string_end(rest)?.0)?;
        Some((rest, RawText { inner }))
    }
}

/// The blocks of one shape at the start of some bytes.
#[derive(Debug)]
pub struct AlikeBlocks<'s, 'a> {
    shape: &'s Shape,
    bytes: &'a [u8],
    /// What stands before the text was compared already, with the end of the block before.
    has_begun: bool,
}

impl<'a> Iterator for AlikeBlocks<'_, 'a> {
    type Item = Alike<'a>;

    fn next(&mut self) -> Option<Alike<'a>> {
        let Shape { block, length, number, text, .. } = self.shape;
        if *length == 0 {
            return None;
        }
        if !number.is_empty() {
            let alike = self.shape.read(self.bytes)?;
            self.bytes = self.bytes.get(alike.length..)?;
            return Some(alike);
        }
        let before = block.get(..text.start)?;
        if !self.has_begun && !self.bytes.starts_with(before) {
            return None;
        }
        let rest = self.bytes.get(before.len()..)?;
        let (end, is_escaped) = string_end(rest)?;
        let (inner, rest) = rest.split_at_checked(end)?;
        self.has_begun = rest.starts_with(block.get(text.end..)?);
        if !self.has_begun && !rest.starts_with(block.get(text.end..*length)?) {
            return None;
        }
        let length = *length - text.len() + inner.len();
        self.bytes = self.bytes.get(length..)?;
        let model = self.shape.model_in(length);
        Some(Alike { length, text: RawText { inner }, is_escaped, number: b"", model })
    }
}

/// The digits at the start.
fn digits(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|b| !b.is_ascii_digit()).unwrap_or(bytes.len());
    bytes.get(..end).unwrap_or_default()
}

/// Where the string ends that the bytes are in, and whether there is an escape in it. A line end in it would be one of
/// the event's.
fn string_end(bytes: &[u8]) -> Option<(usize, bool)> {
    let (mut at, mut is_escaped, mut any) = (0, false, false);
    // Nearly all strings are short and without escapes: eight bytes at a time, until one of them is of another kind.
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*eight);
        let found = places(word, b'"') | places(word, b'\\') | places(word, b'\n') | places(word, b'\r');
        if found != 0 {
            at += usize::try_from(found.trailing_zeros() / 8).unwrap_or_default();
            break;
        }
        at += eight.len();
    }
    for byte in bytes.get(at..)? {
        match byte {
            b'\n' | b'\r' => return None,
            _ if is_escaped => is_escaped = false,
            b'\\' => (is_escaped, any) = (true, true),
            b'"' => return Some((at, any)),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The top bit of each byte of a word that is this one; further up there may be more bits than bytes.
const fn places(word: u64, byte: u8) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let zero = word ^ u64::from_le_bytes([byte; 8]);
    zero.wrapping_sub(ONES) & !zero & (ONES << 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape of a block in which `text` stands.
    fn learned(block: &str, text: &str) -> Shape {
        let place = block.find(text).map(|start| start..start + text.len()).unwrap_or_default();
        let mut shape = Shape::default();
        shape.learn(block.as_bytes(), RawText { inner: &block.as_bytes()[place] }, None);
        shape
    }

    /// The text in the block at the start of `bytes`, and what follows the block.
    fn read<'a>(shape: &Shape, bytes: &'a str) -> Option<(&'a str, &'a str)> {
        let alike = shape.run(bytes.as_bytes()).next()?;
        Some((std::str::from_utf8(alike.text.inner).ok()?, &bytes[alike.length..]))
    }

    #[test]
    fn a_block_is_alike_if_its_text_alone_differs() {
        let block = "data: {\"a\":{\"content\":\"TEXT\"},\"b\":null}\n\n";
        let with = |text: &str| block.replace("TEXT", text);
        let shape = learned(block, "TEXT");
        for text in ["", "x", "a longer one", r"\n", r"\\", r#"say \"usage\":{}"#, "é", r"\u00e9", ":", "}"] {
            let alike = with(text);
            assert_eq!(read(&shape, &alike), Some((text, "")));
            assert_eq!(read(&shape, &(alike.clone() + "data: x")), Some((text, "data: x")));
            for cut in 0..alike.len() {
                assert_eq!(shape.run(&alike.as_bytes()[..cut]).next(), None, "{text} cut at {cut}");
            }
        }
        for text in ["\n", "\r", "\\\n", "\\", r#"x","usage":{},"y":""#, "\"", "\":1,\"x\":\""] {
            assert_eq!(read(&shape, &with(text)), None, "{text:?}");
        }
        for other in ["", ": ping\n\n", "\n", "event: x\n", &block.replace("null", "1"), &block.replace('\n', "\r\n")] {
            assert_eq!(read(&shape, other), None, "{other:?}");
        }
        assert_eq!(read(&Shape::default(), block), None);
    }

    #[test]
    fn a_running_number_may_differ_too() {
        for block in [
            "data: {\"sequence_number\":7,\"n\":7,\"delta\":\"TEXT\"}\n\n",
            "data: {\"n\":7,\"delta\":\"TEXT\",\"sequence_number\": 7}\n\n",
        ] {
            let shape = learned(block, "TEXT");
            for number in ["0", "8", "1234567"] {
                let next =
                    block.replace("er\":7", &format!("er\":{number}")).replace("er\": 7", &format!("er\": {number}"));
                assert_eq!(read(&shape, &next.replace("TEXT", "x")), Some(("x", "")), "{next}");
            }
            assert_eq!(read(&shape, &block.replace("n\":7", "n\":8")), None);
            assert_eq!(read(&shape, &block.replace("er\":", "er\":-").replace("er\":- ", "er\": -")), None);
        }
    }

    #[test]
    fn what_another_text_might_change_is_not_learned() {
        let long = format!("data: {{\"x\":\"TEXT\",\"y\":\"{}\"}}\n\n", "y".repeat(LONGEST));
        let rows = [
            ("data: {\"TEXT\":1}\n\n", "a key"),
            ("data: {\"x\":\"TEXT\" : 1}\n\n", "a key after all"),
            ("data: {\"x\"TEXT\"}\n\n", "no value"),
            ("data: {\"x\":\"TEXT", "cut off"),
            ("data: {\"x\":\"TEXT\"}\r\r", "its LF may follow"),
            ("\ndata: {\"x\":\"TEXT\"}\n\n", "a line end before it"),
            (&long, "too long"),
        ];
        for (block, why) in rows {
            assert_eq!(read(&learned(block, "TEXT"), block), None, "{why}");
        }
    }
}
