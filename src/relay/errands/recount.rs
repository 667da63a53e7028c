//! A meter for the meters: of one answer in some, the tokenizer's count is noted beside what the provider reported.
//! Off the request's way: on the blocking pool, one at a time; when one is being counted, the next are not. A server
//! that answers thousands a second has enough of them in a few, and better things to do.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::time::Timestamp;
use crate::domain::usage::Reported;
use crate::relay::bill::Bill;
use crate::relay::counting::prompt_tokens;
use crate::store::Tx;
use crate::store::recounts::{self, CountedPart};

/// Longer requests are not counted, in bytes: they would be kept in memory for it.
const LONGEST: usize = 1 << 20;

/// The first ones are counted as they come,
const WITHOUT_PAUSE: u32 = 100;
/// and from then on one in this time.
const PAUSE: Duration = Duration::from_millis(100);

/// Which answers are counted.
#[derive(Debug, Default)]
pub struct Recounts {
    /// One in this many; none if it is 0.
    every: AtomicU32,
    seen: AtomicU32,
    busy: Arc<AtomicBool>,
    /// How many were counted, and when the last of them was.
    counted: Mutex<(u32, Option<Instant>)>,
}

impl Recounts {
    /// Counts one answer in this many from now on; none if it is 0.
    pub fn set_every(&self, every: u32) {
        self.every.store(every, Ordering::Relaxed);
    }

    /// The next answer's turn to be counted, if it has one.
    fn turn(&self) -> Option<RecountTurn> {
        let every = self.every.load(Ordering::Relaxed);
        if self.seen.fetch_add(1, Ordering::Relaxed).checked_rem(every) != Some(0) {
            return None;
        }
        if !self.is_due(Instant::now()) {
            return None;
        }
        (!self.busy.swap(true, Ordering::AcqRel)).then(|| RecountTurn(Arc::clone(&self.busy)))
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = counted.0 < WITHOUT_PAUSE || counted.1.is_none_or(|last| now.duration_since(last) >= PAUSE);
        if is_due {
            *counted = (counted.0.saturating_add(1), Some(now));
        }
        is_due
    }
}

/// Until it is dropped, nothing else is counted.
#[derive(Debug)]
pub struct RecountTurn(Arc<AtomicBool>);

impl Drop for RecountTurn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Bill {
    /// It is this answer's turn to be counted again.
    pub(in crate::relay) fn recount_turn(&self) -> Option<RecountTurn> {
        (self.request.len() <= LONGEST).then(|| self.relay.recounts.turn()).flatten()
    }

    /// Counts what the provider reported, and notes how the two compare. Nobody waits for it.
    pub(in crate::relay) fn recount(
        &self,
        turn: RecountTurn,
        reported: Reported,
        completion: impl FnOnce() -> u64 + Send + 'static,
    ) {
        let (Some(prompt), Some(output)) = (reported.prompt_tokens, reported.completion_tokens) else { return };
        let (relay, provider) = (Arc::clone(&self.relay), self.offer.provider.id);
        let (model, endpoint, request) = (self.offered.price.model.clone(), self.sent_to, self.request.clone());
        tokio::task::spawn_blocking(move || {
            let counted = prompt_tokens(endpoint, &request, u64::MAX).tokens;
            let parts = [(CountedPart::Prompt, prompt, counted), (CountedPart::Completion, output, completion())];
            drop(request);
            let write = move |conn: &Tx| {
                let now = Timestamp::now();
                parts.iter().try_for_each(|part| recounts::add(conn, provider, &model, *part, now))
            };
            relay.writer.submit_aside(write, move |done| {
                drop(turn);
                if let Err(e) = done {
                    tracing::warn!(error = %e, "a recount could not be noted");
                }
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_first_ones_there_is_a_pause() {
        let (recounts, began) = (Recounts::default(), Instant::now());
        assert_eq!((0..500).filter(|_| recounts.is_due(began)).count(), WITHOUT_PAUSE as usize);
        assert!(!recounts.is_due(began + PAUSE - Duration::from_millis(1)));
        assert!(recounts.is_due(began + PAUSE) && !recounts.is_due(began + PAUSE));
    }

    #[test]
    fn one_in_so_many_has_a_turn_and_one_at_a_time() {
        let recounts = Recounts::default();
        assert!((0..100).all(|_| recounts.turn().is_none()), "0 is never");
        recounts.set_every(50);
        assert_eq!((0..500).filter(|_| recounts.turn().is_some()).count(), 10);
        recounts.set_every(1);
        let turn = recounts.turn();
        assert!(turn.is_some() && recounts.turn().is_none(), "dropped while one is counted");
        drop(turn);
        assert!(recounts.turn().is_some());
    }
}
