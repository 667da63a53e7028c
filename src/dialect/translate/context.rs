//! What of a request its answer must know.

/// The dialects that are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientDialect {
    /// OpenAI Responses.
    Responses,
    /// Anthropic Messages.
    Messages,
}

/// A tool that the chat server knows by another name or shape than the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tool {
    /// Its name at the chat server.
    pub chat: String,
    /// The client's namespace for it.
    pub namespace: Option<String>,
    /// The client's name for it.
    pub name: String,
    /// It takes a text, not an object.
    pub is_custom: bool,
}

/// What of a request its answer must know: small, and nothing of the prompt.
#[derive(Debug, Clone)]
pub struct Context {
    pub(super) dialect: ClientDialect,
    pub(super) tools: Vec<Tool>,
    /// The client asked for summaries of the reasoning: it gets the reasoning where those would be.
    pub(super) summarized: bool,
    /// The texts that end an answer.
    pub(super) stops: Vec<String>,
    /// Fields of the request that a response repeats: `"temperature":…,` and so on.
    pub(super) echo: String,
}

impl Context {
    pub(super) const fn new(dialect: ClientDialect) -> Self {
        Self { dialect, tools: Vec::new(), summarized: false, stops: Vec::new(), echo: String::new() }
    }

    /// The dialect that the answer is to be in.
    pub const fn dialect(&self) -> ClientDialect {
        self.dialect
    }
}
