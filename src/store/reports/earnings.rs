//! What an account earned as a provider.

use rusqlite::params;
use serde::Serialize;
use utoipa::ToSchema;

use super::summary::day_text;
use crate::domain::ids::{AccountId, ProviderId};
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError};

/// What one of its providers earned with one model on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Earned {
    /// `prov_…`
    pub provider_id: ProviderId,
    /// Its name.
    pub provider_name: String,
    /// The public name.
    pub model: String,
    /// UTC.
    pub day: String,
    /// Requests served.
    pub requests: u64,
    /// Cached ones included.
    pub prompt_tokens: u64,
    /// Generated.
    pub completion_tokens: u64,
    /// What the payers were charged, less the fee.
    pub earned_micro_usd: MicroUsd,
}

/// The account's earnings settled in a span of time, newest day first. Reads all rows that earned it
/// something: for the blocking pool.
pub fn earned(
    conn: &Read,
    account: AccountId,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> Result<Vec<Earned>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT provider_id, (SELECT name FROM providers WHERE id = provider_id), model, created_at / 86400000, \
         count(*), sum(prompt_tokens), sum(completion_tokens), sum(earned_micro_usd) FROM usage \
         WHERE provider_account_id = ?1 AND created_at >= ?2 AND created_at < ?3 \
         GROUP BY 1, 3, 4 ORDER BY 4 DESC, 8 DESC, 3, 1",
    )?;
    let since = since.map_or(i64::MIN, Timestamp::millis);
    let until = until.map_or(i64::MAX, Timestamp::millis);
    let rows = statement.query_map(params![account.to_i64(), since, until], |row| {
        Ok(Earned {
            provider_id: ProviderId::from_i64(row.get(0)?),
            provider_name: row.get(1)?,
            model: row.get(2)?,
            day: day_text(row.get(3)?),
            requests: row.get(4)?,
            prompt_tokens: row.get(5)?,
            completion_tokens: row.get(6)?,
            earned_micro_usd: MicroUsd::new(row.get(7)?),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// What refunds took back from an account's earnings, ever.
pub fn reversed(conn: &Read, account: AccountId) -> Result<MicroUsd, StoreError> {
    let sql =
        "SELECT coalesce(-sum(amount_micro_usd), 0) FROM ledger WHERE account_id = ?1 AND kind = 'refund_reversal'";
    Ok(conn.prepare_cached(sql)?.query_row([account.to_i64()], |row| row.get(0).map(MicroUsd::new))?)
}
