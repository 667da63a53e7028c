//! The providers as they are right now: how busy, how well. In memory; a restart forgets it.

mod slot;
mod state;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

pub use slot::Slot;
pub use state::{ProviderFailure, Providers, Sign};

use super::joined::Machines;
use super::target::{Server, Target};
use crate::domain::endpoint::Endpoint;
use crate::domain::ids::ProviderId;
use state::{Ask, Rank, State, pause};

/// How long it is believed that a server does not have an endpoint.
const NO_PATH_LASTS: Duration = Duration::from_secs(600);

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
    /// The last requests that it failed, newest first.
    pub failures: Vec<ProviderFailure>,
    /// How long it takes until the first byte, smoothed.
    pub first_byte: Option<Duration>,
    /// Requests that wait for a place and could have it there; filled in by whoever keeps the line.
    pub waiting: u32,
    /// How long the first of them has waited.
    pub longest_wait: Option<Duration>,
}

/// A provider that may not be there.
#[derive(Debug, Clone)]
pub struct Troubled {
    /// Which.
    pub provider: ProviderId,
    /// It is not; else it is being asked.
    pub is_down: bool,
    /// What went wrong last.
    pub why: Option<String>,
}

impl Providers {
    /// The targets in the order to try them: least busy first, those that failed recently last, then those that are
    /// full or down, for which a request can wait. Failing ones are not left out: with nothing better to be had, a try
    /// beats a refusal.
    ///
    /// # Errors
    /// All of them are down; the first is asked again after this time.
    pub fn rank(&self, targets: Vec<Target>, now: Instant) -> Result<Vec<Target>, Duration> {
        let states = self.lock();
        let mut ranked = Vec::with_capacity(targets.len());
        let mut wait: Option<Duration> = None;
        for target in targets {
            let Some(state) = states.get(&target.provider) else {
                ranked.push(((Rank::Open, target.translated, 0, 0, 0), target));
                continue;
            };
            let (in_flight, served) = (state.in_flight, state.served);
            let share = target.max_concurrent.map_or(0, |most| in_flight.saturating_mul(1_000) / most.max(1));
            let rank = state.rank(self.is_down(target.provider, state), &target, now);
            if rank == Rank::Down {
                let left = state.asked_in(now);
                wait = Some(wait.map_or(left, |w| w.min(left)));
            }
            ranked.push(((rank, target.translated, share, in_flight, served), target));
        }
        if ranked.iter().all(|((rank, ..), _)| *rank == Rank::Down) {
            return Err(wait.unwrap_or_default());
        }
        ranked.sort_by_key(|(order, _)| *order);
        Ok(ranked.into_iter().map(|(_, target)| target).collect())
    }

    /// A provider has a free place, and did not fail a moment ago.
    pub fn is_free(&self, target: &Target, now: Instant) -> bool {
        let rank = |state: &State| state.rank(self.is_down(target.provider, state), target, now);
        self.lock().get(&target.provider).is_none_or(|state| rank(state) == Rank::Open)
    }

    /// Takes a place at a provider, unless it is full or down by now.
    pub fn take(self: &Arc<Self>, target: &Target) -> Option<Slot> {
        self.take_at(target.server())
    }

    /// The same, where it is not known yet what is sent there.
    pub fn take_at(self: &Arc<Self>, server: Server) -> Option<Slot> {
        self.take_if(server, |state, now| !state.is_full(server.max_concurrent, now))
    }

    /// Takes a place at a provider even if it said that it is full: where nobody can wait, a try beats a refusal.
    pub fn take_unasked(self: &Arc<Self>, target: &Target) -> Option<Slot> {
        self.take_if(target.server(), |state, _| target.max_concurrent.is_none_or(|most| state.in_flight < most))
    }

    fn take_if(self: &Arc<Self>, server: Server, is_free: impl FnOnce(&State, Instant) -> bool) -> Option<Slot> {
        let now = Instant::now();
        let mut states = self.lock();
        let state = states.entry(server.provider).or_default();
        if self.is_down(server.provider, state) || !is_free(state, now) {
            return None;
        }
        state.in_flight += 1;
        let (providers, provider) = (Arc::clone(self), server.provider);
        Some(Slot { providers, provider, taken: now, answered: AtomicBool::new(false) })
    }

    /// What these said if they all said that they are full: the last one's status, and when the first of them has room.
    pub fn said_full(&self, targets: &[Target], now: Instant) -> Option<(u16, Duration)> {
        let states = self.lock();
        let mut said: Option<(u16, Duration)> = None;
        for target in targets {
            let state = states.get(&target.provider)?;
            let left = state.full_for(now)?;
            said = Some((state.full_status, said.map_or(left, |(_, first)| first.min(left))));
        }
        said
    }

    /// How many requests a provider takes at once, as far as that is known: from its settings, from what it refused, or
    /// from what a machine says of itself.
    pub fn places(&self, provider: ProviderId, max_concurrent: Option<u32>) -> Option<u32> {
        self.lock().get(&provider).map_or(max_concurrent, |state| state.most(max_concurrent))
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
            let most = state.map_or(target.max_concurrent, |state| state.most(target.max_concurrent));
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
            down: self.is_down(provider, state),
            last_failure: state.away.as_ref().or(state.last_failure.as_ref()).cloned(),
            failures: state.failures.iter().rev().cloned().collect(),
            first_byte: state.first_byte,
            ..ProviderStatus::default()
        })
    }

    /// The providers to be asked now whether they are there, `most` of them, and when the next one is due. Each
    /// is to be followed by [`Self::asked`].
    pub fn due(&self, most: usize, now: Instant) -> (Vec<ProviderId>, Option<Instant>) {
        let (mut due, mut next) = (Vec::new(), None);
        for (id, state) in self.lock().iter_mut() {
            if state.ask.is_some_and(|ask| !ask.under_way) && self.is_away(*id, state) {
                // It comes by itself.
                state.ask = None;
            }
            match &mut state.ask {
                Some(ask) if ask.under_way => {}
                Some(ask) if ask.at <= now && due.len() < most => {
                    ask.under_way = true;
                    due.push(*id);
                }
                // There is no room for it now; it is asked when another one is done.
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

    /// The providers that are down or are being asked whether they are, and what went wrong there last.
    pub fn troubled(&self) -> Vec<Troubled> {
        let states = self.lock();
        let of = |(id, state): (&ProviderId, &State)| {
            let is_troubled = state.down || state.ask.is_some();
            is_troubled.then(|| Troubled { provider: *id, is_down: state.down, why: state.last_failure.clone() })
        };
        states.iter().filter_map(of).collect()
    }

    /// The machines that joined and are connected.
    pub const fn machines(&self) -> &Arc<Machines> {
        &self.machines
    }

    /// A machine has connected, anew or in place of another one.
    pub fn machine_came(&self, provider: ProviderId) {
        let mut states = self.lock();
        let state = states.entry(provider).or_default();
        state.is_machine = true;
        // Of the one that is there now: who says so may be late.
        state.joined_most = self.machines.get(provider).map(|machine| machine.max_concurrent);
        state.away = None;
        // Of a server that was another one.
        (state.had_room_for, state.full_until) = (None, None);
        state.no_path.clear();
        state.is_well();
    }

    /// A machine is not connected, and why: for people.
    pub fn machine_went(&self, provider: ProviderId, why: &str) {
        let mut states = self.lock();
        let state = states.entry(provider).or_default();
        state.is_machine = true;
        if self.is_away(provider, state) {
            state.is_well();
            state.away = Some(why.to_owned());
        }
    }

    /// A probe reached nobody there: it is asked at once whether it is there, and is down if it is not.
    pub fn doubt(&self, provider: ProviderId, why: &str, now: Instant) {
        let mut states = self.lock();
        let state = states.entry(provider).or_default();
        state.last_failure = Some(why.to_owned());
        if state.ask.is_none() {
            state.ask = Some(Ask { at: now, tries: 0, under_way: false });
            self.something_due.notify_one();
        }
    }

    /// A server turned out not to have an endpoint: whoever comes next need not find that out again. A probe would know
    /// it from the start, but a machine that joined may have to load each of its models for one.
    pub fn note_no_path(&self, provider: ProviderId, endpoint: Endpoint, now: Instant) {
        let mut states = self.lock();
        let known = &mut states.entry(provider).or_default().no_path;
        known.retain(|(other, _)| *other != endpoint);
        known.push((endpoint, now + NO_PATH_LASTS));
    }

    /// A server turned out not to have an endpoint a while ago.
    pub fn has_no_path(&self, provider: ProviderId, endpoint: Endpoint, now: Instant) -> bool {
        let is_known = |known: &(Endpoint, Instant)| known.0 == endpoint && known.1 > now;
        self.lock().get(&provider).is_some_and(|state| state.no_path.iter().any(is_known))
    }

    /// A server was probed: what was found out before is old.
    pub fn forget_paths(&self, provider: ProviderId) {
        if let Some(state) = self.lock().get_mut(&provider) {
            state.no_path.clear();
        }
    }

    /// Forgets what was held against a provider: it gets no requests any more.
    pub fn forget_signs(&self, provider: ProviderId) {
        if let Some(state) = self.lock().get_mut(&provider) {
            state.is_well();
        }
    }
}

#[cfg(test)]
mod tests;
