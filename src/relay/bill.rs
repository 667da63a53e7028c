//! The bill of one request: from its first byte to its row. Whatever happens, it is settled once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::admit::{Admission, Payer};
use super::ask::UpstreamReply;
use super::corrections::PromptReport;
use super::counting;
use super::forms::Forms;
use super::holds::OpenHold;
use super::newly_limited::NewlyLimitedKeys;
use super::replay::Claim;
use super::send::Dispatch;
use super::wait::Seat;
use super::{Caller, InferenceCall, Relay};
use crate::domain::charge::Charge;
use crate::domain::endpoint::Endpoint;
use crate::domain::metrics::{self, SettledRequest};
use crate::domain::money::MicroUsd;
use crate::domain::time::{Timestamp, millis};
use crate::domain::usage::{Bounds, Judged, Metered, MeteredBy, Outcome, Reported, Usage};
use crate::store::providers::Offer;
use crate::store::settlement::Settled;
use crate::store::{AtDebit, ChargeHold, Offered, StoreError};

/// What is known of a request that a provider has begun to answer.
#[derive(Debug)]
pub struct Bill {
    pub(super) relay: Arc<Relay>,
    /// What was used is filled in at the end.
    pub(super) charge: Charge,
    /// What was sent, and where: for counting the prompt if nobody else does.
    pub(super) request: Bytes,
    pub(super) sent_to: Endpoint,
    pub(super) offered: Arc<Offered>,
    pub(super) offer: Arc<Offer>,
    pub(super) bounds: Bounds,
    pub(super) hold: OpenHold,
    pub(super) streamed: bool,
    /// The answer begins with the prompt.
    pub(super) echoes: bool,
    /// The client's idempotency key, taken until the charge is durable.
    pub(super) claim: Option<Arc<Claim>>,
    pub(super) times: Times,
}

/// When what happened.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The request was there.
    pub began: Instant,
    /// How long it waited for a place, of all that it took.
    pub waited: Duration,
    /// It was sent to the provider.
    pub sent: Instant,
    /// The first byte of the answer came.
    pub first_byte: Instant,
}

impl Relay {
    /// Opens the bill of a request that a provider has begun to answer.
    pub(super) fn bill(
        self: &Arc<Self>,
        caller: &Caller,
        call: &InferenceCall,
        admission: Admission,
        dispatch: Dispatch,
        forms: &Forms<'_>,
        claim: Option<Arc<Claim>>,
    ) -> (Bill, UpstreamReply, Seat) {
        let (price, provider) = (&admission.offered.price, &dispatch.offer.provider);
        let nothing = Bill::nothing();
        let chat = forms.chat().filter(|_| dispatch.translated);
        let request = chat.map_or(forms.own, |chat| &chat.request);
        let charge = Charge {
            request_id: call.request_id,
            account_id: caller.account,
            key_id: caller.key.id,
            key_is_limited: caller.key.limits.spend.is_some(),
            provider_id: provider.id,
            provider_account_id: provider.account_id,
            price_id: price.id,
            model: price.model.clone(),
            endpoint: call.endpoint,
            translated: dispatch.translated,
            own_use: self.terms.is_free(caller.account, provider.account_id),
            fee: self.terms.fee,
            usage: nothing.usage,
            cost: MicroUsd::ZERO,
            outcome: Outcome::Completed,
            metered_by: nothing.metered_by,
            flagged: nothing.flagged,
            idempotency: claim.as_ref().map(|claim| (claim.idempotency().key_hash, claim.idempotency().body_hash)),
            now: Timestamp::now(),
        };
        let bounds = admission.bounds_of(dispatch.translated);
        let bill = Bill {
            relay: Arc::clone(self),
            charge,
            request: chat.map_or(&call.body, |chat| &chat.made.body).clone(),
            sent_to: request.endpoint,
            offered: admission.offered,
            offer: dispatch.offer,
            bounds,
            hold: admission.hold,
            streamed: request.stream,
            echoes: request.echoes,
            claim,
            times: Times {
                began: call.began,
                waited: dispatch.waited,
                sent: dispatch.sent,
                first_byte: dispatch.first_byte,
            },
        };
        (bill, dispatch.reply, dispatch.seat)
    }
}

impl Bill {
    /// What is billed: what the provider reported, and what it did not, counted here. Who says zero where there
    /// was something is flagged.
    pub(super) fn meter(&mut self, judged: Judged, count_completion: impl FnOnce() -> u64) -> Metered {
        let count_prompt = || {
            let count = counting::prompt_tokens(self.sent_to, &self.request, u64::MAX);
            self.relay.corrections.of_server(&self.offer, count)
        };
        let count_completion = || {
            let echoed =
                if self.echoes { counting::prompt_tokens(self.sent_to, &self.request, u64::MAX).tokens } else { 0 };
            count_completion().saturating_sub(echoed)
        };
        let metered = Metered::of(judged.believed, self.bounds, count_prompt, count_completion);
        let flagged = metered.flagged || judged.denies(metered.usage);
        self.learn(judged.believed, flagged);
        let metered_by = if judged.is_stopped() { MeteredBy::Estimate } else { metered.metered_by };
        Metered { usage: self.covered(metered.usage), metered_by, flagged }
    }

    /// As much of what was used as is held for it, or can be added to the hold now. What nobody can pay for is not
    /// billed, and it is no fault of the server.
    fn covered(&mut self, usage: Usage) -> Usage {
        if self.charge.own_use {
            return usage;
        }
        let price = &self.offered.price.price;
        // A key may have got its limit since.
        let key_is_limited = self.charge.key_is_limited || self.relay.newly_limited.contains(self.charge.key_id);
        let payer = Payer { account: self.charge.account_id, key: self.charge.key_id, key_is_limited };
        if let Err(e) = self.relay.cover(&mut self.hold, payer, price.cost(usage)) {
            tracing::warn!(request_id = %self.charge.request_id, error = %e, "a hold could not grow");
        }
        price.within(usage, self.hold.amount())
    }

    /// The most tokens that an answer can show. A prompt that is said again was not generated.
    pub(super) const fn longest_output(&self) -> u64 {
        let echoed = if self.echoes { self.bounds.prompt_tokens } else { 0 };
        self.bounds.completion_tokens.saturating_add(echoed)
    }

    /// Remembers what the server made of the prompt.
    fn learn(&self, reported: Reported, flagged: bool) {
        if let Some(prompt_tokens) = reported.prompt_tokens
            && !flagged
        {
            let report = PromptReport { endpoint: self.sent_to, body: &self.request, prompt_tokens };
            self.relay.corrections.learn(&self.offered.price, &self.offer, report, Instant::now());
        }
    }

    /// Nothing is billed: the provider failed after its answer began.
    pub(super) fn nothing() -> Metered {
        let usage = Usage::default();
        Metered { usage, metered_by: MeteredBy::Provider, flagged: false }
    }

    /// Settles, and returns when it is durable. If the caller stops waiting, it is settled anyway.
    pub(super) fn settle(
        self,
        metered: Metered,
        outcome: Outcome,
    ) -> impl Future<Output = Result<Settled, StoreError>> + use<> {
        // Timed to when it is durable, not to when this task is scheduled again.
        let (answer, answered) = oneshot::channel();
        self.send(metered, outcome, |charge, line, settled, took| {
            drop(answer.send((charge, line, settled, took)));
        });
        async move {
            let Ok((charge, line, settled, took)) = answered.await else { return Err(StoreError::Closed) };
            line.log(&charge, &settled, took);
            settled
        }
    }

    /// Settles without waiting: for a client that is gone.
    pub(super) fn settle_later(self, metered: Metered, outcome: Outcome) {
        self.send(metered, outcome, |charge, line, settled, took| line.log(&charge, &settled, took));
    }

    /// Queues the charge; `then` hears what came of it, and how long it took.
    fn send(
        self,
        metered: Metered,
        outcome: Outcome,
        then: impl FnOnce(Charge, Line, Result<Settled, StoreError>, Duration) + Send + 'static,
    ) {
        let cost = self.offered.price.price.cost(metered.usage);
        let charge = self.charge.ended(metered, cost, outcome, Timestamp::now());
        let line = Line { offer: self.offer, streamed: self.streamed, times: self.times };
        let hold =
            UntilDurable { hold: self.hold, newly_limited: Arc::clone(&self.relay.newly_limited), _claim: self.claim };
        let began = Instant::now();
        self.relay.writer.settle(charge, hold, move |charge, settled| then(charge, line, settled, began.elapsed()));
    }
}

/// What is let go once the charge is durable: the request's money, and the client's idempotency key.
#[derive(Debug)]
struct UntilDurable {
    hold: OpenHold,
    newly_limited: Arc<NewlyLimitedKeys>,
    _claim: Option<Arc<Claim>>,
}

impl ChargeHold for UntilDurable {
    fn debit(&mut self, charge: &Charge) -> AtDebit {
        AtDebit { held_by_others: self.hold.settling(), key_is_limited: self.newly_limited.contains(charge.key_id) }
    }
}

/// What the log line of a metered request says beside its charge.
#[derive(Debug)]
struct Line {
    offer: Arc<Offer>,
    streamed: bool,
    times: Times,
}

impl Line {
    /// For the metrics.
    fn counted<'a>(&'a self, charge: &'a Charge, settled: &Settled) -> SettledRequest<'a> {
        let times = &self.times;
        SettledRequest {
            model: &charge.model,
            provider: &self.offer.provider.name,
            operation: charge.endpoint.operation(),
            outcome: charge.outcome,
            is_estimate: charge.metered_by == MeteredBy::Estimate,
            usage: charge.usage,
            charged: settled.charged.micro(),
            shortfall: charge.cost.micro().saturating_sub(settled.charged.micro()),
            took: times.began.elapsed(),
            first_token: self.streamed.then(|| times.first_byte.duration_since(times.began)),
        }
    }

    /// `took`: from the end of the answer until its settlement was durable.
    fn log(&self, charge: &Charge, settled: &Result<Settled, StoreError>, took: Duration) {
        let times = &self.times;
        let (cost, outcome) = match settled {
            Ok(settled) => {
                if let Some(metrics) = metrics::on() {
                    metrics.settled(&self.counted(charge, settled));
                }
                (settled.charged.micro(), charge.outcome.as_str())
            }
            Err(e) => {
                tracing::error!(request_id = %charge.request_id, error = %e, "a request could not be settled");
                (0, "unsettled")
            }
        };
        tracing::info!(
            request_id = %charge.request_id,
            account = %charge.account_id,
            key_id = %charge.key_id,
            model = charge.model,
            provider = self.offer.provider.name,
            endpoint = charge.endpoint.path(),
            status = 200,
            stream = self.streamed,
            translated = charge.translated,
            own_use = charge.own_use,
            prompt_tokens = charge.usage.prompt_tokens,
            cached_tokens = charge.usage.cached_tokens,
            completion_tokens = charge.usage.completion_tokens,
            metered_by = charge.metered_by.as_str(),
            cost_micro_usd = cost,
            outcome,
            before_send_ms = millis(times.sent.duration_since(times.began)),
            queue_ms = millis(times.waited),
            first_byte_ms = millis(times.first_byte.duration_since(times.sent)),
            settle_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            total_ms = millis(times.began.elapsed()),
            "request"
        );
    }
}
