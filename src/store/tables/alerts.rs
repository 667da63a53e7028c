//! Alerts: an outbox. What needs attention is written in the transaction that causes it, with a delivery for each
//! channel that is on; `watch` delivers. At most `MOST_KEPT` are kept, and of one thing at most `MOST_AN_HOUR`.

use rusqlite::{OptionalExtension, params};
use serde_json::{Value, json};

use super::account_row::{self, Account};
pub use super::alert_deliveries::{AlertRow, Channel, Delivery, Due, TryOutcome, list, next, standing, tried};
use crate::domain::alert::{AlertKind, Crossed};
use crate::domain::charge::Charge;
use crate::domain::ids::{AccountId, AlertId};
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

/// More are not kept: the oldest go, also those that wait for a receiver that is gone.
const MOST_KEPT: i64 = 5_000;
/// More of one kind about one account or provider are not written within an hour: nobody can have others flooded.
const MOST_AN_HOUR: i64 = 10;

/// Writes an alert, and whom it goes to. `false`: there were many of the same within the last hour, and it was not.
pub fn record(conn: &Tx, kind: AlertKind, subject: &str, detail: &Value, now: Timestamp) -> Result<bool, StoreError> {
    let recent: i64 = conn
        .prepare_cached("SELECT count(*) FROM alerts WHERE subject = ?1 AND kind = ?2 AND created_at > ?3")?
        .query_row(params![subject, kind.as_str(), now.plus_seconds(-3_600).millis()], |row| row.get(0))?;
    if recent >= MOST_AN_HOUR {
        return Ok(false);
    }
    let id = AlertId::generate(now);
    conn.prepare_cached("INSERT INTO alerts (id, kind, subject, detail, created_at) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![id.to_i64(), kind.as_str(), subject, detail.to_string(), now.millis()])?;
    let seq = conn.last_insert_rowid();
    conn.prepare_cached(
        "INSERT INTO alert_deliveries (channel, alert_seq, next_at) SELECT channel, ?1, ?2 FROM alert_channels \
         WHERE NOT EXISTS (SELECT 1 FROM json_each(muted) WHERE value = ?3) AND (channel <> 'holder' OR \
         (?4 AND EXISTS (SELECT 1 FROM accounts WHERE id = ?5 AND email IS NOT NULL)))",
    )?
    .execute(params![
        seq,
        now.millis(),
        kind.as_str(),
        kind.concerns_holder(),
        AccountId::parse(subject).map(AccountId::to_i64)
    ])?;
    conn.prepare_cached("DELETE FROM alerts WHERE seq <= ?1")?.execute([seq - MOST_KEPT])?;
    Ok(true)
}

/// An account's own threshold, if it has one.
pub fn threshold(conn: &Read, account: AccountId) -> Result<Option<MicroUsd>, StoreError> {
    let sql = "SELECT alert_below_micro_usd FROM accounts WHERE id = ?1";
    let found = conn.prepare_cached(sql)?.query_row([account.to_i64()], |row| row.get::<_, Option<i64>>(0));
    let found = found.optional()?.ok_or_else(|| StoreError::NotFound(format!("no account {account}")))?;
    Ok(found.map(MicroUsd::new))
}

/// Sets an account's own threshold; without one it is told only when nothing is left.
///
/// # Errors
/// [`StoreError::InvalidField`] for one that is not above zero.
pub fn set_threshold(conn: &Tx, account: AccountId, below: Option<MicroUsd>) -> Result<(), StoreError> {
    if below.is_some_and(|below| below <= MicroUsd::ZERO) {
        let message = "below_usd must be more than zero; null for none".to_owned();
        return Err(StoreError::InvalidField { field: "below_usd", message });
    }
    conn.prepare_cached("UPDATE accounts SET alert_below_micro_usd = ?2 WHERE id = ?1")?
        .execute(params![account.to_i64(), below.map(MicroUsd::micro)])?;
    Ok(())
}

/// A charge was settled: tells of what nobody could pay, and of the marks that the payer's balance crossed. Writes
/// nothing where there is nothing to tell.
pub(super) fn settled(
    conn: &Tx,
    s: &Charge,
    shortfall: MicroUsd,
    (before, after): (MicroUsd, MicroUsd),
    threshold: Option<MicroUsd>,
) -> Result<(), StoreError> {
    if shortfall != MicroUsd::ZERO {
        let name = account_row::get(conn, s.account_id)?.name;
        let detail = json!({
            "account_id": s.account_id, "account_name": name, "request_id": s.request_id, "model": s.model,
            "shortfall_micro_usd": shortfall, "shortfall_usd": shortfall.to_usd(2),
        });
        record(conn, AlertKind::Shortfall, &s.account_id.to_string(), &detail, s.now)?;
    }
    fell(conn, s.account_id, (before, after), threshold, s.now)
}

/// A balance moved by other means than a charge.
pub(super) fn moved(
    conn: &Tx,
    account: AccountId,
    (before, after): (MicroUsd, MicroUsd),
    now: Timestamp,
) -> Result<(), StoreError> {
    if after >= before {
        return Ok(());
    }
    fell(conn, account, (before, after), threshold(conn, account)?, now)
}

fn fell(
    conn: &Tx,
    account: AccountId,
    (before, after): (MicroUsd, MicroUsd),
    threshold: Option<MicroUsd>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let crossed = Crossed::between(before, after, threshold);
    if !crossed.any() {
        return Ok(());
    }
    let mut detail = standing_of(account, &account_row::get(conn, account)?.name, after);
    if crossed.empty && !is_told_empty(conn, account)? {
        record(conn, AlertKind::BalanceEmpty, &account.to_string(), &detail, now)?;
    }
    if let (true, Some(below), Some(fields)) = (crossed.below, threshold, detail.as_object_mut()) {
        fields.insert("below_micro_usd".into(), json!(below));
        fields.insert("below_usd".into(), json!(below.to_usd(2)));
        record(conn, AlertKind::BalanceBelow, &account.to_string(), &detail, now)?;
    }
    Ok(())
}

/// Whose balance it is, and what is left of it.
fn standing_of(account: AccountId, name: &str, balance: MicroUsd) -> Value {
    json!({
        "account_id": account, "account_name": name,
        "balance_micro_usd": balance, "balance_usd": balance.to_usd(2),
    })
}

/// An account has been told of as empty, and nothing came in since.
fn is_told_empty(conn: &Read, account: AccountId) -> Result<bool, StoreError> {
    let sql = "SELECT max(id) FROM alerts WHERE subject = ?1 AND kind = ?2";
    let told: Option<i64> = conn
        .prepare_cached(sql)?
        .query_row(params![account.to_string(), AlertKind::BalanceEmpty.as_str()], |row| row.get(0))?;
    let Some(told) = told else { return Ok(false) };
    // Ids are in the order of time, of whatever kind they are.
    let sql = "SELECT EXISTS (SELECT 1 FROM ledger WHERE account_id = ?1 AND id > ?2 AND amount_micro_usd > 0) OR \
               EXISTS (SELECT 1 FROM usage WHERE provider_account_id = ?1 AND id > ?2 AND earned_micro_usd > 0)";
    let more: bool = conn.prepare_cached(sql)?.query_row([account.to_i64(), told], |row| row.get(0))?;
    Ok(!more)
}

/// A request was refused since its account could not pay for it, and nothing else holds its money: it is as good as
/// empty, which is told once until more comes in.
pub fn unpaid(conn: &Tx, account: AccountId, now: Timestamp) -> Result<(), StoreError> {
    if is_told_empty(conn, account)? {
        return Ok(());
    }
    let Account { name, balance, .. } = account_row::get(conn, account)?;
    let detail = standing_of(account, &name, balance.total);
    record(conn, AlertKind::BalanceEmpty, &account.to_string(), &detail, now).map(drop)
}

/// Something is wrong, or well again: once for each change. `None`: it was known. `Some(false)`: it was not told, since
/// it comes and goes too often.
pub fn note_state(
    conn: &Tx,
    (kind, subject): (AlertKind, &str),
    is_wrong: bool,
    told: Option<(AlertKind, &Value)>,
    now: Timestamp,
) -> Result<Option<bool>, StoreError> {
    let changed = if is_wrong {
        conn.execute(
            "INSERT OR IGNORE INTO alert_states (kind, subject, since) VALUES (?1, ?2, ?3)",
            params![kind.as_str(), subject, now.millis()],
        )?
    } else {
        conn.execute("DELETE FROM alert_states WHERE kind = ?1 AND subject = ?2", params![kind.as_str(), subject])?
    };
    match told {
        Some((kind, detail)) if changed == 1 => record(conn, kind, subject, detail, now).map(Some),
        _ => Ok(None),
    }
}

/// What is wrong and was told: kinds and subjects.
pub fn states(conn: &Read) -> Result<Vec<(String, String)>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT kind, subject FROM alert_states")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests;
