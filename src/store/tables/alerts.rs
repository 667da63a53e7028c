//! Alerts: an outbox. What needs attention is written in the transaction that causes it, with a delivery for each
//! channel that is on; `watch` delivers. At most [`MOST_KEPT`] are kept, and of one thing at most [`MOST_AN_HOUR`].

use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::account_row;
use crate::domain::alert::{AlertKind, Crossed};
use crate::domain::charge::Charge;
use crate::domain::ids::{AccountId, AlertId};
use crate::domain::money::{MicroUsd, Usd};
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

/// More are not kept: the oldest go, also those that wait for a receiver that is gone.
const MOST_KEPT: i64 = 5_000;
/// More of one kind about one account or provider are not written within an hour: nobody can have others flooded.
const MOST_AN_HOUR: i64 = 10;

/// Where alerts go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The operator's webhook.
    Webhook,
    /// The operator's mail.
    Email,
    /// The account holder's mail.
    Holder,
}

impl Channel {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Webhook, Self::Email, Self::Holder];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Email => "email",
            Self::Holder => "holder",
        }
    }
}

/// An alert as it was written.
#[derive(Debug, Clone)]
pub struct AlertRow {
    /// Its place in the order of writing.
    pub seq: i64,
    /// `alert_…`
    pub id: AlertId,
    /// Like `provider.down`.
    pub kind: String,
    /// An account's id, a provider's, or nothing.
    pub subject: String,
    /// What is told of it.
    pub detail: Value,
    /// When.
    pub created_at: Timestamp,
}

/// How the delivery of an alert stands.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Delivery {
    /// `webhook`, `email`, `holder`: the account holder's own address.
    pub channel: String,
    /// `waiting`, `delivered`, `failed`: given up.
    pub state: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next, or was for the last time.
    pub at: Timestamp,
    /// Why the last try failed.
    pub error: Option<String>,
}

/// A delivery that waits.
#[derive(Debug, Clone)]
pub struct Due {
    /// What.
    pub alert: AlertRow,
    /// How often it was tried.
    pub tries: u32,
    /// Not before.
    pub next_at: Timestamp,
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TryOutcome {
    /// The receiver has it.
    Delivered,
    /// Again at that time. `lets_pass`: it is this one that the receiver would not take, so others need not wait.
    Again {
        /// When.
        at: Timestamp,
        /// Why.
        error: String,
        /// Others go on.
        lets_pass: bool,
    },
    /// Never again.
    GivenUp {
        /// Why.
        error: String,
    },
}

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
            "shortfall_micro_usd": shortfall, "shortfall_usd": Usd(shortfall),
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
    let mut detail = json!({
        "account_id": account, "account_name": account_row::get(conn, account)?.name,
        "balance_micro_usd": after, "balance_usd": Usd(after),
    });
    if crossed.empty {
        record(conn, AlertKind::BalanceEmpty, &account.to_string(), &detail, now)?;
    }
    if let (true, Some(below), Some(fields)) = (crossed.below, threshold, detail.as_object_mut()) {
        fields.insert("below_micro_usd".into(), json!(below));
        fields.insert("below_usd".into(), json!(Usd(below)));
        record(conn, AlertKind::BalanceBelow, &account.to_string(), &detail, now)?;
    }
    Ok(())
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

const COLUMNS: &str = "a.seq, a.id, a.kind, a.subject, a.detail, a.created_at";

fn from_row(row: &Row<'_>) -> rusqlite::Result<AlertRow> {
    let detail: String = row.get(4)?;
    Ok(AlertRow {
        seq: row.get(0)?,
        id: AlertId::from_i64(row.get(1)?),
        kind: row.get(2)?,
        subject: row.get(3)?,
        detail: serde_json::from_str(&detail).unwrap_or_default(),
        created_at: Timestamp::from_millis(row.get(5)?),
    })
}

/// The delivery of a channel that is next: the first that waits. One that lets others pass is next only when it is due.
pub fn next(conn: &Read, channel: Channel, now: Timestamp) -> Result<Option<Due>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, d.tries, d.next_at FROM alert_deliveries d JOIN alerts a ON a.seq = d.alert_seq \
         WHERE d.channel = ?1 AND d.state = 'waiting' AND (d.lets_pass = 0 OR d.next_at <= ?2) \
         ORDER BY d.alert_seq LIMIT 1"
    );
    let row = conn.prepare_cached(&sql)?.query_row(params![channel.as_str(), now.millis()], |row| {
        let (tries, next_at) = (row.get(6)?, Timestamp::from_millis(row.get(7)?));
        Ok(Due { alert: from_row(row)?, tries, next_at })
    });
    Ok(row.optional()?)
}

/// Notes what came of a try.
pub fn tried(conn: &Tx, channel: Channel, seq: i64, outcome: &TryOutcome, now: Timestamp) -> Result<(), StoreError> {
    let (state, next, error, lets_pass, done) = match outcome {
        TryOutcome::Delivered => ("delivered", now, None, false, Some(now)),
        TryOutcome::Again { at, error, lets_pass } => ("waiting", *at, Some(error), *lets_pass, None),
        TryOutcome::GivenUp { error } => ("failed", now, Some(error), false, Some(now)),
    };
    conn.prepare_cached(
        "UPDATE alert_deliveries SET state = ?3, next_at = ?4, error = ?5, lets_pass = ?6, done_at = ?7, \
         tries = tries + 1 WHERE channel = ?1 AND alert_seq = ?2",
    )?
    .execute(params![
        channel.as_str(),
        seq,
        state,
        next.millis(),
        error,
        lets_pass,
        done.map(Timestamp::millis)
    ])?;
    Ok(())
}

/// The alerts before `before`, newest first, each with its deliveries.
pub fn list(conn: &Read, before: Option<AlertId>, limit: u32) -> Result<Vec<(AlertRow, Vec<Delivery>)>, StoreError> {
    // Ids of one process follow the order of writing; those of commands beside it nearly do.
    let sql = format!("SELECT {COLUMNS} FROM alerts a WHERE a.id < ?1 ORDER BY a.id DESC LIMIT ?2");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(params![before.map_or(i64::MAX, AlertId::to_i64), limit], from_row)?;
    rows.map(|row| {
        let row = row?;
        let deliveries = deliveries(conn, row.seq)?;
        Ok((row, deliveries))
    })
    .collect()
}

fn deliveries(conn: &Read, seq: i64) -> Result<Vec<Delivery>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT channel, state, tries, next_at, error FROM alert_deliveries WHERE alert_seq = ?1 ORDER BY channel DESC",
    )?;
    let rows = statement.query_map([seq], |row| {
        Ok(Delivery {
            channel: row.get(0)?,
            state: row.get(1)?,
            tries: row.get(2)?,
            at: Timestamp::from_millis(row.get(3)?),
            error: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// How many deliveries wait, and how many of those that are kept were given up.
pub fn standing(conn: &Read) -> Result<(u64, u64), StoreError> {
    let sql = "SELECT count(*) FILTER (WHERE state = 'waiting'), count(*) FILTER (WHERE state = 'failed') \
               FROM alert_deliveries";
    Ok(conn.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

#[cfg(test)]
mod tests;
