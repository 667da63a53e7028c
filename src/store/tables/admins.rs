//! Admins: who may add credit.

use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;
use utoipa::ToSchema;

use super::events;
use crate::domain::ids::AdminId;
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

/// An admin. Its password hash stays in the store.
#[derive(Debug, Clone, Serialize)]
pub struct AdminRow {
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
/// [`StoreError::InvalidField`] for a bad name, [`StoreError::Taken`] if somebody has it.
pub fn create(
    conn: &Tx,
    name: &str,
    password_hash: Option<&str>,
    actor: &str,
    now: Timestamp,
) -> Result<AdminRow, StoreError> {
    if !(1..=200).contains(&name.chars().count()) || name.trim() != name || name.chars().any(char::is_control) {
        let message = "an admin name is 1 to 200 characters, none of them a control character".into();
        return Err(StoreError::InvalidField { field: "name", message });
    }
    let id = AdminId::generate(now);
    let made = conn
        .prepare_cached("INSERT INTO admins (id, name, password_hash, created_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id.to_i64(), name, password_hash, now.millis()]);
    match made {
        Err(e) if StoreError::is_duplicate(&e) => {
            let message = format!("there is already an admin \"{name}\"");
            return Err(StoreError::Taken { field: "name", message });
        }
        other => other?,
    };
    events::record(conn, actor, "admin.create", &id.to_string(), &serde_json::json!({"name": name}), now)?;
    Ok(AdminRow { id, name: name.to_owned(), created_at: now })
}

/// An admin, as admins see one another.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Admin)]
pub struct AdminView {
    /// `adm_…`
    pub id: AdminId,
    /// Unique.
    pub name: String,
    /// It can sign in to the page.
    pub has_password: bool,
    /// Keys in force.
    pub keys: u64,
    /// Sessions of the page that are not over.
    pub sessions: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// All admins, by name.
pub fn list(conn: &Read, now: Timestamp) -> Result<Vec<AdminView>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT id, name, password_hash IS NOT NULL, \
         (SELECT count(*) FROM keys WHERE admin_id = a.id AND revoked_at IS NULL), \
         (SELECT count(*) FROM sessions WHERE admin_id = a.id AND expires_at > ?1), created_at \
         FROM admins a ORDER BY name",
    )?;
    let rows = statement.query_map([now.millis()], |row| {
        Ok(AdminView {
            id: AdminId::from_i64(row.get(0)?),
            name: row.get(1)?,
            has_password: row.get(2)?,
            keys: row.get(3)?,
            sessions: row.get(4)?,
            created_at: Timestamp::from_millis(row.get(5)?),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The admin with this id, as admins see it.
pub fn view(conn: &Read, id: AdminId, now: Timestamp) -> Result<AdminView, StoreError> {
    let found = list(conn, now)?.into_iter().find(|admin| admin.id == id);
    found.ok_or_else(|| StoreError::NotFound(format!("no admin {id}")))
}

/// Gives an admin another password, and ends what was opened with the old one: its sessions and its keys.
pub fn set_password(
    conn: &Tx,
    id: AdminId,
    password_hash: &str,
    actor: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let name = get(conn, id)?.name;
    conn.prepare_cached("UPDATE admins SET password_hash = ?2 WHERE id = ?1")?
        .execute(params![id.to_i64(), password_hash])?;
    let sessions = end_sessions(conn, id)?;
    let revoked = conn
        .prepare_cached("UPDATE keys SET revoked_at = ?2 WHERE admin_id = ?1 AND revoked_at IS NULL")?
        .execute([id.to_i64(), now.millis()])?;
    let detail = serde_json::json!({"name": name, "sessions_ended": sessions, "keys_revoked": revoked});
    events::record(conn, actor, "admin.password", &id.to_string(), &detail, now)
}

/// Removes an admin, its sessions and its keys; what it did stays in the events. The last one is not removed:
/// nobody could sign in any more, and whoever came next with a set-up link would own the place.
///
/// # Errors
/// [`StoreError::NotFound`], [`StoreError::Conflict`] for the last one.
pub fn remove(conn: &Tx, id: AdminId, actor: &str, now: Timestamp) -> Result<(), StoreError> {
    let name = get(conn, id)?.name;
    let others = "SELECT EXISTS (SELECT 1 FROM admins WHERE id <> ?1)";
    if !conn.query_row(others, [id.to_i64()], |row| row.get::<_, bool>(0))? {
        return Err(StoreError::Conflict(format!("\"{name}\" is the last admin: make another one first")));
    }
    let sessions = end_sessions(conn, id)?;
    let keys = conn.prepare_cached("DELETE FROM keys WHERE admin_id = ?1")?.execute([id.to_i64()])?;
    conn.prepare_cached("DELETE FROM admins WHERE id = ?1")?.execute([id.to_i64()])?;
    let detail = serde_json::json!({"name": name, "sessions_ended": sessions, "keys_removed": keys});
    events::record(conn, actor, "admin.remove", &id.to_string(), &detail, now)
}

fn end_sessions(conn: &Tx, id: AdminId) -> Result<usize, StoreError> {
    Ok(conn.prepare_cached("DELETE FROM sessions WHERE admin_id = ?1")?.execute([id.to_i64()])?)
}

/// The admin that an id or a name means.
pub fn find_any(conn: &Read, text: &str) -> Result<AdminRow, StoreError> {
    match AdminId::parse(text) {
        // Nothing keeps an admin from being called like an id.
        Some(id) => get(conn, id).or_else(|_| find(conn, text)),
        None => find(conn, text),
    }
}

/// The admin of this name.
pub fn find(conn: &Read, name: &str) -> Result<AdminRow, StoreError> {
    let sql = "SELECT id, name, created_at FROM admins WHERE name = ?1";
    let found = conn.prepare_cached(sql)?.query_row([name], from_row).optional()?;
    found.ok_or_else(|| StoreError::NotFound(format!("no admin \"{name}\"")))
}

/// The admin with this id.
pub fn get(conn: &Read, id: AdminId) -> Result<AdminRow, StoreError> {
    let sql = "SELECT id, name, created_at FROM admins WHERE id = ?1";
    let found = conn.prepare_cached(sql)?.query_row([id.to_i64()], from_row).optional()?;
    found.ok_or_else(|| StoreError::NotFound(format!("no admin {id}")))
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<AdminRow> {
    Ok(AdminRow {
        id: AdminId::from_i64(row.get(0)?),
        name: row.get(1)?,
        created_at: Timestamp::from_millis(row.get(2)?),
    })
}

/// The admin of this name with its password's PHC text, if it has one: for signing in.
///
/// # Errors
/// SQLite fails. A name that nobody has is `None`.
pub fn with_password(conn: &Read, name: &str) -> Result<Option<(AdminRow, Option<String>)>, StoreError> {
    let hash = conn
        .prepare_cached("SELECT password_hash FROM admins WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    hash.map(|hash| Ok((find(conn, name)?, hash))).transpose()
}

/// The admin with this id, while its password is still the one with this hash.
///
/// # Errors
/// [`StoreError::NotFound`] if the admin or the password is another meanwhile; SQLite fails.
pub fn unchanged(conn: &Read, id: AdminId, hash: &str) -> Result<AdminRow, StoreError> {
    let admin = get(conn, id)?;
    match with_password(conn, &admin.name)? {
        Some((admin, Some(now))) if admin.id == id && now == hash => Ok(admin),
        _ => Err(StoreError::NotFound("the password was changed meanwhile".into())),
    }
}

/// Makes the first admin. In the transaction of the write, so of two that try one succeeds.
///
/// # Errors
/// [`StoreError::Conflict`] if there is an admin already; what [`create`] returns.
pub fn create_first(conn: &Tx, name: &str, password_hash: &str, now: Timestamp) -> Result<AdminRow, StoreError> {
    if any(conn)? {
        return Err(StoreError::Conflict("there is an admin already".into()));
    }
    create(conn, name, Some(password_hash), "setup", now)
}

/// There is at least one admin.
pub fn any(conn: &Read) -> Result<bool, StoreError> {
    Ok(conn.query_row("SELECT EXISTS (SELECT 1 FROM admins)", [], |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key_limits::KeyLimits;
    use crate::domain::keys::{KeyId, Scopes};
    use crate::store::keys::{self, NewKey, Owner};
    use crate::store::sessions;

    const NOW: Timestamp = Timestamp::from_millis(1_777_559_321_000);

    /// Ada and Bob, each with a session and a key.
    fn two() -> Result<(Tx, [AdminRow; 2]), StoreError> {
        let conn = Tx::in_memory();
        conn.execute_batch("PRAGMA foreign_keys = ON")?;
        let admins = [create(&conn, "ada", Some("old"), "test", NOW)?, create(&conn, "bob", None, "test", NOW)?];
        for (n, admin) in (1..).zip(&admins) {
            sessions::begin(&conn, &[n; 32], admin, "127.0.0.1", NOW)?;
            let (id, owner) = (KeyId::from_i64(i64::from(n)), Owner::Admin(admin.id));
            let (hash, name, scopes, limits) = (String::new(), String::new(), Scopes::ADMIN, KeyLimits::default());
            keys::create(&conn, &NewKey { id, hash, owner, name, scopes, limits }, "test", NOW)?;
        }
        Ok((conn, admins))
    }

    /// Whether the session, and the key, of the n-th admin work.
    fn works(conn: &Read, n: u8) -> Result<(bool, bool), StoreError> {
        let key = keys::get(conn, KeyId::from_i64(i64::from(n)))?;
        Ok((sessions::get(conn, &[n; 32], NOW)?.is_some(), key.is_some_and(|key| key.revoked_at.is_none())))
    }

    #[test]
    fn a_new_password_and_removal_end_that_admins_sessions_and_keys_alone() -> Result<(), StoreError> {
        let (conn, [ada, bob]) = two()?;
        assert_eq!((works(&conn, 1)?, works(&conn, 2)?), ((true, true), (true, true)));
        set_password(&conn, ada.id, "new", "admin:bob", NOW)?;
        assert_eq!((works(&conn, 1)?, works(&conn, 2)?), ((false, false), (true, true)));
        assert_eq!(with_password(&conn, "ada")?.and_then(|(_, hash)| hash).as_deref(), Some("new"));
        remove(&conn, bob.id, "admin:ada", NOW)?;
        assert_eq!(works(&conn, 2)?, (false, false));
        assert!(matches!(get(&conn, bob.id), Err(StoreError::NotFound(_))));
        assert!(matches!(remove(&conn, ada.id, "admin:ada", NOW), Err(StoreError::Conflict(_))), "the last one");
        let left: Vec<_> =
            list(&conn, NOW)?.into_iter().map(|a| (a.name, a.has_password, a.keys, a.sessions)).collect();
        assert_eq!(left, [("ada".to_owned(), true, 0, 0)]);
        for action in ["admin.password", "admin.remove"] {
            assert_eq!(events::list(&conn, Some(action), None, 10)?.len(), 1, "{action}");
        }
        create(&conn, "bob", None, "test", NOW).map(drop)
    }
}
