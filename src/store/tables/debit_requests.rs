//! Debits that the command line asks a running server for. The command writes a row and waits for its answer; the
//! server, which knows what requests hold, does the debit and answers in one transaction.

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::ledger::Debit;
use crate::domain::ids::AccountId;
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

/// How long a request waits to be answered, in seconds: after that whoever asked has given up, and it is not done.
const STALE_AFTER: i64 = 30;

/// A request that is not answered yet.
#[derive(Debug, Clone)]
pub struct DebitRequest {
    /// Its row.
    pub id: i64,
    /// What is asked for.
    pub debit: Debit,
    /// Who asks.
    pub actor: String,
}

/// How the server answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DebitAnswer {
    /// What [`super::ledger::debit`] returned, as JSON.
    Done(Box<RawValue>),
    /// Why it was not done.
    Refused(String),
}

/// Asks for a debit, and forgets requests that nobody took away. Returns the row's id.
pub fn ask(conn: &Tx, debit: &Debit, actor: &str, now: Timestamp) -> Result<i64, StoreError> {
    conn.prepare_cached("DELETE FROM debit_requests WHERE created_at < ?1")?
        .execute([now.plus_seconds(-STALE_AFTER).millis()])?;
    conn.prepare_cached(
        "INSERT INTO debit_requests (account_id, amount_micro_usd, note, actor, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![debit.account.to_i64(), debit.amount.micro(), debit.note, actor, now.millis()])?;
    Ok(conn.last_insert_rowid())
}

/// The oldest request that waits for an answer.
pub fn next(conn: &Read, now: Timestamp) -> Result<Option<DebitRequest>, StoreError> {
    let sql = "SELECT id, account_id, amount_micro_usd, note, actor FROM debit_requests \
               WHERE answer IS NULL AND created_at >= ?1 ORDER BY id LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| {
        let account = AccountId::from_i64(row.get(1)?);
        let debit = Debit { account, amount: MicroUsd::new(row.get(2)?), note: row.get(3)? };
        Ok(DebitRequest { id: row.get(0)?, debit, actor: row.get(4)? })
    };
    let since = now.plus_seconds(-STALE_AFTER).millis();
    Ok(conn.prepare_cached(sql)?.query_row([since], read).optional()?)
}

/// Writes the answer to a request that still waits for it.
///
/// # Errors
/// [`StoreError::NotFound`] if who asked has given up, or it was answered: then the debit must not be done.
pub fn answer(conn: &Tx, id: i64, answer: &DebitAnswer) -> Result<(), StoreError> {
    let text = serde_json::to_string(answer).map_err(|e| StoreError::Invalid(e.to_string()))?;
    let sql = "UPDATE debit_requests SET answer = ?2 WHERE id = ?1 AND answer IS NULL";
    let changed = conn.prepare_cached(sql)?.execute(params![id, text])?;
    if changed == 1 { Ok(()) } else { Err(StoreError::NotFound(format!("nobody waits for debit {id}"))) }
}

/// The request was answered.
pub fn is_answered(conn: &Read, id: i64) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM debit_requests WHERE id = ?1 AND answer IS NOT NULL)";
    Ok(conn.prepare_cached(sql)?.query_row([id], |row| row.get(0))?)
}

/// Takes the request away, with its answer if there is one: afterwards it is done, or never will be.
pub fn take(conn: &Tx, id: i64) -> Result<Option<DebitAnswer>, StoreError> {
    let sql = "DELETE FROM debit_requests WHERE id = ?1 RETURNING answer";
    let text: Option<String> = conn.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?.flatten();
    let read = |text: String| serde_json::from_str(&text).map_err(|e| StoreError::Invalid(e.to_string()));
    text.map(read).transpose()
}
