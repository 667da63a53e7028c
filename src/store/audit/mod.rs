//! The audit: every balance derived again from the rows, on one snapshot, without stopping a writer.

mod rule;
mod balances;
mod movements;

use serde::Serialize;
use utoipa::ToSchema;

use self::rule::{MOST_PROBLEMS, text};
use crate::domain::ids::RequestId;
use crate::domain::metrics;
use crate::domain::money::MicroUsd;
use crate::domain::price::Price;
use crate::domain::time::Timestamp;
use crate::domain::usage::{CacheWrites, Usage};
use crate::store::sqlite::snapshot::in_snapshot;
use crate::store::{Read, StoreError};

/// What the audit found.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Audit)]
pub struct Report {
    /// Nothing differs.
    pub ok: bool,
    /// Accounts inspected.
    pub accounts: u64,
    /// Usage rows inspected.
    pub usage_rows: u64,
    /// Ledger entries inspected.
    pub ledger_entries: u64,
    /// What differs, for people: at most `MOST_PROBLEMS`.
    pub problems: Vec<String>,
    /// When that was.
    pub checked_at: Timestamp,
}

/// Derives everything again.
///
/// # Errors
/// SQLite fails. What differs is no error but in the report.
pub fn audit(conn: &Read) -> Result<Report, StoreError> {
    let report = in_snapshot(conn, derive)?;
    metrics::audited(report.ok, report.checked_at);
    Ok(report)
}

fn derive(conn: &Read) -> Result<Report, StoreError> {
    let count = |table: &str| conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, u64>(0));
    let mut problems = Vec::new();
    for rule in balances::RULES.iter().chain(movements::RULES) {
        rule.check(conn, &mut problems)?;
    }
    conservation(conn, &mut problems)?;
    costs(conn, &mut problems)?;
    foreign_keys(conn, &mut problems)?;
    problems.truncate(usize::try_from(MOST_PROBLEMS).unwrap_or(usize::MAX));
    Ok(Report {
        ok: problems.is_empty(),
        accounts: count("accounts")?,
        usage_rows: count("usage")?,
        ledger_entries: count("ledger")?,
        problems,
        checked_at: Timestamp::now(),
    })
}

/// Σ top-ups + adjustments − withdrawals = Σ balances. A refund moves money between accounts, so its
/// entries sum to zero and are part of the same sum.
fn conservation(conn: &Read, problems: &mut Vec<String>) -> Result<(), StoreError> {
    let sum = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    let balances = sum("SELECT coalesce(sum(balance_micro_usd), 0) FROM accounts")?;
    let entered = sum("SELECT coalesce(sum(amount_micro_usd), 0) FROM ledger")?;
    if balances != entered {
        problems.push(format!("all balances: {balances}, all credits less withdrawals: {entered}"));
    }
    // What left the balances for a withdrawal is pending or paid, to the cent. (A refund that reduced one brought
    // that part back first.)
    let given = sum("SELECT coalesce(sum(amount_micro_usd), 0) FROM ledger \
                     WHERE kind NOT IN ('withdrawal', 'withdrawal_rejected')")?;
    let leaving = sum("SELECT coalesce(sum(amount_micro_usd), 0) FROM withdrawals WHERE status <> 'rejected'")?;
    if balances.checked_add(leaving) != Some(given) {
        problems
            .push(format!("all balances: {balances}, withdrawals pending or paid: {leaving}, all credits: {given}"));
    }
    Ok(())
}

/// Every cost against the price version it was billed at, by the same arithmetic as the settlement.
fn costs(conn: &Read, problems: &mut Vec<String>) -> Result<(), StoreError> {
    let mut statement = conn.prepare(
        "SELECT usage.id, prompt_tokens, cached_tokens, completion_tokens, cost_micro_usd, input_price, output_price, \
         cache_read_price, cache_write_price, cache_write_1h_price, cache_write_tokens, cache_write_1h_tokens FROM usage JOIN prices ON prices.id = price_id WHERE outcome <> 'provider_error' AND own_use = 0",
    )?;
    let mut rows = statement.query([])?;
    let mut found = 0;
    while let Some(row) = rows.next()? {
        let (written, hour): (u64, u64) = (row.get(10)?, row.get(11)?);
        let usage = Usage {
            prompt_tokens: row.get(1)?,
            cached_tokens: row.get(2)?,
            cache_writes: CacheWrites { short: written.saturating_sub(hour), hour },
            completion_tokens: row.get(3)?,
        };
        let optional = |column: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(MicroUsd::new));
        let price = Price {
            input: MicroUsd::new(row.get(5)?),
            output: MicroUsd::new(row.get(6)?),
            cache_read: optional(7)?,
            cache_write: optional(8)?,
            cache_write_1h: optional(9)?,
        };
        let stored = MicroUsd::new(row.get(4)?);
        let cost = price.cost(usage);
        if stored != cost && found < MOST_PROBLEMS {
            found += 1;
            let id = RequestId::from_i64(row.get(0)?);
            problems.push(format!("{id}: cost {} stored, {} by its price", stored.micro(), cost.micro()));
        }
    }
    Ok(())
}

fn foreign_keys(conn: &Read, problems: &mut Vec<String>) -> Result<(), StoreError> {
    let mut statement = conn.prepare("PRAGMA foreign_key_check")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        problems.push(format!("{}: row {} points to nothing", text(row, 0)?, text(row, 1)?));
        if problems.len() > 100 {
            break;
        }
    }
    Ok(())
}
