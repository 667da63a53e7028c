//! The bill of one request: from its first byte to its row. Whatever happens, it is settled once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Relay;
use super::admit::Payer;
use super::corrections::Report;
use super::counting;
use super::holds::OpenHold;
use super::replay::Claim;
use crate::domain::ids::{AccountId, RequestId};
use crate::domain::keys::KeyId;
use crate::domain::money::MicroUsd;
use crate::domain::request::Endpoint;
use crate::domain::time::Timestamp;
use crate::domain::usage::{Bounds, Judged, Metered, MeteredBy, Outcome, Reported, Usage};
use crate::store::providers::Offer;
use crate::store::usage::{self, Settled, Settlement};
use crate::store::{Offered, StoreError};

/// What is known of a request that a provider has begun to answer.
#[derive(Debug)]
pub struct Bill {
    pub(super) relay: Arc<Relay>,
    pub(super) request_id: RequestId,
    pub(super) account: AccountId,
    pub(super) key_id: KeyId,
    /// The key has a spend limit.
    pub(super) key_is_limited: bool,
    pub(super) endpoint: Endpoint,
    /// The client's body, for counting the prompt if nobody else does.
    pub(super) request: Bytes,
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
    /// It was sent to the provider.
    pub sent: Instant,
    /// The first byte of the answer came.
    pub first_byte: Instant,
}

impl Bill {
    /// What is billed: what the provider reported, and what it did not, counted here. Who says zero where there
    /// was something is flagged.
    pub(super) fn meter(&mut self, judged: Judged, count_completion: impl FnOnce() -> u64) -> Metered {
        let count_prompt = || {
            let count = counting::prompt_tokens(self.endpoint, &self.request, u64::MAX);
            self.relay.corrections.of_server(&self.offer, count)
        };
        let count_completion = || {
            let echoed =
                if self.echoes { counting::prompt_tokens(self.endpoint, &self.request, u64::MAX).tokens } else { 0 };
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
        let price = &self.offered.price.price;
        // A key may have got its limit since.
        let key_is_limited = self.key_is_limited || self.relay.capped.contains(self.key_id);
        let payer = Payer { account: self.account, key: self.key_id, key_is_limited };
        if let Err(e) = self.relay.cover(&mut self.hold, payer, price.cost(usage)) {
            tracing::warn!(request_id = %self.request_id, error = %e, "a hold could not grow");
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
            let report = Report { endpoint: self.endpoint, body: &self.request, prompt_tokens };
            self.relay.corrections.learn(&self.offered.price, &self.offer, report, Instant::now());
        }
    }

    /// Nothing is billed: the provider failed after its answer began.
    pub(super) fn nothing() -> Metered {
        let usage = Usage::default();
        Metered { usage, metered_by: MeteredBy::Provider, flagged: false }
    }

    /// Settles, and returns when it is durable. If the caller stops waiting, it is settled all the same.
    pub(super) async fn settle(self, metered: Metered, outcome: Outcome) -> Result<Settled, StoreError> {
        let relay = Arc::clone(&self.relay);
        let (job, line) = self.into_job(metered, outcome);
        // As `Writer::write`, but timed to when it is durable, not to when this task has its turn again.
        let (answer, answered) = oneshot::channel();
        let began = Instant::now();
        relay.writer.submit(job, move |settled| drop(answer.send((settled, began.elapsed()))));
        let (settled, took) = answered.await.unwrap_or((Err(StoreError::Closed), Duration::ZERO));
        line.log(&settled, took);
        settled
    }

    /// Settles without waiting: for a client that is gone.
    pub(super) fn settle_later(self, metered: Metered, outcome: Outcome) {
        let relay = Arc::clone(&self.relay);
        let (job, line) = self.into_job(metered, outcome);
        let began = Instant::now();
        relay.writer.submit(job, move |settled| line.log(&settled, began.elapsed()));
    }

    fn into_job(
        self,
        metered: Metered,
        outcome: Outcome,
    ) -> (impl FnMut(&crate::store::Connection) -> Result<Settled, StoreError> + Send + 'static, Line) {
        let cost = if outcome == Outcome::ProviderError {
            MicroUsd::ZERO
        } else {
            self.offered.price.price.cost(metered.usage)
        };
        let line = Line {
            request_id: self.request_id,
            account: self.account,
            key_id: self.key_id,
            offered: Arc::clone(&self.offered),
            offer: Arc::clone(&self.offer),
            endpoint: self.endpoint,
            streamed: self.streamed,
            outcome,
            metered,
            times: self.times,
        };
        let mut settlement = Settlement {
            request_id: self.request_id,
            account_id: self.account,
            key_id: self.key_id,
            key_is_limited: self.key_is_limited,
            provider_id: self.offer.provider.id,
            provider_account_id: self.offer.provider.account_id,
            price_id: self.offered.price.id,
            model: self.offered.price.model.clone(),
            endpoint: self.endpoint,
            usage: metered.usage,
            cost,
            outcome,
            metered_by: metered.metered_by,
            flagged: metered.flagged,
            // A request that is not charged may be sent again.
            idempotency: self
                .claim
                .as_ref()
                .filter(|_| outcome != Outcome::ProviderError)
                .map(|claim| (claim.idempotency().key_hash, claim.idempotency().body_hash)),
            now: Timestamp::now(),
        };
        let (fee, capped) = (self.relay.fee, Arc::clone(&self.relay.capped));
        let (mut hold, claim) = (self.hold, self.claim);
        let job = move |conn: &crate::store::Connection| {
            // Both are let go with the job: after its commit.
            let _until_committed = &claim;
            settlement.key_is_limited |= capped.contains(settlement.key_id);
            usage::settle(conn, &settlement, hold.settling(), fee)
        };
        (job, line)
    }
}

/// The log line of a metered request.
#[derive(Debug)]
struct Line {
    request_id: RequestId,
    account: AccountId,
    key_id: KeyId,
    offered: Arc<Offered>,
    offer: Arc<Offer>,
    endpoint: Endpoint,
    streamed: bool,
    outcome: Outcome,
    metered: Metered,
    times: Times,
}

impl Line {
    /// `took`: from the end of the answer until its settlement was durable.
    fn log(&self, settled: &Result<Settled, StoreError>, took: Duration) {
        let times = &self.times;
        let (cost, outcome) = match settled {
            Ok(settled) => (settled.charged.micro(), self.outcome.as_str()),
            Err(e) => {
                tracing::error!(request_id = %self.request_id, error = %e, "a request could not be settled");
                (0, "unsettled")
            }
        };
        tracing::info!(
            request_id = %self.request_id,
            account = %self.account,
            key_id = %self.key_id,
            model = self.offered.price.model,
            provider = self.offer.provider.name,
            endpoint = self.endpoint.path(),
            status = 200,
            stream = self.streamed,
            prompt_tokens = self.metered.usage.prompt_tokens,
            cached_tokens = self.metered.usage.cached_tokens,
            completion_tokens = self.metered.usage.completion_tokens,
            metered_by = self.metered.metered_by.as_str(),
            cost_micro_usd = cost,
            outcome,
            queue_ms = millis(times.sent.duration_since(times.began)),
            first_byte_ms = millis(times.first_byte.duration_since(times.sent)),
            settle_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            total_ms = millis(times.began.elapsed()),
            "request"
        );
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
