//! What each provider earned, without reading all rows each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::ids::{ProviderId, RequestId};
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, usage_totals};

type Sums = HashMap<ProviderId, MicroUsd>;

/// The sums of rows that do not change any more.
#[derive(Debug, Default, Clone)]
pub struct Earnings(Arc<Mutex<Option<(RequestId, Sums)>>>);

/// Requests that began longer ago than this have been settled, in seconds.
const SETTLED_AFTER: i64 = 24 * 60 * 60;

impl Earnings {
    /// What each provider earned up to now: what is remembered, and the rows since.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn read(&self, conn: &Read, now: Timestamp) -> Result<Sums, StoreError> {
        let settled = RequestId::first_at(now.plus_seconds(-SETTLED_AFTER));
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (from, mut sums) = known.unwrap_or((RequestId::from_i64(0), Sums::new()));
        let until = settled.max(from);
        add(&mut sums, usage_totals::earned(conn, from, until)?);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((until, sums.clone()));
        add(&mut sums, usage_totals::earned(conn, until, RequestId::from_i64(i64::MAX))?);
        Ok(sums)
    }
}

fn add(sums: &mut Sums, more: Vec<(ProviderId, MicroUsd)>) {
    for (provider, earned) in more {
        let sum = sums.entry(provider).or_default();
        *sum = sum.checked_add(earned).unwrap_or(MicroUsd::new(i64::MAX));
    }
}
