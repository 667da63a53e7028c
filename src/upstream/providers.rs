//! The providers as they are right now: how busy, how well. In memory; a restart forgets it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::dialect::request::hosted::Allow;
use crate::dialect::request::output_fields::OutputFields;
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
pub struct Providers {
    states: Mutex<HashMap<ProviderId, State>>,
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
pub struct Health {
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
}

/// So many different requests without a connection, and a provider counts as down; so many on whose
/// connection it hung up, and it is asked whether it is there.
const DOWN_AFTER: usize = 3;
/// More signs are not kept.
const MOST_SIGNS: usize = 16;
/// How long a busy one that does not say when it has room is asked last.
const SHORT_PAUSE: Duration = Duration::from_secs(1);
/// The longest time a failing provider is left alone, or not asked whether it is there.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

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
                _ if state.is_some_and(|s| s.down) => {
                    let left = state.map_or(Duration::ZERO, |s| s.asked_in(now));
                    wait = Some(wait.map_or(left, |w| w.min(left)));
                }
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

    /// Takes a place for work that nobody pays for: only where most places are free, and never the last one.
    pub fn take_spare(self: &Arc<Self>, target: &Target) -> Option<Slot> {
        let in_flight = self.lock().get(&target.provider).map_or(0, |state| state.in_flight);
        let is_spare = |most: u32| in_flight.saturating_add(1) < most && in_flight < most / 2;
        if target.max_concurrent.is_none_or(is_spare) { self.take(target) } else { None }
    }

    /// How a provider does.
    pub fn health(&self, provider: ProviderId, now: Instant) -> Health {
        self.lock().get(&provider).map_or_else(Health::default, |state| Health {
            in_flight: state.in_flight,
            served: state.served,
            failed: state.failed,
            cooling: state.cooling_for(now).is_some(),
            down: state.down,
            last_failure: state.last_failure.clone(),
            first_byte: state.first_byte,
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

    fn lock(&self) -> MutexGuard<'_, HashMap<ProviderId, State>> {
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
}

impl Slot {
    /// The provider began to answer after `first_byte`.
    pub fn answered(&self, first_byte: Duration) {
        let mut states = self.providers.lock();
        let state = states.entry(self.provider).or_default();
        state.served += 1;
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

    /// The provider has no room: for a moment others are asked first.
    pub fn busy(&self, wait: Option<Duration>, now: Instant) {
        let mut states = self.providers.lock();
        let state = states.entry(self.provider).or_default();
        let until = now.checked_add(wait.unwrap_or(SHORT_PAUSE).min(LONGEST_PAUSE));
        state.cooling_until = state.cooling_until.max(until);
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
            ca_pem: None,
            allow: Allow::default(),
            takes: OutputFields::default(),
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

    fn fail(providers: &Arc<Providers>, sign: Sign, print: u64, now: Instant) {
        if let Some(slot) = providers.take(&target(1, None)) {
            slot.failed("no", sign, print, now);
        }
    }

    #[test]
    fn what_one_request_meets_says_little_of_the_provider() {
        for sign in [Sign::HungUp, Sign::Failed] {
            let providers = Arc::new(Providers::default());
            let targets = [target(1, None), target(2, None)];
            let now = Instant::now();
            for _ in 0..20 {
                fail(&providers, sign, 7, now);
            }
            let after = |seconds| now + Duration::from_secs(seconds);
            let (first, last) = (Ok(vec!["1".into(), "2".into()]), Ok(vec!["2".into(), "1".into()]));
            assert_eq!(order(&providers, &targets, now), last, "{sign:?}");
            assert_eq!(order(&providers, &targets[..1], now), Ok(vec!["1".into()]), "it is all there is");
            assert_eq!(order(&providers, &targets, after(1)), first, "{sign:?}");
            assert_eq!(providers.due(9, now).0, []);
            // A second one makes it the last to be asked for longer.
            fail(&providers, sign, 8, now);
            assert_eq!(order(&providers, &targets, after(1)), last, "{sign:?}");
            assert_eq!(order(&providers, &targets, after(2)), first, "{sign:?}");
        }
    }

    #[test]
    fn a_provider_that_answers_is_never_down_whatever_it_answers() {
        let providers = Arc::new(Providers::default());
        let now = Instant::now();
        for print in 0..100 {
            fail(&providers, Sign::Failed, print, now);
        }
        assert!(!providers.health(ProviderId::from_i64(1), now).down);
        assert_eq!(providers.due(9, now), (vec![], None));
    }

    #[test]
    fn one_that_hangs_up_on_different_requests_is_asked_before_it_counts_as_down() {
        let providers = Arc::new(Providers::default());
        let (id, now) = (ProviderId::from_i64(1), Instant::now());
        for print in 0..3 {
            fail(&providers, Sign::HungUp, print, now);
        }
        assert!(!providers.health(id, now).down);
        assert_eq!(providers.due(9, now), (vec![id], None));
        assert_eq!(providers.due(9, now), (vec![], None), "it is being asked");
        providers.asked(id, Ok(()), now);
        assert!(!providers.health(id, now).cooling);
        for print in 0..3 {
            fail(&providers, Sign::HungUp, print, now);
        }
        assert_eq!(providers.due(9, now).0, [id]);
        providers.asked(id, Err("gone".into()), now);
        assert!(providers.health(id, now).down);
    }

    #[test]
    fn one_that_is_down_gets_nothing_until_it_answers_us() {
        let providers = Arc::new(Providers::default());
        let targets = [target(1, None)];
        let (id, mut now) = (ProviderId::from_i64(1), Instant::now());
        for print in 0..3 {
            fail(&providers, Sign::Unreached, print, now);
        }
        assert!(matches!(order(&providers, &targets, now), Err(Unavailable::Down(_))));
        for tries in 1..=10_u32 {
            assert_eq!(providers.due(9, now).0, [id], "{tries}");
            providers.asked(id, Err("gone".into()), now);
            let (due, Some(next)) = providers.due(9, now) else { panic!("it is not asked again") };
            assert_eq!(due, []);
            let (wait, whole) = (next - now, Duration::from_secs(1 << (tries.min(6) - 1)).min(LONGEST_PAUSE));
            assert!(wait >= whole * 3 / 4 && wait <= whole * 5 / 4, "{tries}: {wait:?}");
            // Long after, it is still down: no caller finds out for us.
            assert_eq!(order(&providers, &targets, now), Err(Unavailable::Down(wait)));
            now = next;
            assert!(matches!(order(&providers, &targets, now), Err(Unavailable::Down(_))));
        }
        assert_eq!(providers.due(0, now), (vec![], None), "no room");
        assert_eq!(providers.due(9, now).0, [id]);
        providers.asked(id, Ok(()), now);
        assert_eq!(order(&providers, &targets, now), Ok(vec!["1".into()]));
        assert_eq!(providers.due(9, now), (vec![], None));
    }

    #[test]
    fn a_busy_one_is_asked_last_and_is_no_failure() {
        let providers = Arc::new(Providers::default());
        let targets = [target(1, None), target(2, None)];
        let now = Instant::now();
        if let Some(slot) = providers.take(&targets[0]) {
            slot.busy(Some(Duration::from_secs(7)), now);
        }
        assert_eq!(order(&providers, &targets, now), Ok(vec!["2".into(), "1".into()]));
        assert_eq!(order(&providers, &targets, now + Duration::from_secs(8)), Ok(vec!["1".into(), "2".into()]));
        assert_eq!(providers.health(targets[0].provider, now).failed, 0);
    }
}
