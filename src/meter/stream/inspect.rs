//! What one block means for a stream.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem;

use super::super::state::StreamState;
use super::super::text::Taken;
use super::super::withheld::BlockKind;
use super::StreamMeter;
use crate::dialect::event::{self, EventMeaning, Withhold};
use crate::dialect::failure::StreamFailure;
use crate::dialect::marks::MARKS;
use crate::dialect::receipt::hidden_usage;
use crate::domain::json::fields::{self, place_of};
use crate::domain::sse::Event;

/// Where a block goes.
pub(super) enum Disposition {
    Forward {
        /// Where usage stands in it that the client is not to see.
        hidden: Option<Range<usize>>,
    },
    Withhold(BlockKind),
    Drop,
}

impl StreamMeter {
    /// Looks at one block: where it goes, and where in it another name of the model stands. `data_events` counts it
    /// if it is progress.
    pub(super) fn inspect(
        &mut self,
        block: &[u8],
        data_events: &mut usize,
    ) -> Result<(Disposition, Option<Range<usize>>), StreamFailure> {
        let is_blank = block.iter().all(|b| matches!(b, b'\r' | b'\n'));
        if self.state == StreamState::Ended && !is_blank {
            return Ok((Disposition::Drop, None));
        }
        let event = Event::read(block);
        if self.done && !is_blank {
            self.inspect_behind(&event);
            return Ok((Disposition::Drop, None));
        }
        if event.data.is_empty() {
            if let Some(error) = event.error {
                return Err(event::error_event(error));
            }
            let way = match (self.held.is_empty(), is_blank) {
                (true, _) => Disposition::Forward { hidden: None },
                (false, true) => Disposition::Withhold(BlockKind::Blank),
                (false, false) => Disposition::Withhold(BlockKind::Plain),
            };
            return Ok((way, None));
        }
        let meaning = event::read(self.endpoint, &event, self.finished)?;
        if meaning.withhold == Withhold::Yes && meaning.is_last && !self.events_seen {
            return Err(StreamFailure::Empty);
        }
        self.events_seen = true;
        *data_events += usize::from(!meaning.is_ping);
        let name = self.name_in(block, &event.data);
        let taken = self.output.take(self.endpoint, meaning.kind, &event.data);
        if self.endpoint.dialect().stream.is_numbered {
            self.number(MARKS.sequence_number.values(&event.data).next());
        }
        self.note(&meaning, taken.any_text());
        let way = match (meaning.withhold, self.held.is_empty()) {
            (Withhold::Usage { alone }, _) => Disposition::Withhold(BlockKind::Usage { alone }),
            (Withhold::Yes, _) if meaning.is_last => Disposition::Withhold(BlockKind::Last),
            (Withhold::Yes, _) | (Withhold::No, false) => Disposition::Withhold(BlockKind::Plain),
            (Withhold::No, true) => {
                self.output_started = true;
                if let (Taken::One(text), Cow::Borrowed(_)) = (taken, &event.data)
                    && meaning.is_plain(&event)
                {
                    self.shape.learn(block, text, name.clone());
                    self.shape_text = self.output.last();
                }
                let hidden = meaning.usage.and_then(|_| hidden_usage(self.endpoint, block, self.client_wants_usage));
                Disposition::Forward { hidden }
            }
        };
        Ok((way, name))
    }

    /// Where in a block another name of the model stands than the client is to see.
    #[allow(clippy::ptr_arg, reason = "whether the data was joined is what counts")]
    pub(super) fn name_in(&mut self, block: &[u8], data: &Cow<'_, [u8]>) -> Option<Range<usize>> {
        let public = self.public_name.as_ref()?;
        let place = public.place(data)?;
        let name = data.get(place.clone())?;
        if self.server_name.is_empty() {
            self.server_name = name.to_vec();
        }
        match data {
            Cow::Borrowed(data) => {
                let start = place_of(block, data).start;
                Some(place.start + start..place.end + start)
            }
            // Data over several lines was joined; a name has no line end in it.
            Cow::Owned(_) => memmem::find(block, name).map(|at| at..at + name.len()),
        }
    }

    /// Notes the running number of an event, which the digits at the start say.
    pub(super) fn number(&mut self, digits: Option<&[u8]>) {
        let number = digits.and_then(|raw| {
            let end = raw.iter().position(|b| !b.is_ascii_digit()).unwrap_or(raw.len());
            std::str::from_utf8(raw.get(..end)?).ok()?.parse().ok()
        });
        self.sequence = number.or(self.sequence);
    }

    /// Looks for usage in what comes after the last event. The client gets none of it.
    fn inspect_behind(&mut self, event: &Event<'_>) {
        if event.data.is_empty() {
            return;
        }
        match event::read(self.endpoint, event, true) {
            Ok(EventMeaning { usage: Some(usage), .. }) => self.usage.note(usage, true),
            Ok(meaning) if !meaning.is_last => return,
            _ => {}
        }
        self.state = StreamState::Ended;
    }

    /// Notes what an event says; its output was taken before.
    pub(super) fn note(&mut self, meaning: &EventMeaning<'_>, any_text: bool) {
        if any_text {
            self.usage.outdate();
            self.timings.outdate();
        }
        let is_final = self.finished || meaning.finishes || meaning.withhold != Withhold::No;
        if let Some(usage) = meaning.usage {
            self.usage.note(usage, is_final);
            self.finished |= is_final;
        }
        if let Some(pieces) = meaning.pieces {
            self.pieces = self.pieces.then(pieces);
            self.usage.note(self.pieces.reported(), is_final);
        }
        if let Some(timings) = meaning.timings {
            self.timings.note(timings, is_final);
        }
        if let (None, Some(identity)) = (&self.identity, &meaning.identity) {
            let model = self.public_name.as_ref().map_or(identity.model, |name| name.quoted());
            self.identity = Some(format!("{}\"model\":{model},", identity.others));
        }
        self.finished |= meaning.finishes;
        if meaning.is_last {
            self.finished = true;
            self.done = self.endpoint.usage_is_asked_for() && !self.judged().believed.is_whole();
            self.state = if self.done { StreamState::More } else { StreamState::Ended };
        }
    }
}

/// A block that lacks only its blank line.
pub(super) fn is_complete(tail: &[u8]) -> bool {
    let data = Event::read(tail).data;
    &*data == b"[DONE]" || std::str::from_utf8(&data).is_ok_and(|json| fields::pick(json, [""; 0]).is_ok())
}
