//! One streamed answer as it passes: bytes are handed on as they came, while the meter reads along.
//!
//! The end of the answer is held back until the request is settled: of an answer that a client has whole, the charge is
//! in the database.

mod inspect;
mod passing;

use std::ops::Range;

use bytes::Bytes;

use super::long::LongEvent;
use super::rename::{PublicName, Renamed, replaced_at};
use super::shape::Shape;
use super::source::Source;
use super::state::{Pushed, StreamState};
use super::text::OutputText;
use super::withheld::{BlockKind, Ending, Withheld};
use super::words::Words;
use crate::dialect::failure::StreamFailure;
use crate::dialect::receipt::Receipt;
use crate::dialect::standing::Standing;
use crate::dialect::usage::Pieces;
use crate::dialect::{Cause, MadeUp};
use crate::domain::endpoint::Endpoint;
use crate::domain::sse::{Framer, LONGEST_BLOCK};
use crate::domain::usage::Judged;

/// One streamed answer as it passes.
#[derive(Debug)]
pub struct StreamMeter {
    endpoint: Endpoint,
    client_wants_usage: bool,
    /// What the client calls the model, if it shall see no other name.
    public_name: Option<PublicName>,
    /// What the server calls it, once that was seen and is another name.
    server_name: Vec<u8>,
    /// The most tokens that were bought.
    bound: Option<u64>,
    framer: Framer,
    shape: Shape,
    /// What the text in an event of that shape is.
    shape_text: Standing,
    long: Option<Box<LongEvent>>,
    held: Withheld,
    output: OutputText,
    usage: Source,
    timings: Source,
    pieces: Pieces,
    identity: Option<String>,
    /// The running number of the last event that had one.
    sequence: Option<u64>,
    /// A finish reason, a stop reason or the last usage was seen.
    finished: bool,
    /// The last event came.
    done: bool,
    /// The output went beyond what was bought: in the middle of an event?
    stopped: Option<bool>,
    events_seen: bool,
    output_started: bool,
    /// The event that reported a failure, where the client gets it.
    last_words: Bytes,
    state: StreamState,
}

/// What is handed on of one push. Nearly always one piece of what came, and no copy.
#[derive(Debug, Default)]
struct Handed {
    forward: Bytes,
    data_events: usize,
}

impl Handed {
    fn add(&mut self, bytes: Bytes) {
        if self.forward.is_empty() {
            self.forward = bytes;
        } else if !bytes.is_empty() {
            self.forward = [&*self.forward, &*bytes].concat().into();
        }
    }
}

impl StreamMeter {
    /// A meter for an answer of `endpoint`. `client_wants_usage`: the client asked for a usage chunk
    /// (chat and completions; the other dialects always carry usage).
    pub fn new(endpoint: Endpoint, client_wants_usage: bool) -> Self {
        Self {
            endpoint,
            client_wants_usage,
            public_name: None,
            server_name: Vec::new(),
            bound: None,
            framer: Framer::default(),
            shape: Shape::default(),
            shape_text: Standing::Nothing,
            long: None,
            held: Withheld::default(),
            output: OutputText::default(),
            usage: Source::default(),
            timings: Source::default(),
            pieces: Pieces::default(),
            identity: None,
            sequence: None,
            finished: false,
            done: false,
            stopped: None,
            events_seen: false,
            output_started: false,
            last_words: Bytes::new(),
            state: StreamState::More,
        }
    }

    /// The client gets to see `model` as the name of the model, whatever the server calls it.
    #[must_use]
    pub fn named(self, model: &str) -> Self {
        Self { public_name: Some(PublicName::new(model)), ..self }
    }

    /// How many tokens were bought. An answer that cannot be within them any more ends there.
    pub const fn bound_output(&mut self, tokens: u64) {
        self.bound = Some(tokens);
    }

    /// Looks at the next bytes from the provider. After [`StreamState::Ended`] they are ignored.
    pub fn push(&mut self, bytes: Bytes) -> Pushed {
        let mut handed = Handed::default();
        if self.goes_on() {
            let rest = if self.long.is_some() { self.push_long(bytes, &mut handed) } else { bytes };
            if !rest.is_empty() {
                self.push_blocks(rest, &mut handed);
            }
        }
        Pushed { forward: handed.forward, data_events: handed.data_events, state: self.state.clone() }
    }

    const fn goes_on(&self) -> bool {
        !matches!(self.state, StreamState::Failed(_)) && self.stopped.is_none()
    }

    /// The provider closed the body cleanly.
    ///
    /// Some servers leave the last blank line out, or `[DONE]`, so what is complete counts.
    pub fn end_of_input(&mut self) -> StreamState {
        if self.long.is_some() && self.state == StreamState::More {
            self.end_cut_long();
        }
        let tail = self.framer.into_tail();
        if self.state == StreamState::More && inspect::is_complete(&tail) {
            let block = Bytes::from([&tail, &b"\n\n"[..]].concat());
            match self.inspect(&block, &mut 0) {
                Ok((inspect::Disposition::Forward { .. }, name)) => {
                    self.held.push(self.renamed(&block, name), BlockKind::Plain)
                }
                Ok((inspect::Disposition::Withhold(kind), name)) => self.held.push(self.renamed(&block, name), kind),
                Ok((inspect::Disposition::Drop, _)) => {}
                Err(failure) => self.fail(failure, &block),
            }
        }
        if self.state == StreamState::More {
            self.state = match (self.events_seen, self.finished || self.done) {
                (false, _) => StreamState::Failed(StreamFailure::Empty),
                (true, false) => StreamState::Failed(StreamFailure::Truncated),
                (true, true) => StreamState::Ended,
            };
        }
        self.state.clone()
    }

    /// What the provider said so far, gaps in its usage filled from its own counters. A count of the
    /// completion that more output followed is left out.
    pub fn judged(&self) -> Judged {
        let delivered = self.output.any();
        let judged = Judged::of(self.usage.reported(), delivered).or(Judged::of(self.timings.reported(), delivered));
        match (self.stopped, self.bound) {
            (Some(_), Some(bound)) => judged.stopped_at(bound),
            _ => judged,
        }
    }

    /// What is held back, in bytes.
    pub const fn held_bytes(&self) -> usize {
        self.held.bytes()
    }

    /// What is held back, as it came.
    pub fn held(&self) -> impl Iterator<Item = &[u8]> {
        self.held.pieces()
    }

    /// Gives up what is held back, as it is: there is no room for it. The receipt comes with what follows.
    pub fn release_held(&mut self) -> Bytes {
        let mut handed = Handed::default();
        self.release(&mut handed);
        handed.forward
    }

    /// The output was stopped in the middle of an event, of which the client has a part.
    pub const fn was_cut_in_event(&self) -> bool {
        matches!(self.stopped, Some(true))
    }

    /// The provider said its last word, but not what it used. Some servers say that after `[DONE]`, and little
    /// time should be given to the others: the answer is there.
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// At least one event with data was handed out to forward.
    pub const fn output_started(&self) -> bool {
        self.output_started
    }

    /// The tokenizer's count of the output text that passed so far: content, reasoning, refusals, and
    /// the names and arguments of tool calls.
    pub fn estimate_completion(&mut self) -> u64 {
        self.output.count()
    }

    /// The output text that passed so far, to be counted elsewhere; nothing of it is left here.
    pub fn take_output(&mut self) -> OutputText {
        std::mem::take(&mut self.output)
    }

    /// What was held back, with the receipt in it, up to the last byte of the stream.
    pub fn last_bytes(self, receipt: &Receipt) -> Bytes {
        let identity = self.identity.as_deref().unwrap_or_default();
        let (endpoint, client_wants_usage, stopped) = (self.endpoint, self.client_wants_usage, self.stopped);
        let sequence = self.sequence.map_or(0, |last| last.saturating_add(1));
        self.held.with(Ending { endpoint, client_wants_usage, identity, receipt, stopped, sequence })
    }

    /// The end of a broken stream, where the dialect has more to say than an error: what the server itself said of
    /// it, and an event of our own. `message` says why, for the client.
    pub fn broken(&self, code: &str, message: &str) -> Option<Bytes> {
        let broken = self.endpoint.dialect().stream.broken?;
        let sequence = self.sequence.map_or(0, |last| last.saturating_add(1));
        let identity = self.identity.as_deref().unwrap_or_default();
        let made_up = MadeUp { identity, sequence, receipt: None };
        Some(broken(&self.last_words, &made_up, Cause { code, message }).into())
    }
}
