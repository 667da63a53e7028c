//! Totals over all accounts.

use crate::domain::ids::RequestId;
use crate::store::{Read, StoreError};

/// Sums over usage rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Metered.
    pub requests: u64,
    /// Cached ones included.
    pub prompt_tokens: u64,
    /// Generated.
    pub completion_tokens: u64,
}

impl Totals {
    /// The sums together.
    pub const fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            prompt_tokens: self.prompt_tokens.saturating_add(other.prompt_tokens),
            completion_tokens: self.completion_tokens.saturating_add(other.completion_tokens),
        }
    }
}

/// The sums over the rows from `from` on, and before `to`.
///
/// # Errors
/// SQLite fails.
pub fn totals(conn: &Read, from: RequestId, to: RequestId) -> Result<Totals, StoreError> {
    let sql = "SELECT count(*), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0) FROM usage \
         WHERE id >= ?1 AND id < ?2";
    Ok(conn.prepare_cached(sql)?.query_row([from.to_i64(), to.to_i64()], |row| {
        Ok(Totals { requests: row.get(0)?, prompt_tokens: row.get(1)?, completion_tokens: row.get(2)? })
    })?)
}

/// The output tokens of an account's last answers of a model, at most `most`, newest first.
///
/// # Errors
/// SQLite fails.
pub fn last_outputs(
    conn: &Read,
    account: crate::domain::ids::AccountId,
    model: &str,
    most: u32,
) -> Result<Vec<u64>, StoreError> {
    // A model that the account has not used for long is looked for no further than this.
    let mut statement = conn.prepare_cached(
        "SELECT completion_tokens FROM (SELECT id, model, completion_tokens, outcome FROM usage WHERE account_id = ?1 \
         ORDER BY id DESC LIMIT 10000) WHERE model = ?2 AND outcome = 'completed' ORDER BY id DESC LIMIT ?3",
    )?;
    let rows = statement.query_map(rusqlite::params![account.to_i64(), model, most], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
