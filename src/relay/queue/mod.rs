//! Waiting for a place at a server, in a fair order (`line`), for a place of a key or an account (`gates`).
//!
//! A request that finds a free place where nobody waits never comes here but for one look at a number. Those who
//! wait hold no thread and no timer but their own; whoever gives a place back hands it to whose turn it is. Locks are
//! taken in the order *line, then servers*, and a place is never dropped while the line is locked.

mod gates;
mod line;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::domain::ids::{AccountId, ProviderId};
use crate::upstream::{Providers, Slot, Target};
use line::{Line, Waiter};

pub use gates::{Gates, Pass, RunningGates, Shut};
pub use line::{Full, Ticket};

/// How long and how many may wait.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// The longest time that a request waits for places; zero: nobody waits.
    pub timeout: Duration,
    /// How many may wait for one model; of one account a quarter of them, and no more than are left for others.
    pub length: usize,
    /// A conversation stays with the server that answered it last, if that has a free place.
    pub affinity: bool,
}

impl QueueLimits {
    /// How many of one account may wait for one thing.
    pub const fn longest_of_one(&self) -> usize {
        line::part_of_one(self.length)
    }
}

/// Why a request got no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// Too many wait already.
    Full(Full),
    /// It waited as long as anybody may.
    TimedOut,
    /// The server is about to stop.
    Closed,
}

/// What waits, in the terms of the story.
#[derive(Debug)]
pub struct Wait<'a> {
    /// Who pays.
    pub account: AccountId,
    /// The public name.
    pub model: &'a str,
    /// The most tokens it may take.
    pub work: u64,
    /// Where it can be served, the best first.
    pub targets: Vec<Target>,
    /// Until when it waits.
    pub until: Instant,
    /// It waited before, and was served in vain.
    pub again: Option<Ticket>,
}

/// Those who wait, and the places that they wait for.
#[derive(Debug)]
pub struct Queue {
    waiters: Mutex<Waiters>,
    /// How many there are: read at the start and at the end of every request.
    waiting: AtomicUsize,
    providers: Arc<Providers>,
    limits: QueueLimits,
}

#[derive(Debug)]
struct Waiters {
    line: Line,
    waiting: HashMap<Ticket, Waiting>,
    /// Servers that said when they have room again, to be checked then.
    timers: HashMap<ProviderId, Instant>,
    closed: bool,
}

#[derive(Debug)]
struct Waiting {
    targets: Vec<Target>,
    since: Instant,
    tell: oneshot::Sender<Placed>,
}

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

impl Drop for Next {
    fn drop(&mut self) {
        // Whoever begins to wait says so before it looks for a free place: one of the two sees the other.
        fence(Ordering::SeqCst);
        if self.queue.waiting.load(Ordering::Relaxed) > 0 {
            self.queue.hand_out(self.server);
        }
    }
}

impl Queue {
    /// Nobody waits.
    pub fn new(providers: Arc<Providers>, limits: QueueLimits) -> Self {
        let line = Line::new(limits.length);
        let waiters = Waiters { line, waiting: HashMap::new(), timers: HashMap::new(), closed: false };
        Self { waiters: Mutex::new(waiters), waiting: AtomicUsize::new(0), providers, limits }
    }

    /// How long and how many may wait.
    pub const fn limits(&self) -> QueueLimits {
        self.limits
    }

    /// A place at the first of these servers that has one free, unless somebody waits for it.
    ///
    /// # Errors
    /// None is free: the targets come back.
    pub fn free_place(self: &Arc<Self>, mut targets: Vec<Target>) -> Result<Placed, Vec<Target>> {
        let others_wait = (self.waiting.load(Ordering::Relaxed) > 0).then(|| self.lock());
        let is_free = |target: &Target| {
            let nobody_waits = others_wait.as_ref().is_none_or(|w| w.line.first(target.provider).is_none());
            nobody_waits.then(|| self.providers.take(target)).flatten()
        };
        let mut found = targets.iter().enumerate().find_map(|(at, target)| Some((at, is_free(target)?)));
        if found.is_none() && self.limits.timeout.is_zero() {
            let unasked = |(at, target)| Some((at, self.providers.take_unasked(target)?));
            found = targets.iter().enumerate().find_map(unasked);
        }
        drop(others_wait);
        let Some((at, slot)) = found else { return Err(targets) };
        let others = targets.split_off(at + 1);
        let Some(target) = targets.pop() else { return Err(others) };
        targets.extend(others);
        Ok(Placed { place: self.place(slot), target, others: targets, ticket: None })
    }

    fn place(self: &Arc<Self>, slot: Slot) -> Place {
        let _next = Next { server: slot.provider(), queue: Arc::clone(self) };
        Place { slot, _next }
    }

    /// Waits for a place in the order of the line.
    ///
    /// # Errors
    /// Too many wait, it took too long, or the server stops.
    pub async fn wait(self: &Arc<Self>, wait: Wait<'_>) -> Result<Placed, NoPlace> {
        let servers: Vec<ProviderId> = wait.targets.iter().map(|target| target.provider).collect();
        let until = wait.until;
        let (mut placed, leaving) = self.join(wait)?;
        // Said, and then looked: see `Place`.
        fence(Ordering::SeqCst);
        for server in servers {
            self.hand_out(server);
        }
        let found = tokio::time::timeout_at(until.into(), &mut placed).await;
        drop(leaving);
        match found {
            Ok(Ok(placed)) => Ok(placed),
            Ok(Err(_)) => Err(NoPlace::Closed),
            // It may have been given one just now.
            Err(_) => placed.try_recv().map_err(|_| NoPlace::TimedOut),
        }
    }

    fn join(self: &Arc<Self>, wait: Wait<'_>) -> Result<(oneshot::Receiver<Placed>, Leaving), NoPlace> {
        let (tell, placed) = oneshot::channel();
        let mut waiters = self.lock();
        if waiters.closed {
            return Err(NoPlace::Closed);
        }
        let waiter = Waiter {
            account: wait.account,
            model: wait.model.into(),
            work: wait.work,
            servers: wait.targets.iter().map(|target| target.provider).collect(),
        };
        let ticket = match wait.again {
            Some(ticket) => {
                waiters.line.rejoin(ticket, waiter);
                ticket
            }
            None => waiters.line.join(waiter).map_err(NoPlace::Full)?,
        };
        waiters.waiting.insert(ticket, Waiting { targets: wait.targets, since: Instant::now(), tell });
        self.count(&waiters);
        drop(waiters);
        Ok((placed, Leaving { queue: Arc::clone(self), ticket }))
    }

    fn count(&self, waiters: &Waiters) {
        self.waiting.store(waiters.waiting.len(), Ordering::Relaxed);
    }

    /// Gives the free places of a server to whose turn it is.
    pub fn hand_out(self: &Arc<Self>, server: ProviderId) {
        while let Some((tell, placed)) = self.next(server) {
            // Whoever left at the same moment gives the place back by not taking it.
            drop(tell.send(placed));
        }
    }

    /// Whose turn it is at a server, if there is a free place.
    fn next(self: &Arc<Self>, server: ProviderId) -> Option<(oneshot::Sender<Placed>, Placed)> {
        let mut waiters = self.lock();
        let ticket = waiters.line.first(server)?;
        let target = waiters.waiting.get(&ticket)?.targets.iter().find(|target| target.provider == server)?;
        let Some(slot) = self.providers.take(target) else {
            self.look_again(&mut waiters, server);
            return None;
        };
        waiters.line.serve(server);
        let Waiting { mut targets, tell, .. } = waiters.waiting.remove(&ticket)?;
        self.count(&waiters);
        drop(waiters);
        let at = targets.iter().position(|target| target.provider == server)?;
        let target = targets.remove(at);
        Some((tell, Placed { place: self.place(slot), target, others: targets, ticket: Some(ticket) }))
    }

    /// A server that said when it has room again is checked then.
    fn look_again(self: &Arc<Self>, waiters: &mut Waiters, server: ProviderId) {
        let Some(at) = self.providers.full_until(server, Instant::now()) else { return };
        if waiters.timers.get(&server).is_some_and(|set| *set <= at) {
            return;
        }
        waiters.timers.insert(server, at);
        let queue = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            queue.lock().timers.retain(|other, set| *other != server || *set != at);
            queue.hand_out(server);
        });
    }

    /// A server is as it was before it was asked: the account that had its place is owed it.
    pub fn refund(&self, server: ProviderId, account: AccountId, work: u64) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.lock().line.refund(server, account, work);
        }
    }

    /// Nobody waits any more, and nobody will.
    pub fn close(&self) {
        let mut waiters = self.lock();
        waiters.closed = true;
        let gone = std::mem::take(&mut waiters.waiting);
        waiters.line = Line::new(self.limits.length);
        self.count(&waiters);
        drop(waiters);
        drop(gone);
    }

    /// How many wait for a model.
    pub fn waiting_for(&self, model: &str) -> usize {
        if self.waiting.load(Ordering::Relaxed) == 0 { 0 } else { self.lock().line.waiting(model) }
    }

    /// How many could be served by a server, and since when the first of them waits.
    pub fn waiting_at(&self, server: ProviderId) -> (usize, Option<Instant>) {
        let waiters = self.lock();
        let first = waiters.line.longest_at(server).and_then(|ticket| waiters.waiting.get(&ticket));
        (waiters.line.waiting_at(server), first.map(|waiting| waiting.since))
    }

    /// How many wait, and since when the first of them does.
    pub fn all_waiting(&self) -> (usize, Option<Instant>) {
        let waiters = self.lock();
        (waiters.waiting.len(), waiters.waiting.values().map(|waiting| waiting.since).min())
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a ticket out of the line, wherever its request ends.
struct Leaving {
    queue: Arc<Queue>,
    ticket: Ticket,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let mut waiters = self.queue.lock();
        let waiting = waiters.waiting.remove(&self.ticket);
        if waiting.is_some() {
            waiters.line.leave(self.ticket);
            self.queue.count(&waiters);
        }
        drop(waiters);
    }
}

#[cfg(test)]
mod tests;
