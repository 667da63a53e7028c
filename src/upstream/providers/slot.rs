//! A place at a provider, and what came of the request that had it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::state::{Ask, LAST_FIRST_BYTES, LONGEST_PAUSE, Providers, Sign};
use crate::domain::ids::ProviderId;
use crate::domain::time::Timestamp;

/// After this many different requests without a connection a provider counts as down; after as many on whose
/// connection it hung up, it is asked whether it is there.
const DOWN_AFTER: usize = 3;
/// More signs are not kept.
const MOST_SIGNS: usize = 16;
/// How long a busy provider is asked last if it does not say when it has room.
const SHORT_PAUSE: Duration = Duration::from_secs(1);
/// A provider that has not said for this long that it is full is tried with one more request than it had room for.
const TRY_MORE_AFTER: Duration = Duration::from_secs(5);

/// A place at a provider, given back on drop.
#[derive(Debug)]
pub struct Slot {
    pub(super) providers: Arc<Providers>,
    pub(super) provider: ProviderId,
    pub(super) taken: Instant,
    pub(super) answered: AtomicBool,
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
        state.note(why, Timestamp::now());
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
