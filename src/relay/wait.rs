//! Waiting for a turn, with the hold open: of its key, of its account for the model, then at a server.

use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admit::Admission;
use super::affinity::Conversation;
use super::queue::{Full, Gates, NoPlace, Pass, Place, Placed, Shut, Ticket, Wait};
use super::{Caller, Refusal, Relay};
use crate::dialect::request::InferenceRequest;
use crate::domain::ids::AccountId;
use crate::domain::keys::KeyId;
use crate::upstream::Target;

/// A request that may be sent.
#[derive(Debug)]
pub struct Turn {
    /// Where, and where else.
    pub placed: Placed,
    /// It counts as running.
    pub passes: Passes,
    /// Until when it may wait for another server, if this one has no room after all.
    pub until: Instant,
    /// How long it waited.
    pub waited: Duration,
    /// What it goes on with, where there is a choice of servers.
    pub conversation: Option<Conversation>,
}

/// What a request has while it runs; given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    /// At the server.
    pub place: Place,
    /// At the gates that it passed.
    pub _passes: Passes,
}

/// A request counts as running of its key, and of its account for the model, where these have a limit.
#[derive(Debug)]
pub struct Passes {
    _key: Option<Pass<KeyId>>,
    _model: Option<Pass<(AccountId, Arc<str>)>>,
}

/// A server that says that it has no room is asked again soon, or not by this request.
pub const fn is_worth_waiting(wait: Option<Duration>, left: Duration) -> bool {
    match wait {
        Some(wait) => wait.as_millis() < left.as_millis(),
        None => !left.is_zero(),
    }
}

impl Relay {
    /// A free place at one of `others`; or one that is waited for, there or `without_room`, and for how long it was.
    ///
    /// # Errors
    /// Why there is none; `None` if nobody is left to be asked.
    pub(super) async fn next_place(
        self: &Arc<Self>,
        caller: &Caller,
        request: &InferenceRequest<'_>,
        admission: &Admission,
        others: Vec<Target>,
        without_room: &mut Vec<Target>,
        (until, stood): (Instant, Option<Ticket>),
    ) -> Result<(Placed, Duration), Option<Refusal>> {
        let mut targets = match self.queue.free_place(others) {
            Ok(placed) => return Ok((placed, Duration::ZERO)),
            Err(targets) => targets,
        };
        targets.append(without_room);
        if targets.is_empty() {
            return Err(None);
        }
        let began = Instant::now();
        let placed = self.wait_in_line(caller, request, admission, targets, (until, stood)).await?;
        Ok((placed, began.elapsed()))
    }

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
            Some(most) => Some(self.pass(&self.gates.keys, caller.key.id, most, (caller, request), until).await?),
            None => None,
        };
        let model = match admission.offered.price.max_running {
            Some(most) => {
                let of = (caller.account, request.model.as_str().into());
                Some(self.pass(&self.gates.models, of, most, (caller, request), until).await?)
            }
            None => None,
        };
        let passes = Passes { _key: key, _model: model };
        let mut targets = self.ranked(admission)?;
        // With one server there is nothing to choose.
        let conversation = (targets.len() > 1 && self.queue.limits().affinity)
            .then(|| self.affinity.conversation(caller, request))
            .flatten();
        if let Some(conversation) = conversation {
            self.affinity.prefer(conversation, &mut targets, |target| self.providers.is_free(target, began));
        }
        // Who understands the client itself comes first.
        targets.sort_by_key(|target| target.translated);
        let placed = match self.queue.free_place(targets) {
            Ok(placed) => placed,
            Err(targets) => self.wait_in_line(caller, request, admission, targets, (until, None)).await?,
        };
        Ok(Turn { placed, passes, until, waited: began.elapsed(), conversation })
    }

    async fn pass<K: Hash + Eq + Clone>(
        &self,
        gates: &Arc<Gates<K>>,
        of: K,
        most: u32,
        (caller, request): (&Caller, &InferenceRequest<'_>),
        until: Instant,
    ) -> Result<Pass<K>, Refusal> {
        if let Some(pass) = gates.try_pass(of.clone(), most) {
            return Ok(pass);
        }
        let _room = self.room_to_wait(caller, request)?.ok_or(Refusal::TooManyAtOnce)?;
        let longest = self.queue.limits().longest_of_one();
        // Boxed: the request's own future is moved about, and most never wait.
        let passed = Box::pin(gates.pass(of, most, longest, until)).await;
        passed.map_err(|shut| match shut {
            _ if self.is_draining() => Refusal::Draining,
            Shut::Full | Shut::TimedOut => Refusal::TooManyAtOnce,
        })
    }

    /// Waits for a place at one of these servers, in its old place in line if it stood there before. One that is not
    /// offered any more when its turn comes gets nothing.
    pub(super) async fn wait_in_line(
        self: &Arc<Self>,
        caller: &Caller,
        request: &InferenceRequest<'_>,
        admission: &Admission,
        mut targets: Vec<Target>,
        (until, mut again): (Instant, Option<Ticket>),
    ) -> Result<Placed, Refusal> {
        let refusal = match self.providers.said_full(&targets, Instant::now()) {
            Some((status, wait)) => Refusal::ProviderBusy { status, says: None, wait: Some(wait) },
            None => Refusal::ProvidersFull(Some(self.retry_after(&request.model, &targets))),
        };
        if until <= Instant::now() {
            return Err(refusal);
        }
        let Some(_room) = self.room_to_wait(caller, request)? else { return Err(refusal) };
        loop {
            let (account, model, work) = (caller.account, request.model.as_str(), admission.work());
            let wait = Wait { account, model, work, targets, until, again };
            // Boxed: the request's own future is moved about, and most never wait.
            let placed = match Box::pin(self.queue.wait(wait)).await {
                Ok(placed) => placed,
                Err(NoPlace::Closed) => return Err(Refusal::Draining),
                Err(NoPlace::TimedOut | NoPlace::Full(Full::Model | Full::Account)) => return Err(refusal),
            };
            let offered = self.store.cached(|cache| cache.offered(model, request.endpoint, request.stream))?;
            let is_offered = |target: &Target| {
                offered.iter().flat_map(|offered| &offered.offers).any(|offer| offer.provider.id == target.provider)
            };
            if is_offered(&placed.target) {
                return Ok(placed);
            }
            (targets, again) = (placed.others, placed.ticket);
            targets.retain(is_offered);
            if targets.is_empty() {
                return Err(self.not_served(request)?);
            }
        }
    }

    /// When there may be a place: those who wait, each for as long as recent requests took, over the places.
    fn retry_after(&self, model: &str, targets: &[Target]) -> Duration {
        let waiting = u32::try_from(self.queue.waiting_for(model)).unwrap_or(u32::MAX).saturating_add(1);
        let (places, service) = self.providers.pace(targets, Instant::now());
        let wait = service.saturating_mul(waiting) / places.max(1);
        wait.clamp(Duration::from_secs(1), LONGEST_RETRY_AFTER)
    }
}

/// A client that would have to come back later than this does not come back.
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
