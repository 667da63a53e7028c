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

impl Tool {
    /// The bytes that it takes, about.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.chat.len() + self.namespace.as_ref().map_or(0, String::len) + self.name.len()
    }
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

    /// The bytes that it takes, about.
    pub fn size(&self) -> usize {
        let tools = self.tools.iter().map(Tool::size).sum::<usize>();
        let stops = self.stops.iter().map(|stop| size_of::<String>() + stop.len()).sum::<usize>();
        size_of::<Self>() + tools + stops + self.echo.len()
    }

    /// The dialect that the answer is to be in.
    pub const fn dialect(&self) -> ClientDialect {
        self.dialect
    }
}
