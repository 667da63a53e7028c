//! From a presented text to the key's row: the cheap checks first, argon2 only for a key not seen yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ring::hmac;
use tokio::sync::Semaphore;

use super::hash;
use crate::domain::keys::{KeyId, PlainKey};
use crate::domain::time::Timestamp;
use crate::store::keys::KeyRow;
use crate::store::{Store, StoreError};

/// Why a credential is refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Missing, malformed, unknown, wrong, revoked or expired: the client is not told which.
    #[error("invalid API key")]
    Invalid,
    /// Too many wrong secrets were tried for this key; again after so long.
    #[error("too many failures for this key")]
    TooManyFailures(Duration),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Verifies keys, and remembers which it has verified.
#[derive(Debug)]
pub struct Verifier {
    store: Store,
    /// Random for each process: what is in `verified` is of no use outside it.
    secret: hmac::Key,
    /// A keyed hash of the whole text → the PHC text it was verified against. A rotated key's row has
    /// another PHC text, so an old entry verifies nothing.
    verified: Mutex<HashMap<[u8; 32], String>>,
    failures: Mutex<HashMap<KeyId, Failures>>,
    /// One hash at a time: two cores have better things to do.
    hashing: Arc<Semaphore>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    since: Instant,
}

/// More keys than that verified, and all start anew: it bounds the memory.
const MOST_VERIFIED: usize = 100_000;
/// Wrong secrets for one key id within the window, before the next is refused unseen.
const MOST_FAILURES: u32 = 10;
const FAILURE_WINDOW: Duration = Duration::from_secs(10);

impl Verifier {
    /// Nothing verified yet.
    ///
    /// # Errors
    /// No random bytes.
    pub fn new(store: Store) -> Result<Self, StoreError> {
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new())
            .map_err(|_| StoreError::Io("the operating system gives no random bytes".into()))?;
        Ok(Self {
            store,
            secret,
            verified: Mutex::default(),
            failures: Mutex::default(),
            hashing: Arc::new(Semaphore::new(1)),
        })
    }

    /// The row of the key that `text` is.
    ///
    /// # Errors
    /// It is not a key that is in force now; or the store fails.
    pub async fn verify(&self, text: &str, now: Timestamp) -> Result<Arc<KeyRow>, AuthError> {
        let key = PlainKey::parse(text).ok_or(AuthError::Invalid)?;
        let row = self.store.look(|memory| memory.key(key.id()))?.ok_or(AuthError::Invalid)?;
        if row.revoked_at.is_some() || row.limits.expires_at.is_some_and(|at| at <= now) {
            return Err(AuthError::Invalid);
        }
        let tag = self.tag(text);
        match self.remembered(&tag, &row.hash) {
            Some(true) => return Ok(row),
            // A key that was rotated away is no guess: programs that still send it must not lock out the new one.
            Some(false) => return Err(AuthError::Invalid),
            None => {}
        }
        self.check_failures(row.id)?;
        if self.hash_matches(key, row.hash.clone()).await {
            self.remember(tag, row.hash.clone());
            Ok(row)
        } else {
            self.count_failure(row.id);
            Err(AuthError::Invalid)
        }
    }

    fn tag(&self, text: &str) -> [u8; 32] {
        let mut tag = [0; 32];
        for (byte, from) in tag.iter_mut().zip(hmac::sign(&self.secret, text.as_bytes()).as_ref()) {
            *byte = *from;
        }
        tag
    }

    /// What is known of this text: that it is the key of this PHC text, or that it was the key of another.
    /// One look at the map: between two, another request may have verified the same key.
    fn remembered(&self, tag: &[u8; 32], phc: &str) -> Option<bool> {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.get(tag).map(|known| known == phc)
    }

    fn remember(&self, tag: [u8; 32], phc: String) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= MOST_VERIFIED {
            verified.clear();
        }
        verified.insert(tag, phc);
    }

    async fn hash_matches(&self, key: PlainKey, phc: String) -> bool {
        let Ok(_permit) = self.hashing.acquire().await else { return false };
        tokio::task::spawn_blocking(move || hash::verify(key.expose().as_bytes(), &phc)).await.unwrap_or(false)
    }

    fn check_failures(&self, key: KeyId) -> Result<(), AuthError> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.get(&key) {
            Some(f) if f.count >= MOST_FAILURES && f.since.elapsed() < FAILURE_WINDOW => {
                Err(AuthError::TooManyFailures(FAILURE_WINDOW.saturating_sub(f.since.elapsed())))
            }
            _ => Ok(()),
        }
    }

    fn count_failure(&self, key: KeyId) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|_, f| f.since.elapsed() < FAILURE_WINDOW);
        failures.entry(key).or_insert(Failures { count: 0, since: Instant::now() }).count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keys::Scopes;
    use crate::store::keys::{Limits, NewKey, Owner};
    use crate::store::{accounts, keys};

    const NOW: Timestamp = Timestamp::from_millis(1_777_000_000_000);

    fn new_key(store: &Store, name: &str) -> PlainKey {
        let key = PlainKey::generate().unwrap();
        let hash = hash::hash_key(&key).unwrap();
        let made = store.write_now(|conn| {
            let account = accounts::create(conn, name, None, "test", NOW)?.id;
            let owner = Owner::Account(account);
            let (scopes, limits) = (Scopes::INFERENCE, Limits::default());
            keys::create(conn, &NewKey { id: key.id(), hash, owner, name: String::new(), scopes, limits }, "test", NOW)
        });
        assert!(made.is_ok());
        key
    }

    #[test]
    fn a_new_key_is_good_for_everybody_who_brings_it_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let verifier = Verifier::new(store.clone()).unwrap();
        for round in 0..30 {
            let key = new_key(&store, &format!("a{round}"));
            let verify = || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                (0..20).all(|_| runtime.block_on(verifier.verify(key.expose(), NOW)).is_ok())
            };
            std::thread::scope(|scope| {
                let all: Vec<_> = (0..4).map(|_| scope.spawn(verify)).collect();
                assert!(all.into_iter().all(|one| one.join().unwrap()), "round {round}");
            });
        }
    }
}
