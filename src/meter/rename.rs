//! The public name of a model, in place of the server's own, which is often the path of a file.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::domain::json::scan::{JsonPart, Parts, RawText};

/// The name that the client asked for.
#[derive(Debug, Clone)]
pub struct PublicName {
    /// As a JSON string, quotes included.
    quoted: String,
}

static MODEL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"model\""));

impl PublicName {
    /// The name of a model.
    pub fn new(model: &str) -> Self {
        Self { quoted: serde_json::Value::from(model).to_string() }
    }

    /// As a JSON string, quotes included.
    pub fn quoted(&self) -> &str {
        &self.quoted
    }

    /// Where in an answer, a chunk or an event another name stands, quotes included: at the top, or in the
    /// `response` or `message` that it is about. A `model` anywhere else is not this one.
    pub fn place(&self, json: &[u8]) -> Option<Range<usize>> {
        MODEL.find(json)?;
        let (mut top, mut here): (&[u8], bool) = (b"", false);
        let mut parts = Parts::of(json);
        while let Some(part) = parts.next() {
            match part {
                JsonPart::Key(key) => {
                    let depth = parts.depth();
                    if depth == 1 {
                        top = key;
                    }
                    here = key == b"model" && (depth == 1 || (depth == 2 && matches!(top, b"response" | b"message")));
                }
                JsonPart::Text(name) if std::mem::take(&mut here) => {
                    let inner = crate::domain::json::fields::place_of(json, name.inner);
                    let is_whole = json.get(inner.end) == Some(&b'"');
                    return (is_whole && !self.is(name)).then(|| inner.start.saturating_sub(1)..inner.end + 1);
                }
                JsonPart::Text(_) | JsonPart::Bare(_) => here = false,
            }
        }
        None
    }

    fn is(&self, name: RawText<'_>) -> bool {
        let mine = self.quoted.as_bytes();
        if mine.strip_prefix(b"\"").and_then(|mine| mine.strip_suffix(b"\"")) == Some(name.inner) {
            return true;
        }
        if memchr::memchr(b'\\', name.inner).is_none() {
            return false;
        }
        let (mut one, mut other) = (Vec::new(), Vec::new());
        name.append_to(&mut one);
        let inner = mine.get(1..mine.len().saturating_sub(1)).unwrap_or_default();
        RawText { inner }.append_to(&mut other);
        one == other
    }
}

/// `bytes` with each of the places replaced, which are in order.
pub fn replaced_at(bytes: &[u8], places: &[Range<usize>], by: &[u8]) -> Vec<u8> {
    let mut renamed = Renamed::default();
    renamed.reserve(bytes.len() + places.len() * by.len());
    places.iter().for_each(|place| renamed.name(bytes, 0, place.clone(), by));
    renamed.up_to(bytes, bytes.len())
}

/// A part of some bytes in which names are replaced: a copy from the first name on, and else none.
#[derive(Debug, Default)]
pub struct Renamed {
    copy: Vec<u8>,
    /// Where in the bytes it goes on.
    copied: usize,
    any: bool,
}

impl Renamed {
    /// No name was replaced.
    pub const fn is_none(&self) -> bool {
        !self.any
    }

    /// Makes space for a copy of this many bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.copy.reserve_exact(bytes);
    }

    /// Replaces the next name. The part begins at `start`.
    pub fn name(&mut self, bytes: &[u8], start: usize, place: Range<usize>, by: &[u8]) {
        let from = if self.any { self.copied } else { start };
        self.copy.extend_from_slice(bytes.get(from..place.start).unwrap_or_default());
        self.copy.extend_from_slice(by);
        (self.copied, self.any) = (place.end, true);
    }

    /// The part up to its `end`. The next one begins afterwards.
    pub fn up_to(&mut self, bytes: &[u8], end: usize) -> Vec<u8> {
        let Self { mut copy, copied, .. } = std::mem::take(self);
        copy.extend_from_slice(bytes.get(copied..end).unwrap_or_default());
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_models_own_name_is_found() {
        let rows = [
            (r#"{"id":1,"model":"/srv/m.gguf","x":1}"#, Some(r#""/srv/m.gguf""#)),
            (r#"{"model" : "up"}"#, Some(r#""up""#)),
            (r#"{"choices":[{"model":"no"}],"model":""}"#, Some(r#""""#)),
            (r#"{"model":"public/name"}"#, None),
            (r#"{"model":"public\/name"}"#, None),
            (r#"{"model":null,"x":"up"}"#, None),
            (r#"{"model":{"model":"up"}}"#, None),
            (r#"{"choices":[{"delta":{"content":"\"model\":\"up\""}}]}"#, None),
            (r#"{"metadata":{"model":"up"}}"#, None),
            (r#"{"type":"response.created","response":{"metadata":{"model":"up"},"model":"up2"}}"#, Some(r#""up2""#)),
            (r#"{"type":"message_start","message":{"content":[],"model":"up"}}"#, Some(r#""up""#)),
            (r#"{"model":"cut"#, None),
            ("", None),
        ];
        let name = PublicName::new("public/name");
        for (json, expected) in rows {
            let place = name.place(json.as_bytes());
            assert_eq!(place.and_then(|place| json.get(place)), expected, "{json}");
        }
    }
}
