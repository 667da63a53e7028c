//! Waiting for a place at a server, in a fair order (`line`), for a place of a key or an account (`gates`).
//!
//! A request that finds a free place where nobody waits never comes here but for one look at a number. Those who
//! wait hold no thread and no timer but their own; whoever gives a place back hands it to whose turn it is. Locks are
//! taken in the order *line, then servers*, and a place is never dropped while the line is locked.

mod gates;
mod in_line;
mod line;
mod place;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::domain::ids::{AccountId, IdMap, ProviderId};
use crate::upstream::{Providers, Server, Target};
use in_line::{Told, Waiting};
use line::{Line, Waiter};

pub use gates::{Gates, Pass, RunningGates, Shut};
pub use in_line::{Call, InLine};
pub use line::{Full, Ticket};
pub use place::{Place, Placed};

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
    /// Where it can be served.
    pub servers: Vec<Server>,
    /// As of when that is known: see [`Queue::looks`].
    pub looks: u64,
    /// It waited before, and was served in vain.
    pub again: Option<Ticket>,
}

/// Those who wait, and the places that they wait for.
#[derive(Debug)]
pub struct Queue {
    waiters: Mutex<Waiters>,
    /// How many are in line: read at the start and at the end of every request.
    waiting: AtomicUsize,
    /// How often those who wait were told to look again where they can be served.
    looks: AtomicU64,
    somebody_waits: Notify,
    providers: Arc<Providers>,
    limits: QueueLimits,
}

#[derive(Debug)]
struct Waiters {
    line: Line,
    /// Those in line, and those who have been told how that ended and have not heard it yet.
    waiting: HashMap<Ticket, Waiting>,
    /// How many requests the servers take at once, as whoever came last knows.
    most: IdMap<ProviderId, Option<u32>>,
    /// Servers that said when they have room again, to be checked then.
    timers: HashMap<ProviderId, Instant>,
    closed: bool,
}

impl Queue {
    /// Nobody waits.
    pub fn new(providers: Arc<Providers>, limits: QueueLimits) -> Self {
        let (line, waiting) = (Line::new(limits.length), HashMap::new());
        let waiters = Waiters { line, waiting, most: IdMap::default(), timers: HashMap::new(), closed: false };
        let (waiters, waiting, looks) = (Mutex::new(waiters), AtomicUsize::new(0), AtomicU64::new(0));
        Self { waiters, waiting, looks, somebody_waits: Notify::new(), providers, limits }
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
        Ok(Placed { place: Place::new(slot, self), target, others: targets, ticket: None })
    }

    /// Stands in line for a place.
    ///
    /// # Errors
    /// Too many wait, or the server stops.
    pub fn join(self: &Arc<Self>, wait: Wait<'_>) -> Result<InLine, NoPlace> {
        let mut waiters = self.lock();
        if waiters.closed {
            return Err(NoPlace::Closed);
        }
        let waiter = Waiter {
            account: wait.account,
            model: wait.model.into(),
            work: wait.work,
            servers: wait.servers.iter().map(|server| server.provider).collect(),
        };
        let mut gone = None;
        let ticket = match wait.again {
            Some(ticket) => {
                waiters.line.rejoin(ticket, waiter);
                ticket
            }
            None => {
                gone = waiters.line.make_room(wait.model, wait.account);
                waiters.line.join(waiter).map_err(NoPlace::Full)?
            }
        };
        let sent_away = gone.and_then(|gone| waiters.tell(gone, Told::NoPlace(NoPlace::Full(Full::Account))));
        // Whoever is told to look again from here on finds the ticket.
        let told = if wait.looks == self.looks() { Told::Nothing } else { Told::LookAgain };
        waiters.waiting.insert(ticket, Waiting { since: Instant::now(), waker: None, told });
        waiters.note_most(&wait.servers);
        self.count(&waiters);
        drop(waiters);
        self.somebody_waits.notify_one();
        sent_away.into_iter().for_each(Waker::wake);
        self.hand_out_at(&wait.servers);
        Ok(InLine::new(Arc::clone(self), ticket))
    }

    /// Others can serve this one from now on. Nothing is handed out there yet: all who look again come first, so that
    /// those who are woken first have nothing of it.
    fn reroute(&self, ticket: Ticket, servers: &[Server]) {
        let mut waiters = self.lock();
        waiters.line.reroute(ticket, servers.iter().map(|server| server.provider).collect());
        waiters.note_most(servers);
    }

    fn hand_out_at(self: &Arc<Self>, servers: &[Server]) {
        // Said, and then looked: see `Place`.
        fence(Ordering::SeqCst);
        for server in servers {
            self.hand_out(server.provider);
        }
    }

    fn count(&self, waiters: &Waiters) {
        self.waiting.store(waiters.line.len(), Ordering::Relaxed);
    }

    /// Gives the free places of a server to whose turn it is.
    pub fn hand_out(self: &Arc<Self>, server: ProviderId) {
        while let Some(called) = self.call_next(server) {
            called.into_iter().for_each(Waker::wake);
        }
    }

    /// Gives a place to whose turn it is at a server, if there is one free. Whom to wake, if that one listens yet.
    fn call_next(self: &Arc<Self>, server: ProviderId) -> Option<Option<Waker>> {
        let mut waiters = self.lock();
        waiters.line.first(server)?;
        let max_concurrent = waiters.most.get(&server).copied().flatten();
        let Some(slot) = self.providers.take_at(Server { provider: server, max_concurrent }) else {
            self.look_again_at(&mut waiters, server);
            return None;
        };
        let place = Box::new(Place::new(slot, self));
        let served = waiters.line.serve(server);
        self.count(&waiters);
        let is_in_line = |ticket| waiters.waiting.get(ticket).is_some_and(Waiting::is_in_line);
        let known = served.as_ref().is_some_and(|(ticket, _)| is_in_line(ticket));
        match served {
            Some((ticket, _)) if known => Some(waiters.tell(ticket, Told::Place(place))),
            // Nobody is there after all; the place is given back when nothing is locked.
            _ => {
                drop(waiters);
                drop(place);
                None
            }
        }
    }

    /// Whoever waits for a model is to look again where it can be served. When they have, [`Self::hand_out`] is due.
    pub fn look_again(&self, model: &str) {
        let mut waiters = self.lock();
        self.looks.fetch_add(1, Ordering::Relaxed);
        let tickets = waiters.line.tickets(model);
        let wakers: Vec<Waker> =
            tickets.into_iter().filter_map(|ticket| waiters.tell(ticket, Told::LookAgain)).collect();
        drop(waiters);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How often those who wait were told to look again. To be asked before one looks where it can be served.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// Waits until somebody waits.
    pub async fn somebody_waits(&self) {
        while self.waiting.load(Ordering::Relaxed) == 0 {
            self.somebody_waits.notified().await;
        }
    }

    /// The models for which somebody waits.
    pub fn models(&self) -> Vec<Arc<str>> {
        self.lock().line.models()
    }

    /// A server that said when it has room again is checked then.
    fn look_again_at(self: &Arc<Self>, waiters: &mut Waiters, server: ProviderId) {
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
        waiters.line = Line::new(self.limits.length);
        self.count(&waiters);
        let closed = |waiting: &mut Waiting| waiting.tell(Told::NoPlace(NoPlace::Closed));
        let wakers: Vec<Waker> = waiters.waiting.values_mut().filter_map(closed).collect();
        drop(waiters);
        wakers.into_iter().for_each(Waker::wake);
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
        let in_line = waiters.waiting.values().filter(|waiting| waiting.is_in_line());
        (waiters.line.len(), in_line.map(|waiting| waiting.since).min())
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiters {
    /// Tells one who waits what became of it. Whom to wake, if that one listens yet.
    fn tell(&mut self, ticket: Ticket, told: Told) -> Option<Waker> {
        self.waiting.get_mut(&ticket)?.tell(told)
    }

    fn note_most(&mut self, servers: &[Server]) {
        self.most.extend(servers.iter().map(|server| (server.provider, server.max_concurrent)));
    }
}

#[cfg(test)]
mod tests;
