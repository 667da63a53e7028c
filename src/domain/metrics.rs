//! Counters of what happens, for whoever wants to scrape them. Off until [`turn_on`]: then it costs one look at a
//! pointer; on, a few atomic additions. No account and no key is in them.
//!
//! Times are whole microseconds; what is rendered from them is rendered elsewhere.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use crate::domain::time::Timestamp;
use crate::domain::usage::{Outcome, Usage};

static ON: OnceLock<Metrics> = OnceLock::new();
/// The last audit of this process. Kept whether or not anybody scrapes.
static AUDITED: AuditMark = AuditMark(AtomicI64::new(0));

/// When an audit ended, in milliseconds, and as the lowest bit whether all was well: nobody sees the time of one with the
/// result of another. 0 for never.
struct AuditMark(AtomicI64);

impl AuditMark {
    fn set(&self, ok: bool, at: Timestamp) {
        self.0.store(at.millis() << 1 | i64::from(ok), Relaxed);
    }

    fn get(&self) -> Option<(Timestamp, bool)> {
        let mark = self.0.load(Relaxed);
        (mark != 0).then(|| (Timestamp::from_millis(mark >> 1), mark & 1 == 1))
    }
}

/// More series than this are one, `other`.
const MOST_SERIES: usize = 500;

/// Upper bounds of a request's time and of the time to the first token and between two, in microseconds: those of
/// OpenTelemetry's conventions for GenAI metrics.
const REQUEST_BOUNDS: &[u64] = &[
    10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 640_000, 1_280_000, 2_560_000, 5_120_000, 10_240_000, 20_480_000,
    40_960_000, 81_920_000,
];
const FIRST_TOKEN_BOUNDS: &[u64] = &[
    1_000, 5_000, 10_000, 20_000, 40_000, 60_000, 80_000, 100_000, 250_000, 500_000, 750_000, 1_000_000, 2_500_000,
    5_000_000, 7_500_000, 10_000_000,
];
const TOKEN_TIME_BOUNDS: &[u64] = &[
    10_000, 25_000, 50_000, 75_000, 100_000, 150_000, 200_000, 300_000, 400_000, 500_000, 750_000, 1_000_000, 2_500_000,
];
/// Of tokens, by the same conventions.
const TOKEN_BOUNDS: &[u64] =
    &[1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864];
const COMMIT_BOUNDS: &[u64] =
    &[100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000];
const BATCH_BOUNDS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256];

/// How often what was how large.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One more than bounds.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    fn add(&self, value: u64) {
        if let Some(bucket) = self.buckets.get(self.bounds.partition_point(|bound| *bound < value)) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(value, Relaxed);
    }

    fn add_time(&self, span: Duration) {
        self.add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
    }

    /// Each bound with how many were at most that, then how many there were, then their sum.
    pub fn read(&self) -> (Vec<(u64, u64)>, u64, u64) {
        let mut below = 0;
        let mut counts = self.buckets.iter().map(|bucket| {
            below += bucket.load(Relaxed);
            below
        });
        let bounded = self.bounds.iter().copied().zip(counts.by_ref()).collect();
        (bounded, counts.last().unwrap_or_default(), self.sum.load(Relaxed))
    }
}

/// What is known of one model at one provider in one kind of operation.
#[derive(Debug)]
pub struct Series {
    /// The public name.
    pub model: String,
    /// The operator's name for it.
    pub provider: String,
    /// In OpenTelemetry's words: `chat`, `text_completion`, `embeddings`.
    pub operation: &'static str,
    /// Settled requests, by outcome.
    pub outcomes: [(Outcome, AtomicU64); 3],
    /// Settled at our own estimate.
    pub estimates: AtomicU64,
    /// What was debited, in micro-USD.
    pub charged: AtomicU64,
    /// What balances did not cover, in micro-USD.
    pub shortfall: AtomicU64,
    /// From the request's arrival to its durable settlement.
    pub duration: Histogram,
    /// Of streams: from its arrival to the first byte of the answer.
    pub first_token: Histogram,
    /// Of streams: between two tokens after the first.
    pub token_time: Histogram,
    /// Billed, of the prompt.
    pub input_tokens: Histogram,
    /// Billed, of the output.
    pub output_tokens: Histogram,
}

/// One settled request.
#[derive(Debug, Clone, Copy)]
pub struct SettledRequest<'a> {
    /// The public name.
    pub model: &'a str,
    /// The operator's name for it.
    pub provider: &'a str,
    /// In OpenTelemetry's words.
    pub operation: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// Nobody reported what was used.
    pub is_estimate: bool,
    /// What is billed.
    pub usage: Usage,
    /// What was debited, in micro-USD.
    pub charged: i64,
    /// What the balance did not cover, in micro-USD.
    pub shortfall: i64,
    /// From its arrival to now.
    pub took: Duration,
    /// From its arrival to the first byte, if it was streamed.
    pub first_token: Option<Duration>,
}

impl Series {
    fn new(model: &str, provider: &str, operation: &'static str) -> Self {
        let outcomes = [Outcome::Completed, Outcome::ClientDisconnected, Outcome::ProviderError];
        Self {
            model: model.to_owned(),
            provider: provider.to_owned(),
            operation,
            outcomes: outcomes.map(|outcome| (outcome, AtomicU64::new(0))),
            estimates: AtomicU64::new(0),
            charged: AtomicU64::new(0),
            shortfall: AtomicU64::new(0),
            duration: Histogram::new(REQUEST_BOUNDS),
            first_token: Histogram::new(FIRST_TOKEN_BOUNDS),
            token_time: Histogram::new(TOKEN_TIME_BOUNDS),
            input_tokens: Histogram::new(TOKEN_BOUNDS),
            output_tokens: Histogram::new(TOKEN_BOUNDS),
        }
    }

    fn add(&self, request: &SettledRequest<'_>) {
        if let Some((_, count)) = self.outcomes.iter().find(|(outcome, _)| *outcome == request.outcome) {
            count.fetch_add(1, Relaxed);
        }
        self.estimates.fetch_add(u64::from(request.is_estimate), Relaxed);
        self.charged.fetch_add(u64::try_from(request.charged).unwrap_or_default(), Relaxed);
        self.shortfall.fetch_add(u64::try_from(request.shortfall).unwrap_or_default(), Relaxed);
        self.duration.add_time(request.took);
        self.input_tokens.add(request.usage.prompt_tokens);
        self.output_tokens.add(request.usage.completion_tokens);
        if let Some(first) = request.first_token {
            self.first_token.add_time(first);
            let rest = u32::try_from(request.usage.completion_tokens.saturating_sub(1)).unwrap_or(u32::MAX);
            if let Some(each) = request.took.saturating_sub(first).checked_div(rest) {
                self.token_time.add_time(each);
            }
        }
    }
}

/// How many requests were refused for one reason.
#[derive(Debug)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The error's code, else its type.
    pub reason: &'static str,
    /// How many.
    pub count: AtomicU64,
}

/// All of it.
#[derive(Debug)]
pub struct Metrics {
    series: RwLock<Vec<Arc<Series>>>,
    refused: RwLock<Vec<Arc<Refused>>>,
    /// Jobs in each commit.
    pub batch: Histogram,
    /// How long each commit took, its jobs included.
    pub commit: Histogram,
}

impl Metrics {
    fn new() -> Self {
        Self {
            series: RwLock::default(),
            refused: RwLock::default(),
            batch: Histogram::new(BATCH_BOUNDS),
            commit: Histogram::new(COMMIT_BOUNDS),
        }
    }

    /// A request was settled.
    pub fn settled(&self, request: &SettledRequest<'_>) {
        let is_it =
            |s: &Series| s.model == request.model && s.provider == request.provider && s.operation == request.operation;
        let make = |all: usize| match all < MOST_SERIES {
            true => Series::new(request.model, request.provider, request.operation),
            false => Series::new("other", "other", request.operation),
        };
        let is_other = |s: &Series| s.model == "other" && s.provider == "other" && s.operation == request.operation;
        found(&self.series, |s, all| is_it(s) || (all >= MOST_SERIES && is_other(s)), make).add(request);
    }

    /// A request was refused. Both texts are of this program, so there are not many.
    pub fn refused(&self, status: u16, reason: &'static str) {
        let is_it = |r: &Refused, _| r.status == status && r.reason == reason;
        let refused = found(&self.refused, is_it, |_| Refused { status, reason, count: AtomicU64::new(0) });
        refused.count.fetch_add(1, Relaxed);
    }

    /// A batch of jobs was committed.
    pub fn committed(&self, jobs: usize, took: Duration) {
        self.batch.add(u64::try_from(jobs).unwrap_or(u64::MAX));
        self.commit.add_time(took);
    }

    /// What was settled, as it stands.
    pub fn series(&self) -> Vec<Arc<Series>> {
        self.series.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was refused, as it stands.
    pub fn refusals(&self) -> Vec<Arc<Refused>> {
        self.refused.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The one that it is, made if there is none.
fn found<T>(all: &RwLock<Vec<Arc<T>>>, is_it: impl Fn(&T, usize) -> bool, make: impl Fn(usize) -> T) -> Arc<T> {
    let known = |all: &Vec<Arc<T>>| all.iter().find(|one| is_it(one, all.len())).cloned();
    if let Some(known) = known(&all.read().unwrap_or_else(PoisonError::into_inner)) {
        return known;
    }
    let mut all = all.write().unwrap_or_else(PoisonError::into_inner);
    known(&all).unwrap_or_else(|| {
        let new = Arc::new(make(all.len()));
        all.push(Arc::clone(&new));
        new
    })
}

/// Counts from now on.
pub fn turn_on() -> &'static Metrics {
    ON.get_or_init(Metrics::new)
}

/// The counters, if anybody wants them.
pub fn on() -> Option<&'static Metrics> {
    ON.get()
}

/// An audit ended.
pub fn audited(ok: bool, at: Timestamp) {
    AUDITED.set(ok, at);
}

/// When the last audit of this process ended, and whether all was well.
pub fn last_audit() -> Option<(Timestamp, bool)> {
    AUDITED.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(model: &str) -> SettledRequest<'_> {
        SettledRequest {
            model,
            provider: "lab",
            operation: "chat",
            outcome: Outcome::Completed,
            is_estimate: true,
            usage: Usage { prompt_tokens: 16, completion_tokens: 11, ..Usage::default() },
            charged: 188,
            shortfall: 2,
            took: Duration::from_millis(1_100),
            first_token: Some(Duration::from_millis(100)),
        }
    }

    #[test]
    fn an_audit_s_time_is_never_seen_with_another_one_s_result() {
        let mark = AuditMark(AtomicI64::new(0));
        assert_eq!(mark.get(), None);
        let at = Timestamp::from_millis;
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| (1..200_000).for_each(|n| mark.set(n % 2 == 0, at(n))));
            while !writing.is_finished() {
                let seen = mark.get();
                assert!(seen.is_none_or(|(at, ok)| ok == (at.millis() % 2 == 0)), "{seen:?}");
            }
        });
        assert_eq!(mark.get(), Some((at(199_999), false)));
    }

    #[test]
    fn a_settled_request_is_counted_once_in_each() {
        let metrics = Metrics::new();
        metrics.settled(&request("a"));
        metrics.settled(&request("a"));
        metrics.settled(&SettledRequest { first_token: None, ..request("b") });
        let all = metrics.series();
        assert_eq!(all.iter().map(|s| s.model.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let a = &all[0];
        assert_eq!((a.charged.load(Relaxed), a.shortfall.load(Relaxed), a.estimates.load(Relaxed)), (376, 4, 2));
        assert_eq!(a.outcomes[0].1.load(Relaxed), 2);
        let (bounded, count, sum) = a.token_time.read();
        assert_eq!((count, sum), (2, 200_000), "a second for ten tokens, twice");
        assert_eq!(bounded.iter().find(|(_, n)| *n > 0), Some(&(100_000, 2)));
        assert_eq!(a.input_tokens.read().0.iter().find(|(_, n)| *n > 0), Some(&(16, 2)));
        assert_eq!(all[1].first_token.read().1, 0);
        assert_eq!(all[1].duration.read().1, 1);
    }

    #[test]
    fn what_is_above_all_bounds_is_counted_all_the_same() {
        let histogram = Histogram::new(BATCH_BOUNDS);
        for value in [0, 1, 256, 257, u64::MAX / 2] {
            histogram.add(value);
        }
        let (bounded, count, _) = histogram.read();
        assert_eq!((bounded.first(), bounded.last(), count), (Some(&(1, 2)), Some(&(256, 3)), 5));
    }

    #[test]
    fn there_is_an_end_to_the_series() {
        let metrics = Metrics::new();
        for n in 0..MOST_SERIES + 50 {
            metrics.settled(&request(&n.to_string()));
        }
        let all = metrics.series();
        assert_eq!(all.len(), MOST_SERIES + 1);
        assert_eq!(all.last().map(|s| (s.model.as_str(), s.duration.read().1)), Some(("other", 50)));
    }
}
