//! A walk through valid JSON with its structure in sight: the values of a list, the entries of an object.
//!
//! It copies nothing and is linear in what it passes. What is no JSON is walked somehow, to its end.

use std::borrow::Cow;

use memchr::memchr2;

/// What a JSON value is, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A string: what stands between its quotes, its escapes as they stand.
    Text(&'a str),
    /// A list, with its brackets.
    List(&'a str),
    /// An object, with its braces.
    Object(&'a str),
    /// A number, `true`, `false` or `null`.
    Bare(&'a str),
}

impl<'a> Value<'a> {
    /// Of one value's JSON.
    pub fn of(json: &'a str) -> Self {
        Cursor { json, at: 0 }.value().unwrap_or(Self::Bare(""))
    }

    /// As it stands; of a string what is between its quotes.
    pub const fn text(self) -> &'a str {
        match self {
            Self::Text(text) | Self::List(text) | Self::Object(text) | Self::Bare(text) => text,
        }
    }
}

/// The values of a list, in order.
pub fn values(list: &str) -> impl Iterator<Item = Value<'_>> {
    let mut cursor = Cursor { json: list, at: 1 };
    std::iter::from_fn(move || cursor.value())
}

/// The entries of an object, in order. A key is decoded.
pub fn entries(object: &str) -> impl Iterator<Item = (Cow<'_, str>, Value<'_>)> {
    let mut cursor = Cursor { json: object, at: 1 };
    std::iter::from_fn(move || {
        let Value::Text(key) = cursor.value()? else { return None };
        Some((decoded(key), cursor.value()?))
    })
}

/// A string as it is meant.
pub fn decoded(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    pieces(raw, |piece| {
        text.push_str(piece);
        true
    });
    Cow::Owned(text)
}

/// Hands out a string, decoded, piece by piece until `each` has enough. Half a surrogate pair is handed out as the
/// replacement character.
pub fn pieces(raw: &str, mut each: impl FnMut(&str) -> bool) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        let (plain, escaped) = rest.split_at_checked(at).unwrap_or((rest, ""));
        let (letter, length) = escape(escaped);
        if !each(plain) || !each(letter.encode_utf8(&mut [0; 4])) {
            return;
        }
        rest = escaped.get(length..).unwrap_or_default();
    }
    each(rest);
}

/// The letters of the strings in some JSON, each with the bytes that it takes there. What stands between the strings
/// is taken for letters too.
pub fn decoded_letters(json: &str) -> impl Iterator<Item = (char, usize)> {
    let mut rest = json;
    std::iter::from_fn(move || {
        let letter = rest.chars().next()?;
        let (letter, length) = if letter == '\\' { escape(rest) } else { (letter, letter.len_utf8()) };
        rest = rest.get(length..).unwrap_or_default();
        Some((letter, length))
    })
}

/// The character that an escape stands for, and the bytes that it takes.
fn escape(text: &str) -> (char, usize) {
    let unit = |at: usize| text.get(at..at + 4).and_then(|hex| u16::from_str_radix(hex, 16).ok());
    let letter = match text.as_bytes().get(1) {
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'u') => {
            let first = unit(2).unwrap_or(0xFFFD);
            let second = if text.get(6..8) == Some("\\u") { unit(8) } else { None };
            let pair = char::decode_utf16([first].into_iter().chain(second)).next();
            return match pair {
                Some(Ok(letter)) if letter > '\u{FFFF}' => (letter, 12),
                Some(Ok(letter)) => (letter, 6),
                _ => (char::REPLACEMENT_CHARACTER, 6),
            };
        }
        Some(byte @ (b'"' | b'\\' | b'/')) => char::from(*byte),
        _ => return (char::REPLACEMENT_CHARACTER, 1),
    };
    (letter, 2)
}

/// The parts of any JSON: its strings, and what stands between them without blanks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextOrRest<'a> {
    /// What stands between the quotes of a string or key.
    Text(&'a str),
    /// Marks, numbers, `true`, `false`, `null`.
    Other(&'a str),
}

/// The parts of a value.
pub fn parts(json: &str) -> impl Iterator<Item = TextOrRest<'_>> {
    let mut cursor = Cursor { json, at: 0 };
    std::iter::from_fn(move || {
        let blanks = |b: &u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t');
        cursor.skip(|b| blanks(&b));
        if cursor.byte()? == b'"' {
            return Some(TextOrRest::Text(cursor.string()));
        }
        let start = cursor.at;
        cursor.skip(|b| b != b'"' && !blanks(&b));
        Some(TextOrRest::Other(cursor.since(start)))
    })
}

#[derive(Debug)]
struct Cursor<'a> {
    json: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn byte(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, what: impl Fn(u8) -> bool) {
        while self.byte().is_some_and(&what) {
            self.at += 1;
        }
    }

    fn since(&self, start: usize) -> &'a str {
        self.json.get(start..self.at).unwrap_or_default()
    }

    /// The next value; `None` at the end of what holds it.
    fn value(&mut self) -> Option<Value<'a>> {
        self.skip(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\t' | b',' | b':'));
        let start = self.at;
        match self.byte()? {
            b'"' => Some(Value::Text(self.string())),
            b'{' => {
                self.nested();
                Some(Value::Object(self.since(start)))
            }
            b'[' => {
                self.nested();
                Some(Value::List(self.since(start)))
            }
            b'}' | b']' => None,
            _ => {
                self.skip(|b| !matches!(b, b',' | b'}' | b']' | b'"' | b' ' | b'\n' | b'\r' | b'\t' | b':'));
                Some(Value::Bare(self.since(start)))
            }
        }
    }

    /// Passes a string; what stands between its quotes.
    fn string(&mut self) -> &'a str {
        let start = self.at + 1;
        let mut end = start;
        let bytes = self.json.as_bytes();
        loop {
            let Some(found) = bytes.get(end..).and_then(|rest| memchr2(b'"', b'\\', rest)) else {
                self.at = bytes.len();
                return self.json.get(start..).unwrap_or_default();
            };
            end += found;
            if bytes.get(end) == Some(&b'"') {
                self.at = end + 1;
                return self.json.get(start..end).unwrap_or_default();
            }
            end += 2;
        }
    }

    /// Passes a list or an object, however deep it is.
    fn nested(&mut self) {
        let mut depth: usize = 0;
        while let Some(byte) = self.byte() {
            match byte {
                b'"' => {
                    self.string();
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_entries_come_in_order() {
        let list: Vec<_> = values(r#"[ 1 , "a\"]" ,[2,[3]], {"b":"}"} ,null]"#).collect();
        let expected = [
            Value::Bare("1"),
            Value::Text(r#"a\"]"#),
            Value::List("[2,[3]]"),
            Value::Object(r#"{"b":"}"}"#),
            Value::Bare("null"),
        ];
        assert_eq!(list, expected);
        let object: Vec<_> = entries(r#"{ "im\u0061ge" : "x" ,"n":-1.5e3,"o":{}}"#).collect();
        let expected = [
            ("image".into(), Value::Text("x")),
            ("n".into(), Value::Bare("-1.5e3")),
            ("o".into(), Value::Object("{}")),
        ];
        assert_eq!(object, expected);
        assert_eq!((values("[]").count(), entries("{}").count()), (0, 0));
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(Value::of(&deep), Value::List(&deep));
        for broken in ["[", "{", "[1", r#"{"a"#, r#"{"a":"#, r#"["\"#, "]", "", ":"] {
            let _ = (values(broken).count(), entries(broken).count(), parts(broken).count(), Value::of(broken));
        }
    }

    #[test]
    fn escapes_are_undone() {
        let rows = [
            ("plain é", "plain é"),
            (r#"a\nb\t\"\\\/"#, "a\nb\t\"\\/"),
            (r"\u0041\u00e9\u4e2d", "Aé中"),
            (r"\ud83d\ude00!", "😀!"),
            (r"\ud83d \ude00", "\u{FFFD} \u{FFFD}"),
            (r"\ud83d\u0041", "\u{FFFD}A"),
            (r"cut\", "cut\u{FFFD}"),
            (r"cut\u00", "cut\u{FFFD}"),
        ];
        for (raw, text) in rows {
            assert_eq!(decoded(raw), text, "{raw}");
        }
    }

    #[test]
    fn the_parts_of_a_value_are_its_text_without_blanks() {
        let spelled: String = parts("{ \"a b\" : [1, 2.5 ,\"\\\"\"] ,\n \"c\":null}")
            .map(|part| match part {
                TextOrRest::Text(text) => format!("<{text}>"),
                TextOrRest::Other(other) => other.to_owned(),
            })
            .collect();
        assert_eq!(spelled, r#"{<a b>:[1,2.5,<\">],<c>:null}"#);
    }
}
