//! The index of usage rows by account, written behind the rows.
//!
//! Kept by the engine, the index costs a leaf for each row where many accounts take turns: with 1,000 of them a commit of
//! 64 rows wrote 94 pages beside 14 of one account, half of what a row costs. Here the rows up to a point are in it,
//! sorted by account in large steps, so that a leaf is written once for many rows; the few behind that point are looked
//! through by whoever asks (`account_usage` in the schema is both together).
//!
//! A step, which may break off anywhere and is then done again: [`begin`] moves the point up to which a row that is
//! settled late enters the index by itself; what is there by then is [read](due) and [added](add); [`finish`] makes it count.

use rusqlite::params;

use crate::domain::ids::{AccountId, RequestId};
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

/// Rows in one step: they are read at once, 16 bytes each, and behind the index there are hardly more.
const STEP: u32 = 16_384;
/// Fewer rows than this wait until the first of them is [`OLD`]: each commit has a price, too.
const FEW: i64 = 4_096;
/// In seconds.
const OLD: i64 = 60;
/// Most requests have been settled when they are this old: what is settled later pays for its own entry. In seconds.
const SETTLED_MOSTLY: i64 = 2;

/// A row of the index.
pub type Entry = (AccountId, RequestId);

/// Up to where the next step goes, if one is due.
///
/// # Errors
/// SQLite fails.
pub fn next(conn: &Read, now: Timestamp) -> Result<Option<RequestId>, StoreError> {
    let (indexed, indexing): (i64, i64) = conn
        .prepare_cached("SELECT indexed_to, indexing_to FROM usage_indexed")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if indexing > indexed {
        // One broke off.
        return Ok(Some(RequestId::from_i64(indexing)));
    }
    let settled = RequestId::first_at(now.plus_seconds(-SETTLED_MOSTLY));
    let (first, last, count): (Option<i64>, Option<i64>, i64) = conn
        .prepare_cached(
            "SELECT min(id), max(id), count(*) FROM \
             (SELECT id FROM usage WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3)",
        )?
        .query_row(params![indexed, settled.to_i64(), STEP], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let is_old = |first| RequestId::from_i64(first).time() < now.plus_seconds(-OLD);
    let is_due = count >= FEW || first.is_some_and(is_old);
    Ok(last.filter(|_| is_due).map(RequestId::from_i64))
}

/// From now on, a row up to `to` that is settled enters the index by itself.
///
/// # Errors
/// SQLite fails.
pub fn begin(conn: &Tx, to: RequestId) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE usage_indexed SET indexing_to = max(indexing_to, ?1)")?.execute([to.to_i64()])?;
    Ok(())
}

/// What is to be added for the step that was begun, by account.
///
/// # Errors
/// SQLite fails.
pub fn due(conn: &Read) -> Result<Vec<Entry>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT account_id, id FROM usage WHERE id > (SELECT indexed_to FROM usage_indexed) \
         AND id <= (SELECT indexing_to FROM usage_indexed) ORDER BY account_id, id",
    )?;
    let entry = |row: &rusqlite::Row<'_>| Ok((AccountId::from_i64(row.get(0)?), RequestId::from_i64(row.get(1)?)));
    Ok(statement.query_map([], entry)?.collect::<rusqlite::Result<_>>()?)
}

/// Adds entries, which may be there already.
///
/// # Errors
/// SQLite fails.
pub fn add<'a>(conn: &Tx, entries: impl IntoIterator<Item = &'a Entry>) -> Result<(), StoreError> {
    let mut insert =
        conn.prepare_cached("INSERT OR IGNORE INTO usage_by_account (account_id, usage_id) VALUES (?1, ?2)")?;
    for (account, request) in entries {
        insert.execute([account.to_i64(), request.to_i64()])?;
    }
    Ok(())
}

/// The step that was begun counts from now on: all its entries are there.
///
/// # Errors
/// SQLite fails.
pub fn finish(conn: &Tx) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE usage_indexed SET indexed_to = indexing_to")?.execute([])?;
    Ok(())
}

/// Up to where a row that is settled now enters the index by itself.
///
/// # Errors
/// SQLite fails.
pub(super) fn indexing_to(conn: &Read) -> Result<RequestId, StoreError> {
    let mut statement = conn.prepare_cached("SELECT indexing_to FROM usage_indexed")?;
    Ok(RequestId::from_i64(statement.query_row([], |row| row.get(0))?))
}
