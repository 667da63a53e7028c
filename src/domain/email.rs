//! E-mail addresses: one address, whatever its case and composition.

use icu_normalizer::ComposingNormalizerBorrowed;

/// The address in Unicode's composed form (NFC), its letters' case as typed: how it is stored.
pub fn composed(address: &str) -> String {
    ComposingNormalizerBorrowed::new_nfc().normalize(address).into_owned()
}

/// What two spellings of one address have in common: composed, and without case. To compare with, not to show.
pub fn folded(address: &str) -> String {
    // A Greek sigma at a word's end has a letter of its own, and no capital of its own.
    let composed_once = composed(address);
    let lower = composed_once.chars().flat_map(char::to_lowercase).map(|c| if c == 'ς' { 'σ' } else { c });
    // Without case some letters compose that did not before.
    composed(&lower.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_address_fold_to_the_same() {
        for (one, other) in [
            ("ada@example.org", "Ada@Example.ORG"),
            ("Jos\u{e9}@example.org", "jose\u{301}@EXAMPLE.org"),
            ("ÅSA@example.org", "a\u{30a}sa@example.org"),
            // The sign for kelvin is the letter K, composed.
            ("\u{212a}im@example.org", "kim@example.org"),
            ("ΟΔΟΣ@example.org", "οδος@example.org"),
            ("\u{130}@example.org", "i\u{307}@example.org"),
        ] {
            assert_eq!(folded(one), folded(other), "{one} and {other}");
        }
        for (one, other) in [("ada@example.org", "ada@example.com"), ("jose@example.org", "josé@example.org")] {
            assert_ne!(folded(one), folded(other), "{one} and {other}");
        }
    }

    #[test]
    fn what_is_stored_keeps_its_case() {
        assert_eq!(composed("Jose\u{301}@Example.org"), "Jos\u{e9}@Example.org");
    }

    proptest::proptest! {
        #[test]
        fn folding_again_changes_nothing(text in ".{0,20}") {
            proptest::prop_assert_eq!(folded(&folded(&text)), folded(&text));
        }
    }
}
