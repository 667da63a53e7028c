//! Admins: who may add credit.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::{StoreError, events};
use crate::domain::ids::AdminId;
use crate::domain::time::Timestamp;

/// An admin. Its password hash stays in the store.
#[derive(Debug, Clone, Serialize)]
pub struct Admin {
    /// `adm_…`
    pub id: AdminId,
    /// Unique.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Makes an admin; `password_hash` is an argon2id PHC string.
///
/// # Errors
/// [`StoreError::Invalid`] for a bad name, [`StoreError::Conflict`] if it is taken.
pub fn create(
    conn: &Connection,
    name: &str,
    password_hash: Option<&str>,
    actor: &str,
    now: Timestamp,
) -> Result<Admin, StoreError> {
    if !(1..=200).contains(&name.chars().count()) || name.trim() != name || name.chars().any(char::is_control) {
        return Err(StoreError::Invalid(
            "an admin name is 1 to 200 characters, none of them a control character".into(),
        ));
    }
    let id = AdminId::generate(now);
    let made = conn
        .prepare_cached("INSERT INTO admins (id, name, password_hash, created_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id.to_i64(), name, password_hash, now.millis()]);
    match made {
        Err(e) if StoreError::is_duplicate(&e) => {
            return Err(StoreError::Conflict(format!("there is already an admin \"{name}\"")));
        }
        other => other?,
    };
    events::record(conn, actor, "admin.create", &id.to_string(), &serde_json::json!({"name": name}), now)?;
    Ok(Admin { id, name: name.to_owned(), created_at: now })
}

/// The admin of this name.
///
/// # Errors
/// [`StoreError::NotFound`].
pub fn find(conn: &Connection, name: &str) -> Result<Admin, StoreError> {
    let sql = "SELECT id, name, created_at FROM admins WHERE name = ?1";
    let found = conn.prepare_cached(sql)?.query_row([name], from_row).optional()?;
    found.ok_or_else(|| StoreError::NotFound(format!("no admin \"{name}\"")))
}

/// The admin with this id.
///
/// # Errors
/// [`StoreError::NotFound`].
pub fn get(conn: &Connection, id: AdminId) -> Result<Admin, StoreError> {
    let sql = "SELECT id, name, created_at FROM admins WHERE id = ?1";
    let found = conn.prepare_cached(sql)?.query_row([id.to_i64()], from_row).optional()?;
    found.ok_or_else(|| StoreError::NotFound(format!("no admin {id}")))
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Admin> {
    Ok(Admin { id: AdminId::from_i64(row.get(0)?), name: row.get(1)?, created_at: Timestamp::from_millis(row.get(2)?) })
}

/// The admin of this name with its password's PHC text, if it has one: for signing in.
///
/// # Errors
/// SQLite fails. A name that nobody has is `None`.
pub fn with_password(conn: &Connection, name: &str) -> Result<Option<(Admin, Option<String>)>, StoreError> {
    let hash = conn
        .prepare_cached("SELECT password_hash FROM admins WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    hash.map(|hash| Ok((find(conn, name)?, hash))).transpose()
}

/// Makes the first admin. In the transaction of the write, so of two that try one succeeds.
///
/// # Errors
/// [`StoreError::Conflict`] if there is an admin already; what [`create`] returns.
pub fn create_first(conn: &Connection, name: &str, password_hash: &str, now: Timestamp) -> Result<Admin, StoreError> {
    if any(conn)? {
        return Err(StoreError::Conflict("there is an admin already".into()));
    }
    create(conn, name, Some(password_hash), "setup", now)
}

/// There is at least one admin.
///
/// # Errors
/// SQLite fails.
pub fn any(conn: &Connection) -> Result<bool, StoreError> {
    Ok(conn.query_row("SELECT EXISTS (SELECT 1 FROM admins)", [], |row| row.get(0))?)
}
