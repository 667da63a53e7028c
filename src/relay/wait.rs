//! Waiting for a turn, with the hold open: at the key, then at a server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admit::Admission;
use super::queue::{Full, NoPlace, Pass, Place, Placed, Shut, Wait};
use super::{Caller, Refusal, Relay};
use crate::dialect::request::InferenceRequest;
use crate::domain::keys::KeyId;
use crate::upstream::Target;

/// A request that may be sent.
#[derive(Debug)]
pub struct Turn {
    /// Where, and where else.
    pub placed: Placed,
    /// It counts as running of its key.
    pub key: Option<Pass<KeyId>>,
    /// Until when it may wait for another server, if this one has no room after all.
    pub until: Instant,
    /// How long it waited.
    pub waited: Duration,
}

/// What a request has while it runs; given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    /// At the server.
    pub place: Place,
    /// At the key.
    pub _key: Option<Pass<KeyId>>,
}

/// A server that says that it has no room is asked again soon, or not by this request.
pub const fn is_worth_waiting(wait: Option<Duration>, left: Duration) -> bool {
    match wait {
        Some(wait) => wait.as_millis() < left.as_millis(),
        None => !left.is_zero(),
    }
}

impl Relay {
    /// Waits until it is the request's turn. One that finds a free place where nobody waits does not wait.
    pub(super) async fn wait(
        self: &Arc<Self>,
        caller: &Caller,
        request: &InferenceRequest<'_>,
        admission: &Admission,
    ) -> Result<Turn, Refusal> {
        let began = Instant::now();
        let until = began + self.queue.limits().timeout;
        let key = match caller.key.limits.max_concurrent {
            Some(most) => Some(self.key_pass(caller.key.id, most, until).await?),
            None => None,
        };
        match self.queue.free_place(self.ranked(admission)?) {
            Ok(placed) => Ok(Turn { placed, key, until, waited: began.elapsed() }),
            Err(targets) => {
                let placed = self.wait_in_line(caller, request, admission, targets, until).await?;
                Ok(Turn { placed, key, until, waited: began.elapsed() })
            }
        }
    }

    async fn key_pass(&self, key: KeyId, most: u32, until: Instant) -> Result<Pass<KeyId>, Refusal> {
        if let Some(pass) = self.keys.try_pass(key, most) {
            return Ok(pass);
        }
        let longest = self.queue.limits().longest_of_one();
        let passed = Box::pin(self.keys.pass(key, most, longest, until)).await;
        passed.map_err(|shut| match shut {
            _ if self.is_draining() => Refusal::Draining,
            Shut::Full | Shut::TimedOut => Refusal::TooManyAtOnce,
        })
    }

    /// Waits for a place at one of these servers.
    pub(super) async fn wait_in_line(
        self: &Arc<Self>,
        caller: &Caller,
        request: &InferenceRequest<'_>,
        admission: &Admission,
        targets: Vec<Target>,
        until: Instant,
    ) -> Result<Placed, Refusal> {
        let refusal = match self.providers.said_full(&targets, Instant::now()) {
            Some((status, wait)) => Refusal::ProviderBusy { status, says: None, wait: Some(wait) },
            None => Refusal::ProvidersFull(Some(self.retry_after(&request.model, &targets))),
        };
        if until <= Instant::now() {
            return Err(refusal);
        }
        let work = admission.work();
        let wait = Wait { account: caller.account, model: &request.model, work, targets, until };
        // Boxed: the request's own future is moved about, and most never wait.
        Box::pin(self.queue.wait(wait)).await.map_err(|no_place| match no_place {
            NoPlace::Closed => Refusal::Draining,
            NoPlace::TimedOut | NoPlace::Full(Full::Model | Full::Account) => refusal,
        })
    }

    /// When there may be a place: those who wait, each for as long as requests lately took, over the places.
    fn retry_after(&self, model: &str, targets: &[Target]) -> Duration {
        let waiting = u32::try_from(self.queue.waiting_for(model)).unwrap_or(u32::MAX).saturating_add(1);
        let (places, service) = self.providers.pace(targets, Instant::now());
        let wait = service.saturating_mul(waiting) / places.max(1);
        wait.clamp(Duration::from_secs(1), LONGEST_RETRY_AFTER)
    }
}

/// Whoever is told to come back later than this does not come back.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_wants_to_be_asked_tomorrow_is_not_waited_for() {
        let left = Duration::from_secs(120);
        assert!(is_worth_waiting(None, left) && is_worth_waiting(Some(Duration::from_secs(119)), left));
        assert!(!is_worth_waiting(Some(Duration::from_secs(3_600)), left));
        assert!(!is_worth_waiting(None, Duration::ZERO) && !is_worth_waiting(Some(Duration::ZERO), Duration::ZERO));
    }
}
