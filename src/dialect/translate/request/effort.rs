//! How much a model is to think, in the words of chat servers.

use super::chat::Fields;
use crate::dialect::translate::raw::{Result, quoted};

/// Asks for an effort. Servers know three words, and refuse others.
pub(super) fn ask(effort: &str, fields: &mut Fields<'_>) -> Result<()> {
    let word = match effort {
        "none" => return no_thinking(fields),
        "minimal" => "low",
        "xhigh" | "max" => "high",
        other => other,
    };
    fields.set("reasoning_effort", quoted(word))
}

/// Asks for an answer without thinking, in the words of chat templates.
pub(super) fn no_thinking(fields: &mut Fields<'_>) -> Result<()> {
    fields.set("chat_template_kwargs", r#"{"enable_thinking":false}"#)
}
