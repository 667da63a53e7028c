//! Admission: the price, the ceiling, the hold.

use std::sync::Arc;

use bytes::Bytes;

use super::holds::{HeldNow, OpenHold};
use super::{Caller, Refusal, Relay};
use crate::domain::money::MicroUsd;
use crate::domain::price::Price;
use crate::domain::request::{Endpoint, InferenceRequest};
use crate::domain::time::Timestamp;
use crate::domain::usage::Bounds;
use crate::meter::tokens;
use crate::store::prices::PriceRow;
use crate::store::{Offered, StoreError, endpoints};

/// A request that may run: at this price, within these bounds, on this hold.
#[derive(Debug)]
pub struct Admitted {
    /// The version in force now; it stays the request's.
    /// And who can serve it.
    pub offered: Arc<Offered>,
    /// The most it can be charged for.
    pub bounds: Bounds,
    /// The output bound is lower than what was asked for, because the balance affords no more.
    pub limited: bool,
    /// What it may cost at most.
    pub hold: OpenHold,
}

/// If neither the client nor the model says how long an answer may be.
const DEFAULT_OUTPUT: u64 = 8_192;
/// What an image or a file may add to a prompt, where the context length is not known.
const MEDIA_TOKENS: u64 = 65_536;

impl Relay {
    /// Reserves the worst case.
    pub(super) async fn admit(
        &self,
        caller: &Caller,
        request: &InferenceRequest<'_>,
        body: &Bytes,
    ) -> Result<Admitted, Refusal> {
        self.open_for_work()?;
        let offered = self.offered(caller, request)?;
        let price = &offered.price;
        let wanted = bounds(request, price);
        let (hold, (bounds, limited)) = match self.hold(caller, &price.price, wanted) {
            // Not even the prompt fits at a token a byte: count it.
            Err(Refusal::InsufficientFunds | Refusal::KeyLimitReached) => {
                let counted = tokens_of(request.endpoint, body.clone()).await;
                let prompt_tokens = wanted.prompt_tokens.min(counted.saturating_add(counted.div_ceil(10)));
                self.hold(caller, &price.price, Bounds { prompt_tokens, ..wanted })?
            }
            other => other?,
        };
        Ok(Admitted { offered, bounds, limited, hold })
    }

    /// The price of a model that this key may use, and who can serve the request.
    pub(super) fn offered(&self, caller: &Caller, request: &InferenceRequest<'_>) -> Result<Arc<Offered>, Refusal> {
        let model = &request.model;
        let offered = self.store.look(|memory| memory.offered(model, request.endpoint, request.stream))?;
        let offered = offered.ok_or_else(|| Refusal::ModelNotFound(model.clone()))?;
        if caller.key.limits.allowed_models.as_ref().is_some_and(|models| !models.contains(model)) {
            return Err(Refusal::ModelNotAllowed(model.clone()));
        }
        if offered.offers.is_empty() { Err(self.not_served(request)?) } else { Ok(offered) }
    }

    /// Names the endpoints that the model does have.
    fn not_served(&self, request: &InferenceRequest<'_>) -> Result<Refusal, StoreError> {
        let model = request.model.clone();
        let served = self.store.read(endpoints::served)?.remove(&model).unwrap_or_default();
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

    pub(super) fn open_for_work(&self) -> Result<(), Refusal> {
        if self.is_draining() {
            return Err(Refusal::Draining);
        }
        if self.writer.disk_is_full() {
            return Err(Refusal::Store(StoreError::Full));
        }
        Ok(())
    }

    /// Opens a hold for as much of `wanted` as the account and the key can pay for.
    fn hold(&self, caller: &Caller, price: &Price, wanted: Bounds) -> Result<(OpenHold, (Bounds, bool)), Refusal> {
        self.holds.open(caller.account, Some(caller.key.id), |held| {
            if caller.key.limits.max_concurrent.is_some_and(|most| held.key.requests >= most) {
                return Err(Refusal::TooManyAtOnce);
            }
            if price.is_free() {
                return Ok((MicroUsd::ZERO, (wanted, false)));
            }
            let (available, refusal) = self.available(caller, held)?;
            let bounds = affordable(price, wanted, available).ok_or(refusal)?;
            Ok((price.ceiling(bounds), (bounds, bounds != wanted)))
        })
    }

    /// What the account and the key can still pay, and which of the two is the narrower.
    pub(super) fn available(&self, caller: &Caller, held: HeldNow) -> Result<(MicroUsd, Refusal), Refusal> {
        let (balance, key) = self.store.look(|memory| {
            // What a debit takes from one of the two counts as held until it is seen in both.
            let key = if caller.key.limits.spend.is_some() { memory.key(caller.key.id)? } else { None };
            Ok((memory.balance(caller.account)?, key))
        })?;
        let available = balance.total.less(held.account.total);
        let left = key.and_then(|key| {
            let spent = key.spent(Timestamp::now());
            key.limits.spend.map(|limit| limit.less(spent).less(held.key.total))
        });
        Ok(match left {
            Some(left) if left < available => (left, Refusal::KeyLimitReached),
            _ => (available, Refusal::InsufficientFunds),
        })
    }
}

/// The prompt's tokens by the tokenizer, counted on the blocking pool: it may be megabytes, and the first
/// count of all makes the tokenizer.
pub(super) async fn tokens_of(endpoint: Endpoint, body: Bytes) -> u64 {
    let count = move || InferenceRequest::read(endpoint, &body).map_or(0, |request| tokens::prompt_estimate(&request));
    // Only a count that panicked has no answer; then the bytes stay the bound.
    tokio::task::spawn_blocking(count).await.unwrap_or(u64::MAX)
}

/// `wanted`, with as much output as `available` pays for; `None` if not even the prompt and one token fit.
pub(super) fn affordable(price: &Price, wanted: Bounds, available: MicroUsd) -> Option<Bounds> {
    let output = price.affordable_output(wanted.prompt_tokens, available)?;
    let completion_tokens = wanted.completion_tokens.min(output);
    let none_left = completion_tokens == 0 && wanted.completion_tokens > 0;
    (!none_left).then_some(Bounds { completion_tokens, ..wanted })
}

/// The most that a request can use: a token is at least a byte.
pub(super) fn bounds(request: &InferenceRequest<'_>, price: &PriceRow) -> Bounds {
    let bytes = u64::try_from(request.size()).unwrap_or(u64::MAX);
    let bytes = if request.has_media() { bytes.saturating_add(MEDIA_TOKENS) } else { bytes };
    let context = price.context_length.unwrap_or(u64::MAX);
    let prompt_tokens = bytes.min(context);
    let completion_tokens = match request.max_output {
        _ if !request.endpoint.generates() => 0,
        Some(asked) => asked.min(context),
        // vLLM refuses a bound that does not fit beside the prompt, and this one nobody asked for. The
        // prompt is rarely as long as its bytes, so a quarter of the context is always left.
        None => price.max_output.unwrap_or(DEFAULT_OUTPUT).min(context.saturating_sub(bytes).max(context / 4)).max(1),
    };
    Bounds { prompt_tokens, completion_tokens }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::PriceId;

    fn row(context_length: Option<u64>, max_output: Option<u64>) -> PriceRow {
        let zero = Timestamp::from_millis(0);
        PriceRow {
            id: PriceId::from_i64(1),
            model: "m".into(),
            display_name: "m".into(),
            price: Price { input: MicroUsd::new(100_000), output: MicroUsd::new(780_000), cache_read: None },
            context_length,
            max_output,
            created_at: zero,
            created_by: String::new(),
            retired_at: None,
        }
    }

    #[test]
    fn the_worst_case_is_bounded_by_what_is_known() {
        let chat = Endpoint::ChatCompletions;
        // endpoint, body, context, max output → prompt, completion
        let rows = [
            (chat, r#"{"model":"m","messages":[1]}"#, None, None, (28, 8_192)),
            (chat, r#"{"model":"m","messages":[1]}"#, None, Some(100), (28, 100)),
            (chat, r#"{"model":"m","messages":[1],"max_tokens":7}"#, None, Some(100), (43, 7)),
            (chat, r#"{"model":"m","messages":[1],"max_tokens":9000}"#, Some(4_096), None, (46, 4_096)),
            (chat, r#"{"model":"m","messages":[1]}"#, Some(1_000), None, (28, 972)),
            (chat, r#"{"model":"m","messages":[1]}"#, Some(12), None, (12, 3)),
            (chat, r#"{"model":"m","messages":[{"image_url":1}]}"#, Some(9_000), None, (9_000, 2_250)),
            (Endpoint::Embeddings, r#"{"model":"m","input":[1]}"#, None, None, (25, 0)),
        ];
        for (endpoint, body, context, output, (prompt_tokens, completion_tokens)) in rows {
            match InferenceRequest::read(endpoint, body.as_bytes()) {
                Ok(r) => {
                    assert_eq!(
                        bounds(&r, &row(context, output)),
                        Bounds { prompt_tokens, completion_tokens },
                        "{body}"
                    );
                }
                Err(e) => panic!("{e}"),
            }
        }
    }

    #[test]
    fn output_is_lowered_to_what_is_affordable() {
        let price = row(None, None).price;
        let wanted = |prompt_tokens, completion_tokens| Bounds { prompt_tokens, completion_tokens };
        let rows = [
            (wanted(100, 50), 1_000, Some(wanted(100, 50))),
            (wanted(100, 500), 100, Some(wanted(100, 115))),
            (wanted(100, 500), 10, None),
            (wanted(100, 0), 10, Some(wanted(100, 0))),
            (wanted(101, 0), 10, None),
            (wanted(0, 1), 0, None),
        ];
        for (bounds, micro, expected) in rows {
            assert_eq!(affordable(&price, bounds, MicroUsd::new(micro)), expected, "{bounds:?} of {micro}");
        }
    }
}
