//! A client's request as a chat request.

mod chat;
mod tools;
mod file;
mod effort;
mod items;
mod blocks;
pub(super) mod responses;
pub(super) mod messages;
#[cfg(test)]
mod tests;

/// A field asks for something: it is there, and not the way of saying no.
fn is_asked(raw: &str) -> bool {
    !matches!(raw, "null" | "false" | "[]" | "{}" | "\"\"" | "0")
}

/// A stream reports its usage, which clients of these dialects always get.
const WITH_USAGE: &str = r#"{"include_usage":true}"#;
