//! How the bytes of a stream pass: in blocks, in events that are like the one before, in events that are too long.

use std::borrow::Cow;

use memchr::memmem;

use super::inspect::Disposition;
use super::*;
use crate::dialect::event::{self, Withhold};
use crate::dialect::marks::MARKS;
use crate::dialect::receipt;
use crate::domain::sse::Event;

impl StreamMeter {
    /// Looks at bytes that start in no long event.
    pub(super) fn push_blocks(&mut self, bytes: Bytes, handed: &mut Handed) {
        let mut text = self.framer.open(bytes);
        // From `start` on nothing was inspected; from `first` to `forward` all is to be handed on.
        let (mut start, mut first, mut forward) = (0, 0, 0);
        let mut renamed = Renamed::default();
        while self.goes_on() {
            if forward != start {
                hand(&text, first..forward, &mut renamed, handed);
                (first, forward) = (start, start);
            }
            let alike_end = self.pass_alike(&text, first, start, &mut renamed, handed);
            if alike_end > start {
                (start, forward) = (alike_end, alike_end);
                self.framer.skip_to(start);
                continue;
            }
            let before = self.output.words();
            let Some(end) = self.framer.next_end(&text, start) else { break };
            let block = text.get(start..end).unwrap_or_default();
            if block.len() > LONGEST_BLOCK && self.state == StreamState::More && !self.done {
                hand(&text, first..forward, &mut renamed, handed);
                (first, forward) = (end, end);
                drop(self.start_long(text.slice(start..end), handed));
            } else {
                match self.inspect(block, &mut handed.data_events) {
                    Ok((Disposition::Forward { hidden }, name)) => {
                        let by = self.public_name.as_ref().map_or("", |name| name.quoted()).as_bytes();
                        let mut edits = [name.map(|place| (place, by)), hidden.map(|place| (place, &b"null"[..]))];
                        edits.sort_by_key(|edit| edit.as_ref().map(|(place, _)| place.start));
                        for (place, by) in edits.into_iter().flatten() {
                            renamed.name(&text, first, place.start + start..place.end + start, by);
                        }
                        forward = end;
                        self.stop_if_beyond(before);
                    }
                    Ok((Disposition::Withhold(kind), name)) => {
                        if self.held.is_full_with(end - start) {
                            hand(&text, first..forward, &mut renamed, handed);
                            (first, forward) = (end, end);
                        }
                        self.hold(&text.slice(start..end), name, kind, handed);
                    }
                    Ok((Disposition::Drop, _)) => {}
                    Err(failure) => self.fail(failure, block),
                }
            }
            start = end;
        }
        hand(&text, first..forward, &mut renamed, handed);
        self.framer.close(&mut text, start);
        if self.framer.pending() > LONGEST_BLOCK && self.goes_on() {
            self.pass_pending(handed);
        }
    }

    /// What waits for the end of its block is too long to be kept.
    fn pass_pending(&mut self, handed: &mut Handed) {
        let pending = self.framer.into_tail();
        match self.done {
            // What follows the last word is not waited for at such length.
            true => self.state = StreamState::Ended,
            false if self.state == StreamState::More => drop(self.start_long(pending, handed)),
            false => {}
        }
    }

    /// Lets the events pass from `start` on that bring only another text than one before them, and tells where they
    /// end. What is handed on with them begins at `first`.
    fn pass_alike(
        &mut self,
        text: &[u8],
        first: usize,
        start: usize,
        renamed: &mut Renamed,
        handed: &mut Handed,
    ) -> usize {
        if self.state != StreamState::More || !self.held.is_empty() {
            return start;
        }
        let rest = text.get(start..).unwrap_or_default();
        let by = self.public_name.as_ref().map_or("", |name| name.quoted()).as_bytes();
        self.output.expect(self.shape.text_in(rest.len()));
        let events_before = handed.data_events;
        let (mut at, mut any_text, mut number, mut is_beyond) = (start, false, &b""[..], false);
        for event in self.shape.run(rest).take_while(|event| event.length <= LONGEST_BLOCK) {
            if let Some(name) = event.model {
                if handed.data_events == events_before {
                    renamed.reserve(at - first + self.shape.renamed(text.len() - at, by.len()));
                }
                renamed.name(text, first, name.start + at..name.end + at, by);
            }
            let before = self.output.words();
            any_text |= self.output.take_text(event.text, event.is_escaped, self.shape_text);
            number = event.number;
            handed.data_events += 1;
            at += event.length;
            is_beyond = self.is_beyond(before);
            if is_beyond {
                break;
            }
        }
        if any_text {
            self.usage.outdate();
            self.timings.outdate();
        }
        if !number.is_empty() {
            self.number(Some(number));
        }
        if is_beyond {
            (self.stopped, self.state) = (Some(false), StreamState::Ended);
        }
        at
    }

    /// More came since, though it could not be within what was bought even `before`.
    fn is_beyond(&self, before: Words) -> bool {
        self.output.words() != before && self.bound.is_some_and(|bound| before.are_beyond(bound))
    }

    /// Ends the answer if it could not be within what was bought even `before` the last event, which brought more.
    fn stop_if_beyond(&mut self, before: Words) {
        if self.held.is_empty() && self.state == StreamState::More && self.is_beyond(before) {
            self.stopped = Some(self.long.is_some());
            self.state = StreamState::Ended;
        }
    }

    pub(super) fn fail(&mut self, failure: StreamFailure, block: &[u8]) {
        if self.endpoint.dialect().stream.broken.is_some()
            && matches!(failure, StreamFailure::ErrorEvent(_) | StreamFailure::ResponseFailed(_))
        {
            self.number(MARKS.sequence_number.values(block).next());
            self.last_words = self.without_server_name(block).into();
        }
        self.state = StreamState::Failed(failure);
    }

    /// A block in which the server speaks of the model, by whatever name.
    fn without_server_name(&mut self, block: &[u8]) -> Vec<u8> {
        let event = Event::read(block);
        let name = self.name_in(block, &event.data);
        let by = self.public_name.as_ref().map_or("", |name| name.quoted());
        let block = replaced_at(block, name.as_slice(), by.as_bytes());
        let bare = |quoted: &[u8]| quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_vec();
        let server = bare(&self.server_name);
        if server.is_empty() {
            return block;
        }
        let places: Vec<_> = memmem::find_iter(&block, &server).map(|at| at..at + server.len()).collect();
        replaced_at(&block, &places, &bare(by.as_bytes()))
    }

    pub(super) fn hold(&mut self, block: &Bytes, name: Option<Range<usize>>, kind: BlockKind, handed: &mut Handed) {
        if self.held.is_full_with(block.len()) {
            self.release(handed);
        }
        self.held.push(self.renamed(block, name), kind);
    }

    /// A block with the public name where the other one stands.
    pub(super) fn renamed(&self, block: &Bytes, name: Option<Range<usize>>) -> Bytes {
        match (&self.public_name, name) {
            (Some(public), Some(name)) => {
                replaced_at(block, std::slice::from_ref(&name), public.quoted().as_bytes()).into()
            }
            _ => block.clone(),
        }
    }

    /// Too much is held back to be kept: it goes out as it is, and the receipt comes with what follows.
    pub(super) fn release(&mut self, handed: &mut Handed) {
        handed.add(self.held.release(self.endpoint, self.client_wants_usage));
        self.output_started = true;
    }

    /// Begins an event that is too long to be kept, and gives back what follows it.
    fn start_long(&mut self, bytes: Bytes, handed: &mut Handed) -> Bytes {
        if !self.held.is_empty() {
            self.release(handed);
        }
        self.long = Some(Box::new(LongEvent::new(self.endpoint)));
        self.push_long(bytes, handed)
    }

    /// Looks at bytes that start in a long event, and gives back what follows it.
    pub(super) fn push_long(&mut self, mut bytes: Bytes, handed: &mut Handed) -> Bytes {
        let Some(mut long) = self.long.take() else { return bytes };
        let is_start = !long.has_data();
        // What crosses the bound is not cut in the middle, unless it has no end.
        let start = self.output.words();
        let before = start.without(LONGEST_ANSWER);
        let (length, ended) = long.look(&bytes, &mut self.output);
        let rest = bytes.split_off(length);
        if !long.has_data() {
            self.state = StreamState::Failed(StreamFailure::TooLong);
            return rest;
        }
        self.events_seen = true;
        self.usage.outdate();
        self.timings.outdate();
        if let Some(data) = memmem::find(&bytes, b"data:").filter(|_| is_start)
            && let Some(name) =
                self.name_in(&bytes, &Cow::Borrowed(bytes.get(data + 5..).unwrap_or_default().trim_ascii_start()))
            && let Some(public) = &self.public_name
        {
            bytes = replaced_at(&bytes, std::slice::from_ref(&name), public.quoted().as_bytes()).into();
        }
        handed.data_events += 1;
        let forward = long.keep(&bytes);
        self.output_started |= !forward.is_empty();
        handed.add(forward);
        if ended {
            self.end_long(*long, handed);
        } else {
            self.long = Some(long);
        }
        self.stop_if_beyond(if is_start { start } else { before });
        rest
    }

    /// A long event ended. If too much of it is left to be read, it counts as output and nothing else.
    fn end_long(&mut self, long: LongEvent, handed: &mut Handed) {
        let (name, data, tail) = long.finish();
        let Some(data) = data else { return handed.add(tail) };
        let data = data.trim_ascii();
        let event = Event { name: (!name.is_empty()).then_some(&*name), data: Cow::Borrowed(data), error: None };
        let meaning = match event::read(self.endpoint, &event, self.finished) {
            Ok(meaning) => meaning,
            Err(failure) => {
                self.state = StreamState::Failed(failure);
                return;
            }
        };
        self.note(&meaning, false);
        if meaning.withhold == Withhold::No {
            self.output_started = true;
            return handed.add(tail);
        }
        let usage = std::str::from_utf8(data).ok().and_then(|json| receipt::usage_in(self.endpoint, json));
        let usage = usage.and_then(|raw| memmem::rfind(&tail, raw.as_bytes()).map(|at| at..at + raw.len()));
        self.held.push(tail, BlockKind::End { usage });
    }

    /// The body ended in a long event: it may lack no more than its blank line.
    pub(super) fn end_cut_long(&mut self) {
        let mut handed = Handed::default();
        let rest = self.push_long(Bytes::from_static(b"\n\n"), &mut handed);
        drop(rest);
        self.held.push_first(handed.forward);
    }
}

/// No answer has more text than that, in bytes.
const LONGEST_ANSWER: u64 = 64 << 20;

/// Hands on a part of what came, which may be renamed.
fn hand(text: &Bytes, part: Range<usize>, renamed: &mut Renamed, handed: &mut Handed) {
    if part.is_empty() {
        return;
    }
    handed.add(if renamed.is_none() { text.slice(part) } else { renamed.up_to(text, part.end).into() });
}
