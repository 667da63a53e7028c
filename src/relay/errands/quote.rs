//! What a request would cost: the arithmetic of an admission, without one.

use bytes::Bytes;

use crate::dialect::request::InferenceRequest;
use crate::domain::money::MicroUsd;
use crate::domain::usage::{Bounds, CacheWrites, Usage};
use crate::relay::admit::Payer;
use crate::relay::forms::Forms;
use crate::relay::holds::HeldNow;
use crate::relay::{Caller, Refusal, Relay};
use crate::store::usage;

/// What a request would cost now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// The most it can use, as it was asked for.
    pub bounds: Bounds,
    /// The most it can cost, as it was asked for.
    pub most: MicroUsd,
    /// What the tokenizer makes of the prompt, and what answers of this model usually take.
    pub typical_usage: Usage,
    /// What that costs.
    pub typical: MicroUsd,
    /// What the account and the key can pay now.
    pub available: MicroUsd,
    /// The output bound if it ran now: lower than asked for if the balance affords no more; `None` if it
    /// would be refused for lack of money.
    pub output_if_run: Option<u64>,
}

/// How many of the account's last answers show what is usual.
const LAST_ANSWERS: u32 = 100;
/// What is usual if there was none yet.
const USUAL_OUTPUT: u64 = 256;

impl Relay {
    /// What `request`, whose text is `body`, would cost now. Runs and holds nothing, and does not count
    /// against a limit.
    ///
    /// # Errors
    /// The model is not served, or not for this key.
    pub async fn quote(&self, caller: &Caller, request: &InferenceRequest<'_>, body: Bytes) -> Result<Quote, Refusal> {
        let offered = self.offered(caller, request, false)?;
        let made = self.as_chat(caller, request, &body, &offered).await?;
        let forms = Forms::of(request, made.as_deref());
        let offered = forms.able(offered)?;
        let (worst, _) = self.worst_case(&forms, &offered);
        let wanted = Bounds { prompt_tokens: worst.prompt_held, ..worst.bounds };
        let counted = self.count_forms(caller, &offered, (&forms, &body), u64::MAX).await;
        let (account, model) = (caller.account, request.model.clone());
        let outputs =
            self.store.read_blocking(move |conn| usage::last_outputs(conn, account, &model, LAST_ANSWERS)).await?;
        let typical_usage = Usage {
            prompt_tokens: counted.tokens.min(wanted.prompt_tokens),
            cached_tokens: 0,
            cache_writes: CacheWrites::default(),
            completion_tokens: median(outputs).unwrap_or(USUAL_OUTPUT).min(wanted.completion_tokens),
        };
        self.store.look()?;
        let held = HeldNow { account: self.holds.of_account(account), key: self.holds.of_key(caller.key.id) };
        let price = &offered.price.price;
        let (funds, _) = self.funds(Payer::of(caller), held)?;
        let runs = worst.affordable(price, counted, funds).map(|affordable| affordable.bounds.completion_tokens);
        let output_if_run = if price.is_free() { Some(wanted.completion_tokens) } else { runs };
        Ok(Quote {
            bounds: wanted,
            most: worst.cost(price),
            typical_usage,
            typical: price.cost(typical_usage),
            available: funds.available,
            output_if_run,
        })
    }
}

/// The upper one of the two in the middle, of an even number.
fn median(mut of: Vec<u64>) -> Option<u64> {
    of.sort_unstable();
    of.get(of.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        for (of, expected) in [(vec![], None), (vec![3], Some(3)), (vec![9, 1, 5], Some(5)), (vec![4, 1], Some(4))] {
            assert_eq!(median(of), expected);
        }
    }
}
