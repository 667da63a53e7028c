//! What servers recently made of prompts, beside what the tokenizer here makes of them: estimates follow them.
//!
//! In memory, by server and model, so that a server which lies changes the estimates of its own answers alone, and
//! those at most to a half or twice: less than it could report outright. A caller who would teach a server's
//! estimates to be low must use prompts of the size and density of the one to be had for less, and pay for them.
//!
//! What is corrected is our count with a token for each digit, as most of the models that people run themselves have
//! it: for who leaves before anything is reported would have numbers for a third. Servers that join digits are
//! followed once they reported a prompt of as many.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::counting;
use super::worst_case::Counted;
use crate::domain::endpoint::Endpoint;
use crate::domain::ids::ProviderId;
use crate::meter::tokens::PromptCount;
use crate::store::Offered;
use crate::store::prices::PriceRow;
use crate::store::providers::Offer;

/// Longer bodies are not kept for a comparison.
const LONGEST_BODY: usize = 16 << 10;
/// Bodies of one server that wait to be counted. They are counted when an estimate is needed, and forgotten then:
/// most servers report everything, and nothing is ever counted.
const MOST_BODIES: usize = 8;
/// Comparisons of one server that are kept.
const MOST_PAIRS: usize = 32;
/// Beyond the first ones, one is kept in this time: a fast server's requests should not all be copied.
const PAUSE: Duration = Duration::from_millis(250);
/// Servers and models that are remembered.
const MOST_SERVERS: usize = 256;
/// Ratios are of this.
const ONE: u64 = 1_024;
/// An estimate is corrected to a half at least, and to twice at most.
const RATIOS: [u64; 2] = [ONE / 2, ONE * 2];

/// What servers reported recently.
#[derive(Debug, Default)]
pub struct Corrections {
    servers: Mutex<HashMap<(ProviderId, String), Recent>>,
    /// The longest prompt that was reported of a model, where it is longer than the model's context length.
    longest: Mutex<HashMap<String, u64>>,
    any_longest: AtomicBool,
}

/// What a server said of one prompt.
#[derive(Debug)]
pub struct PromptReport<'a> {
    /// Where the request was sent.
    pub endpoint: Endpoint,
    /// Its text.
    pub body: &'a [u8],
    /// The tokens of its prompt.
    pub prompt_tokens: u64,
}

#[derive(Debug, Default)]
struct Recent {
    uncounted: VecDeque<(Endpoint, Vec<u8>, u64)>,
    pairs: VecDeque<Pair>,
    last: Option<Instant>,
}

/// One prompt, as counted here and as reported.
#[derive(Debug, Clone, Copy)]
struct Pair {
    counted: PromptCount,
    reported: u64,
}

impl Corrections {
    /// Keeps a report to compare later.
    pub fn learn(&self, price: &PriceRow, offer: &Offer, report: PromptReport<'_>, now: Instant) {
        if price.context_length.is_some_and(|context| report.prompt_tokens > context) {
            self.learn_context(price, report.prompt_tokens);
        }
        if report.body.len() > LONGEST_BODY {
            return;
        }
        let mut servers = lock(&self.servers);
        let key = (offer.provider.id, offer.upstream_model.clone());
        if servers.len() >= MOST_SERVERS && !servers.contains_key(&key) {
            servers.clear();
        }
        let recent = servers.entry(key).or_default();
        let few = recent.pairs.len() + recent.uncounted.len() < MOST_BODIES;
        if !few && recent.last.is_some_and(|last| now.duration_since(last) < PAUSE) {
            return;
        }
        recent.last = Some(now);
        if recent.uncounted.len() >= MOST_BODIES {
            recent.uncounted.pop_front();
        }
        recent.uncounted.push_back((report.endpoint, report.body.to_vec(), report.prompt_tokens));
    }

    fn learn_context(&self, price: &PriceRow, reported: u64) {
        let mut models = lock(&self.longest);
        if models.len() >= MOST_SERVERS {
            models.clear();
        }
        let longest = models.entry(price.model.clone()).or_insert_with(|| {
            let (model, context) = (&price.model, price.context_length);
            tracing::warn!(model, context, reported, "a server takes longer prompts than the model's context length");
            0
        });
        *longest = reported.max(*longest);
        self.any_longest.store(true, Ordering::Relaxed);
    }

    /// The context length of a model: as set, or longer where a server has taken more, for then it was set too low.
    pub fn context(&self, price: &PriceRow) -> Option<u64> {
        let set = price.context_length?;
        if !self.any_longest.load(Ordering::Relaxed) {
            return Some(set);
        }
        Some(lock(&self.longest).get(&price.model).map_or(set, |longest| set.max(*longest)))
    }

    /// What a server would make of a prompt. Tokenizes its recent reports, so not for a thread that others wait for.
    pub fn of_server(&self, offer: &Offer, count: PromptCount) -> u64 {
        corrected(&self.pairs(offer), count)
    }

    /// What the servers of the model may make of a prompt: the most of what each would. As [`Self::of_server`].
    pub fn for_admission(&self, offered: &Offered, count: PromptCount) -> Counted {
        let tokens = offered.offers.iter().map(|offer| self.of_server(offer, count)).fold(count.tokens, u64::max);
        Counted { tokens, most: count.most.max(tokens) }
    }

    fn pairs(&self, offer: &Offer) -> Vec<Pair> {
        let key = (offer.provider.id, offer.upstream_model.clone());
        let uncounted = match lock(&self.servers).get_mut(&key) {
            Some(recent) => std::mem::take(&mut recent.uncounted),
            None => return Vec::new(),
        };
        let counted = uncounted.into_iter().map(|(endpoint, body, reported)| {
            let counted = counting::prompt_tokens(endpoint, &body, u64::MAX);
            Pair { counted, reported }
        });
        let counted: Vec<_> = counted.filter(|pair| !pair.counted.has_media && pair.counted.tokens > 0).collect();
        let mut servers = lock(&self.servers);
        let recent = servers.entry(key).or_default();
        recent.pairs.extend(counted);
        while recent.pairs.len() > MOST_PAIRS {
            recent.pairs.pop_front();
        }
        recent.pairs.iter().copied().collect()
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pair {
    /// Of a prompt like this one: up to four times as long, and of about as many bytes a token. How a tokenizer
    /// differs from another depends on both: a template weighs on short prompts, a vocabulary on odd ones.
    fn is_like(&self, count: PromptCount) -> bool {
        let within = |a: u64, b: u64, times: (u64, u64)| {
            a.saturating_mul(times.1) <= b.saturating_mul(times.0)
                && b.saturating_mul(times.1) <= a.saturating_mul(times.0)
        };
        let density = |count: PromptCount| count.text_bytes.saturating_mul(16) / base(count).max(1);
        within(base(self.counted), base(count), (4, 1)) && within(density(self.counted), density(count), (3, 2))
    }

    fn ratio(&self) -> u64 {
        let [least, most] = RATIOS;
        (self.reported.saturating_mul(ONE) / base(self.counted).max(1)).clamp(least, most)
    }
}

/// The count times the median of the ratios of prompts like it. A prompt with media is as counted.
fn corrected(pairs: &[Pair], count: PromptCount) -> u64 {
    let mut ratios: Vec<u64> = pairs.iter().filter(|pair| pair.is_like(count)).map(Pair::ratio).collect();
    ratios.sort_unstable();
    match ratios.get(ratios.len() / 2) {
        Some(ratio) if !count.has_media => {
            let tokens = u128::from(base(count)) * u128::from(*ratio);
            u64::try_from(tokens.div_ceil(u128::from(ONE))).unwrap_or(u64::MAX)
        }
        _ => base(count),
    }
}

/// What a server is taken to make of a prompt that it said nothing of.
const fn base(count: PromptCount) -> u64 {
    count.tokens.saturating_add(count.joined_digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{AccountId, PriceId};
    use crate::domain::money::MicroUsd;
    use crate::domain::price::Price;
    use crate::domain::time::Timestamp;
    use crate::store::providers::ProviderRow;

    fn offer(provider: i64) -> Offer {
        let provider = ProviderRow {
            id: ProviderId::from_i64(provider),
            name: "p".into(),
            account_id: AccountId::from_i64(2),
            url: "http://127.0.0.1/v1".into(),
            api_key: None,
            max_concurrent: None,
            ca_pem: None,
            allow: crate::dialect::request::hosted::Allow::default(),
            manners: Default::default(),
            flagged: 0,
            disabled_at: None,
            created_at: Timestamp::from_millis(0),
            joined_with: None,
            joined_as: None,
        };
        Offer { provider, upstream_model: "up".into(), refuses: false, takes: Default::default(), chat: None }
    }

    fn price(context_length: Option<u64>) -> PriceRow {
        PriceRow {
            id: PriceId::from_i64(1),
            model: "m".into(),
            display_name: "m".into(),
            price: Price {
                input: MicroUsd::new(1),
                output: MicroUsd::new(1),
                cache_read: None,
                cache_write: None,
                cache_write_1h: None,
            },
            context_length,
            max_output: None,
            max_running: None,
            created_at: Timestamp::from_millis(0),
            created_by: String::new(),
            retired_at: None,
        }
    }

    const BODY: &[u8] =
        br#"{"model":"m","messages":[{"role":"user","content":"Tell me about the valley in the fog."}]}"#;

    fn counted() -> PromptCount {
        counting::prompt_tokens(Endpoint::ChatCompletions, BODY, u64::MAX)
    }

    fn learn(corrections: &Corrections, provider: i64, prompt_tokens: u64) {
        let report = PromptReport { endpoint: Endpoint::ChatCompletions, body: BODY, prompt_tokens };
        corrections.learn(&price(None), &offer(provider), report, Instant::now());
    }

    #[test]
    fn an_estimate_follows_the_server_within_a_half_and_twice() {
        let tokens = counted().tokens;
        // reported → estimated
        let rows = [
            (tokens, tokens),
            (tokens + tokens / 2, tokens + tokens / 2),
            (tokens * 3 / 4, tokens * 3 / 4),
            (1, tokens.div_ceil(2)),
            (u64::MAX, tokens * 2),
        ];
        for (reported, expected) in rows {
            let corrections = Corrections::default();
            for _ in 0..3 {
                learn(&corrections, 1, reported);
            }
            let estimated = corrections.of_server(&offer(1), counted());
            assert!(estimated.abs_diff(expected) <= 1, "{estimated} for {expected}");
            let offered = Offered { price: price(None), offers: vec![std::sync::Arc::new(offer(1))] };
            let found = corrections.for_admission(&offered, PromptCount { most: tokens, ..counted() });
            assert_eq!((found.tokens, found.most), (estimated.max(tokens), estimated.max(tokens)));
            assert_eq!(corrections.of_server(&offer(2), counted()), tokens, "another server's are its own");
        }
    }

    #[test]
    fn one_odd_report_is_not_what_servers_say_and_other_prompts_teach_nothing() {
        let (corrections, tokens) = (Corrections::default(), counted().tokens);
        for reported in [tokens, tokens * 2, tokens, 1, tokens] {
            learn(&corrections, 1, reported);
        }
        assert_eq!(corrections.of_server(&offer(1), counted()), tokens);
        for _ in 0..40 {
            learn(&corrections, 2, tokens * 2);
        }
        let long = PromptCount { tokens: tokens * 5, text_bytes: counted().text_bytes * 5, ..counted() };
        let dense = PromptCount { text_bytes: counted().text_bytes / 2, ..counted() };
        let media = PromptCount { has_media: true, ..counted() };
        for other in [long, dense, media] {
            assert_eq!(corrections.of_server(&offer(2), other), other.tokens, "{other:?}");
        }
        assert_eq!(corrections.of_server(&offer(2), counted()), tokens * 2);
    }

    #[test]
    fn digits_are_a_token_each_until_the_server_says_otherwise() {
        let body = format!(r#"{{"model":"m","prompt":"{}"}}"#, "0123456789".repeat(60));
        let count = counting::prompt_tokens(Endpoint::Completions, body.as_bytes(), u64::MAX);
        assert_eq!((count.tokens, count.joined_digits), (200, 400));
        let corrections = Corrections::default();
        // What it made of prose says nothing of numbers.
        (0..3).for_each(|_| learn(&corrections, 1, counted().tokens));
        assert_eq!(corrections.of_server(&offer(1), count), 600);
        for (provider, reported, expected) in [(2, 600, 600), (3, 300, 300)] {
            let report =
                || PromptReport { endpoint: Endpoint::Completions, body: body.as_bytes(), prompt_tokens: reported };
            (0..3).for_each(|_| corrections.learn(&price(None), &offer(provider), report(), Instant::now()));
            assert_eq!(corrections.of_server(&offer(provider), count), expected);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let corrections = Corrections::default();
        for provider in 0..2_000 {
            for _ in 0..3 {
                learn(&corrections, provider % 400, 30);
            }
        }
        let body = || PromptReport { endpoint: Endpoint::ChatCompletions, body: BODY, prompt_tokens: 30 };
        for second in 0..40 {
            corrections.learn(&price(None), &offer(7_000), body(), Instant::now() + Duration::from_secs(second));
        }
        let servers = lock(&corrections.servers);
        assert!(servers.len() <= MOST_SERVERS);
        assert!(servers.values().all(|recent| recent.uncounted.len() <= MOST_BODIES));
    }

    #[test]
    fn a_context_length_that_a_server_exceeds_was_set_too_low() {
        let corrections = Corrections::default();
        let report = |prompt_tokens| PromptReport { endpoint: Endpoint::ChatCompletions, body: BODY, prompt_tokens };
        corrections.learn(&price(Some(100)), &offer(1), report(90), Instant::now());
        assert_eq!(corrections.context(&price(Some(100))), Some(100));
        corrections.learn(&price(Some(100)), &offer(1), report(700), Instant::now());
        corrections.learn(&price(Some(100)), &offer(1), report(400), Instant::now());
        assert_eq!(corrections.context(&price(Some(100))), Some(700));
        assert_eq!((corrections.context(&price(Some(900))), corrections.context(&price(None))), (Some(900), None));
    }
}
