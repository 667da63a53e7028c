//! Keys given a spend limit since startup. Requests admitted earlier still count towards it, though their key had no
//! limit then.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use crate::domain::keys::KeyId;

/// The keys that were given a limit since the start.
#[derive(Debug, Default)]
pub struct NewlyLimitedKeys(RwLock<HashSet<KeyId>>);

impl NewlyLimitedKeys {
    /// The key is about to get a limit; its write is not queued yet.
    pub fn insert(&self, key: KeyId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key);
    }

    /// It was given a limit since the start.
    pub fn contains(&self, key: KeyId) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&key)
    }
}
