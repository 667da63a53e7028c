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

    /// The path below a provider's base URL, which ends in `/v1`.
    pub fn upstream_path(self) -> &'static str {
        self.path().strip_prefix("/v1").unwrap_or_default()
    }

    /// Reads [`Self::path`] back.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.path() == path)
    }

    /// The field that bounds the output where the request names none.
    ///
    /// `max_completion_tokens` would not do for chat: llama-cpp-python ignores it and would run on unbounded.
    pub(super) const fn output_field(self) -> Option<&'static str> {
        match self {
            Self::ChatCompletions | Self::Completions | Self::Messages => Some("max_tokens"),
            Self::Responses => Some("max_output_tokens"),
            // OpenAI's has no such field.
            Self::Embeddings | Self::Compact => None,
        }
    }

    /// The field without which there is nothing to answer.
    pub(super) const fn content_field(self) -> &'static str {
        match self {
            Self::ChatCompletions | Self::Messages => "messages",
            Self::Completions => "prompt",
            Self::Embeddings | Self::Responses | Self::Compact => "input",
        }
    }

    /// The answer holds generated tokens.
    pub const fn generates(self) -> bool {
        !matches!(self, Self::Embeddings)
    }

    /// The answer may be streamed.
    pub const fn streams(self) -> bool {
        !matches!(self, Self::Embeddings | Self::Compact)
    }

    /// The endpoint whose requests and answers this one's are like.
    pub const fn dialect(self) -> Self {
        match self {
            Self::Compact => Self::Responses,
            other => other,
        }
    }

    /// Few servers have it: it is offered where one is known to, and a server that does not is not at fault.
    pub const fn is_rare(self) -> bool {
        matches!(self, Self::Compact)
    }

    /// A server can be told how long its answer may be, whatever the request says.
    pub const fn takes_bound(self) -> bool {
        !matches!(self, Self::Compact)
    }

    /// Streams of this dialect carry usage only if `stream_options.include_usage` asks for it.
    pub const fn usage_is_asked_for(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Completions)
    }

    /// The fields of the dialect that a prompt is made of; others may reach one too.
    pub(super) const fn prompt_fields(self) -> &'static [&'static str] {
        match self {
            Self::ChatCompletions => &["messages", "tools", "functions", "response_format"],
            Self::Completions => &["prompt", "suffix"],
            Self::Embeddings => &["input"],
            Self::Responses | Self::Compact => &["input", "instructions", "tools", "text"],
            Self::Messages => &["system", "messages", "tools"],
        }
    }

    /// A chat template turns the messages of this dialect into one text.
    pub const fn has_messages(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Responses | Self::Compact | Self::Messages)
    }

    /// Fields that would make a server do work whose tokens this request cannot bound or meter, with
    /// the reason.
    pub(super) const fn refused_fields(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Responses => &[("background", "background responses cannot be metered")],
            Self::Compact => {
                &[("background", "background responses cannot be metered"), ("stream", "a compaction is not streamed")]
            }
            _ => &[],
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.path())
    }
}
