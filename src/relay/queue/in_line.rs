//! One who stands in line, from there until it is told how that ends.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::line::Ticket;
use super::{NoPlace, Place, Queue};
use crate::upstream::Server;

/// What one who waits has been told and has not heard yet. No more of it is kept there: thousands wait.
#[derive(Debug)]
pub(super) struct Waiting {
    pub since: Instant,
    pub waker: Option<Waker>,
    pub told: Told,
}

#[derive(Debug)]
pub(super) enum Told {
    Nothing,
    Place(Box<Place>),
    LookAgain,
    NoPlace(NoPlace),
}

/// What one who waits is called for.
#[derive(Debug)]
pub enum Call {
    /// It has a place.
    Place(Place),
    /// Who can serve it may have changed. It still waits.
    LookAgain,
}

/// A place in line; given up when it is dropped.
#[derive(Debug)]
pub struct InLine {
    queue: Arc<Queue>,
    ticket: Ticket,
    /// It has a place, or waits no more: its ticket may be in line again, and is another's.
    is_over: bool,
}

impl Waiting {
    /// Whom to wake, if anybody. Who has a place, or waits no more, has been told all.
    pub fn tell(&mut self, told: Told) -> Option<Waker> {
        if !self.is_in_line() {
            return None;
        }
        self.told = told;
        self.waker.take()
    }

    /// It waits still.
    pub const fn is_in_line(&self) -> bool {
        matches!(self.told, Told::Nothing | Told::LookAgain)
    }
}

impl InLine {
    pub(super) const fn new(queue: Arc<Queue>, ticket: Ticket) -> Self {
        Self { queue, ticket, is_over: false }
    }

    /// To stand in the same place again.
    pub const fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Waits to be called.
    ///
    /// # Errors
    /// It took too long, the server stops, or the place in line went to another.
    pub async fn called(&mut self, until: Instant) -> Result<Call, NoPlace> {
        let called = tokio::time::timeout_at(until.into(), poll_fn(|cx| self.poll(cx))).await;
        called.unwrap_or(Err(NoPlace::TimedOut))
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Call, NoPlace>> {
        let mut waiters = self.queue.lock();
        let told = waiters.waiting.get_mut(&self.ticket).map(|waiting| {
            let told = std::mem::replace(&mut waiting.told, Told::Nothing);
            waiting.waker = matches!(told, Told::Nothing).then(|| cx.waker().clone());
            told
        });
        let ended = match told {
            Some(Told::Nothing) => return Poll::Pending,
            Some(Told::LookAgain) => return Poll::Ready(Ok(Call::LookAgain)),
            Some(Told::Place(place)) => Ok(Call::Place(*place)),
            Some(Told::NoPlace(why)) => Err(why),
            None => Err(NoPlace::Closed),
        };
        waiters.waiting.remove(&self.ticket);
        self.is_over = true;
        Poll::Ready(ended)
    }

    /// It can be served there from now on, and nowhere else.
    pub fn reroute(&self, servers: &[Server]) {
        self.queue.reroute(self.ticket, servers);
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut waiters = self.queue.lock();
        let left = waiters.waiting.remove(&self.ticket);
        if left.is_some() {
            waiters.line.leave(self.ticket);
            self.queue.count(&waiters);
        }
        drop(waiters);
        // With the place that it was given and did not take: the next one has it.
        drop(left);
    }
}
