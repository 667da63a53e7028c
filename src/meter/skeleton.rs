//! What is left of a JSON value that passes in pieces and is too long to be kept: its first levels, with the
//! beginnings of its strings. And the output text in it, as it passes.

use memchr::memchr2;

use super::text::OutputText;
use crate::dialect::standing::Standing;
use crate::domain::endpoint::Endpoint;

/// What is kept of one string, in bytes.
const STRING: usize = 256;
/// Deeper values are left out.
const DEPTH: usize = 6;
/// Further elements of an array, and entries of an object, are left out.
const ITEMS: usize = 64;
/// What is kept of all. A value with more than that has no skeleton.
const MOST: usize = 64 << 10;
/// Keys are remembered down to this level; output text stands no deeper.
const KEYS: usize = 10;

/// A value that passes.
#[derive(Debug)]
pub struct Skeleton {
    endpoint: Endpoint,
    kept: Vec<u8>,
    levels: Vec<Level>,
    /// How many levels there are; `levels` has the first of them.
    depth: usize,
    /// Nothing is kept until the level of this number is closed; its own end is kept if it was begun.
    skipped_from: Option<(usize, bool)>,
    string: Option<Text>,
}

#[derive(Debug, Default)]
struct Level {
    is_object: bool,
    /// The next string is a key.
    key_follows: bool,
    items: usize,
    key: Vec<u8>,
}

/// The string that is being read.
#[derive(Debug, Default)]
struct Text {
    is_key: bool,
    standing: Standing,
    length: usize,
    /// An escape that is not complete yet.
    escape: Vec<u8>,
}

impl Skeleton {
    /// Nothing has passed yet.
    pub const fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, kept: Vec::new(), levels: Vec::new(), depth: 0, skipped_from: None, string: None }
    }

    /// What is left; `None` if that would be too much.
    pub fn finish(self) -> Option<Vec<u8>> {
        (self.kept.len() <= MOST).then_some(self.kept)
    }

    /// Looks at the next bytes. Output text in them goes to `output`.
    pub fn feed(&mut self, mut bytes: &[u8], output: &mut OutputText) {
        while let Some(&byte) = bytes.first() {
            if self.string.is_some() {
                bytes = self.in_string(bytes, output);
                continue;
            }
            match byte {
                b'"' => self.open_string(),
                b'{' | b'[' => self.open(byte),
                b'}' | b']' => self.close(byte),
                b',' => self.comma(),
                b':' => {
                    self.keep(b":");
                    if let Some(level) = self.level() {
                        level.key_follows = false;
                    }
                }
                _ => self.keep(&[byte]),
            }
            bytes = bytes.get(1..).unwrap_or_default();
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.skipped_from.is_none() && self.kept.len() <= MOST {
            self.kept.extend_from_slice(bytes);
        }
    }

    /// The level that the next byte is in, if it is remembered.
    fn level(&mut self) -> Option<&mut Level> {
        self.levels.get_mut(self.depth.checked_sub(1)?)
    }

    fn open(&mut self, byte: u8) {
        if self.depth >= DEPTH && self.skipped_from.is_none() {
            self.keep(b"null");
            self.skipped_from = Some((self.depth, false));
        }
        self.keep(&[byte]);
        if self.depth < KEYS {
            self.levels.truncate(self.depth);
            let is_object = byte == b'{';
            self.levels.push(Level { is_object, key_follows: is_object, ..Level::default() });
        }
        self.depth += 1;
    }

    fn close(&mut self, byte: u8) {
        self.depth = self.depth.saturating_sub(1);
        if let Some((depth, keeps_end)) = self.skipped_from
            && self.depth <= depth
        {
            self.skipped_from = None;
            if !keeps_end {
                return;
            }
        }
        self.keep(&[byte]);
    }

    fn comma(&mut self) {
        let depth = self.depth;
        let Some(level) = self.level() else { return self.keep(b",") };
        level.items += 1;
        level.key_follows = level.is_object;
        if level.items >= ITEMS && self.skipped_from.is_none() {
            self.skipped_from = Some((depth.saturating_sub(1), true));
        }
        self.keep(b",");
    }

    fn open_string(&mut self) {
        let is_key = self.level().is_some_and(|level| level.key_follows);
        if is_key && let Some(level) = self.level() {
            level.key.clear();
        }
        let standing = if is_key { Standing::Nothing } else { self.standing() };
        self.string = Some(Text { is_key, standing, ..Text::default() });
        self.keep(b"\"");
    }

    /// What a string at this place is.
    fn standing(&self) -> Standing {
        let Some(levels) = self.levels.get(..self.depth) else { return Standing::Nothing };
        let mut keys = levels.iter().filter(|level| level.is_object).map(|level| level.key.as_slice());
        let Some(key) = keys.next_back() else { return Standing::Nothing };
        OutputText::standing(self.endpoint, keys, key)
    }

    /// Reads on in a string, and returns what follows.
    fn in_string<'a>(&mut self, bytes: &'a [u8], output: &mut OutputText) -> &'a [u8] {
        let Some(mut text) = self.string.take() else { return bytes };
        if text.escape.is_empty() {
            let end = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
            let (run, rest) = bytes.split_at_checked(end).unwrap_or((bytes, b""));
            self.take(&mut text, run, run, output);
            match rest.split_first() {
                Some((b'"', rest)) => {
                    self.keep(b"\"");
                    return rest;
                }
                Some((_, rest)) => {
                    text.escape.push(b'\\');
                    self.string = Some(text);
                    return rest;
                }
                None => {
                    self.string = Some(text);
                    return rest;
                }
            }
        }
        let Some((&byte, rest)) = bytes.split_first() else { return bytes };
        text.escape.push(byte);
        let is_unicode = text.escape.get(1) == Some(&b'u');
        if !is_unicode || text.escape.len() == 6 {
            let escape = std::mem::take(&mut text.escape);
            let decoded = decoded(&escape);
            self.take(&mut text, &escape, decoded.as_bytes(), output);
        }
        self.string = Some(text);
        rest
    }

    /// Takes a run of a string: as it is written, and what it means.
    fn take(&mut self, text: &mut Text, raw: &[u8], means: &[u8], output: &mut OutputText) {
        if text.standing != Standing::Nothing {
            output.take_piece(means, text.standing);
        }
        if text.is_key
            && let Some(level) = self.level()
            && level.key.len() < STRING
        {
            level.key.extend(raw.iter().take(STRING));
        }
        let room = STRING.saturating_sub(text.length);
        // An escape is kept whole or not at all.
        let kept = if raw.first() == Some(&b'\\') && raw.len() > room { 0 } else { raw.len().min(room) };
        self.keep(raw.get(..kept).unwrap_or_default());
        text.length += raw.len();
    }
}

/// What an escape means; half of a pair means nothing alone.
fn decoded(escape: &[u8]) -> String {
    let quoted = [b"\"", escape, b"\""].concat();
    serde_json::from_slice(&quoted).unwrap_or_else(|_| char::REPLACEMENT_CHARACTER.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Endpoint::{ChatCompletions as Chat, Completions, Messages, Responses};

    fn passed(endpoint: Endpoint, json: &str, size: usize) -> (Option<String>, u64) {
        let (mut skeleton, mut output) = (Skeleton::new(endpoint), OutputText::default());
        json.as_bytes().chunks(size).for_each(|piece| skeleton.feed(piece, &mut output));
        (skeleton.finish().map(|kept| String::from_utf8_lossy(&kept).into_owned()), output.count())
    }

    #[test]
    fn long_strings_deep_values_and_many_items_are_left_out() {
        let long = "x".repeat(1_000);
        let numbers = vec!["1"; 500].join(",");
        let rows = [
            (r#"{"a": {"b":[1,2.5,null,{"c":"d\"e"}]}, "u":{"n":7} }"#.to_owned(), None),
            (
                format!(r#"{{"a":"{long}","u":{{"n":7}}}}"#),
                Some(format!(r#"{{"a":"{}","u":{{"n":7}}}}"#, "x".repeat(STRING))),
            ),
            (
                format!(r#"{{"a":[{numbers}],"u":7}}"#),
                Some(format!(r#"{{"a":[{}],"u":7}}"#, vec!["1"; ITEMS].join(","))),
            ),
            (
                r#"{"a":[[[[[[[1,{"x":"]"}]]]],2]]],"u":7}"#.to_owned(),
                Some(r#"{"a":[[[[[null]],2]]],"u":7}"#.to_owned()),
            ),
        ];
        for (json, expected) in rows {
            for size in [1, 7, json.len()] {
                let (kept, _) = passed(Chat, &json, size);
                let kept = kept.unwrap_or_default();
                assert_eq!(&kept, expected.as_ref().unwrap_or(&json));
                assert!(serde_json::from_str::<serde_json::Value>(&kept).is_ok(), "{kept}");
            }
        }
        let wide = format!("[{}]", vec![format!("[{}]", vec![format!("\"{long}\""); 60].join(",")); 60].join(","));
        assert_eq!(passed(Chat, &wide, 1_000).0, None, "too much to be kept");
    }

    #[test]
    fn the_output_in_it_is_counted_and_nothing_else() {
        let words = "word ".repeat(5_000);
        let escaped = r"word\u0020".repeat(5_000);
        let rows = [
            (Chat, format!(r#"{{"choices":[{{"delta":{{"content":"{words}"}}}}]}}"#), true),
            (Chat, format!(r#"{{"choices":[{{"delta":{{"content":"{escaped}"}}}}]}}"#), true),
            (
                Chat,
                format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{{"function":{{"arguments":"{words}"}}}}]}}}}]}}"#),
                true,
            ),
            (
                Chat,
                format!(r#"{{"choices":[{{"delta":{{}},"logprobs":{{"content":[{{"token":"{words}"}}]}}}}]}}"#),
                false,
            ),
            (Completions, format!(r#"{{"choices":[{{"text":"{words}"}}]}}"#), true),
            (Responses, format!(r#"{{"type":"response.output_text.delta","delta":"{words}"}}"#), true),
            (
                Responses,
                format!(r#"{{"type":"response.completed","response":{{"output":[{{"text":"{words}"}}]}}}}"#),
                false,
            ),
            (
                Messages,
                format!(r#"{{"type":"content_block_delta","delta":{{"type":"text_delta","text":"{words}"}}}}"#),
                true,
            ),
            (Messages, format!(r#"{{"type":"content_block_delta","delta":{{"signature":"{words}"}}}}"#), false),
        ];
        for (endpoint, json, counts) in rows {
            for size in [1, 100, json.len()] {
                let (_, tokens) = passed(endpoint, &json, size);
                assert_eq!((4_990..5_100).contains(&tokens), counts, "{tokens}: {json:.100}");
                assert!(counts || tokens == 0, "{tokens}: {json:.100}");
            }
        }
    }
}
