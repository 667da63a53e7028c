//! Waiting for a turn, with the hold open: of its key, of its account for the model, then at a server.

use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admit::Admission;
use super::affinity::Conversation;
use super::forms::Forms;
use super::meanwhile::Asked;
use super::queue::{Call, Gates, NoPlace, Pass, Place, Placed, Shut, Ticket, Wait};
use super::{Caller, Refusal, Relay};
use crate::dialect::request::InferenceRequest;
use crate::domain::ids::AccountId;
use crate::domain::keys::KeyId;
use crate::store::Offered;
use crate::upstream::Target;

/// A request that may be sent.
#[derive(Debug)]
pub struct Turn {
    /// Where, and where else.
    pub placed: Placed,
    /// What was offered when it got its place: of a provider that came while it waited the admission knows nothing.
    pub offered: Arc<Offered>,
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
        forms: &Forms<'_>,
        (admission, offered): (&Admission, &mut Arc<Offered>),
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
        let waiting = self.wait_in_line(caller, forms, (admission, offered), targets, (until, stood));
        let placed;
        (placed, *offered) = Box::pin(waiting).await?;
        Ok((placed, began.elapsed()))
    }

    /// The turn of a request that need not wait for it: what it counts towards has room, and it finds a free place
    /// where nobody waits.
    pub(super) fn turn_now(
        self: &Arc<Self>,
        caller: &Caller,
        forms: &Forms<'_>,
        admission: &Admission,
    ) -> Result<Option<Turn>, Refusal> {
        let request = forms.own;
        let now = Instant::now();
        let until = now + self.queue.limits().timeout;
        let key = match caller.key.limits.max_concurrent {
            Some(most) => match self.gates.keys.try_pass(caller.key.id, most) {
                Some(pass) => Some(pass),
                None => return Ok(None),
            },
            None => None,
        };
        let model = match admission.offered.price.max_running {
            Some(most) => match self.gates.models.try_pass((caller.account, request.model.as_str().into()), most) {
                Some(pass) => Some(pass),
                None => return Ok(None),
            },
            None => None,
        };
        let passes = Passes { _key: key, _model: model };
        let offered = &admission.offered;
        let (targets, conversation) = self.to_ask(caller, forms, offered, now)?;
        let Ok(placed) = self.queue.free_place(targets) else { return Ok(None) };
        let (offered, waited) = (Arc::clone(offered), Duration::ZERO);
        Ok(Some(Turn { placed, offered, passes, until, waited, conversation }))
    }

    /// Waits until it is the request's turn.
    pub(super) async fn wait(
        self: &Arc<Self>,
        caller: &Caller,
        forms: &Forms<'_>,
        admission: &Admission,
    ) -> Result<Turn, Refusal> {
        let request = forms.own;
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
        self.may_run_still(caller)?;
        let offered = self.offered_now(caller, forms, admission)?;
        let (targets, conversation) = self.to_ask(caller, forms, &offered, began)?;
        let targets = match self.queue.free_place(targets) {
            Ok(placed) => {
                let waited = began.elapsed();
                return Ok(Turn { placed, offered, passes, until, waited, conversation });
            }
            Err(targets) => targets,
        };
        let (placed, offered) = self.wait_in_line(caller, forms, (admission, &offered), targets, (until, None)).await?;
        Ok(Turn { placed, offered, passes, until, waited: began.elapsed(), conversation })
    }

    /// Who can be asked, the best first, and the conversation that is to stay where it was.
    fn to_ask(
        &self,
        caller: &Caller,
        forms: &Forms<'_>,
        offered: &Offered,
        now: Instant,
    ) -> Result<(Vec<Target>, Option<Conversation>), Refusal> {
        let mut targets = self.ranked(offered, forms, now)?;
        // With one server there is nothing to choose.
        let conversation = (targets.len() > 1 && self.queue.limits().affinity)
            .then(|| self.affinity.conversation(caller, forms.own))
            .flatten();
        if let Some(conversation) = conversation {
            // Who understands the client itself stays first.
            let first = targets.first().is_some_and(|target| target.translated);
            let may = |target: &Target| target.translated == first && self.providers.is_free(target, now);
            self.affinity.prefer(conversation, &mut targets, may);
        }
        Ok((targets, conversation))
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

    /// Waits for a place at one of these servers, or one that comes meanwhile, in its old place in line if it stood
    /// there before. One that is not offered any more when its turn comes gets nothing.
    pub(super) async fn wait_in_line(
        self: &Arc<Self>,
        caller: &Caller,
        forms: &Forms<'_>,
        (admission, offered): (&Admission, &Arc<Offered>),
        targets: Vec<Target>,
        (until, mut again): (Instant, Option<Ticket>),
    ) -> Result<(Placed, Arc<Offered>), Refusal> {
        let request = forms.own;
        let (said, after) =
            (self.providers.said_full(&targets, Instant::now()), self.retry_after(&request.model, &targets));
        // Made when it is needed: the text of one that is not takes room in each that waits.
        let refusal = || match said {
            Some((status, wait)) => Refusal::ProviderBusy { status, says: None, wait: Some(wait) },
            None => Refusal::ProvidersFull(Some(after)),
        };
        if until <= Instant::now() {
            return Err(refusal());
        }
        let Some(_room) = self.room_to_wait(caller, request)? else { return Err(refusal()) };
        let asked = Asked::of(&targets, offered);
        // Of what can be had again nothing is kept: thousands wait.
        drop(targets);
        let (account, model, work) = (caller.account, request.model.as_str(), admission.work());
        let servers = || match self.offered_now(caller, forms, admission).map(|offered| asked.open(&offered))? {
            servers if servers.is_empty() => Err(self.not_served(request)?),
            servers => Ok(servers),
        };
        let no_place = |why| if why == NoPlace::Closed { Refusal::Draining } else { refusal() };
        let (place, ticket) = loop {
            let looks = self.queue.looks();
            let wait = Wait { account, model, work, servers: servers()?, looks, again };
            let mut line = match self.queue.join(wait) {
                Ok(line) => line,
                Err(why) => return Err(no_place(why)),
            };
            let place = loop {
                match line.called(until).await {
                    Ok(Call::Place(place)) => break place,
                    Ok(Call::LookAgain) => line.reroute(&servers()?),
                    Err(why) => return Err(no_place(why)),
                }
            };
            self.may_run_still(caller)?;
            if servers()?.iter().any(|server| server.provider == place.provider()) {
                break (place, line.ticket());
            }
            again = Some(line.ticket());
            self.queue.refund(place.provider(), account, work);
        };
        let offered = self.offered_now(caller, forms, admission)?;
        let now = Instant::now();
        let in_form = |offer| asked.in_form(self.target_in_form(offer, forms, now), offer);
        let mut targets: Vec<Target> = asked.offers(&offered).map(in_form).collect();
        let at = targets.iter().position(|target| target.provider == place.provider());
        let Some(at) = at else { return Err(self.not_served(request)?) };
        let target = targets.swap_remove(at);
        let others = self.providers.rank(targets, Instant::now()).unwrap_or_default();
        Ok((Placed { place, target, others, ticket: Some(ticket) }, offered))
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
