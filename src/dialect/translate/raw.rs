//! Reading a client's JSON piece by piece: what is carried keeps its bytes, so numbers and the order of keys survive.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

use super::room::Untranslated;
use crate::dialect::request::BadRequest;
use crate::domain::json::{BadJson, TopLevel};

/// What a client's request is read into, or why it is refused.
pub(super) type Result<T> = std::result::Result<T, Untranslated>;

/// Where in a request something stands, written out only when it is refused: `input[2].content[0].type`.
#[derive(Debug, Clone, Copy)]
pub(super) enum At<'p> {
    /// A field of the top level.
    Top(&'p str),
    /// An entry of a list.
    Entry(&'p At<'p>, usize),
    /// A field of an object.
    Field(&'p At<'p>, &'p str),
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Top(name) => f.write_str(name),
            Self::Entry(list, place) => write!(f, "{list}[{place}]"),
            Self::Field(object, name) => write!(f, "{object}.{name}"),
        }
    }
}

impl At<'_> {
    /// Refuses what stands here: `why` goes on after its name.
    pub(super) fn refuse<T>(&self, why: impl fmt::Display) -> Result<T> {
        let param = self.to_string();
        Err(BadRequest { message: format!("{param} {why}"), param: Some(param) }.into())
    }

    /// The object that stands here.
    pub(super) fn object<'a>(&self, raw: &'a str) -> Result<TopLevel<'a>> {
        TopLevel::read_str(raw).or_else(|e| match e {
            BadJson::Duplicate(key) => self.refuse(format_args!("has the key \"{key}\" twice")),
            BadJson::Syntax(_) | BadJson::NotAnObject => self.refuse("must be an object"),
        })
    }

    /// The raw entries of the list that stands here, which is part of JSON that was read.
    pub(super) fn list<'a>(&self, raw: &'a str) -> Result<Entries<'a>> {
        Entries::of(raw).map_or_else(|| self.refuse("must be a list"), Ok)
    }

    /// What stands between the quotes of the string here, as it is written.
    pub(super) fn inner<'a>(&self, raw: &'a str) -> Result<&'a str> {
        inner(raw).map_or_else(|| self.refuse("must be a string"), Ok)
    }

    /// The text of the string that stands here.
    pub(super) fn text<'a>(&self, raw: &'a str) -> Result<Cow<'a, str>> {
        decoded(self.inner(raw)?).map_or_else(|| self.refuse("is not valid text"), Ok)
    }

    /// A field that must be a string, as it is written between its quotes.
    pub(super) fn inner_of<'a>(&self, object: &TopLevel<'a>, name: &str) -> Result<&'a str> {
        let here = At::Field(self, name);
        given(object, name).map_or_else(|| here.refuse("is required"), |raw| here.inner(raw))
    }

    /// The text of a field that may be missing.
    pub(super) fn text_of<'a>(&self, object: &TopLevel<'a>, name: &str) -> Result<Option<Cow<'a, str>>> {
        given(object, name).map(|raw| At::Field(self, name).text(raw)).transpose()
    }

    /// A name of at most `most` characters: it may be written more than once.
    pub(super) fn name<'a>(&self, name: Cow<'a, str>, most: usize) -> Result<Cow<'a, str>> {
        if name.chars().nth(most).is_some() {
            return At::Field(self, "name").refuse(format_args!("must be at most {most} characters long"));
        }
        Ok(name)
    }

    /// The `type` of an object, or an empty text.
    pub(super) fn kind_of<'a>(&self, object: &TopLevel<'a>) -> Result<Cow<'a, str>> {
        Ok(self.text_of(object, "type")?.unwrap_or_default())
    }
}

/// The entries of a list, read one after the other: a list of all of them is many times as long as what it lists.
#[derive(Debug, Default)]
pub(super) struct Entries<'a> {
    /// Behind the bracket, or behind the last entry.
    rest: &'a str,
}

impl<'a> Entries<'a> {
    /// Of a list in JSON that was read; `None`: it is none.
    pub(super) fn of(raw: &'a str) -> Option<Self> {
        raw.strip_prefix('[').map(|rest| Self { rest })
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest.trim_ascii_start();
        let rest = rest.strip_prefix(',').unwrap_or(rest);
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        // The bracket at the end is no value.
        let value = values.next().and_then(std::result::Result::ok);
        self.rest = value.and_then(|_| rest.get(values.byte_offset()..)).unwrap_or_default();
        value.map(RawValue::get)
    }
}

/// The raw value of a field that is there and not null.
pub(super) fn given<'a>(object: &TopLevel<'a>, name: &str) -> Option<&'a str> {
    object.get(name).filter(|raw| *raw != "null")
}

/// What stands between the quotes of a JSON string.
pub(super) fn inner(raw: &str) -> Option<&str> {
    raw.strip_prefix('"')?.strip_suffix('"')
}

/// The text that is written between the quotes of a JSON string; `None` where it has half a character.
pub(super) fn decoded(inner: &str) -> Option<Cow<'_, str>> {
    if inner.contains('\\') {
        serde_json::from_str::<String>(&format!("\"{inner}\"")).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// A text as it is written between the quotes of a JSON string.
pub(super) fn escaped(text: &str) -> String {
    let quoted = quoted(text);
    inner(&quoted).unwrap_or_default().to_owned()
}

/// A text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    // A string always serialises.
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

/// Nothing but blanks and line ends is written between these quotes.
pub(super) fn is_blank(inner: &str) -> bool {
    let mut bytes = inner.bytes();
    while let Some(byte) = bytes.next() {
        let blank = match byte {
            b' ' => true,
            b'\\' => matches!(bytes.next(), Some(b'n' | b'r' | b't')),
            _ => false,
        };
        if !blank {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_programmers_write_it() {
        let (top, object) = (At::Top("input"), TopLevel::read_str(r#"{"text":7,"t":"\u0061\ud800"}"#).unwrap());
        let (item, part) = (At::Entry(&top, 2), "content");
        let parts = At::Field(&item, part);
        let Err(Untranslated::Bad(refused)) = At::Entry(&parts, 0).inner_of(&object, "text") else { panic!() };
        assert_eq!(refused.param.as_deref(), Some("input[2].content[0].text"));
        assert_eq!(refused.message, "input[2].content[0].text must be a string");
        assert!(top.text_of(&object, "t").unwrap_err().to_string().contains("valid text"));
        assert_eq!(top.kind_of(&object).unwrap(), "");
    }

    #[test]
    fn the_entries_of_a_list_are_read_one_after_the_other() {
        let at = At::Top("input");
        for (list, entries) in [
            ("[]", &[][..]),
            ("[ ]", &[]),
            ("[1]", &["1"]),
            (
                r#"[ {"a":[1,"]"]} ,"x,]", -1.5e3 ,null,true,[ ],[[]] ]"#,
                &[r#"{"a":[1,"]"]}"#, r#""x,]""#, "-1.5e3", "null", "true", "[ ]", "[[]]"],
            ),
            ("[\"\u{e9}\",\t\n\"\"]", &["\"\u{e9}\"", "\"\""]),
        ] {
            assert_eq!(at.list(list).unwrap().collect::<Vec<_>>(), entries, "{list}");
        }
        for no_list in ["{}", "\"[]\"", "7", "null"] {
            assert!(at.list(no_list).is_err(), "{no_list}");
        }
    }

    #[test]
    fn blanks_are_seen_as_they_are_written() {
        for (inner, blank) in [("", true), (r" \n\t\r ", true), (r"\\n", false), ("a", false), (r"\n.", false)] {
            assert_eq!(is_blank(inner), blank, "{inner}");
        }
    }
}
