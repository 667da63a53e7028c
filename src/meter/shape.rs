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
    block: Vec<u8>,
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
        self.block.extend_from_slice(block);
        (self.number, self.text, self.model) = (number, text, model);
    }

    /// Reads a block of this shape at the start of some bytes.
    pub fn read<'a>(&self, bytes: &'a [u8]) -> Option<Alike<'a>> {
        let end = self.block.len();
        if end == 0 {
            return None;
        }
        let (rest, text, number) = if self.number.is_empty() {
            let (rest, text) = self.after_text(bytes, 0)?;
            (self.same(rest, self.text.end..end)?, text, &b""[..])
        } else if self.number.start < self.text.start {
            let (rest, number) = self.after_number(bytes, 0)?;
            let (rest, text) = self.after_text(rest, self.number.end)?;
            (self.same(rest, self.text.end..end)?, text, number)
        } else {
            let (rest, text) = self.after_text(bytes, 0)?;
            let (rest, number) = self.after_number(rest, self.text.end)?;
            (self.same(rest, self.number.end..end)?, text, number)
        };
        let length = bytes.len() - rest.len();
        let model = self.model.clone().map(|model| {
            // What differs is before it or behind it.
            let moved = if model.start < self.text.start { 0 } else { length.wrapping_sub(end) };
            model.start.wrapping_add(moved)..model.end.wrapping_add(moved)
        });
        Some(Alike { length, text, number, model })
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
        let (inner, rest) = rest.split_at_checked(string_end(rest)?)?;
        Some((rest, RawText { inner }))
    }
}

/// The digits at the start.
fn digits(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|b| !b.is_ascii_digit()).unwrap_or(bytes.len());
    bytes.get(..end).unwrap_or_default()
}

/// Where the string ends that the bytes are in. A line end in it would be one of the event's.
fn string_end(bytes: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' | b'\r' => return None,
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
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
        let alike = shape.read(bytes.as_bytes())?;
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
                assert_eq!(shape.read(&alike.as_bytes()[..cut]), None, "{text} cut at {cut}");
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
