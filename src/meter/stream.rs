//! One streamed answer as it passes: bytes are handed on as they came, while the meter looks on.
//!
//! The end of the answer is held back until the request is settled, so that a client that has it whole
//! is in the database.

use bytes::Bytes;

use super::event::{self, Hold, Sight};
use super::fields;
use super::receipt::{self, Receipt};
use super::sse::{Event, Framer, LONGEST_BLOCK};
use super::state::{Failure, Pushed, State};
use super::text::OutputText;
use super::usage::{Pieces, Source};
use crate::domain::request::Endpoint;
use crate::domain::usage::Reported;

/// The most that is held back, in bytes.
const MOST_HELD: usize = 2 * LONGEST_BLOCK;

/// One streamed answer as it passes.
#[derive(Debug)]
pub struct StreamMeter {
    endpoint: Endpoint,
    client_wants_usage: bool,
    framer: Framer,
    /// Where the blocks of a push end; kept for its memory.
    ends: Vec<usize>,
    held: Vec<Held>,
    held_bytes: usize,
    output: OutputText,
    usage: Source,
    timings: Source,
    pieces: Pieces,
    identity: Option<String>,
    /// A finish reason, a stop reason or the last usage was seen.
    finished: bool,
    events_seen: bool,
    output_started: bool,
    state: State,
}

/// A block that waits for the receipt.
#[derive(Debug)]
struct Held {
    bytes: Bytes,
    kind: HeldKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeldKind {
    Plain,
    /// A blank line more than needed, or an LF cut off from its CR: goes the way of what it follows.
    Blank,
    Usage {
        alone: bool,
    },
    Last,
}

/// Where a block goes.
enum Way {
    Forward,
    Held(HeldKind),
    Nowhere,
}

impl StreamMeter {
    /// A meter for an answer of `endpoint`. `client_wants_usage`: the client asked for a usage chunk
    /// (chat and completions; the other dialects always carry usage).
    pub fn new(endpoint: Endpoint, client_wants_usage: bool) -> Self {
        Self {
            endpoint,
            client_wants_usage,
            framer: Framer::default(),
            ends: Vec::new(),
            held: Vec::new(),
            held_bytes: 0,
            output: OutputText::default(),
            usage: Source::default(),
            timings: Source::default(),
            pieces: Pieces::default(),
            identity: None,
            finished: false,
            events_seen: false,
            output_started: false,
            state: State::More,
        }
    }

    /// Looks at the next bytes from the provider. After [`State::Ended`] they are ignored.
    pub fn push(&mut self, bytes: Bytes) -> Pushed {
        if matches!(self.state, State::Failed(_)) {
            return Pushed { forward: Bytes::new(), data_events: 0, state: self.state.clone() };
        }
        let mut ends = std::mem::take(&mut self.ends);
        let whole = self.framer.feed(bytes, &mut ends);
        let (mut start, mut forward, mut data_events) = (0, 0, 0);
        for &end in &ends {
            let block = whole.get(start..end).unwrap_or_default();
            match self.look(block, &mut data_events) {
                Ok(Way::Forward) => forward = end,
                Ok(Way::Held(kind)) => self.hold(whole.slice(start..end), kind),
                Ok(Way::Nowhere) => {}
                Err(failure) => self.state = State::Failed(failure),
            }
            if matches!(self.state, State::Failed(_)) {
                break;
            }
            start = end;
        }
        if self.framer.pending() > LONGEST_BLOCK && self.state == State::More {
            self.state = State::Failed(Failure::TooLong);
        }
        self.ends = ends;
        Pushed { forward: whole.slice(..forward), data_events, state: self.state.clone() }
    }

    /// The provider closed the body cleanly.
    ///
    /// Some servers leave the last blank line out, or `[DONE]`, so what is complete counts.
    pub fn end_of_input(&mut self) -> State {
        let tail = self.framer.into_tail();
        if self.state == State::More && is_complete(&tail) {
            let block = [&tail, &b"\n\n"[..]].concat();
            match self.look(&block, &mut 0) {
                Ok(Way::Forward) => self.hold(block.into(), HeldKind::Plain),
                Ok(Way::Held(kind)) => self.hold(block.into(), kind),
                Ok(Way::Nowhere) => {}
                Err(failure) => self.state = State::Failed(failure),
            }
        }
        if self.state == State::More {
            self.state = match (self.events_seen, self.finished) {
                (false, _) => State::Failed(Failure::Empty),
                (true, false) => State::Failed(Failure::Truncated),
                (true, true) => State::Ended,
            };
        }
        self.state.clone()
    }

    /// What the provider said so far, gaps in its usage filled from its own counters. A count of the
    /// completion that more output followed is left out.
    pub fn reported(&self) -> Reported {
        self.usage.reported().or(self.timings.reported())
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

    /// Looks at one block. `data_events` counts it if it is progress.
    fn look(&mut self, block: &[u8], data_events: &mut usize) -> Result<Way, Failure> {
        if block.len() > LONGEST_BLOCK {
            return Err(Failure::TooLong);
        }
        let is_blank = block.iter().all(|b| matches!(b, b'\r' | b'\n'));
        if self.state == State::Ended && !is_blank {
            return Ok(Way::Nowhere);
        }
        let event = Event::read(block);
        if event.data.is_empty() {
            if let Some(error) = event.error {
                return Err(event::error_event(error));
            }
            return Ok(match (self.held.is_empty(), is_blank) {
                (true, _) => Way::Forward,
                (false, true) => Way::Held(HeldKind::Blank),
                (false, false) => Way::Held(HeldKind::Plain),
            });
        }
        let sight = event::read(self.endpoint, &event, self.finished)?;
        self.events_seen = true;
        *data_events += usize::from(!sight.is_ping);
        self.note(&sight, &event.data);
        if sight.is_last {
            let usage_said = self.usage.reported() != Reported::default();
            if !self.finished && !usage_said {
                return Err(Failure::Unfinished);
            }
            self.state = State::Ended;
        }
        Ok(match (sight.hold, self.held.is_empty()) {
            (Hold::Usage { alone }, _) => Way::Held(HeldKind::Usage { alone }),
            (Hold::Yes, _) if sight.is_last => Way::Held(HeldKind::Last),
            (Hold::Yes, _) | (Hold::No, false) => Way::Held(HeldKind::Plain),
            (Hold::No, true) => {
                self.output_started = true;
                Way::Forward
            }
        })
    }

    /// Notes what an event brings and says.
    fn note(&mut self, sight: &Sight<'_>, data: &[u8]) {
        if self.output.take_event(self.endpoint, sight.kind, data) {
            self.usage.outdate();
            self.timings.outdate();
        }
        let is_final = self.finished || sight.finishes || sight.hold != Hold::No;
        if let Some(usage) = sight.usage {
            self.usage.note(usage, is_final);
            self.finished |= is_final;
        }
        if let Some(pieces) = sight.pieces {
            self.pieces = self.pieces.then(pieces);
            self.usage.note(self.pieces.reported(), is_final);
        }
        if let Some(timings) = sight.timings {
            self.timings.note(timings, is_final);
        }
        if let (None, Some(identity)) = (&self.identity, &sight.identity) {
            self.identity = Some(identity.clone());
        }
        self.finished |= sight.finishes;
    }

    fn hold(&mut self, bytes: Bytes, kind: HeldKind) {
        self.held_bytes += bytes.len();
        self.held.push(Held { bytes, kind });
        if self.held_bytes > MOST_HELD {
            self.state = State::Failed(Failure::TooLong);
        }
    }

    /// What was held back, with the receipt in it, up to the last byte of the stream.
    pub fn last_bytes(self, receipt: &Receipt) -> Bytes {
        let is_usage = |held: &Held| matches!(held.kind, HeldKind::Usage { .. });
        let target = self.held.iter().rposition(is_usage);
        let mut out = Vec::with_capacity(self.held_bytes + 256);
        let mut blank_follows = true;
        let mut closing = Some(self.closing(target.is_some(), receipt));
        for (place, held) in self.held.iter().enumerate() {
            match held.kind {
                HeldKind::Blank if !blank_follows => continue,
                HeldKind::Usage { alone: true } if !self.shows_usage() => {
                    blank_follows = false;
                    continue;
                }
                HeldKind::Usage { .. } if Some(place) == target && self.shows_usage() => {
                    let (block, anew) = receipt::in_block(self.endpoint, &held.bytes, receipt);
                    out.extend_from_slice(&block);
                    blank_follows = !anew;
                    continue;
                }
                HeldKind::Last => {
                    let (usage_chunk, _) = closing.take().unwrap_or_default();
                    out.extend_from_slice(usage_chunk.as_bytes());
                }
                HeldKind::Plain | HeldKind::Blank | HeldKind::Usage { .. } => {}
            }
            out.extend_from_slice(&held.bytes);
            blank_follows = true;
        }
        if let Some((usage_chunk, last)) = closing {
            out.extend_from_slice(usage_chunk.as_bytes());
            out.extend_from_slice(last.as_bytes());
        }
        out.into()
    }

    /// The client gets to see usage that stands alone.
    const fn shows_usage(&self) -> bool {
        self.client_wants_usage || matches!(self.endpoint, Endpoint::Responses | Endpoint::Messages)
    }

    /// The usage chunk that the provider owes the client, and the last event, should it be missing:
    /// client libraries wait for it.
    fn closing(&self, has_usage: bool, receipt: &Receipt) -> (String, &'static str) {
        match self.endpoint {
            Endpoint::ChatCompletions | Endpoint::Completions | Endpoint::Embeddings => {
                let identity = self.identity.as_deref().unwrap_or_default();
                let owed = self.client_wants_usage && !has_usage;
                let chunk = if owed { receipt::usage_chunk(self.endpoint, identity, receipt) } else { String::new() };
                (chunk, "data: [DONE]\n\n")
            }
            Endpoint::Responses => (String::new(), ""),
            Endpoint::Messages => (String::new(), "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
        }
    }
}

/// A block that lacks only its blank line.
fn is_complete(tail: &[u8]) -> bool {
    let data = Event::read(tail).data;
    &*data == b"[DONE]" || std::str::from_utf8(&data).is_ok_and(|json| fields::pick(json, [""; 0]).is_ok())
}
