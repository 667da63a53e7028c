//! What a body shows itself to be by its first bytes, whatever its media type says.

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Server-sent events.
    Events,
    /// JSON.
    Json,
    /// A web page, or XML.
    Page,
    /// Nothing that a server of models sends.
    Other,
}

/// More line ends and blanks than that before anything else are no events.
const MOST_BLANK: usize = 64 << 10;

impl Opening {
    /// What begins with `bytes`; `None` if they do not tell yet.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        const BOM: &[u8] = b"\xef\xbb\xbf";
        let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
        let text = bytes.trim_ascii_start();
        match text.first() {
            None => return (bytes.len() > MOST_BLANK).then_some(Self::Other),
            Some(b'{' | b'[') => return Some(Self::Json),
            Some(b'<') => return Some(Self::Page),
            Some(b':') => return Some(Self::Events),
            Some(_) => {}
        }
        let fields: [&[u8]; 5] = [b"data:", b"event:", b"id:", b"retry:", b"error:"];
        if fields.iter().any(|field| text.starts_with(field)) {
            return Some(Self::Events);
        }
        let may_be = BOM.starts_with(text) || fields.iter().any(|field| field.starts_with(text));
        (!may_be).then_some(Self::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell() {
        let rows: [(&[u8], Option<Opening>); 16] = [
            (b"data: {}", Some(Opening::Events)),
            (b"event: x\ndata: {}", Some(Opening::Events)),
            (b"\r\n\r\n: ping\n\n", Some(Opening::Events)),
            (b"\xef\xbb\xbfdata: 1", Some(Opening::Events)),
            (b"id:7", Some(Opening::Events)),
            (b" {\"error\":1}", Some(Opening::Json)),
            (b"[]", Some(Opening::Json)),
            (b"<html>", Some(Opening::Page)),
            (b"Internal Server Error", Some(Opening::Other)),
            (b"database", Some(Opening::Other)),
            (b"datx", Some(Opening::Other)),
            (b"d", None),
            (b"event", None),
            (b"\xef\xbb", None),
            (b"\n\n", None),
            (b"", None),
        ];
        for (bytes, expected) in rows {
            assert_eq!(Opening::of(bytes), expected, "{}", bytes.escape_ascii());
        }
        assert_eq!(Opening::of(&vec![b'\n'; MOST_BLANK + 1]), Some(Opening::Other));
    }
}
