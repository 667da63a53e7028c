//! Totals over all usage rows.

use crate::domain::ids::{ProviderId, RequestId};
use crate::domain::money::MicroUsd;
use crate::store::{Read, StoreError};

/// What each provider earned by the requests from `from` up to, not with, `until`.
///
/// # Errors
/// SQLite fails.
pub fn earned(conn: &Read, from: RequestId, until: RequestId) -> Result<Vec<(ProviderId, MicroUsd)>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT provider_id, sum(earned_micro_usd) FROM usage WHERE id >= ?1 AND id < ?2 GROUP BY provider_id",
    )?;
    let rows = statement.query_map([from.to_i64(), until.to_i64()], |row| {
        Ok((ProviderId::from_i64(row.get(0)?), MicroUsd::new(row.get(1)?)))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
