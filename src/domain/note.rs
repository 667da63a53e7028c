//! A note that people write: at a movement of money, at a code, at a decision.

/// The longest one, in characters. The tables check it, too.
const LONGEST: usize = 1_000;

/// The text is not too long for a note, and has no character that a database or a page would stumble over.
pub fn is_note(text: &str) -> bool {
    text.chars().count() <= LONGEST && !text.contains('\0')
}

/// What is wrong with a note that is called `field`, for people.
pub fn too_long(field: &str) -> String {
    format!("a {field} is at most {LONGEST} characters")
}
