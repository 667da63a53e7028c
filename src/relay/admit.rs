//! Admission: the price, the ceiling, the hold.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::holds::{HeldNow, OpenHold};
use super::worst_case::{Affordable, Counted, Funds, WorstCase};
use super::{Caller, InferenceCall, Refusal, Relay};
use crate::dialect::request::{BadRequest, Endpoint, InferenceRequest};
use crate::domain::ids::AccountId;
use crate::domain::keys::KeyId;
use crate::domain::money::MicroUsd;
use crate::domain::price::Price;
use crate::domain::time::Timestamp;
use crate::domain::usage::Bounds;
use crate::meter::tokens::PromptCount;
use crate::store::providers::Offer;
use crate::store::{AdmissionCache, Offered, StoreError, endpoints};

/// A request that may run: at this price, within these bounds, on this hold.
#[derive(Debug)]
pub struct Admission {
    /// The price version in force at admission, which this request keeps, and the providers that can serve it.
    pub offered: Arc<Offered>,
    /// The most it can be charged for.
    pub bounds: Bounds,
    /// The output bound is lower than what was asked for, because the balance affords no more.
    pub output_capped: bool,
    /// What it may cost at most.
    pub hold: OpenHold,
}

/// Whose money it is, and which key may spend it.
#[derive(Debug, Clone, Copy)]
pub struct Payer {
    pub(super) account: AccountId,
    pub(super) key: KeyId,
    /// The key has a spend limit.
    pub(super) key_is_limited: bool,
}

impl Payer {
    pub(super) fn of(caller: &Caller) -> Self {
        Self { account: caller.account, key: caller.key.id, key_is_limited: caller.key.limits.spend.is_some() }
    }
}

/// What an attempt to hold the worst case came to.
enum HoldAttempt {
    /// It is held, or what is affordable of it.
    Held(OpenHold, Affordable),
    /// It does not fit, or takes much: the prompt has to be counted, as far as that many tokens.
    WorthCounting(u64),
}

impl Admission {
    /// What it may take of a server, in tokens.
    pub const fn work(&self) -> u64 {
        self.bounds.prompt_tokens.saturating_add(self.bounds.completion_tokens)
    }
}

/// A request that came within this time is held to the price in force when its key was verified.
const MOMENT: Duration = Duration::from_millis(1);

impl Relay {
    /// Reserves the worst case.
    pub(super) async fn admit(
        &self,
        caller: &Caller,
        call: &InferenceCall,
        request: &InferenceRequest<'_>,
    ) -> Result<Admission, Refusal> {
        self.open_for_work()?;
        let offered = self.offered(caller, request, call.began.elapsed() < MOMENT)?;
        let price = &offered.price;
        let worst = self.worst_case(request, &offered);
        let (hold, affordable) = match self.hold(caller, &price.price, worst, None)? {
            HoldAttempt::Held(hold, affordable) => (hold, affordable),
            HoldAttempt::WorthCounting(most) => {
                let counting = self.count_prompt(caller, &offered, (request.endpoint, call.body.clone()), most);
                let counted = Box::pin(counting).await;
                match self.hold(caller, &price.price, worst, Some(counted))? {
                    HoldAttempt::Held(hold, affordable) => (hold, affordable),
                    HoldAttempt::WorthCounting(_) => return Err(Refusal::InsufficientFunds),
                }
            }
        };
        let bounds = affordable.bounds;
        let output_capped = bounds != worst.bounds;
        if output_capped && !request.endpoint.takes_bound() {
            return Err(Refusal::InsufficientFunds);
        }
        let _ = call.output_capped.set(output_capped);
        Ok(Admission { offered, bounds, output_capped, hold })
    }

    /// What the request may come to with those who can serve it.
    pub(super) fn worst_case(&self, request: &InferenceRequest<'_>, offered: &Offered) -> WorstCase {
        let price = &offered.price;
        let worst = WorstCase::of(request, price, self.corrections.context(price));
        // What a provider stored or finds is bounded by nothing that is written here.
        let further = offered.offers.iter().any(|offer| request.reaches_further(&offer.provider.allow));
        if further { worst.beyond_the_text(price.context_length) } else { worst }
    }

    /// The price of a model that this key may use, and who can serve the request. `just_came`: as they were when its
    /// key was verified, a moment ago.
    pub(super) fn offered(
        &self,
        caller: &Caller,
        request: &InferenceRequest<'_>,
        just_came: bool,
    ) -> Result<Arc<Offered>, Refusal> {
        let model = &request.model;
        let offered = |memory: &mut AdmissionCache| memory.offered(model, request.endpoint, request.stream);
        let offered = if just_came { self.store.cached_unchecked(offered)? } else { self.store.cached(offered)? };
        let offered = offered.ok_or_else(|| Refusal::ModelNotFound(model.clone()))?;
        if caller.key.limits.allowed_models.as_ref().is_some_and(|models| !models.contains(model)) {
            return Err(Refusal::ModelNotAllowed(model.clone()));
        }
        if offered.offers.is_empty() {
            return Err(self.not_served(request)?);
        }
        Ok(able(offered, request)?)
    }

    /// Names the endpoints that the model does have.
    pub(super) fn not_served(&self, request: &InferenceRequest<'_>) -> Result<Refusal, StoreError> {
        let model = request.model.clone();
        let served = self.store.read_inline(endpoints::served)?.remove(&model).unwrap_or_default();
        let name = |endpoint: &Endpoint| {
            let how = match (*endpoint == request.endpoint, request.stream) {
                (false, _) => "",
                (true, true) => " (not streaming)",
                (true, false) => " (only streaming)",
            };
            format!("{endpoint}{how}")
        };
        if served.is_empty() {
            return Ok(Refusal::ModelNotFound(model));
        }
        let served = served.iter().map(name).collect::<Vec<_>>().join(", ");
        Ok(Refusal::EndpointNotServed { model, endpoint: request.endpoint, served })
    }

    /// What the servers of a model may make of a prompt; above `most` it is not counted on.
    pub(super) async fn count_prompt(
        &self,
        caller: &Caller,
        offered: &Arc<Offered>,
        request: (Endpoint, Bytes),
        most: u64,
    ) -> Counted {
        let (corrections, offered) = (Arc::clone(&self.corrections), Arc::clone(offered));
        let correct = move |count: PromptCount| {
            // More money may be there a moment later, and half a count must not be taken for the whole.
            if count.tokens > most { Counted::UNKNOWN } else { corrections.for_admission(&offered, count) }
        };
        // Only a count that panicked has no answer; then the bytes stay the bound.
        self.counting.count(caller.account, request, most, correct).await.unwrap_or(Counted::UNKNOWN)
    }

    pub(super) fn open_for_work(&self) -> Result<(), Refusal> {
        if self.is_draining() {
            return Err(Refusal::Draining);
        }
        if self.writer.disk_is_full() {
            return Err(Refusal::Store(StoreError::Full));
        }
        Ok(())
    }

    /// Opens a hold for the worst case, or, of a prompt that was counted, for what is affordable of it.
    fn hold(
        &self,
        caller: &Caller,
        price: &Price,
        worst: WorstCase,
        counted: Option<Counted>,
    ) -> Result<HoldAttempt, Refusal> {
        let mut worth_counting = None;
        let opened = self.holds.open(caller.account, Some(caller.key.id), |held| {
            if price.is_free() {
                return Ok((MicroUsd::ZERO, Affordable { bounds: worst.bounds, hold: MicroUsd::ZERO }));
            }
            let (funds, refusal) = self.funds(Payer::of(caller), held)?;
            let affordable = match counted {
                Some(counted) => worst.affordable(price, counted, funds),
                None => worst.whole(price, funds.available),
            };
            if affordable.is_none() && counted.is_none() {
                worth_counting = worst.worth_counting(price, funds.available);
            }
            let affordable = affordable.ok_or(refusal)?;
            Ok((affordable.hold, affordable))
        });
        match (opened, worth_counting) {
            (Ok((hold, affordable)), _) => Ok(HoldAttempt::Held(hold, affordable)),
            (Err(_), Some(most)) => Ok(HoldAttempt::WorthCounting(most)),
            (Err(refusal), None) => Err(refusal),
        }
    }

    /// Adds to a hold what is available, as far as `cost` takes it: a report may be above what was held, where the
    /// worst case was not affordable, or the model's context length is set too low.
    pub(super) fn cover(&self, hold: &mut OpenHold, payer: Payer, cost: MicroUsd) -> Result<(), Refusal> {
        let missing = cost.minus_floor_zero(hold.amount());
        if missing == MicroUsd::ZERO {
            return Ok(());
        }
        self.holds.grow(hold, |held| Ok(self.funds(payer, held)?.0.available.min(missing)))
    }

    /// What the account and the key can still pay, and why it is no more.
    pub(super) fn funds(&self, payer: Payer, held: HeldNow) -> Result<(Funds, Refusal), Refusal> {
        let (balance, key) = self.store.cached(|memory| {
            // What a debit takes from one of the two counts as held until it is seen in both.
            let key = if payer.key_is_limited { memory.key(payer.key)? } else { None };
            Ok((memory.balance(payer.account)?, key))
        })?;
        let available = balance.total.minus_floor_zero(held.account.total);
        let left = key.and_then(|key| {
            let now = Timestamp::now();
            let left = key.limits.spend?.minus_floor_zero(key.spent(now)).minus_floor_zero(held.key.total);
            Some((left, key.limits.reset.window_end(now)))
        });
        let is_all = held.account.total == MicroUsd::ZERO;
        Ok(match left {
            Some((left, resets)) if left < available => {
                (Funds { available: left, is_all: false }, Refusal::SpendLimitReached(resets))
            }
            _ if is_all => (Funds { available, is_all }, Refusal::InsufficientFunds),
            _ => (Funds { available, is_all }, Refusal::HeldByOthers),
        })
    }
}

/// The offers of those providers that may do what the request cannot be answered without.
fn able(offered: Arc<Offered>, request: &InferenceRequest<'_>) -> Result<Arc<Offered>, BadRequest> {
    let lacks = |offer: &Arc<Offer>| request.lacking(&offer.provider.allow);
    let Some(why) = offered.offers.iter().find_map(lacks) else { return Ok(offered) };
    let offers: Vec<_> = offered.offers.iter().filter(|offer| lacks(offer).is_none()).map(Arc::clone).collect();
    if offers.is_empty() { Err(why) } else { Ok(Arc::new(Offered { price: offered.price.clone(), offers })) }
}
