//! What a string in an answer is.

/// Of these, what stands for a call of a tool: a server may write it otherwise than the model did.
const TOOLS: &[&[u8]] = &[b"name", b"arguments", b"partial_json", b"input"];

/// What a string in an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// No output.
    #[default]
    Nothing,
    /// Text as the model wrote it.
    Words,
    /// A part of a call of a tool.
    Tool,
}

impl Standing {
    /// What stands under a key of generated text.
    pub fn of(key: &[u8]) -> Self {
        if TOOLS.contains(&key) { Self::Tool } else { Self::Words }
    }
}
