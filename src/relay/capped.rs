//! Keys that got a spend limit while this server ran. A request that was admitted before still counts against
//! it, though its key had no limit to count against then.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use crate::domain::keys::KeyId;

/// The keys that were given a limit since the start.
#[derive(Debug, Default)]
pub struct Capped(RwLock<HashSet<KeyId>>);

impl Capped {
    /// The key is about to get a limit; its write is not queued yet.
    pub fn announce(&self, key: KeyId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key);
    }

    /// It was announced.
    pub fn contains(&self, key: KeyId) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&key)
    }
}
