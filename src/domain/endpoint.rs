//! The endpoints that run a model: each is a dialect with its own request fields and usage shape.

/// An endpoint of the API that runs a model: a dialect, with its own request fields and usage shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// `POST /v1/chat/completions`, OpenAI Chat.
    ChatCompletions,
    /// `POST /v1/completions`, OpenAI legacy.
    Completions,
    /// `POST /v1/embeddings`, OpenAI.
    Embeddings,
    /// `POST /v1/responses`, OpenAI Responses.
    Responses,
    /// `POST /v1/responses/compact`, OpenAI Responses: a long conversation made shorter. Few servers have it.
    Compact,
    /// `POST /v1/messages`, Anthropic Messages.
    Messages,
}

impl Endpoint {
    /// All of them, in the order the documentation lists them.
    pub const ALL: [Self; 6] =
        [Self::ChatCompletions, Self::Completions, Self::Embeddings, Self::Responses, Self::Compact, Self::Messages];

    /// The path below the server's root, as in the usage row.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Responses => "/v1/responses",
            Self::Compact => "/v1/responses/compact",
            Self::Messages => "/v1/messages",
        }
    }

    /// The kind of operation, in the words of OpenTelemetry's conventions for GenAI.
    pub const fn operation(self) -> &'static str {
        match self {
            Self::ChatCompletions | Self::Responses | Self::Compact | Self::Messages => "chat",
            Self::Completions => "text_completion",
            Self::Embeddings => "embeddings",
        }
    }

    /// The path below a provider's base URL, which ends in `/v1`.
    pub fn upstream_path(self) -> &'static str {
        self.path().strip_prefix("/v1").unwrap_or_default()
    }

    /// Reads [`Self::path`] back.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.path() == path)
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.path())
    }
}
