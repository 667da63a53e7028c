//! How often somebody did something in this minute. In memory: a restart forgives a minute.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts in minutes, for each `K` that has a limit.
#[derive(Debug)]
pub struct MinuteCounter<K>(Mutex<HashMap<K, Minute>>);

impl<K> Default for MinuteCounter<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[derive(Debug, Clone, Copy)]
struct Minute {
    began: Instant,
    requests: u32,
}

/// How much of a minute's limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimitStatus {
    /// Requests a minute.
    pub limit: u32,
    /// Requests left in this one.
    pub remaining: u32,
    /// Until the next one begins.
    pub reset: Duration,
}

const MINUTE: Duration = Duration::from_secs(60);
/// Beyond this many keys, those whose minute is over are forgotten.
const MOST_KEYS: usize = 10_000;

impl<K: Copy + Eq + Hash> MinuteCounter<K> {
    /// Counts a request.
    ///
    /// # Errors
    /// The minute's requests are used up; nothing is counted.
    pub fn count(&self, key: K, limit: u32, now: Instant) -> Result<RateLimitStatus, RateLimitStatus> {
        let mut minutes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if minutes.len() >= MOST_KEYS {
            minutes.retain(|_, minute| now.saturating_duration_since(minute.began) < MINUTE);
        }
        let minute = minutes.entry(key).or_insert(Minute { began: now, requests: 0 });
        if now.saturating_duration_since(minute.began) >= MINUTE {
            *minute = Minute { began: now, requests: 0 };
        }
        let full = minute.requests >= limit;
        if !full {
            minute.requests += 1;
        }
        let reset = MINUTE.saturating_sub(now.saturating_duration_since(minute.began));
        let status = RateLimitStatus { limit, remaining: limit.saturating_sub(minute.requests), reset };
        if full { Err(status) } else { Ok(status) }
    }

    /// One of them is not to count.
    pub fn forgive(&self, key: K) {
        let mut minutes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(minute) = minutes.get_mut(&key) {
            minute.requests = minute.requests.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keys::KeyId;

    #[test]
    fn a_minute_has_its_requests_and_no_more() {
        let rates = MinuteCounter::default();
        let key = KeyId::from_i64(1);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(rates.count(key, 2, at(0)).map(|s| s.remaining), Ok(1));
        assert_eq!(rates.count(key, 2, at(10)).map(|s| s.remaining), Ok(0));
        let full = RateLimitStatus { limit: 2, remaining: 0, reset: Duration::from_secs(40) };
        assert_eq!(rates.count(key, 2, at(20)), Err(full));
        assert!(rates.count(KeyId::from_i64(2), 2, at(20)).is_ok());
        assert_eq!(rates.count(key, 2, at(60)).map(|s| s.remaining), Ok(1));
    }
}
