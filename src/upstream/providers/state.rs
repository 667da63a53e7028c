//! What is remembered of each provider.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::domain::endpoint::Endpoint;
use crate::domain::ids::{IdMap, ProviderId};
use crate::domain::time::Timestamp;
use crate::upstream::joined::Machines;
use crate::upstream::target::Target;

/// What a failure says of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// No connection was made.
    Unreached,
    /// The connection broke: the server is gone, or the request was too much for it.
    HungUp,
    /// It answered, and nothing of use: it is there.
    Failed,
}

/// The state of all providers, shared by all workers. What is known of machines is asked for with this locked, never
/// the other way round.
#[derive(Debug, Default)]
pub struct Providers {
    pub(super) states: Mutex<IdMap<ProviderId, State>>,
    pub(super) something_due: Notify,
    pub(super) machines: Arc<Machines>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub in_flight: u32,
    pub served: u64,
    pub failed: u64,
    /// What different requests met since the last answer.
    pub signs: Vec<(Sign, u64)>,
    /// Nobody is sent there until it answers us.
    pub down: bool,
    /// It is a machine that joins: whether it is there, [`Machines`] knows, and nothing here.
    pub is_machine: bool,
    /// When we ask it whether it is there.
    pub ask: Option<Ask>,
    pub cooling_until: Option<Instant>,
    /// It said that it has no room, and until when it is believed.
    pub full_until: Option<Instant>,
    /// How it said so: 429, 503 or 529.
    pub full_status: u16,
    /// How many requests it had room for when it said so.
    pub had_room_for: Option<u32>,
    /// A machine that joined takes no more than that, as it says.
    pub joined_most: Option<u32>,
    /// How long a request has its place, smoothed.
    pub service: Option<Duration>,
    /// The last times until the first byte, in milliseconds, in no order, and how many there have been.
    pub first_bytes: [u32; LAST_FIRST_BYTES],
    pub first_bytes_seen: usize,
    /// Endpoints that it turned out not to have, and until when that is believed.
    pub no_path: Vec<(Endpoint, Instant)>,
    pub last_failure: Option<String>,
    /// Why a machine that joined is not there; what it was at fails with it, and says less.
    pub away: Option<String>,
    /// The last requests that it failed, newest last.
    pub failures: VecDeque<ProviderFailure>,
    pub first_byte: Option<Duration>,
}

/// Whom to ask first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Open,
    /// It failed a moment ago.
    Cooling,
    /// All its places are taken, or it says so.
    Full,
    Down,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub at: Instant,
    /// Asked in vain so often.
    pub tries: u32,
    /// It is being asked.
    pub under_way: bool,
}

/// A request that a provider failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderFailure {
    /// When.
    pub at: Timestamp,
    /// Why, for people.
    pub why: String,
}

/// How many of the last failures are kept.
const LAST_FAILURES: usize = 5;
/// How many of the last times until the first byte are kept.
pub(super) const LAST_FIRST_BYTES: usize = 16;
/// The longest time a failing provider is left alone, or not asked whether it is there.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Providers {
    /// It gets nothing now: nothing answers there, or it is a machine that is not connected, or about to leave.
    pub(super) fn is_down(&self, provider: ProviderId, state: &State) -> bool {
        state.down || self.is_away(provider, state)
    }

    /// It is a machine that nothing can be sent to.
    pub(super) fn is_away(&self, provider: ProviderId, state: &State) -> bool {
        state.is_machine && !self.machines.takes(provider)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, IdMap<ProviderId, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Twice as long after each try, and a quarter more or less, so that many servers are not asked in step.
pub(super) fn pause(tries: u32) -> Duration {
    let whole = Duration::from_secs(1 << tries.clamp(1, 6).saturating_sub(1)).min(LONGEST_PAUSE);
    let spread = whole.as_millis() / 2;
    let random = (u128::from(getrandom::u32().unwrap_or_default()) * spread) >> 32;
    whole - whole / 4 + Duration::from_millis(u64::try_from(random).unwrap_or_default())
}

impl State {
    /// Keeps why a request failed.
    pub fn note(&mut self, why: &str, at: Timestamp) {
        if self.failures.len() >= LAST_FAILURES {
            self.failures.pop_front();
        }
        self.failures.push_back(ProviderFailure { at, why: why.to_owned() });
        self.last_failure = Some(why.to_owned());
    }

    pub fn cooling_for(&self, now: Instant) -> Option<Duration> {
        self.cooling_until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// How long it is still believed that it is full.
    pub fn full_for(&self, now: Instant) -> Option<Duration> {
        self.full_until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// The most requests at once: as it was set, or as many as it had room for or says that it takes if these are
    /// fewer.
    pub fn most(&self, max_concurrent: Option<u32>) -> Option<u32> {
        max_concurrent.into_iter().chain(self.had_room_for).chain(self.joined_most).min()
    }

    pub fn is_full(&self, max_concurrent: Option<u32>, now: Instant) -> bool {
        self.most(max_concurrent).is_some_and(|most| self.in_flight >= most) || self.full_for(now).is_some()
    }

    /// When it is to be asked, beside others; `down`: it, or the machine, is not there.
    pub fn rank(&self, down: bool, target: &Target, now: Instant) -> Rank {
        match self {
            _ if down => Rank::Down,
            _ if self.is_full(target.max_concurrent, now) => Rank::Full,
            _ if self.cooling_for(now).is_some() => Rank::Cooling,
            _ => Rank::Open,
        }
    }

    pub fn asked_in(&self, now: Instant) -> Duration {
        self.ask.map_or(Duration::ZERO, |ask| ask.at.saturating_duration_since(now))
    }

    /// It is there.
    pub fn is_well(&mut self) {
        self.signs.clear();
        self.down = false;
        self.ask = None;
        self.cooling_until = None;
    }

    /// How many different requests met this.
    pub fn count(&self, sign: Sign) -> usize {
        self.signs.iter().filter(|(other, _)| *other == sign).count()
    }
}
