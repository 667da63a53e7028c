//! The pieces of an answer in an order that clients take: one block after the other, each whole before the next.
//!
//! Chat servers may send pieces of several calls in turn, and what is said beside them. What comes while a call is not
//! whole waits for it.
//!
//! What a model says must not break an answer that its server finished: it would be for nothing then, and whoever asks
//! has a model say what he likes. So there may be as many calls as there is room for, with any name, and what follows
//! a call after its end is left out.

use std::collections::{HashMap, VecDeque};

use super::arguments::Completeness;
use super::block::{Kind, Target};
use super::events::Writer;
use crate::dialect::translate::raw::is_blank;

/// What a call takes, beside its name and its ids, in bytes: its places in four lists, which may have twice the room.
const CALL: usize = 512;

/// A call that was begun.
#[derive(Debug)]
struct Call {
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
    /// The last call of a number that the server gave.
    by_number: HashMap<u64, usize>,
    /// The first call of an id.
    by_id: HashMap<String, usize>,
    waiting: VecDeque<(Target, String)>,
    /// Where among all that ever waited something waits.
    places: HashMap<Target, usize>,
    /// How much of that went on.
    gone: usize,
    /// Blanks at the start of a block, which are no block alone.
    blank: Option<(Target, String)>,
    any: bool,
    /// What is kept of calls and of what waits, in bytes.
    size: usize,
}

impl Order {
    /// Which call a piece belongs to, if it is one that was begun. A server may leave out its number, or give all
    /// calls the same.
    pub fn known(&self, number: Option<u64>, id: &str, name: &str) -> Option<usize> {
        let at = match (number, id) {
            (Some(number), _) => *self.by_number.get(&number)?,
            (None, "") => self.calls.len().checked_sub(1)?,
            (None, id) => *self.by_id.get(id)?,
        };
        let call = self.calls.get(at)?;
        let another_id = !id.is_empty() && id != call.id;
        let is_new = !name.is_empty() && (another_id || (id.is_empty() && call.seen.is_complete()));
        (!is_new).then_some(at)
    }

    /// A call begins.
    pub fn begin(&mut self, number: Option<u64>, id: String, name: String) -> usize {
        let at = self.calls.len();
        if let Some(number) = number {
            self.by_number.insert(number, at);
        }
        self.by_id.entry(id.clone()).or_insert(at);
        self.size += CALL + 2 * id.len() + name.len();
        self.calls.push(Call { id, name, seen: Completeness::default(), is_closed: false });
        at
    }

    /// How many calls were begun.
    pub const fn calls(&self) -> usize {
        self.calls.len()
    }

    /// The next piece.
    pub fn put(&mut self, target: Target, text: &str, to: &mut Writer, out: &mut Vec<u8>) {
        let is_call = matches!(target, Target::Call(_));
        if text.is_empty() && !is_call {
            return;
        }
        if self.current == Some(target) {
            self.piece(target, text, to, out);
            return self.go_on(false, to, out);
        }
        if self.is_in_call() {
            if is_call || !is_blank(text) {
                self.wait(target, text);
            }
            return;
        }
        if !is_call && is_blank(text) {
            match &mut self.blank {
                Some((same, blank)) if *same == target => blank.push_str(text),
                other => *other = Some((target, text.to_owned())),
            }
            return;
        }
        self.turn_to(target, text, to, out);
    }

    /// A call is open that is not whole.
    fn is_in_call(&self) -> bool {
        matches!(self.current, Some(Target::Call(at)) if self.calls.get(at).is_some_and(|call| !call.seen.is_complete()))
    }

    fn wait(&mut self, target: Target, text: &str) {
        let last = self.gone + self.waiting.len();
        let place = *self.places.entry(target).or_insert(last);
        match self.waiting.get_mut(place - self.gone) {
            Some((_, waiting)) => waiting.push_str(text),
            None => self.waiting.push_back((target, text.to_owned())),
        }
        self.size += text.len();
    }

    /// Ends what is open, and goes on with another block.
    fn turn_to(&mut self, target: Target, text: &str, to: &mut Writer, out: &mut Vec<u8>) {
        if let Target::Call(at) = target
            && self.calls.get(at).is_some_and(|call| call.is_closed)
        {
            return;
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
    fn go_on(&mut self, to_the_end: bool, to: &mut Writer, out: &mut Vec<u8>) {
        while to_the_end || !self.is_in_call() {
            let Some((target, text)) = self.waiting.pop_front() else { return };
            self.places.remove(&target);
            self.gone += 1;
            self.size -= text.len();
            self.turn_to(target, &text, to, out);
        }
    }

    /// All has come.
    pub fn end(&mut self, to: &mut Writer, out: &mut Vec<u8>) {
        self.go_on(true, to, out);
        if !self.any
            && let Some((target, blank)) = self.blank.take()
        {
            // Nothing else was said.
            self.turn_to(target, &blank, to, out);
        }
        self.close(to, out);
    }

    /// What is kept of calls, and of what waits, in bytes.
    pub fn kept(&self) -> usize {
        self.size + self.blank.as_ref().map_or(0, |(_, text)| text.len())
    }
}
