//! One machine that is connected, and the connections that it made.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hyper::client::conn::http2::SendRequest;

use crate::domain::ids::ProviderId;
use crate::domain::keys::KeyId;
use crate::domain::time::Timestamp;
use crate::tunnel::{Cut, LANES};
use crate::upstream::outgoing::Outgoing;

/// A machine that registered, and is about to connect.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Its row.
    pub provider: ProviderId,
    /// The key that it came with.
    pub key: KeyId,
    /// What is stored of that key's secret: another one, and the key was rotated.
    pub phc: String,
    /// Of its process: this one takes its own place over.
    pub instance: String,
    /// It takes over anybody's.
    pub replace: bool,
    /// The most requests at once.
    pub max_concurrent: u32,
}

/// A connection that requests can be sent on.
#[derive(Debug)]
struct Lane {
    number: usize,
    sender: SendRequest<Outgoing>,
}

/// A machine that is connected.
#[derive(Debug)]
pub struct Machine {
    /// Whose row it is.
    pub provider: ProviderId,
    /// The key that it came with.
    pub key: KeyId,
    /// What was stored of that key's secret then.
    pub phc: String,
    /// Of its process.
    pub(super) instance: String,
    /// The most requests at once.
    pub max_concurrent: u32,
    /// Since when.
    pub since: Instant,
    /// The same, for people.
    pub since_at: Timestamp,
    lanes: Mutex<Lanes>,
}

#[derive(Debug, Default)]
struct Lanes {
    /// How many connections it may still make.
    to_come: usize,
    /// Requests are sent on these.
    open: Vec<Lane>,
    /// All that have not ended, draining ones too.
    cuts: Vec<(usize, Cut)>,
    /// Nothing is sent any more.
    has_left: bool,
    /// Why it was sent away.
    reason: Option<String>,
}

impl Machine {
    pub(super) fn new(expected: Expected) -> Self {
        let Expected { provider, key, phc, instance, max_concurrent, .. } = expected;
        let lanes = Mutex::new(Lanes { to_come: LANES, ..Lanes::default() });
        let (since, since_at) = (Instant::now(), Timestamp::now());
        Self { provider, key, phc, instance, max_concurrent, since, since_at, lanes }
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of its next connection; `None` if it has all.
    pub(super) fn next_lane(&self) -> Option<usize> {
        let mut lanes = self.lock();
        lanes.to_come = lanes.to_come.checked_sub(1)?;
        Some(LANES - 1 - lanes.to_come)
    }

    /// A connection is there. `false`: it came too late.
    pub(super) fn opened(&self, number: usize, sender: SendRequest<Outgoing>, cut: Cut) -> bool {
        let mut lanes = self.lock();
        if lanes.has_left {
            return false;
        }
        lanes.open.push(Lane { number, sender });
        lanes.cuts.push((number, cut));
        true
    }

    /// Nothing more is to be sent on a connection: the machine said so, or it broke.
    pub(super) fn closed(&self, number: usize) {
        self.lock().open.retain(|lane| lane.number != number);
    }

    /// A connection has ended. `true`: it was the last one.
    pub(super) fn over(&self, number: usize) -> bool {
        let mut lanes = self.lock();
        lanes.open.retain(|lane| lane.number != number);
        lanes.cuts.retain(|(other, _)| *other != number);
        lanes.cuts.is_empty()
    }

    /// Requests can be sent.
    pub(super) fn takes(&self) -> bool {
        !self.lock().open.is_empty()
    }

    /// All its connections have ended.
    pub fn has_ended(&self) -> bool {
        self.lock().cuts.is_empty()
    }

    /// Where a request is sent: a long one where it is in nobody's way, if there is such a connection.
    pub(super) fn sender(&self, is_long: bool) -> Option<(usize, SendRequest<Outgoing>)> {
        let lanes = self.lock();
        let wanted = if is_long { LANES - 1 } else { 0 };
        let lane = lanes.open.iter().find(|lane| lane.number == wanted).or_else(|| lanes.open.first())?;
        Some((lane.number, lane.sender.clone()))
    }

    /// It is sent away, and why.
    pub(super) fn unwelcome(&self, reason: &str) {
        self.lock().reason.get_or_insert_with(|| reason.to_owned());
    }

    /// Why it was sent away, if it was.
    pub(super) fn reason(&self) -> Option<String> {
        self.lock().reason.clone()
    }

    /// Sends nothing more; what is under way may end.
    pub(super) fn leave(&self) {
        let mut lanes = self.lock();
        lanes.has_left = true;
        lanes.open.clear();
    }

    /// Ends its connections, and what is under way on them.
    pub(super) fn cut(&self) {
        self.leave();
        for (_, cut) in self.lock().cuts.drain(..) {
            cut.cut();
        }
    }
}
