//! What an endpoint's dialect says of requests.

use crate::domain::endpoint::Endpoint;

impl Endpoint {
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
