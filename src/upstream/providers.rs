//! The providers as they are right now: how busy, how well. In memory; a restart forgets it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::dialect::request::hosted::Allow;
use crate::dialect::request::output_fields::OutputFields;
use crate::domain::ids::{IdMap, ProviderId};
use crate::domain::secret::Secret;

/// Where a request can be sent.
#[derive(Debug, Clone)]
pub struct Target {
    /// Who.
    pub provider: ProviderId,
    /// Its name, for the log.
    pub name: String,
    /// Base URL, ends in `/v1`.
    pub url: String,
    /// What it asks for.
    pub api_key: Option<Secret>,
    /// What it calls the model.
    pub upstream_model: String,
    /// The most requests at once.
    pub max_concurrent: Option<u32>,
    /// The certificates of a private authority that is trusted for it, PEM.
    pub ca_pem: Option<Arc<str>>,
    /// What it may be asked to do beside generating.
    pub allow: Allow,
    /// Where it takes the output bound, as far as that is known.
    pub takes: OutputFields,
}

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

/// Whom to ask first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Open,
    /// It failed a moment ago.
    Cooling,
    /// All its places are taken, or it says so.
    Full,
    Down,
}

/// The state of all providers, shared by all workers.
#[derive(Debug, Default)]
pub struct Providers {
    states: Mutex<IdMap<ProviderId, State>>,
    something_due: Notify,
}

#[derive(Debug, Default)]
struct State {
    in_flight: u32,
    served: u64,
    failed: u64,
    /// What different requests met since the last answer.
    signs: Vec<(Sign, u64)>,
    /// Nobody is sent there until it answers us.
    down: bool,
    /// When we ask it whether it is there.
    ask: Option<Ask>,
    cooling_until: Option<Instant>,
    /// It said that it has no room, and until when it is believed.
    full_until: Option<Instant>,
    /// How it said so: 429, 503 or 529.
    full_status: u16,
    /// So many it had room for when it said so.
    had_room_for: Option<u32>,
    /// How long a request has its place, smoothed.
    service: Option<Duration>,
    /// The last times until the first byte, in milliseconds, in no order, and how many there have been.
    first_bytes: [u32; LAST_FIRST_BYTES],
    first_bytes_seen: usize,
    last_failure: Option<String>,
    first_byte: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Ask {
    at: Instant,
    /// Asked in vain so often.
    tries: u32,
    /// It is being asked.
    under_way: bool,
}

/// How a provider does, for people.
#[derive(Debug, Clone, Default)]
pub struct ProviderStatus {
    /// Requests under way.
    pub in_flight: u32,
    /// Requests answered since the start.
    pub served: u64,
    /// Requests failed since the start.
    pub failed: u64,
    /// It is left alone for now.
    pub cooling: bool,
    /// Nothing answers there: it gets no requests until it does.
    pub down: bool,
    /// What went wrong last.
    pub last_failure: Option<String>,
    /// How long it takes until the first byte, smoothed.
    pub first_byte: Option<Duration>,
    /// Requests that wait for a place and could have it there; filled in by whoever keeps the line.
    pub waiting: u32,
    /// How long the first of them has waited.
    pub longest_wait: Option<Duration>,
}

/// So many different requests without a connection, and a provider counts as down; so many on whose
/// connection it hung up, and it is asked whether it is there.
const DOWN_AFTER: usize = 3;
/// More signs are not kept.
const MOST_SIGNS: usize = 16;
/// How long a busy one that does not say when it has room is asked last.
const SHORT_PAUSE: Duration = Duration::from_secs(1);
/// After so long without its saying that it is full, a provider is tried with one more than it had room for.
const TRY_MORE_AFTER: Duration = Duration::from_secs(5);
/// So many of the last times until the first byte are kept.
const LAST_FIRST_BYTES: usize = 16;
/// The longest time a failing provider is left alone, or not asked whether it is there.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Providers {
    /// The targets in the order to try them: least busy first, those that failed lately last, then those that are
    /// full or down, for which a request can wait. Failing ones are not left out: with nothing better to be had, a try
    /// beats a refusal.
    ///
    /// # Errors
    /// All of them are down; the first is asked again after so long.
    pub fn rank(&self, targets: Vec<Target>, now: Instant) -> Result<Vec<Target>, Duration> {
        let states = self.lock();
        let mut ranked = Vec::with_capacity(targets.len());
        let mut wait: Option<Duration> = None;
        for target in targets {
            let Some(state) = states.get(&target.provider) else {
                ranked.push(((Rank::Open, 0, 0, 0), target));
                continue;
            };
            let (in_flight, served) = (state.in_flight, state.served);
            let share = target.max_concurrent.map_or(0, |most| in_flight.saturating_mul(1_000) / most.max(1));
            let rank = if state.down {
                let left = state.asked_in(now);
                wait = Some(wait.map_or(left, |w| w.min(left)));
                Rank::Down
            } else if state.is_full(&target, now) {
                Rank::Full
            } else if state.cooling_for(now).is_some() {
                Rank::Cooling
            } else {
                Rank::Open
            };
            ranked.push(((rank, share, in_flight, served), target));
        }
        if ranked.iter().all(|((rank, ..), _)| *rank == Rank::Down) {
            return Err(wait.unwrap_or_default());
        }
        ranked.sort_by_key(|(order, _)| *order);
        Ok(ranked.into_iter().map(|(_, target)| target).collect())
    }

    /// A provider has a free place, and did not fail a moment ago.
    pub fn is_free(&self, target: &Target, now: Instant) -> bool {
        let states = self.lock();
        let is_free = |s: &State| !s.down && !s.is_full(target, now) && s.cooling_for(now).is_none();
        states.get(&target.provider).is_none_or(is_free)
    }

    /// Takes a place at a provider, unless it is full or down by now.
    pub fn take(self: &Arc<Self>, target: &Target) -> Option<Slot> {
        self.take_if(target, |state, now| !state.is_full(target, now))
    }

    /// Takes a place at a provider even if it said that it is full: where nobody can wait, a try beats a refusal.
    pub fn take_unasked(self: &Arc<Self>, target: &Target) -> Option<Slot> {
        self.take_if(target, |state, _| target.max_concurrent.is_none_or(|most| state.in_flight < most))
    }

    fn take_if(self: &Arc<Self>, target: &Target, is_free: impl FnOnce(&State, Instant) -> bool) -> Option<Slot> {
        let now = Instant::now();
        let mut states = self.lock();
        let state = states.entry(target.provider).or_default();
        if state.down || !is_free(state, now) {
            return None;
        }
        state.in_flight += 1;
        let (providers, provider) = (Arc::clone(self), target.provider);
        Some(Slot { providers, provider, taken: now, answered: AtomicBool::new(false) })
    }

    /// What these said if they all said that they are full: the last one's status, and when the first of them has room.
    pub fn said_full(&self, targets: &[Target], now: Instant) -> Option<(u16, Duration)> {
        let states = self.lock();
        let mut said: Option<(u16, Duration)> = None;
        for target in targets {
            let state = states.get(&target.provider)?;
            let left =
                state.full_until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())?;
            said = Some((state.full_status, said.map_or(left, |(_, first)| first.min(left))));
        }
        said
    }

    /// How many requests a provider takes at once, as far as that is known: as it was told to us, or as it showed.
    pub fn places(&self, provider: ProviderId, max_concurrent: Option<u32>) -> Option<u32> {
        let shown = self.lock().get(&provider).and_then(|state| state.had_room_for);
        max_concurrent.into_iter().chain(shown).min()
    }

    /// The last times until a provider's first byte, in milliseconds.
    pub fn last_first_bytes(&self, provider: ProviderId) -> Vec<u32> {
        let states = self.lock();
        let of = |state: &State| state.first_bytes.iter().copied().take(state.first_bytes_seen).collect();
        states.get(&provider).map_or_else(Vec::new, of)
    }

    /// How many places these have together, as far as that is known, and how long a request has one, smoothed.
    pub fn pace(&self, targets: &[Target], now: Instant) -> (u32, Duration) {
        let states = self.lock();
        let (mut places, mut service, mut known) = (0_u32, Duration::ZERO, 0_u32);
        for target in targets {
            let state = states.get(&target.provider);
            let room = state.and_then(|state| state.had_room_for);
            let most = target.max_concurrent.into_iter().chain(room).min();
            places = places.saturating_add(most.unwrap_or(1));
            let full = state.and_then(|s| s.full_until).map(|until| until.saturating_duration_since(now));
            if let Some(took) = state.and_then(|s| s.service).max(full) {
                service += took;
                known += 1;
            }
        }
        (places, service / known.max(1))
    }

    /// Until when a provider that said that it is full is believed.
    pub fn full_until(&self, provider: ProviderId, now: Instant) -> Option<Instant> {
        self.lock().get(&provider).and_then(|state| state.full_until).filter(|until| *until > now)
    }

    /// Takes a place for work that nobody pays for: only where most places are free, and never the last one.
    pub fn take_spare(self: &Arc<Self>, target: &Target) -> Option<Slot> {
        let in_flight = self.lock().get(&target.provider).map_or(0, |state| state.in_flight);
        let is_spare = |most: u32| in_flight.saturating_add(1) < most && in_flight < most / 2;
        if target.max_concurrent.is_none_or(is_spare) { self.take(target) } else { None }
    }

    /// How a provider does.
    pub fn health(&self, provider: ProviderId, now: Instant) -> ProviderStatus {
        self.lock().get(&provider).map_or_else(ProviderStatus::default, |state| ProviderStatus {
            in_flight: state.in_flight,
            served: state.served,
            failed: state.failed,
            cooling: state.cooling_for(now).is_some(),
            down: state.down,
            last_failure: state.last_failure.clone(),
            first_byte: state.first_byte,
            ..ProviderStatus::default()
        })
    }

    /// The providers to be asked now whether they are there, `most` of them, and when the next one is due. Each
    /// is to be followed by [`Self::asked`].
    pub fn due(&self, most: usize, now: Instant) -> (Vec<ProviderId>, Option<Instant>) {
        let (mut due, mut next) = (Vec::new(), None);
        for (id, state) in self.lock().iter_mut() {
            match &mut state.ask {
                Some(ask) if ask.under_way => {}
                Some(ask) if ask.at <= now && due.len() < most => {
                    ask.under_way = true;
                    due.push(*id);
                }
                // It finds no room now, and has its turn when another one is done.
                Some(ask) if ask.at <= now => {}
                Some(ask) => next = Some(next.map_or(ask.at, |next: Instant| next.min(ask.at))),
                None => {}
            }
        }
        (due, next)
    }

    /// Waits until a provider became due for being asked.
    pub async fn something_due(&self) {
        self.something_due.notified().await;
    }

    /// A provider was asked: it is there, or why not.
    pub fn asked(&self, provider: ProviderId, answer: Result<(), String>, now: Instant) {
        let mut states = self.lock();
        let Some(state) = states.get_mut(&provider) else { return };
        match answer {
            Ok(()) => state.is_well(),
            Err(why) => {
                let tries = state.ask.map_or(0, |ask| ask.tries).saturating_add(1);
                state.down = true;
                state.last_failure = Some(why);
                state.ask = Some(Ask { at: now + pause(tries), tries, under_way: false });
            }
        }
    }

    /// Forgets what was held against a provider: it gets no requests any more.
    pub fn forget_signs(&self, provider: ProviderId) {
        if let Some(state) = self.lock().get_mut(&provider) {
            state.is_well();
        }
    }

    fn lock(&self) -> MutexGuard<'_, IdMap<ProviderId, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Twice as long after each try, and a quarter more or less, so that many servers are not asked in step.
fn pause(tries: u32) -> Duration {
    let whole = Duration::from_secs(1 << tries.clamp(1, 6).saturating_sub(1)).min(LONGEST_PAUSE);
    let spread = whole.as_millis() / 2;
    let random = (u128::from(getrandom::u32().unwrap_or_default()) * spread) >> 32;
    whole - whole / 4 + Duration::from_millis(u64::try_from(random).unwrap_or_default())
}

impl State {
    fn cooling_for(&self, now: Instant) -> Option<Duration> {
        self.cooling_until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    fn is_full(&self, target: &Target, now: Instant) -> bool {
        let most = target.max_concurrent.into_iter().chain(self.had_room_for).min();
        most.is_some_and(|most| self.in_flight >= most) || self.full_until.is_some_and(|until| until > now)
    }

    fn asked_in(&self, now: Instant) -> Duration {
        self.ask.map_or(Duration::ZERO, |ask| ask.at.saturating_duration_since(now))
    }

    /// It is there.
    fn is_well(&mut self) {
        self.signs.clear();
        self.down = false;
        self.ask = None;
        self.cooling_until = None;
    }

    /// How many different requests met this.
    fn count(&self, sign: Sign) -> usize {
        self.signs.iter().filter(|(other, _)| *other == sign).count()
    }
}

/// A place at a provider, given back on drop.
#[derive(Debug)]
pub struct Slot {
    providers: Arc<Providers>,
    provider: ProviderId,
    taken: Instant,
    answered: AtomicBool,
}

impl Slot {
    /// Whose place it is.
    pub const fn provider(&self) -> ProviderId {
        self.provider
    }

    /// The provider began to answer after `first_byte`.
    pub fn answered(&self, first_byte: Duration) {
        self.answered.store(true, Ordering::Relaxed);
        let now = Instant::now();
        let mut states = self.providers.lock();
        let state = states.entry(self.provider).or_default();
        state.served += 1;
        if let Some(kept) = state.first_bytes.get_mut(state.first_bytes_seen % LAST_FIRST_BYTES) {
            *kept = u32::try_from(first_byte.as_millis()).unwrap_or(u32::MAX);
        }
        state.first_bytes_seen = state.first_bytes_seen.wrapping_add(1);
        if let Some(most) = state.had_room_for
            && state.in_flight >= most
            && state.full_until.is_none_or(|until| until + TRY_MORE_AFTER < now)
        {
            state.had_room_for = most.checked_add(1);
        }
        state.is_well();
        // A moving average: an eighth of the new, as TCP smooths its round-trip time (RFC 6298).
        state.first_byte = Some(state.first_byte.map_or(first_byte, |old| (old * 7 + first_byte) / 8));
    }

    /// The provider failed a request; `print` tells this one from others. What one request meets, however often
    /// it is sent, says little of the provider.
    pub fn failed(&self, why: &str, sign: Sign, print: u64, now: Instant) {
        let mut states = self.providers.lock();
        let state = states.entry(self.provider).or_default();
        state.failed += 1;
        state.last_failure = Some(why.to_owned());
        if state.signs.len() < MOST_SIGNS && !state.signs.contains(&(sign, print)) {
            state.signs.push((sign, print));
        }
        // The next ones are sent elsewhere first: a second for one request's failures, longer for different ones'.
        let doubled = Duration::from_secs(1 << state.signs.len().clamp(1, 6).saturating_sub(1));
        state.cooling_until = now.checked_add(doubled.min(LONGEST_PAUSE));
        state.down |= state.count(Sign::Unreached) >= DOWN_AFTER;
        if state.ask.is_none() && (state.down || state.count(Sign::HungUp) >= DOWN_AFTER) {
            state.ask = Some(Ask { at: now, tries: 0, under_way: false });
            self.providers.something_due.notify_one();
        }
    }

    /// The provider has no room, until it wants to be asked again; and after that no more than it had room for.
    pub fn busy(&self, status: u16, wait: Option<Duration>, now: Instant) {
        let mut states = self.providers.lock();
        let state = states.entry(self.provider).or_default();
        state.full_status = status;
        let until = now.checked_add(wait.unwrap_or(SHORT_PAUSE).min(LONGEST_PAUSE));
        state.full_until = state.full_until.max(until);
        state.had_room_for = Some(state.in_flight.saturating_sub(1).max(1));
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut states = self.providers.lock();
        let Some(state) = states.get_mut(&self.provider) else { return };
        state.in_flight = state.in_flight.saturating_sub(1);
        if *self.answered.get_mut() {
            let service = self.taken.elapsed();
            state.service = Some(state.service.map_or(service, |old| (old * 7 + service) / 8));
        }
    }
}

#[cfg(test)]
mod tests;
