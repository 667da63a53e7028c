//! Pictures, sounds, films and files in a prompt: which there are, and what each may count as.
//!
//! Neither the bytes nor the address of a medium say how many tokens a server makes of it: a hundred bytes can be a
//! picture of 16,383 by 16,383 pixels. What bounds it is the limit that every processor of its kind has.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use regex_automata::meta::Regex;

/// A kind of medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// A picture.
    Picture,
    /// A sound.
    Sound,
    /// A film.
    Film,
    /// A document, with its pages.
    File,
}

impl Medium {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Picture, Self::Sound, Self::Film, Self::File];

    /// The kind that the type of a content part names, or a key of one without a type. Go servers read a key in any
    /// case.
    pub fn named(name: &str) -> Option<Self> {
        let is = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
        match () {
            () if is(&PICTURES) => Some(Self::Picture),
            () if is(&SOUNDS) => Some(Self::Sound),
            () if is(&FILMS) => Some(Self::Film),
            () if is(&FILES) => Some(Self::File),
            () => None,
        }
    }

    /// The most tokens that one can count as beyond its own bytes, of which a text file may make a token each.
    pub const fn most_tokens(self) -> u64 {
        match self {
            // Eight tiles of 5,667 and a base of 2,833, the dearest way of counting in use; others stop at 16,384.
            Self::Picture => 49_152,
            // 25 a second for three quarters of an hour.
            Self::Sound => 65_536,
            // What Qwen's processors cut a film down to.
            Self::Film => 131_072,
            // 100 pages, each as a text and as a picture.
            Self::File => 524_288,
        }
    }

    /// What one usually counts as, of `size` bytes of base64 or of an address.
    pub fn usual_tokens(self, size: u64, is_text: bool) -> u64 {
        match self {
            // A picture of 1,100 by 1,100 pixels, where 750 of them are a token.
            Self::Picture => 1_600,
            // 25 tokens a second, of 12,000 bytes.
            Self::Sound => (size / 640).max(256),
            Self::Film => (size / 640).max(8_192),
            Self::File if is_text => size / 4,
            Self::File => (size / 20).max(2_000),
        }
    }
}

const PICTURES: [&str; 8] = [
    "image",
    "image_url",
    "input_image",
    "image_embeds",
    "image_file",
    "image_pil",
    "computer_screenshot",
    "input_image_url",
];
const SOUNDS: [&str; 4] = ["audio", "audio_url", "input_audio", "audio_embeds"];
const FILMS: [&str; 4] = ["video", "video_url", "input_video", "video_embeds"];
const FILES: [&str; 7] = ["file", "input_file", "document", "input_document", "file_url", "file_data", "file_id"];

/// Keys of a message or prompt whose value is a list of media. A server makes pictures or sounds of them.
pub(super) const LISTS: [&str; 2] = ["images", "multimodal_data"];

/// The JSON may hold a medium: a name of one stands there in quotes. A letter written as an escape counts as a name
/// too: only somebody who hides it writes it so.
pub(super) fn may_hold_media(json: &str) -> bool {
    names().is_none_or(|names| names.is_match(json)) || escapes_a_letter(json.as_bytes())
}

/// Made of constants of this program, as a test shows; if it could not be, media would be looked for everywhere.
fn names() -> Option<&'static Regex> {
    static NAMES: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let all: Vec<&str> = [&PICTURES[..], &SOUNDS, &FILMS, &FILES, &LISTS].concat();
        Regex::new(&format!("(?i-u)\"(?:{})\"", all.join("|"))).ok()
    });
    NAMES.as_ref()
}

/// The JSON text writes an ASCII letter or an underscore as `\u00xx`.
fn escapes_a_letter(json: &[u8]) -> bool {
    static ESCAPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\\u00"));
    let letter = |at: usize| {
        let hex = json.get(at + 4..at + 6).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        byte.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
    };
    ESCAPE.find_iter(json).any(letter)
}

/// What stands in the place of a medium is one: a data URL, an address, base64, or the short name of a file.
pub(super) fn is_payload(text: &str) -> bool {
    const LONGEST_NAME: usize = 256;
    const LONGEST_ADDRESS: usize = 8_192;
    let base64 = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
    let data = |text: &str| {
        let (head, data) = text.split_once(',')?;
        head.ends_with(";base64").then(|| data.split(',').all(base64))
    };
    match text.strip_prefix("data:") {
        Some(rest) => data(rest).unwrap_or(false),
        None if text.len() <= LONGEST_NAME => !text.contains(char::is_whitespace),
        None if text.len() <= LONGEST_ADDRESS && text.contains("://") => !text.contains(char::is_whitespace),
        None => base64(text),
    }
}

/// A data URL of a text.
pub(super) fn is_text_url(text: &str) -> bool {
    ["data:text/", "data:application/json", "data:application/xml"].iter().any(|head| text.starts_with(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_their_names() {
        let rows = [
            ("image_url", Some(Medium::Picture)),
            ("Image_URL", Some(Medium::Picture)),
            ("input_audio", Some(Medium::Sound)),
            ("video_url", Some(Medium::Film)),
            ("document", Some(Medium::File)),
            ("text", None),
            ("filename", None),
            ("", None),
        ];
        for (name, medium) in rows {
            assert_eq!(Medium::named(name), medium, "{name}");
        }
        for medium in Medium::ALL {
            let usual = medium.usual_tokens(1_000, false);
            assert!(usual > 0 && usual < medium.most_tokens(), "{medium:?}");
        }
    }

    #[test]
    fn a_name_of_a_medium_is_found_before_anything_is_walked() {
        let rows = [
            (r#"[{"role":"user","content":"an image of a file"}]"#, false),
            (r#"[{"role":"user","content":"\u00e9 \u001b[0m \u0022"}]"#, false),
            (r#"[{"type":"image_url"}]"#, true),
            (r#"[{"IMAGE_url":1}]"#, true),
            (r#"[{"type":"im\u0061ge_url"}]"#, true),
            (r#"[{"type":"image\u005furl"}]"#, true),
            (r#"[{"images":["x"]}]"#, true),
        ];
        for (json, expected) in rows {
            assert_eq!(may_hold_media(json), expected, "{json}");
        }
        assert!(names().is_some());
        for name in [&PICTURES[..], &SOUNDS, &FILMS, &FILES, &LISTS].concat() {
            assert!(may_hold_media(&format!("\"{name}\"")), "{name}");
        }
    }

    #[test]
    fn text_in_the_place_of_a_medium_is_text() {
        let words = "word_".repeat(1_000);
        let rows = [
            ("data:image/png;base64,iVBORw0KGgo=".to_owned(), true),
            ("https://example.com/a.png?x=1".to_owned(), true),
            ("file-abc123".to_owned(), true),
            ("QUJD".repeat(50_000), true),
            (format!("data:video/jpeg;base64,{0},{0}", "QUJD".repeat(500)), true),
            (format!("data:image/png;base64,{words}"), false),
            (format!("data:text/plain,{words}"), false),
            (words.clone(), false),
            ("word ".repeat(1_000), false),
            (format!("https://x/{words}{words}"), false),
            ("two words".to_owned(), false),
        ];
        for (text, expected) in rows {
            assert_eq!(is_payload(&text), expected, "{:.60}", text);
        }
    }
}
