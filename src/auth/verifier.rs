//! From a presented text to the key's row: a fast keyed hash refuses forgeries for nothing, argon2 looks only at keys
//! from before there was one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ring::hmac;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use super::hash;
use crate::domain::keys::{KeyId, PlainKey};
use crate::domain::time::Timestamp;
use crate::store::keys::{self, KeyRow};
use crate::store::{Store, StoreError};

/// Why a credential is refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Missing, malformed, unknown, wrong, revoked or expired: neither the answer nor the time it takes says which.
    #[error("invalid API key")]
    Invalid,
    /// Too many keys wait for argon2. No key waits for it twice.
    #[error("too many keys are looked at")]
    Busy,
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Verifies keys.
#[derive(Debug)]
pub struct Verifier {
    store: Store,
    /// Random for each process: what is in `verified` is of no use outside it.
    secret: hmac::Key,
    /// Of keys stored with a tag.
    by_tag: Verified,
    /// Of keys stored without one.
    by_argon2: Verified,
    /// One argon2 at a time: two cores have better things to do.
    hashing: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// A keyed hash of a key's whole text → what was stored of it when it was verified.
#[derive(Debug, Default)]
struct Verified(Mutex<HashMap<[u8; 32], String>>);

/// More keys than that verified, and all start anew: it bounds the memory.
const MOST_VERIFIED: usize = 100_000;
/// A millisecond each.
const MOST_WAITING: usize = 500;
/// How long every refusal takes, whatever is wrong.
const REFUSED_AFTER: Duration = Duration::from_millis(10);
/// What an unknown id is compared with.
const NOBODY: (&str, &str) = (
    "$argon2id$v=19$m=1024,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "0000000000000000000000000000000000000000000000000000000000000000",
);

impl Verifier {
    /// Nothing verified yet.
    ///
    /// # Errors
    /// No random bytes.
    pub fn new(store: Store) -> Result<Self, StoreError> {
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new())
            .map_err(|_| StoreError::Io("the operating system gives no random bytes".into()))?;
        let (hashing, waiting) = (Arc::new(Semaphore::new(1)), AtomicUsize::new(0));
        let (by_tag, by_argon2) = (Verified::default(), Verified::default());
        Ok(Self { store, secret, by_tag, by_argon2, hashing, waiting })
    }

    /// The row of the key that `text` is.
    ///
    /// # Errors
    /// It is not a key that is in force now; or the store fails.
    pub async fn verify(&self, text: &str, now: Timestamp) -> Result<Arc<KeyRow>, AuthError> {
        let began = Instant::now();
        let verified = self.look_at(text, now).await;
        if matches!(verified, Err(AuthError::Invalid)) {
            Box::pin(sleep_until(began + REFUSED_AFTER)).await;
        }
        verified
    }

    async fn look_at(&self, text: &str, now: Timestamp) -> Result<Arc<KeyRow>, AuthError> {
        let key = PlainKey::parse(text).ok_or(AuthError::Invalid)?;
        let row = self.store.cached(|memory| memory.key(key.id()))?;
        let is_in_force = |row: &KeyRow| row.in_force(now).is_ok();
        let stored = row.as_ref().map(|row| row.hash.split_once(' '));
        let is_right = match (&row, stored.unwrap_or(Some(NOBODY))) {
            (Some(row), Some((phc, tag))) => self.is_right_by_tag(&key, row, (phc, tag)),
            (None, Some((phc, tag))) => hash::has_tag(&key, phc, tag),
            (Some(row), None) => is_in_force(row) && Box::pin(self.is_right_by_argon2(key, row)).await?,
            (None, None) => false,
        };
        row.filter(|row| is_right && is_in_force(row)).ok_or(AuthError::Invalid)
    }

    /// The key of a tag has to be made before it is compared, so a key that was right is known again by another hash.
    fn is_right_by_tag(&self, key: &PlainKey, row: &KeyRow, (phc, tag): (&str, &str)) -> bool {
        let text = self.tag(key.expose());
        if self.by_tag.holds(&text, &row.hash) == Some(true) {
            return true;
        }
        let is_right = hash::has_tag(key, phc, tag);
        if is_right {
            self.by_tag.remember(text, row.hash.clone());
        }
        is_right
    }

    /// For a key stored without a tag; the first time it is right, the tag is stored with it.
    async fn is_right_by_argon2(&self, key: PlainKey, row: &KeyRow) -> Result<bool, AuthError> {
        let tag = self.tag(key.expose());
        if let Some(is_right) = self.by_argon2.holds(&tag, &row.hash) {
            return Ok(is_right);
        }
        let waiting = Waiting::begin(&self.waiting).ok_or(AuthError::Busy)?;
        let Ok(_permit) = self.hashing.acquire().await else { return Ok(false) };
        let (store, id, phc) = (self.store.clone(), row.id, row.hash.clone());
        let is_right = tokio::task::spawn_blocking(move || {
            let is_right = hash::verify(key.expose().as_bytes(), &phc);
            if is_right {
                // Nobody waits for it, and the next time will do as well.
                tokio::task::spawn_blocking(move || store_tag(&store, id, &phc, &hash::with_tag(&key, &phc)));
            }
            is_right
        });
        let is_right = is_right.await.unwrap_or(false);
        drop(waiting);
        if is_right {
            self.by_argon2.remember(tag, row.hash.clone());
        }
        Ok(is_right)
    }

    fn tag(&self, text: &str) -> [u8; 32] {
        let mut tag = [0; 32];
        for (byte, from) in tag.iter_mut().zip(hmac::sign(&self.secret, text.as_bytes()).as_ref()) {
            *byte = *from;
        }
        tag
    }
}

impl Verified {
    /// What is known of this text: that it is the key of which this is stored, or that it was the key of another.
    /// One look at the map: between two, another request may have verified the same key.
    fn holds(&self, text: &[u8; 32], stored: &str) -> Option<bool> {
        let verified = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        verified.get(text).map(|known| known == stored)
    }

    fn remember(&self, text: [u8; 32], stored: String) {
        let mut verified = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= MOST_VERIFIED {
            verified.clear();
        }
        verified.insert(text, stored);
    }
}

fn store_tag(store: &Store, id: KeyId, phc: &str, with_tag: &str) {
    if let Err(e) = store.write_exclusive(|conn| keys::set_tag(conn, id, phc, with_tag)) {
        tracing::debug!(error = %e, key_id = %id, "storing the tag of a key");
    }
}

/// One who waits for argon2.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(all: &'a AtomicUsize) -> Option<Self> {
        let one = Self(all);
        (all.fetch_add(1, Ordering::Relaxed) < MOST_WAITING).then_some(one)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key_limits::KeyLimits;
    use crate::domain::keys::Scopes;
    use crate::store::keys::{NewKey, Owner};
    use crate::store::{accounts, keys};

    const NOW: Timestamp = Timestamp::from_millis(1_777_000_000_000);

    fn new_key(store: &Store, name: &str) -> PlainKey {
        new_key_with(store, name, KeyLimits::default())
    }

    fn new_key_with(store: &Store, name: &str, limits: KeyLimits) -> PlainKey {
        let key = PlainKey::generate().unwrap();
        let hash = hash::hash_key(&key).unwrap();
        let made = store.write_exclusive(|conn| {
            let account = accounts::create(conn, name, None, "test", NOW)?.id;
            let owner = Owner::Account(account);
            let scopes = Scopes::INFERENCE;
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

    #[tokio::test]
    async fn a_key_is_good_until_it_expires_and_what_is_remembered_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let limits = KeyLimits { expires_at: Some(NOW.plus_seconds(60)), ..KeyLimits::default() };
        let key = new_key_with(&store, "a", limits);
        let verifier = Verifier::new(store).unwrap();
        assert!(verifier.verify(key.expose(), NOW.plus_seconds(59)).await.is_ok());
        assert!(matches!(verifier.verify(key.expose(), NOW.plus_seconds(60)).await, Err(AuthError::Invalid)));

        let tag = |n: u64| std::array::from_fn(|at| n.to_le_bytes().get(at).copied().unwrap_or_default());
        let verified = Verified::default();
        (0..=100_000).for_each(|n| verified.remember(tag(n), "old".into()));
        assert_eq!(verified.0.lock().unwrap().len(), 1);
        let last = tag(100_000);
        assert_eq!((verified.holds(&last, "old"), verified.holds(&last, "new")), (Some(true), Some(false)));
    }

    /// Another secret for the same id, with a good checksum.
    fn forged(of: &PlainKey) -> String {
        let other = PlainKey::generate().unwrap();
        let id = of.expose().split('-').nth(2).unwrap();
        let body = format!("sk-db-{id}-{}", &other.expose().rsplit('-').next().unwrap()[..52]);
        let crc = crate::domain::base32::encode(u64::from(crc32fast::hash(body.as_bytes())), 7);
        format!("{body}{crc}")
    }

    #[tokio::test]
    async fn forgeries_lock_nobody_out_and_are_refused_like_anything_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let key = new_key(&store, "a");
        let verifier = Verifier::new(store.clone()).unwrap();
        for tagged in [true, false] {
            let read = || store.read_inline(|conn| keys::get(conn, key.id())).unwrap().unwrap().hash;
            if !tagged {
                // As it was stored before there were tags.
                let (old, phc) = (read(), read().split(' ').next().unwrap().to_owned());
                store.write_exclusive(|conn| keys::set_tag(conn, key.id(), &old, &phc)).unwrap();
            }
            let forged = forged(&key);
            assert!(PlainKey::parse(&forged).is_some(), "{forged}");
            let unknown = PlainKey::generate().unwrap();
            for text in std::iter::repeat_n(forged.as_str(), 30).chain([unknown.expose(), "sk-db-junk"]) {
                let began = Instant::now();
                assert!(matches!(verifier.verify(text, NOW).await, Err(AuthError::Invalid)));
                assert!(began.elapsed() >= REFUSED_AFTER);
            }
            assert!(verifier.verify(key.expose(), NOW).await.is_ok());
            // The tag comes with the first use.
            while !read().contains(' ') {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert!(verifier.verify(key.expose(), NOW).await.is_ok());
        }
        assert_eq!(verifier.waiting.load(Ordering::Relaxed), 0);
    }
}
