//! What clients and servers say to each other: dialects, and one in the words of another. Pure: no I/O, no clock, no
//! async.
//!
//! A dialect is a table of values and functions, in one file; what several have in common stands beside them.
//!
//! | file | what it is |
//! |---|---|
//! | [`chat`] | OpenAI's chat completions |
//! | [`completions`] | OpenAI's legacy completions |
//! | [`embeddings`] | OpenAI's embeddings |
//! | [`responses`] | OpenAI's responses |
//! | [`compact`] | a response made shorter |
//! | [`messages`] | Anthropic's messages |
//! | `openai` | what OpenAI's older dialects have in common: chunks, and the words of their usage |
//! | [`request`] | what a request asks for, read once |
//! | [`event`] | what one event of a stream means for the bill |
//! | [`failure`] | why a stream is a provider's failure |
//! | [`usage`] | where usage stands, in all dialects, and llama.cpp's `timings` |
//! | [`counts`] | the counts in a usage object, under all their names |
//! | [`receipt`] | the cost, written into an answer |
//! | [`standing`] | what a string in an answer is |
//! | [`marks`] | the keys of which one stands in every event that matters |
//! | [`translate`] | a client's dialect on a server that speaks chat alone |

pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod responses;
pub mod compact;
pub mod messages;
mod openai;
pub mod request;
pub mod event;
pub mod failure;
pub mod usage;
pub mod counts;
pub mod receipt;
pub mod standing;
pub mod marks;
pub mod translate;

use crate::domain::endpoint::Endpoint;
use crate::domain::json::scan::Mark;
use crate::domain::sse::Event;
use crate::domain::usage::Reported;
use event::EventMeaning;
use failure::StreamFailure;
use receipt::Receipt;
use standing::Standing;
use translate::ClientDialect;

impl Endpoint {
    /// What this endpoint's dialect says.
    pub const fn dialect(self) -> &'static Dialect {
        match self {
            Self::ChatCompletions => &chat::DIALECT,
            Self::Completions => &completions::DIALECT,
            Self::Embeddings => &embeddings::DIALECT,
            Self::Responses => &responses::DIALECT,
            Self::Compact => &compact::DIALECT,
            Self::Messages => &messages::DIALECT,
        }
    }
}

/// What one dialect says.
#[derive(Debug)]
pub struct Dialect {
    /// Of a request.
    pub request: RequestFields,
    /// Of the shortest request there is.
    pub probe: Probe,
    /// Of an answer that comes whole.
    pub answer: AnswerFields,
    /// Of a stream.
    pub stream: StreamEvents,
    /// Of what an answer cost.
    pub receipt: ReceiptForm,
    /// Of what went wrong.
    pub errors: ErrorForm,
}

/// What a dialect says of requests.
#[derive(Debug)]
pub struct RequestFields {
    /// The field without which there is nothing to answer.
    pub content: &'static str,
    /// Why a value of that field, which is neither missing nor an empty list, cannot be answered.
    pub check_content: fn(&str) -> Result<(), &'static str>,
    /// The fields that a prompt is made of; others may reach one too.
    pub prompt: &'static [&'static str],
    /// A chat template turns the messages of this dialect into one text.
    pub has_messages: bool,
    /// Fields that would make a server do work whose tokens this request cannot bound or meter, with the reason.
    pub refused: &'static [(&'static str, &'static str)],
    /// What refers to something that is stored at the server.
    pub stored: StoredReferences,
    /// The field that bounds the output where the request names none.
    ///
    /// `max_completion_tokens` would not do for chat: llama-cpp-python ignores it and would run on unbounded.
    pub output_bound: Option<&'static str>,
    /// The fields for that bound that are worth a trial, the one that is sent to an unknown server first.
    pub output_trials: &'static [&'static str],
    /// A request's output can be bounded, whatever it says itself.
    pub takes_bound: bool,
    /// The answer holds generated tokens.
    pub generates: bool,
    /// The answer may be streamed.
    pub streams: bool,
    /// The answer begins with the prompt if `echo` asks for it.
    pub echoes: bool,
    /// Few servers have it: it is offered where one is known to, and a server that does not is not at fault.
    pub is_rare: bool,
    /// How a server that has chat alone can answer it.
    pub translation: Option<ClientDialect>,
}

/// What in a request refers to something that is stored at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredReferences {
    /// A `file_id` in the content.
    pub files: FileReferences,
    /// The field `prompt`, and `item_reference` among the content's items.
    pub items: bool,
}

/// Where a `file_id` names a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileReferences {
    /// Nowhere.
    Nowhere,
    /// Wherever it is a key: arguments of calls are strings in this dialect.
    AnyKey,
    /// In a part of the content alone: arguments of calls are objects, with any keys.
    Parts,
}

/// The shortest request that shows whether a server has the dialect.
#[derive(Debug)]
pub struct Probe {
    /// For a model, streamed or not.
    pub body: fn(&str, bool) -> serde_json::Value,
    /// Output tokens. One is enough to see it count.
    pub output_bound: u64,
}

/// What a dialect says of answers that come whole.
#[derive(Debug)]
pub struct AnswerFields {
    /// The field that an answer cannot be without: it holds the output.
    pub output: &'static str,
    /// The keys in it under which generated text stands.
    pub text: &'static [&'static [u8]],
    /// Arguments of calls stand in it as objects, under `input`.
    pub has_objects: bool,
    /// Reads a usage object.
    pub read_usage: fn(&str) -> Reported,
}

/// What a dialect says of streams.
#[derive(Debug)]
pub struct StreamEvents {
    /// Reads an event with data that is an object, and no error by its name. `finished`: a finish reason was seen
    /// before.
    pub read: for<'a, 'b> fn(&'a Event<'b>, bool) -> Result<EventMeaning<'a>, StreamFailure>,
    /// Where the generated text stands in an event of a type.
    pub text: fn(&[u8]) -> Option<EventText>,
    /// Where it stands in an event that is too long to be kept.
    pub long_text: LongText,
    /// Usage comes only if `stream_options.include_usage` asks for it.
    pub usage_is_asked_for: bool,
    /// Events have a running number.
    pub is_numbered: bool,
    /// The event with usage that a provider owes a client which asked for it: from the identity of the chunks before.
    pub usage_chunk: Option<fn(&str, &Receipt) -> String>,
    /// The last event, for a stream that lacks it: client libraries wait for it.
    pub last_event: &'static str,
    /// What says that the answer was cut at the bound, as a server that minds it says it.
    pub cut: fn(&MadeUp<'_>) -> String,
    /// The end of a stream that broke off after the server's own last words, where the dialect has more to say than an
    /// error.
    pub broken: Option<EndOfBroken>,
}

/// What ends a stream that broke off, the server's own last words included.
pub type EndOfBroken = fn(&[u8], &MadeUp<'_>, Cause<'_>) -> Vec<u8>;

/// Where in an event generated text stands.
#[derive(Debug)]
pub struct EventText {
    /// The key of the value that it stands in.
    pub mark: &'static Mark,
    /// The keys in that value; a value that is itself a string stands under the key "".
    pub keys: &'static [&'static [u8]],
    /// What a string without a key is.
    pub bare: Standing,
}

/// Where in a long event generated text stands.
#[derive(Debug)]
pub struct LongText {
    /// Its keys.
    pub keys: &'static [&'static [u8]],
    /// What they are below of.
    pub below: Below,
}

/// What a key has above it.
#[derive(Debug)]
pub enum Below {
    /// It does not matter.
    Anything,
    /// No other key.
    Nothing,
    /// One of these.
    OneOf(&'static [&'static [u8]]),
}

/// What an event that has to be made up is part of.
#[derive(Debug, Clone, Copy)]
pub struct MadeUp<'a> {
    /// `"id":…,"model":…,` as in the events before.
    pub identity: &'a str,
    /// Its running number.
    pub sequence: u64,
    /// What was used.
    pub receipt: Option<&'a Receipt>,
}

/// Why a stream broke off, for the client.
#[derive(Debug, Clone, Copy)]
pub struct Cause<'a> {
    /// As the dialect calls it.
    pub code: &'a str,
    /// In words.
    pub message: &'a str,
}

/// How a dialect says what an answer cost.
#[derive(Debug)]
pub struct ReceiptForm {
    /// The object of a last event that holds the usage, where that is not the event itself.
    pub holder: Option<&'static str>,
    /// A usage object of our own.
    pub usage_object: fn(&Receipt) -> String,
    /// A server's usage object, set right.
    pub as_billed: fn(&str, &Receipt) -> String,
}

/// How a dialect says what went wrong.
#[derive(Debug)]
pub struct ErrorForm {
    /// The shape of a body.
    pub envelope: Envelope,
    /// What comes before the data of an error event.
    pub event_line: &'static str,
    /// The event of a stream that fails before any other, with the answer's id and the reason, where it is no error.
    pub failed: Option<fn(&str, &str) -> String>,
    /// What a stream says while it waits.
    pub sign_of_life: &'static str,
}

/// The shape of an error body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// `{"error":{"message":…,"type":…,"param":…,"code":…}}`
    OpenAi,
    /// `{"type":"error","error":{"type":…,"message":…},"request_id":…}`
    Anthropic,
}

#[cfg(test)]
mod tests {
    use super::request::InferenceRequest;
    use super::*;

    #[test]
    fn what_a_dialect_says_holds_together() {
        for endpoint in Endpoint::ALL {
            let Dialect { request, probe, stream, .. } = endpoint.dialect();
            assert!(request.prompt.contains(&request.content), "{endpoint}: the content is no part of the prompt");
            let is_bounded = request.output_bound.is_some();
            assert_eq!(is_bounded, request.generates && request.takes_bound, "{endpoint}: is the output bounded?");
            assert!(
                request.output_trials.first().is_none_or(|first| request.output_bound == Some(first)),
                "{endpoint}"
            );
            assert_eq!(stream.usage_chunk.is_some(), stream.usage_is_asked_for, "{endpoint}: who asks is owed a chunk");
            for streamed in [false, request.streams] {
                let body = (probe.body)("m", streamed).to_string();
                let read = InferenceRequest::read(endpoint, body.as_bytes()).map(|read| (read.model, read.stream));
                assert_eq!(read, Ok(("m".to_owned(), streamed)), "{endpoint}: the probe is no request of ours");
            }
        }
    }
}
