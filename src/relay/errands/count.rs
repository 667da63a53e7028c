//! Counting the tokens of a prompt, for free: by a provider if one can, else by the tokenizer here.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::dialect::request::InferenceRequest;
use crate::domain::byte_budget::ByteBudget;
use crate::domain::json::TopLevel;
use crate::domain::keys::KeyId;
use crate::relay::forms::Forms;
use crate::relay::{Caller, InferenceCall, MinuteCounter, Refusal, Relay};
use crate::upstream::{Client, On, Target};

/// Counts a minute of a key, beside its paid requests.
const A_MINUTE: u32 = 300;
/// Counts of a key at once.
const AT_ONCE: u32 = 4;
/// How many are counted here at once: the cores are for those who pay.
const COUNTED_AT_ONCE: usize = 1;
/// Where a provider counts.
const PATH: &str = "/messages/count_tokens";
/// The longest wait for a provider's count.
const PATIENCE: Duration = Duration::from_secs(10);
/// A count is not worth asking more of them.
const MOST_ASKED: usize = 2;
/// A longer answer is no count.
const LONGEST_ANSWER: usize = 64 << 10;

#[derive(serde::Deserialize)]
struct Counted {
    input_tokens: u64,
}

/// What free counts may take.
#[derive(Debug)]
pub struct CountLimits {
    rates: MinuteCounter<KeyId>,
    running: Mutex<HashMap<KeyId, u32>>,
    turns: Semaphore,
}

impl Default for CountLimits {
    fn default() -> Self {
        Self { rates: MinuteCounter::default(), running: Mutex::default(), turns: Semaphore::new(COUNTED_AT_ONCE) }
    }
}

/// A count on its way; one of its key's few until it is dropped.
#[derive(Debug)]
pub struct CountOnItsWay<'a> {
    counts: &'a CountLimits,
    key: KeyId,
}

impl Drop for CountOnItsWay<'_> {
    fn drop(&mut self) {
        let mut running = self.counts.running.lock().unwrap_or_else(PoisonError::into_inner);
        let left = running.get(&self.key).copied().unwrap_or_default().saturating_sub(1);
        if left == 0 {
            running.remove(&self.key);
        } else {
            running.insert(self.key, left);
        }
    }
}

impl CountLimits {
    fn begin(&self, key: KeyId, now: Instant) -> Result<CountOnItsWay<'_>, Refusal> {
        self.rates.count(key, A_MINUTE, now).map_err(Refusal::TooManyRequests)?;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let at_once = running.entry(key).or_default();
        if *at_once >= AT_ONCE {
            return Err(Refusal::TooManyAtOnce);
        }
        *at_once += 1;
        Ok(CountOnItsWay { counts: self, key })
    }
}

/// Who counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountedTokens {
    /// The input tokens.
    pub tokens: u64,
    /// By a provider; else by the tokenizer here, which estimates.
    pub by_provider: bool,
}

impl Relay {
    /// Lets a key count: free counts have limits of their own.
    ///
    /// # Errors
    /// It counts too often, or too much at once.
    pub fn begin_count(&self, caller: &Caller) -> Result<CountOnItsWay<'_>, Refusal> {
        self.counts.begin(caller.key.id, Instant::now())
    }

    /// The input tokens of a request to `/v1/messages`. Nothing is held, charged or written down.
    ///
    /// # Errors
    /// The body cannot be read, or the model is not served, or not for this key.
    pub async fn count_tokens(
        &self,
        client: &Client,
        caller: &Caller,
        call: &InferenceCall,
    ) -> Result<CountedTokens, Refusal> {
        self.open_for_work()?;
        let request = InferenceRequest::read(call.endpoint, &call.body)?;
        let offered = self.offered(caller, &request, false)?;
        let made = self.as_chat(caller, &request, &call.body, &offered).await?;
        let forms = Forms::of(&request, made.as_deref());
        let offered = forms.able(offered)?;
        let targets =
            offered.offers.iter().map(|offer| self.target(offer)).filter(|target| !target.translated).collect();
        // What cannot be asked is counted here.
        let ranked = self.providers.rank(targets, Instant::now()).unwrap_or_default();
        for target in ranked.iter().take(MOST_ASKED) {
            let Some(_slot) = self.providers.take_spare(target) else { continue };
            let answer = tokio::time::timeout(PATIENCE, ask(client, target, call)).await;
            if let Ok(Some(tokens)) = answer {
                return Ok(CountedTokens { tokens, by_provider: true });
            }
        }
        let _turn = self.counts.turns.acquire().await;
        let tokens = self.count_forms(caller, &offered, (&forms, &call.body), u64::MAX).await.tokens;
        Ok(CountedTokens { tokens, by_provider: false })
    }
}

/// One provider's count. Many servers have no such endpoint: that is no failure of theirs.
async fn ask(client: &Client, target: &Target, call: &InferenceCall) -> Option<u64> {
    let top = TopLevel::read(&call.body).ok()?;
    let mut edits = top.edit();
    edits.set("model", serde_json::Value::from(target.upstream_model.as_str()).to_string());
    let body = edits.apply_to(&call.body).unwrap_or_else(|| vec![call.body.clone()]);
    let path = if call.query.is_empty() { PATH.to_owned() } else { format!("{PATH}?{}", call.query) };
    let answer = client.post(target, &path, &call.headers, body, On::Any).await.ok()?;
    if !(200..=299).contains(&answer.status) || answer.unknown_coding.is_some() {
        return None;
    }
    let body = answer.body.whole(LONGEST_ANSWER, &|| ByteBudget::new(LONGEST_ANSWER)).await.ok()?;
    serde_json::from_slice(&body).ok().map(|counted: Counted| counted.input_tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_four_counts_at_once_and_three_hundred_a_minute() {
        let (limits, now) = (CountLimits::default(), Instant::now());
        let (ada, bob) = (KeyId::from_i64(2), KeyId::from_i64(3));
        let mut on_their_way: Vec<_> = (0..4).map(|_| limits.begin(ada, now)).collect();
        assert!(on_their_way.iter().all(Result::is_ok));
        assert!(matches!(limits.begin(ada, now), Err(Refusal::TooManyAtOnce)));
        assert!(limits.begin(bob, now).is_ok(), "another key has its own");
        on_their_way.pop();
        assert!(limits.begin(ada, now).is_ok(), "one that is over makes room");
        drop(on_their_way);
        assert!(limits.running.lock().unwrap_or_else(PoisonError::into_inner).is_empty(), "what is over is forgotten");
        let counted = (0..1_000).filter(|_| limits.begin(ada, now).is_ok()).count();
        assert_eq!(counted, 300 - 6, "the refused one counted too");
        assert!(matches!(limits.begin(ada, now), Err(Refusal::TooManyRequests(_))));
        assert!(limits.begin(ada, now + Duration::from_secs(61)).is_ok());
    }
}
