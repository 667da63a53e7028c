//! Files in a request: those that are text become text, since chat servers know no others.

use std::borrow::Cow;

use crate::dialect::translate::raw::escaped;
use crate::dialect::translate::room::{Room, Untranslated};

/// Kinds of files that are text, beside `text/*`.
const TEXT: &[&str] = &[
    "application/json",
    "application/x-ndjson",
    "application/xml",
    "application/yaml",
    "application/x-yaml",
    "application/toml",
    "application/sql",
    "application/javascript",
    "application/typescript",
    "application/x-sh",
];

/// Pictures inline are a URL with the bytes in it.
const DATA: &str = "data:";

/// The text of a file given as `data:KIND;base64,…` or `data:KIND,…`, its name before it, as written between quotes;
/// `None` if it is no text.
pub(super) fn text(name: &str, data: &str, room: &Room) -> Result<Option<String>, Untranslated> {
    let Some(text) = read(data) else { return Ok(None) };
    // One byte may take six.
    let quotable = |b: u8| if b < 0x20 { 6 } else { 1 + usize::from(matches!(b, b'"' | b'\\')) };
    room.take(name.len() * 6 + text.bytes().map(quotable).sum::<usize>())?;
    Ok(Some(escaped(&format!("{}{text}", titled(name)))))
}

fn read(data: &str) -> Option<Cow<'_, str>> {
    let (head, body) = data.strip_prefix(DATA)?.split_once(',')?;
    let (kind, is_base64) = match head.strip_suffix(";base64") {
        Some(kind) => (kind, true),
        None => (head, false),
    };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_text = kind.starts_with("text/") || kind.is_empty() || TEXT.contains(&kind.as_str());
    if !is_text {
        return None;
    }
    Some(if is_base64 { String::from_utf8(base64(body)?).ok()?.into() } else { body.into() })
}

/// What stands before a file's text.
pub(super) fn titled(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!("{name}:\n") }
}

/// Reads base64, of either alphabet, padded or not.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for letter in text.bytes().filter(|b| !b.is_ascii_whitespace() && *b != b'=') {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_text_are_text() {
        let rows = [
            ("data:text/plain;base64,aGkg4pyTCg==", Some("a.txt:\\nhi ✓\\n")),
            ("data:text/plain;charset=utf-8;base64,aGkg4pyTCg", Some("a.txt:\\nhi ✓\\n")),
            ("data:application/json,{\"a\":1}", Some("a.txt:\\n{\\\"a\\\":1}")),
            ("data:application/pdf;base64,aGk=", None),
            ("data:text/plain;base64,/w==", None),
            ("data:text/plain;base64,a*", None),
            ("aGk=", None),
        ];
        for (data, expected) in rows {
            assert_eq!(text("a.txt", data, &Room::new(99)).unwrap().as_deref(), expected, "{data}");
        }
        assert_eq!(text("", "data:,x", &Room::new(1)).unwrap().as_deref(), Some("x"));
        assert_eq!(text("", "data:,\u{1}", &Room::new(5)), Err(Untranslated::TooLong));
    }
}
