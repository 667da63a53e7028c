//! The way of alerts out of the outbox: what is next for each channel, and what came of it.

use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::ids::AlertId;
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

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
