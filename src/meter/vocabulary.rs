//! A byte-pair tokenizer, made of its vocabulary at the first use.
//!
//! Its time is linear in the text, whatever the text: one word of a mebibyte takes no longer than a
//! mebibyte of words.

use std::io::Read;
use std::sync::LazyLock;

use bpe::byte_pair_encoding::BytePairEncoding;
use flate2::read::GzDecoder;
use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input};

/// A token a line: see the README beside it.
const VOCABULARY: &[u8] = include_bytes!("vocabulary/cl100k_base.tiktoken.gz");
/// Makes the hashes of this vocabulary's tokens distinct; found once by `bpe`'s own search.
const HASH_FACTOR: u64 = 17_846_336_922_010_275_747;
/// How `cl100k_base` cuts a text into words before it looks for pairs. The second pattern stands for the
/// look-ahead `\s+(?!\S)`: its last character is not part of the word.
const WORDS: [&str; 3] = [
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+$",
    r"\s+\s",
    r"\s+",
];
const LOOK_AHEAD: usize = 1;

/// A tokenizer.
pub struct Tokenizer {
    bpe: BytePairEncoding,
    words: Regex,
}

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(Tokenizer::load);

/// The tokenizer. The first call makes it, which takes half a second.
pub fn tokenizer() -> &'static Tokenizer {
    &TOKENIZER
}

impl Tokenizer {
    #[allow(clippy::expect_used, reason = "constants of this program: a test makes it of them")]
    fn load() -> Self {
        let mut list = String::new();
        GzDecoder::new(VOCABULARY).read_to_string(&mut list).expect("the vocabulary is gzip");
        let bpe =
            BytePairEncoding::from_tiktoken(&list, Some(HASH_FACTOR)).expect("the vocabulary is a list of tokens");
        Self { bpe, words: Regex::new_many(&WORDS).expect("the patterns are regular expressions") }
    }

    /// How many tokens `text` is.
    pub fn count(&self, text: &str) -> usize {
        self.split(text).map(|word| self.bpe.count(word.as_bytes())).sum()
    }

    /// The tokens of `text`.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.split(text).flat_map(|word| self.bpe.encode_via_backtracking(word.as_bytes())).collect()
    }

    /// The bytes of a token that [`Self::encode`] gave.
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.bpe.token_bytes(token)
    }

    fn split<'t>(&'t self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
            let found = self.words.find(Input::new(text).range(at..).anchored(Anchored::Yes));
            let mut length = found.map_or(rest.len(), |found| {
                let look_ahead =
                    if found.pattern().as_usize() == LOOK_AHEAD { last_character(rest, found.len()) } else { 0 };
                found.len() - look_ahead
            });
            if length == 0 {
                length = rest.len();
            }
            at += length;
            rest.get(..length)
        })
    }
}

/// The length of the character that ends at `end`.
fn last_character(text: &str, end: usize) -> usize {
    text.get(..end).and_then(|text| text.chars().next_back()).map_or(0, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_as_the_original_cuts_it() {
        // As `tiktoken`'s cl100k_base encodes them.
        let rows: [(&str, &[u32]); 5] = [
            ("", &[]),
            ("hello world", &[15339, 1917]),
            ("tiktoken is great!", &[83, 1609, 5963, 374, 2294, 0]),
            ("a  b", &[64, 220, 293]),
            ("antidisestablishmentarianism", &[519, 85342, 34500, 479, 8997, 2191]),
        ];
        for (text, tokens) in rows {
            assert_eq!(tokenizer().encode(text), tokens, "{text:?}");
            assert_eq!(tokenizer().count(text), tokens.len(), "{text:?}");
        }
    }

    #[test]
    fn nothing_of_a_text_is_lost() {
        for text in ["  two  spaces\n\n and\r\nlines \u{3000}\u{2003} x", "naïve 👩‍🚀 어", "\t\t", " ", "1234567 '’ll"]
        {
            let bytes: Vec<u8> =
                tokenizer().encode(text).into_iter().flat_map(|t| tokenizer().bytes(t).to_vec()).collect();
            assert_eq!(String::from_utf8_lossy(&bytes), text);
        }
    }
}
