//! Who did what, when: append-only.

use rusqlite::params;
use serde::Serialize;

use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

/// Something that an admin, an account or the server did.
#[derive(Debug, Clone, Serialize)]
pub struct EventRow {
    /// Rises with time.
    pub id: i64,
    /// `admin:NAME`, `account:acct_…`, `cli`.
    pub actor: String,
    /// Like `account.create`.
    pub action: String,
    /// The id or name of what it was done to.
    pub subject: String,
    /// More of it. Never a secret.
    pub detail: serde_json::Value,
    /// When.
    pub created_at: Timestamp,
}

/// Adds an event, in the transaction of what it tells of.
pub fn record(
    conn: &Tx,
    actor: &str,
    action: &str,
    subject: &str,
    detail: &serde_json::Value,
    now: Timestamp,
) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT INTO events (actor, action, subject, detail, created_at) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![actor, action, subject, detail.to_string(), now.millis()])?;
    Ok(())
}

/// Events before `before`, newest first; with `text` in any part of them, if it is given.
pub fn list(conn: &Read, text: Option<&str>, before: Option<i64>, limit: u32) -> Result<Vec<EventRow>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT id, actor, action, subject, detail, created_at FROM events WHERE id < ?1 \
         AND (?3 IS NULL OR instr(lower(actor || ' ' || action || ' ' || subject || ' ' || detail), lower(?3))) \
         ORDER BY id DESC LIMIT ?2",
    )?;
    let rows = statement.query_map(params![before.unwrap_or(i64::MAX), limit, text], |row| {
        let detail: String = row.get(4)?;
        Ok(EventRow {
            id: row.get(0)?,
            actor: row.get(1)?,
            action: row.get(2)?,
            subject: row.get(3)?,
            detail: serde_json::from_str(&detail).unwrap_or_default(),
            created_at: Timestamp::from_millis(row.get(5)?),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
