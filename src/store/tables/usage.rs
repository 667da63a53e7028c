//! Usage rows: what a settlement leaves of a request, and reading them back.

use rusqlite::types::Value;
use rusqlite::{Row, params};
use serde::Serialize;
use utoipa::ToSchema;

use super::csv_text;
use crate::domain::charge::Charge;
use crate::domain::ids::{AccountId, RequestId};
use crate::domain::keys::KeyId;
use crate::domain::money::MicroUsd;
use crate::domain::settle::Split;
use crate::domain::time::Timestamp;
use crate::domain::usage::Outcome;
use crate::store::{Read, StoreError, Tx};

/// Writes the row of a charge that was split so; `from_earned` is the part that came out of the payer's earnings.
pub(super) fn insert(conn: &Tx, s: &Charge, split: &Split, from_earned: MicroUsd) -> Result<(), StoreError> {
    let tokens = |n: u64| i64::try_from(n).map_err(|_| StoreError::Invalid("a token count is out of range".into()));
    conn.prepare_cached(
        "INSERT INTO usage (id, account_id, key_id, provider_id, provider_account_id, price_id, model, endpoint, \
         prompt_tokens, cached_tokens, completion_tokens, cost_micro_usd, charged_micro_usd, \
         charged_withdrawable_micro_usd, shortfall_micro_usd, fee_micro_usd, earned_micro_usd, outcome, metered_by, \
         created_at, cache_write_tokens, cache_write_1h_tokens, translated, own_use) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)",
    )?
    .execute(params![
        s.request_id.to_i64(),
        s.account_id.to_i64(),
        s.key_id.to_i64(),
        s.provider_id.to_i64(),
        s.provider_account_id.to_i64(),
        s.price_id.to_i64(),
        s.model,
        s.endpoint.path(),
        tokens(s.usage.prompt_tokens)?,
        tokens(s.usage.cached_tokens)?,
        tokens(s.usage.completion_tokens)?,
        s.cost.micro(),
        split.charged.micro(),
        from_earned.micro(),
        split.shortfall.micro(),
        split.fee.micro(),
        split.earned.micro(),
        s.outcome.as_str(),
        s.metered_by.as_str(),
        s.now.millis(),
        tokens(s.usage.cache_writes.all())?,
        tokens(s.usage.cache_writes.hour)?,
        s.translated,
        s.own_use,
    ])?;
    Ok(())
}

/// A usage row as its payer sees it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct UsageRow {
    /// `req_…`
    pub request_id: RequestId,
    /// The public name.
    pub model: String,
    /// Cached ones included.
    pub prompt_tokens: u64,
    /// Generated.
    pub completion_tokens: u64,
    /// `ceil(tokens · price)`.
    pub cost_micro_usd: MicroUsd,
    /// When it was settled.
    pub timestamp: Timestamp,
    /// The part of the prompt read from the provider's cache.
    pub cached_tokens: u64,
    /// `/v1/chat/completions` …
    pub endpoint: String,
    /// With which key.
    pub key_id: KeyId,
    /// `completed`, `client_disconnected`, `provider_error`.
    pub outcome: String,
    /// `provider`, `estimate`.
    pub metered_by: String,
    /// The part of the cost that the balance did not cover. Nobody owes it.
    pub shortfall_micro_usd: MicroUsd,
    /// What was debited: cost less shortfall.
    pub charged_micro_usd: MicroUsd,
    /// When it was given back.
    pub refunded_at: Option<Timestamp>,
    /// The part of the prompt written to the provider's cache.
    pub cache_write_tokens: u64,
    /// The part of that which is kept for an hour.
    pub cache_write_1h_tokens: u64,
    /// The provider speaks chat alone: the request and its answer were translated.
    pub translated: bool,
    /// What that key is called now.
    pub key_name: String,
    /// The account's own provider served it, which is free here: that is why it cost nothing.
    pub own_use: bool,
}

/// Which usage rows. All of an account by default.
#[derive(Debug, Clone, Default)]
pub struct UsageFilter {
    /// Rows older than this one.
    pub before: Option<RequestId>,
    /// Of this model.
    pub model: Option<String>,
    /// Of this key.
    pub key: Option<KeyId>,
    /// Settled at or after.
    pub since: Option<Timestamp>,
    /// Settled before.
    pub until: Option<Timestamp>,
    /// That ended so.
    pub outcome: Option<Outcome>,
}

/// The rows of an account that match, newest first, at most `limit`.
pub fn list(conn: &Read, account: AccountId, filter: &UsageFilter, limit: u32) -> Result<Vec<UsageRow>, StoreError> {
    let (condition, mut values) = filter.condition(account);
    let sql = format!(
        "SELECT id, model, prompt_tokens, completion_tokens, cost_micro_usd, created_at, cached_tokens, endpoint, \
         key_id, outcome, metered_by, shortfall_micro_usd, charged_micro_usd, \
         (SELECT l.created_at FROM ledger l WHERE l.request_id = usage.id AND l.kind = 'refund'), \
         cache_write_tokens, cache_write_1h_tokens, translated, (SELECT name FROM keys WHERE keys.id = key_id), own_use \
         FROM account_usage AS usage WHERE {condition} \
         ORDER BY id DESC LIMIT ?"
    );
    values.push(Value::Integer(i64::from(limit)));
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(rusqlite::params_from_iter(values), from_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

impl UsageFilter {
    pub(in crate::store) fn condition(&self, account: AccountId) -> (String, Vec<Value>) {
        let mut condition = "account_id = ?".to_owned();
        let mut values = vec![Value::Integer(account.to_i64())];
        let mut and = |sql: &str, value: Option<Value>| {
            if let Some(value) = value {
                condition += sql;
                values.push(value);
            }
        };
        and(" AND id < ?", self.before.map(|id| Value::Integer(id.to_i64())));
        and(" AND model = ?", self.model.clone().map(Value::Text));
        and(" AND key_id = ?", self.key.map(|id| Value::Integer(id.to_i64())));
        and(" AND created_at >= ?", self.since.map(|t| Value::Integer(t.millis())));
        and(" AND created_at < ?", self.until.map(|t| Value::Integer(t.millis())));
        and(" AND outcome = ?", self.outcome.map(|o| Value::Text(o.as_str().to_owned())));
        (condition, values)
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<UsageRow> {
    Ok(UsageRow {
        request_id: RequestId::from_i64(row.get(0)?),
        model: row.get(1)?,
        prompt_tokens: row.get(2)?,
        completion_tokens: row.get(3)?,
        cost_micro_usd: MicroUsd::new(row.get(4)?),
        timestamp: Timestamp::from_millis(row.get(5)?),
        cached_tokens: row.get(6)?,
        endpoint: row.get(7)?,
        key_id: KeyId::from_i64(row.get(8)?),
        outcome: row.get(9)?,
        metered_by: row.get(10)?,
        shortfall_micro_usd: MicroUsd::new(row.get(11)?),
        charged_micro_usd: MicroUsd::new(row.get(12)?),
        refunded_at: row.get::<_, Option<i64>>(13)?.map(Timestamp::from_millis),
        cache_write_tokens: row.get(14)?,
        cache_write_1h_tokens: row.get(15)?,
        translated: row.get(16)?,
        key_name: row.get(17)?,
        own_use: row.get(18)?,
    })
}

/// The rows as CSV text, with a header line if they are the `first` ones.
///
/// # Errors
/// Never fails in practice: a row can always be written.
pub fn to_csv(rows: &[UsageRow], first: bool) -> Result<Vec<u8>, StoreError> {
    csv_text::of(rows, &COLUMNS, first)
}

/// The names of a row's fields, for a CSV without rows.
pub(super) const COLUMNS: [&str; 19] = [
    "request_id",
    "model",
    "prompt_tokens",
    "completion_tokens",
    "cost_micro_usd",
    "timestamp",
    "cached_tokens",
    "endpoint",
    "key_id",
    "outcome",
    "metered_by",
    "shortfall_micro_usd",
    "charged_micro_usd",
    "refunded_at",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "translated",
    "key_name",
    "own_use",
];

/// The output tokens of an account's last answers of a model, at most `most`, newest first.
pub fn last_outputs(conn: &Read, account: AccountId, model: &str, most: u32) -> Result<Vec<u64>, StoreError> {
    // A model that the account has not used for long is looked for no further than this.
    let mut statement = conn.prepare_cached(
        "SELECT completion_tokens FROM (SELECT id, model, completion_tokens, outcome FROM account_usage WHERE account_id = ?1 \
         ORDER BY id DESC LIMIT 10000) WHERE model = ?2 AND outcome = 'completed' ORDER BY id DESC LIMIT ?3",
    )?;
    let rows = statement.query_map(params![account.to_i64(), model, most], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The highest id in use: new ones must lie above it, whatever the clock says.
pub fn last_id(conn: &Read) -> Result<RequestId, StoreError> {
    let last: Option<i64> = conn.query_row("SELECT max(id) FROM usage", [], |row| row.get(0))?;
    Ok(RequestId::from_i64(last.unwrap_or(0)))
}

#[cfg(test)]
mod tests;
