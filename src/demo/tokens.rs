//! Honest counting: a token is a token of `cl100k_base`, and a text is cut only between tokens.

use crate::meter::vocabulary::tokenizer;

/// A piece of an answer that is sent as one event: whole characters, and how many tokens they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The text; whole characters.
    pub text: String,
    /// Its tokens; above 1 where one character takes several.
    pub tokens: usize,
}

/// Tokens of `text`.
pub fn count(text: &str) -> usize {
    tokenizer().count(text)
}

/// The ids of the tokens of `text`.
pub fn ids(text: &str) -> Vec<u64> {
    tokenizer().encode(text).into_iter().map(u64::from).collect()
}

/// Splits `text` into its tokens; tokens that are only part of a character go with the one that ends it.
pub fn pieces(text: &str) -> Vec<Piece> {
    let tokenizer = tokenizer();
    let mut pieces = Vec::new();
    let (mut bytes, mut tokens) = (Vec::new(), 0_usize);
    for token in tokenizer.encode(text) {
        bytes.extend_from_slice(tokenizer.bytes(token));
        tokens = tokens.saturating_add(1);
        if let Ok(whole) = std::str::from_utf8(&bytes) {
            pieces.push(Piece { text: whole.to_owned(), tokens });
            bytes.clear();
            tokens = 0;
        }
    }
    pieces
}

/// A word that is one token wherever it is appended.
const FILLER: &str = " on";

/// Cuts `text` to `limit` tokens, if it has more.
///
/// The result is exactly `limit` tokens when counted again: where the cut would go through a
/// character, or the shorter text tokenizes otherwise, the place is filled with a plain word.
pub fn cut(text: &str, limit: usize) -> String {
    let tokenizer = tokenizer();
    let tokens = tokenizer.encode(text);
    if tokens.len() <= limit {
        return text.to_owned();
    }
    let mut keep = limit;
    loop {
        let mut bytes = Vec::new();
        for token in tokens.iter().take(keep) {
            bytes.extend_from_slice(tokenizer.bytes(*token));
        }
        let mut shorter = whole_characters(&bytes).to_owned();
        for _ in count(&shorter)..limit {
            shorter.push_str(FILLER);
        }
        if count(&shorter) <= limit || keep == 0 {
            return shorter;
        }
        keep = keep.saturating_sub(1);
    }
}

/// The longest part of `bytes` from the start that is text.
fn whole_characters(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => bytes.get(..e.valid_up_to()).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default(),
    }
}

/// A number that depends only on `text`: the seed of everything the demo makes up.
pub fn seed(text: &str) -> u64 {
    // FNV-1a: the standard library's hasher may change from one release to the next.
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pieces_are_whole_characters_and_add_up() {
        for text in ["", "Say hello.", "naïve 👩‍🚀 Ἐν ἀρχῇ 어", "  two  spaces\n\nand lines "] {
            let all = pieces(text);
            assert_eq!(all.iter().map(|p| p.text.as_str()).collect::<String>(), text);
            assert_eq!(all.iter().map(|p| p.tokens).sum::<usize>(), count(text));
        }
    }

    #[test]
    fn a_known_text_has_its_known_count() {
        assert_eq!(count("Hello, world!"), 4);
        assert_eq!(count(""), 0);
    }

    proptest! {
        #[test]
        fn a_cut_text_counts_exactly_the_limit(text in "\\PC{0,60}", limit in 0_usize..40) {
            prop_assert_eq!(count(&cut(&text, limit)), count(&text).min(limit));
        }
    }
}
