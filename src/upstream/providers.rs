//! The providers as they are right now: how busy, how well. In memory; a restart forgets it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::ids::ProviderId;
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
}

/// Why none of the providers takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// All serve as many requests as they take.
    Full,
    /// All are down; the first is tried again after so long.
    Down(Duration),
}

/// The state of all providers, shared by all workers.
#[derive(Debug, Default)]
pub struct Providers(Mutex<HashMap<ProviderId, State>>);

#[derive(Debug, Default)]
struct State {
    in_flight: u32,
    served: u64,
    failed: u64,
    failures_in_a_row: u32,
    /// The last failure was no answer at all: nothing listens there, or it hangs.
    down: bool,
    cooling_until: Option<Instant>,
    last_failure: Option<String>,
    first_byte: Option<Duration>,
}

/// How a provider does, for people.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Requests under way.
    pub in_flight: u32,
    /// Requests answered since the start.
    pub served: u64,
    /// Requests failed since the start.
    pub failed: u64,
    /// It is left alone for now.
    pub cooling: bool,
    /// Nothing answered there the last time.
    pub down: bool,
    /// What went wrong last.
    pub last_failure: Option<String>,
    /// How long it takes until the first byte, smoothed.
    pub first_byte: Option<Duration>,
}

/// After so many failures in a row without any answer, a provider counts as down.
const DOWN_AFTER: u32 = 3;
/// The longest time a failing provider is left alone.
const LONGEST_COOLING: Duration = Duration::from_secs(30);

impl Providers {
    /// The targets in the order to try them: least busy first, those that failed lately last. Failing
    /// ones are not left out: with nothing better to be had, a try beats a refusal.
    ///
    /// # Errors
    /// None of them takes a request now.
    pub fn rank(&self, targets: Vec<Target>, now: Instant) -> Result<Vec<Target>, Unavailable> {
        let states = self.lock();
        let mut open = Vec::with_capacity(targets.len());
        let mut wait: Option<Duration> = None;
        let mut full = false;
        for target in targets {
            let state = states.get(&target.provider);
            let in_flight = state.map_or(0, |s| s.in_flight);
            let cooling = state.and_then(|s| s.cooling_for(now));
            match cooling {
                _ if target.max_concurrent.is_some_and(|most| in_flight >= most) => full = true,
                Some(left) if state.is_some_and(State::is_down) => wait = Some(wait.map_or(left, |w| w.min(left))),
                _ => {
                    let share = target.max_concurrent.map_or(0, |most| in_flight.saturating_mul(1_000) / most.max(1));
                    let served = state.map_or(0, |s| s.served);
                    open.push(((cooling.is_some(), share, in_flight, served), target));
                }
            }
        }
        if open.is_empty() {
            return Err(match wait {
                Some(left) if !full => Unavailable::Down(left),
                _ => Unavailable::Full,
            });
        }
        open.sort_by_key(|(order, _)| *order);
        Ok(open.into_iter().map(|(_, target)| target).collect())
    }

    /// Takes a place at a provider, unless it is full by now.
    pub fn take(self: &Arc<Self>, target: &Target) -> Option<Slot> {
        let mut states = self.lock();
        let state = states.entry(target.provider).or_default();
        if target.max_concurrent.is_some_and(|most| state.in_flight >= most) {
            return None;
        }
        state.in_flight += 1;
        Some(Slot { providers: Arc::clone(self), provider: target.provider })
    }

    /// How a provider does.
    pub fn health(&self, provider: ProviderId, now: Instant) -> Health {
        self.lock().get(&provider).map_or_else(Health::default, |state| Health {
            in_flight: state.in_flight,
            served: state.served,
            failed: state.failed,
            cooling: state.cooling_for(now).is_some(),
            down: state.is_down(),
            last_failure: state.last_failure.clone(),
            first_byte: state.first_byte,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProviderId, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn cooling_for(&self, now: Instant) -> Option<Duration> {
        self.cooling_until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    const fn is_down(&self) -> bool {
        self.down && self.failures_in_a_row >= DOWN_AFTER
    }
}

/// A place at a provider, given back on drop.
#[derive(Debug)]
pub struct Slot {
    providers: Arc<Providers>,
    provider: ProviderId,
}

impl Slot {
    /// The provider began to answer after `first_byte`.
    pub fn answered(&self, first_byte: Duration) {
        let mut states = self.providers.lock();
        let state = states.entry(self.provider).or_default();
        state.served += 1;
        state.failures_in_a_row = 0;
        state.down = false;
        state.cooling_until = None;
        // A moving average: an eighth of the new, as TCP smooths its round-trip time (RFC 6298).
        state.first_byte = Some(state.first_byte.map_or(first_byte, |old| (old * 7 + first_byte) / 8));
    }

    /// The provider failed; `no_answer`: not even an error came.
    pub fn failed(&self, why: &str, no_answer: bool, now: Instant) {
        let mut states = self.providers.lock();
        let state = states.entry(self.provider).or_default();
        state.failed += 1;
        state.failures_in_a_row = state.failures_in_a_row.saturating_add(1);
        state.down = no_answer;
        state.last_failure = Some(why.to_owned());
        let doubled = Duration::from_secs(1 << (state.failures_in_a_row.min(6) - 1));
        state.cooling_until = now.checked_add(doubled.min(LONGEST_COOLING));
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut states = self.providers.lock();
        if let Some(state) = states.get_mut(&self.provider) {
            state.in_flight = state.in_flight.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(id: i64, max_concurrent: Option<u32>) -> Target {
        Target {
            provider: ProviderId::from_i64(id),
            name: id.to_string(),
            url: String::new(),
            api_key: None,
            upstream_model: String::new(),
            max_concurrent,
        }
    }

    fn order(providers: &Providers, targets: &[Target], now: Instant) -> Result<Vec<String>, Unavailable> {
        providers.rank(targets.to_vec(), now).map(|ranked| ranked.into_iter().map(|t| t.name).collect())
    }

    #[test]
    fn the_least_busy_comes_first_and_the_full_one_not_at_all() {
        let providers = Arc::new(Providers::default());
        let targets = [target(1, None), target(2, None), target(3, Some(1))];
        let now = Instant::now();
        let slots = (providers.take(&targets[0]), providers.take(&targets[2]));
        assert!(slots.0.is_some() && slots.1.is_some());
        assert_eq!(order(&providers, &targets, now), Ok(vec!["2".into(), "1".into()]));
        assert!(providers.take(&targets[2]).is_none());
        assert_eq!(order(&providers, &targets[2..], now), Err(Unavailable::Full));
        drop(slots);
        assert_eq!(order(&providers, &targets[2..], now), Ok(vec!["3".into()]));
    }

    #[test]
    fn a_failing_one_is_left_alone_for_a_while() {
        let providers = Arc::new(Providers::default());
        let targets = [target(1, None), target(2, None)];
        let now = Instant::now();
        let fail = |no_answer| {
            if let Some(slot) = providers.take(&targets[0]) {
                slot.failed("no", no_answer, now);
            }
        };
        fail(false);
        assert_eq!(order(&providers, &targets, now), Ok(vec!["2".into(), "1".into()]));
        assert_eq!(order(&providers, &targets[..1], now), Ok(vec!["1".into()]), "it is all there is");
        assert_eq!(order(&providers, &targets, now + Duration::from_secs(2)), Ok(vec!["1".into(), "2".into()]));
        fail(true);
        fail(true);
        assert_eq!(order(&providers, &targets[..1], now), Err(Unavailable::Down(Duration::from_secs(4))));
        assert!(providers.health(targets[0].provider, now).down);
        if let Some(slot) = providers.take(&targets[0]) {
            slot.answered(Duration::from_millis(5));
        }
        assert_eq!(order(&providers, &targets[..1], now), Ok(vec!["1".into()]));
    }
}
