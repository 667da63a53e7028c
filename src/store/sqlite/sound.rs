//! Whether a database can be relied on: the file is whole as SQLite checks it, and the books in it agree.

use rusqlite::Connection;

use super::access::Read;
use crate::store::StoreError;
use crate::store::audit::{self, Report};

/// The first damage that SQLite's own check finds; none if the file is whole.
pub fn damage(conn: &Connection) -> Result<Option<String>, StoreError> {
    let found: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    Ok((found != "ok").then_some(found))
}

/// Nothing, if the file is whole.
///
/// # Errors
/// It is damaged.
pub fn whole(conn: &Connection) -> Result<(), StoreError> {
    match damage(conn)? {
        None => Ok(()),
        Some(damage) => Err(StoreError::Invalid(format!("it is damaged: {damage}"))),
    }
}

/// The audit of books that agree.
///
/// # Errors
/// They do not: all that differs.
pub fn in_agreement(conn: &Read) -> Result<Report, StoreError> {
    let report = audit::audit(conn)?;
    if report.ok {
        return Ok(report);
    }
    Err(StoreError::Invalid(format!("it does not pass the audit: {}", report.problems.join("; "))))
}
