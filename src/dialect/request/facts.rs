//! What of a dialect is asked for by the endpoint.

use crate::dialect::translate::ClientDialect;
use crate::domain::endpoint::Endpoint;

impl Endpoint {
    /// The field that bounds the output where the request names none.
    pub(super) const fn output_field(self) -> Option<&'static str> {
        self.dialect().request.output_bound
    }

    /// The field without which there is nothing to answer.
    pub(super) const fn content_field(self) -> &'static str {
        self.dialect().request.content
    }

    /// The answer holds generated tokens.
    pub const fn generates(self) -> bool {
        self.dialect().request.generates
    }

    /// The answer may be streamed.
    pub const fn streams(self) -> bool {
        self.dialect().request.streams
    }

    /// Few servers have it: it is offered where one is known to, and a server that does not is not at fault.
    pub const fn is_rare(self) -> bool {
        self.dialect().request.is_rare
    }

    /// How a server that has chat alone can answer it.
    pub const fn translation(self) -> Option<ClientDialect> {
        self.dialect().request.translation
    }

    /// A request's output can be bounded, whatever it says itself.
    pub const fn takes_bound(self) -> bool {
        self.dialect().request.takes_bound
    }

    /// Streams of this dialect carry usage only if `stream_options.include_usage` asks for it.
    pub const fn usage_is_asked_for(self) -> bool {
        self.dialect().stream.usage_is_asked_for
    }

    /// The fields of the dialect that a prompt is made of; others may reach one too.
    pub(super) const fn prompt_fields(self) -> &'static [&'static str] {
        self.dialect().request.prompt
    }

    /// A chat template turns the messages of this dialect into one text.
    pub const fn has_messages(self) -> bool {
        self.dialect().request.has_messages
    }

    /// Fields that are refused, with the reason.
    pub(super) const fn refused_fields(self) -> &'static [(&'static str, &'static str)] {
        self.dialect().request.refused
    }
}
