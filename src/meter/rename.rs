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
    replaced_in(bytes, 0..bytes.len(), places, by)
}

/// The same of a `part` of the bytes, in which all of the places are.
pub fn replaced_in(bytes: &[u8], part: Range<usize>, places: &[Range<usize>], by: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(part.len() + places.len() * by.len());
    let (bytes, mut at) = (bytes.get(..part.end).unwrap_or_default(), part.start);
    for place in places {
        out.extend_from_slice(bytes.get(at..place.start).unwrap_or_default());
        out.extend_from_slice(by);
        at = place.end;
    }
    out.extend_from_slice(bytes.get(at..).unwrap_or_default());
    out
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
