//! The keys of which one stands in every event that matters. Most events have none and are passed on unread.

use std::sync::LazyLock;

use crate::domain::json::scan::Mark;

/// The keys of which one stands wherever usage is reported. An event without any of them is passed on without
/// being asked for usage, so what `usage::elsewhere` reads must be under one of these.
pub const USAGE_KEYS: [&str; 5] =
    ["usage", "usageMetadata", "usage_metadata", "billed_units", "amazon-bedrock-invocationMetrics"];

/// The keys that are looked for in every event.
#[derive(Debug)]
pub struct Marks {
    /// [`USAGE_KEYS`]
    pub usage: [Mark; USAGE_KEYS.len()],
    /// `timings`
    pub timings: Mark,
    /// `error`
    pub error: Mark,
    /// `finish_reason`
    pub finish_reason: Mark,
    /// `delta`
    pub delta: Mark,
    /// `text`
    pub text: Mark,
    /// `item`
    pub item: Mark,
    /// `content_block`
    pub content_block: Mark,
    /// `input`
    pub input: Mark,
    /// `sequence_number`
    pub sequence_number: Mark,
}

/// Built once: a finder picks its rare bytes when it is made.
pub static MARKS: LazyLock<Marks> = LazyLock::new(|| Marks {
    usage: USAGE_KEYS.map(Mark::new),
    timings: Mark::new("timings"),
    error: Mark::new("error"),
    finish_reason: Mark::new("finish_reason"),
    delta: Mark::new("delta"),
    text: Mark::new("text"),
    item: Mark::new("item"),
    content_block: Mark::new("content_block"),
    input: Mark::new("input"),
    sequence_number: Mark::new("sequence_number"),
});
