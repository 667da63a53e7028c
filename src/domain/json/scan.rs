//! A flat look at JSON bytes that validates nothing and copies nothing.
//!
//! It runs over every event of every stream, where a parser would cost more than the network does. Any
//! input is answered with something, in time linear in its length; what counts for the bill is parsed
//! with serde once this has found that it is there.

use memchr::{memchr, memchr2, memmem::Finder};

/// The content of a JSON string, its escapes as they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawText<'a> {
    /// The bytes between the quotes.
    pub inner: &'a [u8],
}

impl RawText<'_> {
    /// Appends the text. An escape that is none (a lone surrogate) stays as it is written.
    pub fn append_to(self, text: &mut Vec<u8>) {
        if memchr(b'\\', self.inner).is_none() {
            text.extend_from_slice(self.inner);
            return;
        }
        let mut quoted = Vec::with_capacity(self.inner.len() + 2);
        quoted.push(b'"');
        quoted.extend_from_slice(self.inner);
        quoted.push(b'"');
        match serde_json::from_slice::<String>(&quoted) {
            Ok(decoded) => text.extend_from_slice(decoded.as_bytes()),
            Err(_) => text.extend_from_slice(self.inner),
        }
    }
}

/// A part of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonPart<'a> {
    /// A key of an object.
    Key(&'a [u8]),
    /// A string value.
    Text(RawText<'a>),
    /// A number, `true`, `false` or `null`.
    Bare(&'a [u8]),
}

/// The parts of the first JSON value in some bytes, in order.
#[derive(Debug, Clone)]
pub struct Parts<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    started: bool,
}

impl<'a> Parts<'a> {
    /// Starts at the beginning of a value.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0, started: false }
    }

    /// How far the scan has come, in bytes.
    pub fn position(&self) -> usize {
        self.at
    }

    /// How many objects and arrays the last part is in.
    pub const fn depth(&self) -> usize {
        self.depth
    }

    fn string(&mut self) -> JsonPart<'a> {
        let start = self.at + 1;
        let mut end = start;
        loop {
            let rest = self.bytes.get(end..).unwrap_or_default();
            match memchr2(b'"', b'\\', rest) {
                None => {
                    end = self.bytes.len();
                    self.at = end;
                    break;
                }
                Some(found) => {
                    end += found;
                    if self.bytes.get(end) == Some(&b'"') {
                        self.at = end + 1;
                        break;
                    }
                    end += 2;
                }
            }
        }
        let inner = self.bytes.get(start..end).unwrap_or_default();
        match self.after_blanks() {
            Some(b':') if self.depth > 0 => {
                self.at += 1;
                JsonPart::Key(inner)
            }
            _ => JsonPart::Text(RawText { inner }),
        }
    }

    /// The next byte that is no blank; `at` comes to stand on it.
    fn after_blanks(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    fn bare(&mut self) -> JsonPart<'a> {
        let start = self.at;
        while let Some(byte) = self.bytes.get(self.at)
            && !matches!(byte, b',' | b'}' | b']' | b'"' | b' ' | b'\n' | b'\r' | b'\t' | b':' | b'{' | b'[')
        {
            self.at += 1;
        }
        JsonPart::Bare(self.bytes.get(start..self.at).unwrap_or_default())
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = JsonPart<'a>;

    fn next(&mut self) -> Option<JsonPart<'a>> {
        loop {
            if self.started && self.depth == 0 {
                return None;
            }
            let byte = self.after_blanks()?;
            match byte {
                b'{' | b'[' => {
                    self.depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.at += 1;
                }
                b',' | b':' => self.at += 1,
                b'"' => {
                    self.started = true;
                    return Some(self.string());
                }
                _ => {
                    self.started = true;
                    return Some(self.bare());
                }
            }
            self.started = true;
        }
    }
}

/// A quoted key to look for.
#[derive(Debug)]
pub struct Mark(Finder<'static>);

impl Mark {
    /// To look for `key`.
    pub fn new(key: &str) -> Self {
        Self(Finder::new(&format!("\"{key}\"")).into_owned())
    }

    /// What follows the colon after each place where the key stands. No place inside a string is found:
    /// a quote is escaped there.
    pub fn values<'a>(&self, json: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = json;
        std::iter::from_fn(move || {
            loop {
                let at = self.0.find(rest)?;
                rest = rest.get(at + self.0.needle().len()..)?;
                if let Some(value) = rest.trim_ascii_start().strip_prefix(b":") {
                    return Some(value.trim_ascii_start());
                }
            }
        })
    }

    /// The key stands somewhere with a value that says something: not `null`, not `""`.
    pub fn is_in(&self, json: &[u8]) -> bool {
        self.values(json).any(|value| !value.starts_with(b"null") && !value.starts_with(b"\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(json: &str) -> String {
        Parts::of(json.as_bytes())
            .map(|part| match part {
                JsonPart::Key(key) => format!("{}:", key.escape_ascii()),
                JsonPart::Text(text) => format!("<{}>", text.inner.escape_ascii()),
                JsonPart::Bare(bare) => format!("{} ", bare.escape_ascii()),
            })
            .collect()
    }

    #[test]
    fn the_parts_of_a_value_come_in_order() {
        let rows = [
            (r#"{"a":"b","c":[1,-2.5e3,null],"d":{"e":"f"}} "x""#, r"a:<b>c:1 -2.5e3 null d:e:<f>"),
            (r#" "only" : 7"#, "<only>"),
            (r#"{"q\"":"a\\","z" : true}"#, r#"q\\\":<a\\\\>z:true "#),
            ("12", "12 "),
            ("", ""),
            (r#"{"cut":"off"#, "cut:<off>"),
            (r#"{"cut\"#, r"<cut\\>"),
            ("[[[", ""),
            ("]", ""),
        ];
        for (json, expected) in rows {
            assert_eq!(spelled(json), expected, "{json}");
        }
    }

    #[test]
    fn text_is_decoded_and_what_cannot_be_is_kept() {
        let rows =
            [("plain", "plain"), (r"a\nb", "a\nb"), (r"\u00e9\ud83d\ude00", "é😀"), (r"\ud83d", r"\ud83d"), ("é", "é")];
        for (raw, expected) in rows {
            let mut text = Vec::new();
            RawText { inner: raw.as_bytes() }.append_to(&mut text);
            assert_eq!(String::from_utf8_lossy(&text), expected);
        }
    }

    #[test]
    fn a_mark_is_a_key_with_something_to_say() {
        let rows = [
            (r#"{"usage":{}}"#, true),
            (r#"{"usage" : 7}"#, true),
            (r#"{"usage":null}"#, false),
            (r#"{"usage": null,"x":{"usage":1}}"#, true),
            (r#"{"usage":""}"#, false),
            (r#"{"x":"\"usage\":1"}"#, false),
            (r#"{"x":"usage"}"#, false),
            (r#"{"usages":1}"#, false),
            (r#"{"usage""#, false),
        ];
        for (json, expected) in rows {
            assert_eq!(Mark::new("usage").is_in(json.as_bytes()), expected, "{json}");
        }
    }
}
