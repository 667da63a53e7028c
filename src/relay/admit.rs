//! Admission: the price, the ceiling, the hold.

use bytes::Bytes;
use std::sync::Arc;

use super::forms::Forms;
use super::holds::{HeldNow, OpenHold};
use super::worst_case::{Affordable, Counted, Funds, WorstCase};
use super::{Caller, InferenceCall, Refusal, Relay};
use crate::dialect::request::{Endpoint, InferenceRequest};
use crate::domain::ids::AccountId;
use crate::domain::keys::KeyId;
use crate::domain::money::MicroUsd;
use crate::domain::price::Price;
use crate::domain::time::Timestamp;
use crate::domain::usage::Bounds;
use crate::meter::tokens::PromptCount;
use crate::store::{AdmissionCache, Offered, StoreError, endpoints};

/// A request that may run: at this price, within these bounds, on this hold.
#[derive(Debug)]
pub struct Admission {
    /// The price version in force at admission, which this request keeps, and the providers that can serve it.
    pub offered: Arc<Offered>,
    /// The most it can be charged for, in whichever form it is sent.
    pub bounds: Bounds,
    /// The most that its prompt can be, as it came and as chat.
    pub prompts: [u64; 2],
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
    /// The most that it can be charged for by a server that was sent it so: translated to chat, or as it came.
    pub const fn bounds_of(&self, translated: bool) -> Bounds {
        let [own, chat] = self.prompts;
        Bounds { prompt_tokens: if translated { chat } else { own }, completion_tokens: self.bounds.completion_tokens }
    }

    /// What it may take of a server, in tokens.
    pub const fn work(&self) -> u64 {
        self.bounds.prompt_tokens.saturating_add(self.bounds.completion_tokens)
    }
}

impl Relay {
    /// Reserves the worst case.
    pub(super) async fn admit(
        &self,
        caller: &Caller,
        call: &InferenceCall,
        forms: &Forms<'_>,
        offered: Arc<Offered>,
    ) -> Result<Admission, Refusal> {
        let price = &offered.price;
        let (worst, prompts) = self.worst_case(forms, &offered);
        let (hold, affordable) = match self.hold(caller, &price.price, worst, None)? {
            HoldAttempt::Held(hold, affordable) => (hold, affordable),
            HoldAttempt::WorthCounting(most) => {
                let counted = Box::pin(self.count_forms(caller, &offered, (forms, &call.body), most)).await;
                match self.hold(caller, &price.price, worst, Some(counted))? {
                    HoldAttempt::Held(hold, affordable) => (hold, affordable),
                    HoldAttempt::WorthCounting(_) => return Err(Refusal::InsufficientFunds),
                }
            }
        };
        let bounds = affordable.bounds;
        let output_capped = bounds != worst.bounds;
        if output_capped && !call.endpoint.takes_bound() {
            return Err(Refusal::InsufficientFunds);
        }
        let _ = call.so_far.output_capped.set(output_capped);
        Ok(Admission { offered, bounds, prompts, output_capped, hold })
    }

    /// What the request may come to with those who can serve it, and the most that its prompt can be in each form.
    pub(super) fn worst_case(&self, forms: &Forms<'_>, offered: &Offered) -> (WorstCase, [u64; 2]) {
        let price = &offered.price;
        let of = |request: &InferenceRequest<'_>| {
            let worst = WorstCase::of(request, price, self.corrections.context(price));
            // What a provider stored or finds is bounded by nothing that is written here.
            let further = offered.offers.iter().any(|offer| request.reaches_further(&offer.provider.allow));
            if further { worst.beyond_the_text(price.context_length) } else { worst }
        };
        let prompt = |worst: WorstCase| worst.bounds.prompt_tokens;
        match forms.sent(offered) {
            [Some(own), Some(chat)] => {
                let (own, chat) = (of(own), of(chat));
                (own.or(chat), [prompt(own), prompt(chat)])
            }
            [own, chat] => {
                let worst = of(own.or(chat).unwrap_or(forms.own));
                (worst, [prompt(worst); 2])
            }
        }
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
        Ok(offered)
    }

    /// Names the endpoints that the model does have.
    pub(super) fn not_served(&self, request: &InferenceRequest<'_>) -> Result<Refusal, StoreError> {
        let model = request.model.clone();
        let served = self.store.read_inline(endpoints::served)?.remove(&model).unwrap_or_default().endpoints;
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

    /// What the servers of a model may make of a prompt in the forms in which they may be sent it: the most of both.
    pub(super) async fn count_forms(
        &self,
        caller: &Caller,
        offered: &Arc<Offered>,
        (forms, body): (&Forms<'_>, &Bytes),
        most: u64,
    ) -> Counted {
        let bodies = [Some(body), forms.chat().map(|chat| &chat.made.body)];
        let mut counted: Option<Counted> = None;
        for (request, body) in forms.sent(offered).into_iter().zip(bodies) {
            let Some((request, body)) = request.zip(body) else { continue };
            let count = self.count_prompt(caller, offered, (request.endpoint, body.clone()), most).await;
            counted = Some(counted.map_or(count, |other| other.or(count)));
        }
        counted.unwrap_or(Counted::UNKNOWN)
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
        self.writer.open_for_work().map_err(Refusal::Store)
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
        if !price.is_free() {
            // Before the holds' lock, under which all workers would wait for this look at a file.
            self.store.look()?;
        }
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
        self.store.look()?;
        self.holds.grow(hold, |held| Ok(self.funds(payer, held)?.0.available.min(missing)))
    }

    /// What the account and the key can still pay, and why it is no more. Under the holds' lock, taken after a look at
    /// the store.
    pub(super) fn funds(&self, payer: Payer, held: HeldNow) -> Result<(Funds, Refusal), Refusal> {
        let (balance, key) = self.store.cached_unchecked(|memory| {
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
