//! Named fields of a provider's JSON object, and the edits made to it.
//!
//! [`super::TopLevel`] reads what clients send and refuses a key given twice. Providers are
//! believed: the last of two counts, as most parsers have it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::number::{Whole, whole};

/// The raw values of `keys` in an object, `None` where a key is missing.
///
/// # Errors
/// Not JSON, or not an object.
pub fn pick<'a, const N: usize>(json: &'a str, keys: [&str; N]) -> Result<[Option<&'a str>; N], serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let picked = reader.deserialize_map(Pick(keys))?;
    reader.end()?;
    Ok(picked)
}

/// [`pick`] for an optional value: what is no object has no fields.
pub fn pick_from<'a, const N: usize>(json: Option<&'a str>, keys: [&str; N]) -> [Option<&'a str>; N] {
    json.and_then(|json| pick(json, keys).ok()).unwrap_or([None; N])
}

struct Pick<'k, const N: usize>([&'k str; N]);

impl<'de, const N: usize> Visitor<'de> for Pick<'_, N> {
    type Value = [Option<&'de str>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut picked = [None; N];
        while let Some(key) = map.next_key::<Key<'de>>()? {
            let value: &'de RawValue = map.next_value()?;
            for (wanted, slot) in self.0.iter().zip(&mut picked) {
                if key.0 == *wanted {
                    *slot = Some(value.get());
                }
            }
        }
        Ok(picked)
    }
}

/// Shows every entry of an object, in order, up to where it cannot be read.
pub fn each<'a>(json: &'a str, see: impl FnMut(&str, &'a str)) {
    let mut reader = serde_json::Deserializer::from_str(json);
    drop(reader.deserialize_map(Each(see)));
}

struct Each<F>(F);

impl<'de, F: FnMut(&str, &'de str)> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Key<'de>>()? {
            let value: &'de RawValue = map.next_value()?;
            (self.0)(&key.0, value.get());
        }
        Ok(())
    }
}

/// A key that is borrowed where it has no escapes (serde's own `Cow` always copies).
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// A value that says something: not missing, not `null`, not `""`.
pub fn given(value: Option<&str>) -> Option<&str> {
    value.filter(|raw| !matches!(*raw, "null" | "\"\""))
}

/// A value that is an object.
pub fn object(value: Option<&str>) -> Option<&str> {
    value.filter(|raw| raw.starts_with('{'))
}

/// A value that is a count: a whole number of at least 0, also where it is written as a float (`20.0`, `2e1`).
/// Anything else is not reported.
pub fn count(value: Option<&str>) -> Option<u64> {
    value.and_then(|raw| match whole(raw) {
        Whole::Natural(n) => Some(n),
        Whole::MinusOne | Whole::Other => None,
    })
}

/// What an error says, in at most 300 characters.
pub fn error_text(error: &str) -> String {
    let [message] = pick_from(Some(error), ["message"]);
    let raw = message.unwrap_or(error);
    let text = serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned());
    text.chars().take(300).collect()
}

/// What the error in a JSON object says, if there is one.
pub fn reason_in(json: &[u8]) -> Option<String> {
    let [error] = pick_from(std::str::from_utf8(json).ok(), ["error"]);
    given(error).map(error_text)
}

/// Where `part`, a slice of `whole`, lies in it.
pub fn place_of(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

/// `json` with the bytes at `place` replaced.
pub fn replaced(json: &str, place: Range<usize>, by: &str) -> String {
    let (before, after) = (json.get(..place.start), json.get(place.end..));
    [before.unwrap_or_default(), by, after.unwrap_or_default()].concat()
}

/// The object `json` with `key` set to the raw `value`: in place where it stands, else in front.
pub fn with_field(json: &str, key: &str, value: &str) -> String {
    let [old] = pick_from(Some(json), [key]);
    with_field_at(json, old, key, value)
}

/// [`with_field`] where it is known already what stands there: `old`, a slice of `json`.
pub fn with_field_at(json: &str, old: Option<&str>, key: &str, value: &str) -> String {
    if let Some(old) = old {
        return replaced(json, place_of(json.as_bytes(), old.as_bytes()), value);
    }
    let open = json.find('{').map_or(0, |at| at + 1);
    let is_empty = json.get(open..).is_some_and(|rest| rest.trim_ascii_start().starts_with('}'));
    let comma = if is_empty { "" } else { "," };
    replaced(json, open..open, &format!("\"{key}\":{value}{comma}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_two_counts() -> Result<(), serde_json::Error> {
        let json = " {\"a\": 1, \"b\":{\"a\":2},\"\\u0061\":3 } ";
        assert_eq!(pick(json, ["a", "b", "c"])?, [Some("3"), Some("{\"a\":2}"), None]);
        for bad in ["", "[]", "{", "{}x", "7", "null"] {
            assert!(pick(bad, ["a"]).is_err(), "{bad}");
        }
        Ok(())
    }

    #[test]
    fn a_count_is_a_whole_number_of_at_least_zero() {
        let rows = [
            ("0", Some(0)),
            ("7", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("-1", None),
            ("-0", Some(0)),
            ("1.5", None),
            ("20.0", Some(20)),
            ("1e2", Some(100)),
            ("1e400", None),
            ("\"7\"", None),
            ("null", None),
            ("{}", None),
        ];
        for (raw, expected) in rows {
            assert_eq!(count(Some(raw)), expected, "{raw}");
        }
        assert_eq!(count(None), None);
    }

    #[test]
    fn a_field_is_set_and_every_other_byte_stays() {
        let rows = [
            ("{\"a\":1}", "{\"x\":5,\"a\":1}"),
            ("{ }", "{\"x\":5 }"),
            ("{ \"x\" : 1, \"a\":2}", "{ \"x\" : 5, \"a\":2}"),
            ("{\"a\":{\"x\":1}}", "{\"x\":5,\"a\":{\"x\":1}}"),
        ];
        for (json, expected) in rows {
            assert_eq!(with_field(json, "x", "5"), expected);
        }
    }

    #[test]
    fn an_error_is_told_in_few_words() {
        let rows = [
            (r#"{"message":"no \"room\"","code":500}"#, "no \"room\""),
            (r#""plain""#, "plain"),
            (r#"{"code":5}"#, r#"{"code":5}"#),
            ("true", "true"),
        ];
        for (error, expected) in rows {
            assert_eq!(error_text(error), expected);
        }
        assert_eq!(error_text(&format!("\"{}\"", "é".repeat(999))).chars().count(), 300);
    }
}
