//! A place at a server, which whose turn it is has next.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::Queue;
use super::line::Ticket;
use crate::domain::ids::ProviderId;
use crate::upstream::{Slot, Target};

/// A place, and where it is.
#[derive(Debug)]
pub struct Placed {
    /// The place.
    pub place: Place,
    /// The server.
    pub target: Target,
    /// Where else it could have been served.
    pub others: Vec<Target>,
    /// It stood in line for it: its account was charged for the place.
    pub ticket: Option<Ticket>,
}

/// A place at a server. When it is dropped, whose turn it is has it.
#[derive(Debug)]
pub struct Place {
    /// Given back first: fields are dropped in order.
    slot: Slot,
    _next: Next,
}

/// Hands out the places of a server when it is dropped.
#[derive(Debug)]
struct Next {
    server: ProviderId,
    queue: Arc<Queue>,
}

impl Deref for Place {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        &self.slot
    }
}

impl Place {
    pub(super) fn new(slot: Slot, queue: &Arc<Queue>) -> Self {
        let _next = Next { server: slot.provider(), queue: Arc::clone(queue) };
        Self { slot, _next }
    }
}

impl Drop for Next {
    fn drop(&mut self) {
        // Whoever begins to wait says so before it looks for a free place: one of the two sees the other.
        fence(Ordering::SeqCst);
        if self.queue.waiting.load(Ordering::Relaxed) > 0 {
            self.queue.hand_out(self.server);
        }
    }
}
