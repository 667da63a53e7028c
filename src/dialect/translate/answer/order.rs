//! The pieces of an answer in an order that clients take: one block after the other, each whole before the next.
//!
//! Chat servers may send pieces of several calls in turn, and what is said beside them. What comes while a call is not
//! whole waits for it.

use super::arguments::Completeness;
use super::block::{Kind, Target};
use super::events::Writer;
use crate::dialect::translate::Broken;
use crate::dialect::translate::raw::is_blank;

/// No model calls this many tools at once.
const MOST_CALLS: usize = 1_000;

/// A call that was begun.
#[derive(Debug)]
struct Call {
    /// The server's number for it.
    number: Option<u64>,
    /// As written between quotes.
    id: String,
    name: String,
    seen: Completeness,
    is_closed: bool,
}

/// The answer so far, and what waits.
#[derive(Debug, Default)]
pub(super) struct Order {
    current: Option<Target>,
    calls: Vec<Call>,
    waiting: Vec<(Target, String)>,
    /// Blanks at the start of a block, which are no block alone.
    blank: Option<(Target, String)>,
    any: bool,
}

impl Order {
    /// Which call a piece belongs to, if it is one that was begun. A server may leave out its number, or give all
    /// calls the same.
    pub fn known(&self, number: Option<u64>, id: &str, name: &str) -> Option<usize> {
        let by_number = |call: &Call| number.is_none() || call.number == number;
        let at = match (number, id) {
            (None, id) if !id.is_empty() => self.calls.iter().position(|call| call.id == id)?,
            _ => self.calls.iter().rposition(by_number)?,
        };
        let call = self.calls.get(at)?;
        let another_id = !id.is_empty() && id != call.id;
        let is_new = !name.is_empty() && (another_id || (id.is_empty() && call.seen.is_complete()));
        (!is_new).then_some(at)
    }

    /// A call begins.
    pub fn begin(&mut self, number: Option<u64>, id: String, name: String) -> Result<usize, Broken> {
        if self.calls.len() == MOST_CALLS {
            return Err(Broken::new("there are too many calls"));
        }
        self.calls.push(Call { number, id, name, seen: Completeness::default(), is_closed: false });
        Ok(self.calls.len() - 1)
    }

    /// How many calls were begun.
    pub const fn calls(&self) -> usize {
        self.calls.len()
    }

    /// The next piece.
    pub fn put(&mut self, target: Target, text: &str, to: &mut Writer, out: &mut Vec<u8>) -> Result<(), Broken> {
        let is_call = matches!(target, Target::Call(_));
        if text.is_empty() && !is_call {
            return Ok(());
        }
        if self.current == Some(target) {
            self.piece(target, text, to, out);
            return self.go_on(false, to, out);
        }
        if self.is_in_call() {
            if is_call || !is_blank(text) {
                self.wait(target, text);
            }
            return Ok(());
        }
        if !is_call && is_blank(text) {
            match &mut self.blank {
                Some((same, blank)) if *same == target => blank.push_str(text),
                other => *other = Some((target, text.to_owned())),
            }
            return Ok(());
        }
        self.turn_to(target, text, to, out)
    }

    /// A call is open that is not whole.
    fn is_in_call(&self) -> bool {
        matches!(self.current, Some(Target::Call(at)) if self.calls.get(at).is_some_and(|call| !call.seen.is_complete()))
    }

    fn wait(&mut self, target: Target, text: &str) {
        match self.waiting.iter_mut().find(|(same, _)| *same == target) {
            Some((_, waiting)) => waiting.push_str(text),
            None => self.waiting.push((target, text.to_owned())),
        }
    }

    /// Ends what is open, and goes on with another block.
    fn turn_to(&mut self, target: Target, text: &str, to: &mut Writer, out: &mut Vec<u8>) -> Result<(), Broken> {
        if let Target::Call(at) = target
            && self.calls.get(at).is_some_and(|call| call.is_closed)
        {
            return if is_blank(text) { Ok(()) } else { Err(Broken::new("a call went on after its end")) };
        }
        self.close(to, out);
        let call = |at: usize| self.calls.get(at).map(|call| (call.id.as_str(), call.name.as_str()));
        let (id, name) = if let Target::Call(at) = target { call(at).unwrap_or_default() } else { ("", "") };
        to.open(Kind { target, id, name }, out);
        (self.current, self.any) = (Some(target), true);
        match self.blank.take() {
            Some((same, blank)) if same == target => self.piece(target, &(blank + text), to, out),
            _ => self.piece(target, text, to, out),
        }
        Ok(())
    }

    fn piece(&mut self, target: Target, text: &str, to: &mut Writer, out: &mut Vec<u8>) {
        if let Target::Call(at) = target
            && let Some(call) = self.calls.get_mut(at)
        {
            call.seen.see(text);
        }
        if !text.is_empty() {
            to.piece(text, out);
        }
    }

    fn close(&mut self, to: &mut Writer, out: &mut Vec<u8>) {
        if let Some(target) = self.current.take() {
            if let Target::Call(at) = target
                && let Some(call) = self.calls.get_mut(at)
            {
                call.is_closed = true;
            }
            to.close(out);
        }
    }

    /// Goes on with what waits, as far as nothing is in its way.
    fn go_on(&mut self, to_the_end: bool, to: &mut Writer, out: &mut Vec<u8>) -> Result<(), Broken> {
        while !self.waiting.is_empty() && (to_the_end || !self.is_in_call()) {
            let (target, text) = self.waiting.remove(0);
            self.turn_to(target, &text, to, out)?;
        }
        Ok(())
    }

    /// All has come.
    pub fn end(&mut self, to: &mut Writer, out: &mut Vec<u8>) -> Result<(), Broken> {
        self.go_on(true, to, out)?;
        if !self.any
            && let Some((target, blank)) = self.blank.take()
        {
            // Nothing else was said.
            self.turn_to(target, &blank, to, out)?;
        }
        self.close(to, out);
        Ok(())
    }

    /// What waits, in bytes.
    pub fn kept(&self) -> usize {
        let blank = self.blank.as_ref().map_or(0, |(_, text)| text.len());
        let calls = self.calls.iter().map(|call| call.id.len() + call.name.len()).sum::<usize>();
        self.waiting.iter().map(|(_, text)| text.len()).sum::<usize>() + blank + calls
    }
}
