//! One streamed answer as it passes: bytes are handed on as they came, while the meter looks on.
//!
//! The end of the answer is held back until the request is settled, so that a client that has it whole
//! is in the database.

use std::borrow::Cow;

use bytes::Bytes;

use super::event::{self, Hold, Sight};
use super::fields;
use super::held::{Ending, HeldBack, HeldKind};
use super::receipt::Receipt;
use super::shape::Shape;
use super::sse::{Event, Framer, LONGEST_BLOCK};
use super::state::{Failure, Pushed, State};
use super::text::{OutputText, Taken};
use super::usage::{Pieces, Source};
use crate::domain::request::Endpoint;
use crate::domain::usage::Judged;

/// One streamed answer as it passes.
#[derive(Debug)]
pub struct StreamMeter {
    endpoint: Endpoint,
    client_wants_usage: bool,
    framer: Framer,
    shape: Shape,
    held: HeldBack,
    output: OutputText,
    usage: Source,
    timings: Source,
    pieces: Pieces,
    identity: Option<String>,
    /// A finish reason, a stop reason or the last usage was seen.
    finished: bool,
    /// The last event came.
    done: bool,
    events_seen: bool,
    output_started: bool,
    state: State,
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
            shape: Shape::default(),
            held: HeldBack::default(),
            output: OutputText::default(),
            usage: Source::default(),
            timings: Source::default(),
            pieces: Pieces::default(),
            identity: None,
            finished: false,
            done: false,
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
        let mut text = self.framer.open(bytes);
        let (mut start, mut forward, mut data_events) = (0, 0, 0);
        while !matches!(self.state, State::Failed(_)) {
            if let Some(length) = self.pass(text.get(start..).unwrap_or_default()) {
                start += length;
                forward = start;
                data_events += 1;
                self.framer.skip_to(start);
                continue;
            }
            let Some(end) = self.framer.next_end(&text, start) else { break };
            match self.look(text.get(start..end).unwrap_or_default(), &mut data_events) {
                Ok(Way::Forward) => forward = end,
                Ok(Way::Held(kind)) => self.hold(text.slice(start..end), kind),
                Ok(Way::Nowhere) => {}
                Err(failure) => self.state = State::Failed(failure),
            }
            start = end;
        }
        self.framer.close(&mut text, start);
        if self.framer.pending() > LONGEST_BLOCK && self.state == State::More {
            self.state = State::Failed(Failure::TooLong);
        }
        let forward = if forward == text.len() { text } else { text.slice(..forward) };
        Pushed { forward, data_events, state: self.state.clone() }
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
            self.state = match (self.events_seen, self.finished || self.done) {
                (false, _) => State::Failed(Failure::Empty),
                (true, false) => State::Failed(Failure::Truncated),
                (true, true) => State::Ended,
            };
        }
        self.state.clone()
    }

    /// What the provider said so far, gaps in its usage filled from its own counters. A count of the
    /// completion that more output followed is left out.
    pub fn judged(&self) -> Judged {
        let delivered = self.output.any();
        Judged::of(self.usage.reported(), delivered).or(Judged::of(self.timings.reported(), delivered))
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

    /// Lets an event pass that brings only another text than one before it, and tells its length. While
    /// something is held back, nothing passes.
    fn pass(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.state != State::More || !self.held.is_empty() {
            return None;
        }
        let event = self.shape.read(bytes).filter(|event| event.length <= LONGEST_BLOCK)?;
        if self.output.take_text(event.text) {
            self.usage.outdate();
            self.timings.outdate();
        }
        Some(event.length)
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
        if self.done && !is_blank {
            self.look_behind(&event);
            return Ok(Way::Nowhere);
        }
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
        if sight.hold == Hold::Yes && sight.is_last && !self.events_seen {
            return Err(Failure::Empty);
        }
        self.events_seen = true;
        *data_events += usize::from(!sight.is_ping);
        let taken = self.note(&sight, &event.data);
        if sight.is_last {
            self.finished = true;
            self.done = self.endpoint.usage_is_asked_for() && !self.judged().believed.is_whole();
            self.state = if self.done { State::More } else { State::Ended };
        }
        Ok(match (sight.hold, self.held.is_empty()) {
            (Hold::Usage { alone }, _) => Way::Held(HeldKind::Usage { alone }),
            (Hold::Yes, _) if sight.is_last => Way::Held(HeldKind::Last),
            (Hold::Yes, _) | (Hold::No, false) => Way::Held(HeldKind::Plain),
            (Hold::No, true) => {
                self.output_started = true;
                if let (Taken::One(text), Cow::Borrowed(_)) = (taken, &event.data)
                    && sight.is_plain(&event)
                {
                    self.shape.learn(block, text);
                }
                Way::Forward
            }
        })
    }

    /// Looks for usage in what comes after the last event. The client gets none of it.
    fn look_behind(&mut self, event: &Event<'_>) {
        if event.data.is_empty() {
            return;
        }
        match event::read(self.endpoint, event, true) {
            Ok(Sight { usage: Some(usage), .. }) => self.usage.note(usage, true),
            Ok(sight) if !sight.is_last => return,
            _ => {}
        }
        self.state = State::Ended;
    }

    /// Notes what an event brings and says.
    fn note<'a>(&mut self, sight: &Sight<'_>, data: &'a [u8]) -> Taken<'a> {
        let taken = self.output.take(self.endpoint, sight.kind, data);
        if taken.any_text() {
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
        taken
    }

    fn hold(&mut self, bytes: Bytes, kind: HeldKind) {
        if let Err(failure) = self.held.push(bytes, kind) {
            self.state = State::Failed(failure);
        }
    }

    /// What was held back, with the receipt in it, up to the last byte of the stream.
    pub fn last_bytes(self, receipt: &Receipt) -> Bytes {
        let identity = self.identity.as_deref().unwrap_or_default();
        let (endpoint, client_wants_usage) = (self.endpoint, self.client_wants_usage);
        self.held.with(Ending { endpoint, client_wants_usage, identity, receipt })
    }
}

/// A block that lacks only its blank line.
fn is_complete(tail: &[u8]) -> bool {
    let data = Event::read(tail).data;
    &*data == b"[DONE]" || std::str::from_utf8(&data).is_ok_and(|json| fields::pick(json, [""; 0]).is_ok())
}
