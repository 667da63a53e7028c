//! The top level of a JSON object, read once, and edits that leave every other byte as it came.
//!
//! Duplicate keys are refused: a provider may read the last of two where this program read the first.

pub mod fields;
pub mod scan;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Why a text is not an object that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadJson {
    /// Not JSON, or not UTF-8. The position is in bytes of the line serde names.
    #[error("the body is not valid JSON: {0}")]
    Syntax(String),
    /// JSON, but not an object.
    #[error("the body must be a JSON object")]
    NotAnObject,
    /// A key stands twice in the object.
    #[error("the key \"{0}\" is given twice")]
    Duplicate(String),
}

/// The entries of one JSON object, each with the place of its value in the text.
#[derive(Debug)]
pub struct TopLevel<'a> {
    text: &'a str,
    entries: Vec<Entry<'a>>,
    /// A bit for each key ([`bit`]): a request is asked for a hundred fields, and has a few.
    bits: u64,
}

/// A bit by which most keys that are not there are known not to be.
fn bit(key: &str) -> u64 {
    let first = key.as_bytes().first().copied().unwrap_or_default();
    1 << ((usize::from(first) * 5 + key.len()) % 64)
}

#[derive(Debug)]
struct Entry<'a> {
    key: Cow<'a, str>,
    value: &'a str,
}

impl<'a> TopLevel<'a> {
    /// Reads one object.
    ///
    /// # Errors
    /// Not UTF-8, not JSON, not an object, or a key given twice.
    pub fn read(bytes: &'a [u8]) -> Result<Self, BadJson> {
        let text = std::str::from_utf8(bytes).map_err(|e| BadJson::Syntax(e.to_string()))?;
        Self::read_str(text)
    }

    /// [`Self::read`] for text.
    pub fn read_str(text: &'a str) -> Result<Self, BadJson> {
        if !text.trim_ascii_start().starts_with('{') {
            serde_json::from_str::<&RawValue>(text).map_err(|e| BadJson::Syntax(e.to_string()))?;
            return Err(BadJson::NotAnObject);
        }
        let mut json = serde_json::Deserializer::from_str(text);
        let entries = (&mut json)
            .deserialize_map(Entries)
            .and_then(|entries| json.end().map(|()| entries))
            .map_err(|e| BadJson::Syntax(e.to_string()))?;
        let bits = entries.iter().fold(0, |bits, entry| bits | bit(&entry.key));
        let top = Self { text, entries, bits };
        match top.duplicate() {
            Some(key) => Err(BadJson::Duplicate(key.chars().take(100).collect())),
            None => Ok(top),
        }
    }

    fn duplicate(&self) -> Option<&str> {
        let mut keys: Vec<&str> = self.entries.iter().map(|e| &*e.key).collect();
        keys.sort_unstable();
        keys.windows(2).find_map(|pair| match pair {
            [a, b] if a == b => Some(*a),
            _ => None,
        })
    }

    /// The whole text, as it came.
    pub const fn text(&self) -> &'a str {
        self.text
    }

    /// The raw text of a key's value.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        if self.bits & bit(key) == 0 {
            return None;
        }
        self.entries.iter().find(|e| e.key == key).map(|e| e.value)
    }

    /// All keys with the raw text of their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.entries.iter().map(|e| (&*e.key, e.value))
    }

    /// Where a value of this object lies in its text.
    fn place(&self, value: &str) -> Range<usize> {
        let start = (value.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        start..start + value.len()
    }

    /// An empty list of edits to this object.
    pub fn edit(&self) -> Edits<'_, 'a> {
        Edits { top: self, changes: Vec::new(), additions: String::new() }
    }
}

/// A body up to this size is copied into one piece, in bytes,
const SMALL: usize = 64 << 10;
/// and of a longer one what is shorter than this.
const LONG: usize = 4 << 10;

/// Edits to the top level of an object; everything else keeps its bytes.
#[derive(Debug)]
pub struct Edits<'t, 'a> {
    top: &'t TopLevel<'a>,
    /// Keys with their new values; `None`: it goes.
    changes: Vec<(&'t str, Option<String>)>,
    additions: String,
}

impl Edits<'_, '_> {
    /// Gives `key` the raw JSON `value`: in place where the key is there, else in front.
    pub fn set(&mut self, key: &str, value: String) {
        match self.top.entries.iter().find(|entry| entry.key == key) {
            Some(entry) if entry.value == value => {}
            Some(entry) => self.changes.push((&entry.key, Some(value))),
            None => {
                let key = serde_json::Value::from(key);
                self.additions += &format!("{key}:{value},");
            }
        }
    }

    /// Takes `key` and its value out, if it is there.
    pub fn remove(&mut self, key: &str) {
        if let Some(entry) = self.top.entries.iter().find(|entry| entry.key == key) {
            self.changes.push((&entry.key, None));
        }
    }

    /// The edited text, or `None` if nothing changed.
    pub fn apply(self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let mut edited = String::with_capacity(self.top.text.len() + self.additions.len() + 64);
        self.parts(|part| edited += part);
        Some(edited)
    }

    /// The edited text of `body`, which is the text that is edited, or `None` if nothing changed. Nothing long is
    /// copied: it comes in pieces, and the long ones are slices of `body`.
    pub fn apply_to(self, body: &Bytes) -> Option<Vec<Bytes>> {
        if body.len() <= SMALL {
            return self.apply().map(|text| vec![text.into()]);
        }
        if self.is_empty() {
            return None;
        }
        let (mut pieces, mut between) = (Vec::new(), String::new());
        self.parts(|part| {
            let start = (part.as_ptr() as usize).wrapping_sub(body.as_ptr() as usize);
            let end = start.saturating_add(part.len());
            // New values are no part of it, wherever they lie.
            if part.len() < LONG || end > body.len() {
                between += part;
                return;
            }
            if !between.is_empty() {
                pieces.push(std::mem::take(&mut between).into());
            }
            pieces.push(body.slice(start..end));
        });
        if !between.is_empty() {
            pieces.push(between.into());
        }
        Some(pieces)
    }

    const fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.additions.is_empty()
    }

    /// Hands out the edited text from its beginning to its end.
    fn parts(mut self, mut out: impl FnMut(&str)) {
        let text = self.top.text;
        let open = text.find('{').map_or(0, |at| at + 1);
        let goes = |entry: &Entry<'_>| self.changes.iter().any(|(key, value)| *key == entry.key && value.is_none());
        if self.top.entries.iter().all(goes) {
            // No comma may stand before the closing brace.
            self.additions.pop();
        }
        out(text.get(..open).unwrap_or_default());
        out(&self.additions);
        let (mut at, mut is_first) = (open, true);
        for entry in &self.top.entries {
            let place = self.top.place(entry.value);
            // From the value before: the comma, the key, the colon.
            let lead = text.get(at..place.start).unwrap_or_default();
            at = place.end;
            match self.changes.iter().find(|(key, _)| *key == entry.key) {
                Some((_, None)) => continue,
                change => {
                    out(if is_first {
                        lead.split_once(',').filter(|_| at_comma(lead)).map_or(lead, |(_, rest)| rest)
                    } else {
                        lead
                    });
                    out(change.and_then(|(_, value)| value.as_deref()).unwrap_or(entry.value));
                    is_first = false;
                }
            }
        }
        out(text.get(at..).unwrap_or_default());
    }
}

/// The first thing in a text is a comma.
fn at_comma(lead: &str) -> bool {
    lead.trim_ascii_start().starts_with(',')
}

/// Collects the entries of a map, values unread.
struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<Entry<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        /// More keys than any API has; keeps a hostile body from costing a sort of millions.
        const MOST_KEYS: usize = 10_000;
        let mut entries = Vec::with_capacity(4);
        while let Some(key) = map.next_key::<CowKey<'de>>()? {
            if entries.len() == MOST_KEYS {
                return Err(A::Error::custom("more than 10,000 keys"));
            }
            entries.push(Entry { key: key.0, value: map.next_value::<&RawValue>()?.get() });
        }
        Ok(entries)
    }
}

/// A key that is borrowed where it has no escapes (serde's own `Cow` always copies).
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct CowKey<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_of_a_long_text_are_the_same_in_pieces_and_copy_little() {
        let long = "x".repeat(SMALL);
        let texts = [
            format!(r#"{{"a":"{long}","b":1,"c":"{long}"}}"#),
            format!(r#" {{ "b" : 1 , "d":"{long}", "c":[2] , "a":"{long}" }} "#),
            format!(r#"{{"b":"{long}"}}"#),
            format!(r#"{{"c":"{long}","e":{{"f":["{long}"]}}}}"#),
            r#"{"a":1,"b":2,"c":3}"#.to_owned(),
        ];
        for text in texts {
            let body = Bytes::from(text.clone());
            let Ok(top) = TopLevel::read(&body) else { panic!("refused") };
            let edit = |what: usize| {
                let mut edits = top.edit();
                if what & 1 != 0 {
                    edits.set("b", format!("\"{long}\""));
                }
                if what & 2 != 0 {
                    edits.remove("c");
                }
                if what & 4 != 0 {
                    edits.set("new", "5".into());
                }
                if what & 8 != 0 {
                    edits.remove("a");
                }
                edits
            };
            for what in 0..16 {
                let (whole, pieces) = (edit(what).apply(), edit(what).apply_to(&body));
                assert_eq!(pieces.as_ref().map(|pieces| pieces.concat()), whole.map(String::into_bytes), "{what}");
                let all = body.as_ptr_range();
                let copied = pieces.iter().flatten().filter(|piece| !all.contains(&piece.as_ptr()));
                let most =
                    if text.len() <= SMALL { 2 * SMALL } else { 2 * LONG + if what & 1 == 0 { 0 } else { SMALL } };
                assert!(copied.map(Bytes::len).sum::<usize>() <= most, "{what}");
            }
        }
    }

    #[test]
    fn the_top_level_is_read_and_the_rest_is_not() {
        let Ok(top) = TopLevel::read(br#" {"a": 1 ,"b":{"a":[1e400, "\ud800"]},"\u0063":null} "#) else {
            panic!("refused");
        };
        assert_eq!(top.get("a"), Some("1"));
        assert_eq!(top.get("b"), Some(r#"{"a":[1e400, "\ud800"]}"#));
        assert_eq!(top.get("c"), Some("null"));
        assert_eq!(top.get("d"), None);
        assert_eq!(top.iter().nth(2), Some(("c", "null")));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(TopLevel::read(deep.as_bytes()).is_ok());
        let duplicate = |key: &str| Some(BadJson::Duplicate(key.into()));
        let rows: [(&[u8], Option<BadJson>); 12] = [
            (b"[]", Some(BadJson::NotAnObject)),
            (b"7", Some(BadJson::NotAnObject)),
            (b"null", Some(BadJson::NotAnObject)),
            (br#"{"a":1,"a":1}"#, duplicate("a")),
            (br#"{"model":1,"mod\u0065l":1}"#, duplicate("model")),
            (b"", None),
            (b"{", None),
            (br#"{"a":1,}"#, None),
            (br#"{"a":1} x"#, None),
            (br#"{"a":tru}"#, None),
            (b"{\"a\":\"\xff\"}", None),
            (br#"{a:1}"#, None),
        ];
        for (body, why) in rows {
            let text = String::from_utf8_lossy(body).into_owned();
            match (TopLevel::read(body), why) {
                (Err(BadJson::Syntax(_)), None) => {}
                (Err(e), Some(expected)) => assert_eq!(e, expected, "{text}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }

    #[test]
    fn edits_leave_every_other_byte() {
        let rows = [
            (r#"{"model":"a", "x" : 1e400}"#, r#"{"n":5,"model":"b", "x" : 1e400}"#),
            (r#" { "n" : null,"model":"a"}"#, r#" { "n" : 5,"model":"b"}"#),
            (r#"{}"#, r#"{"n":5,"model":"b"}"#),
        ];
        for (before, after) in rows {
            let Ok(top) = TopLevel::read_str(before) else { panic!("{before}") };
            let mut edits = top.edit();
            edits.set("n", "5".into());
            edits.set("model", "\"b\"".into());
            assert_eq!(edits.apply().as_deref(), Some(after));
        }
        // What goes → what is left, with another value for b and with a new field in front.
        let rows = [
            (&["a"][..], r#"{"x":1, "b":2, "c":[",",1]}"#),
            (&["b"], r#"{"x":1,"a": ",", "c":[",",1]}"#),
            (&["c"], r#"{"x":1,"a": "," , "b":2}"#),
            (&["a", "b"], r#"{"x":1, "c":[",",1]}"#),
            (&["a", "c"], r#"{"x":1, "b":2}"#),
            (&["a", "b", "c", "d"], r#"{"x":1}"#),
        ];
        for (gone, after) in rows {
            let Ok(top) = TopLevel::read_str(r#"{"a": "," , "b":1, "c":[",",1]}"#) else { panic!() };
            let mut edits = top.edit();
            gone.iter().for_each(|key| edits.remove(key));
            if !gone.contains(&"b") {
                edits.set("b", "2".into());
            }
            edits.set("x", "1".into());
            assert_eq!(edits.apply().as_deref(), Some(after), "{gone:?}");
        }
        let Ok(top) = TopLevel::read_str(r#"{"n":5}"#) else { panic!() };
        let mut edits = top.edit();
        edits.set("n", "5".into());
        assert_eq!(edits.apply(), None);
    }
}
