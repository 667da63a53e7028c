//! Sessions of the admin page. The store sees only hashes of their tokens.

use rusqlite::{OptionalExtension, params};

use super::admins::AdminRow;
use super::events;
use crate::domain::ids::AdminId;
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

/// How long a session lasts after it was last used, in seconds: half a day.
pub const LIFETIME: i64 = 12 * 60 * 60;
/// A session is prolonged at most this often, in seconds: a page that looks every few seconds must not
/// write every few seconds.
const PROLONG_EVERY: i64 = 10 * 60;

/// The SHA-256 of a session's token.
pub type TokenHash = [u8; 32];

/// A session that is in force.
#[derive(Debug, Clone)]
pub struct Session {
    /// Who signed in.
    pub admin: AdminRow,
    /// It ends then, unless it is used again.
    pub expires_at: Timestamp,
}

impl Session {
    /// It is time to write down that it is still used.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.expires_at < now.plus_seconds(LIFETIME - PROLONG_EVERY)
    }
}

/// Begins a session, and forgets those that are over.
pub fn begin(
    conn: &Tx,
    token: &TokenHash,
    admin: &AdminRow,
    address: &str,
    now: Timestamp,
) -> Result<Session, StoreError> {
    conn.prepare_cached("DELETE FROM sessions WHERE expires_at <= ?1")?.execute([now.millis()])?;
    let expires_at = now.plus_seconds(LIFETIME);
    conn.prepare_cached("INSERT INTO sessions (id, admin_id, created_at, expires_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![token.as_slice(), admin.id.to_i64(), now.millis(), expires_at.millis()])?;
    let actor = format!("admin:{}", admin.name);
    let detail = serde_json::json!({"address": address});
    events::record(conn, &actor, "session.begin", &admin.id.to_string(), &detail, now)?;
    Ok(Session { admin: admin.clone(), expires_at })
}

/// The session of this token, if it is not over.
pub fn get(conn: &Read, token: &TokenHash, now: Timestamp) -> Result<Option<Session>, StoreError> {
    let row = conn
        .prepare_cached(
            "SELECT admins.id, name, admins.created_at, expires_at FROM sessions JOIN admins ON admins.id = admin_id \
             WHERE sessions.id = ?1 AND expires_at > ?2",
        )?
        .query_row(params![token.as_slice(), now.millis()], |row| {
            Ok(Session {
                admin: AdminRow {
                    id: AdminId::from_i64(row.get(0)?),
                    name: row.get(1)?,
                    created_at: Timestamp::from_millis(row.get(2)?),
                },
                expires_at: Timestamp::from_millis(row.get(3)?),
            })
        })
        .optional()?;
    Ok(row)
}

/// Lets a session last its full time from now. One that ended meanwhile stays ended.
pub fn prolong(conn: &Tx, token: &TokenHash, now: Timestamp) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE sessions SET expires_at = ?3 WHERE id = ?1 AND expires_at > ?2")?.execute(params![
        token.as_slice(),
        now.millis(),
        now.plus_seconds(LIFETIME).millis()
    ])?;
    Ok(())
}

/// Ends a session. Ending what is not there is no error.
pub fn end(conn: &Tx, token: &TokenHash) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM sessions WHERE id = ?1")?.execute([token.as_slice()])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::admins;

    #[test]
    fn a_session_slides_ends_and_is_forgotten() -> Result<(), StoreError> {
        let conn = Tx::in_memory();
        let start = Timestamp::from_millis(1_700_000_000_000);
        let admin = admins::create(&conn, "ada", None, "test", start)?;
        let (one, two) = ([1; 32], [2; 32]);
        let session = begin(&conn, &one, &admin, "127.0.0.1", start)?;
        assert!(!session.is_due(start.plus_seconds(60)));
        assert!(session.is_due(start.plus_seconds(PROLONG_EVERY + 1)));

        let late = start.plus_seconds(LIFETIME - 1);
        assert!(get(&conn, &one, late)?.is_some_and(|s| s.admin.name == "ada"));
        assert!(get(&conn, &one, start.plus_seconds(LIFETIME))?.is_none());
        assert!(get(&conn, &two, start)?.is_none());
        prolong(&conn, &one, late)?;
        assert!(get(&conn, &one, late.plus_seconds(LIFETIME - 1))?.is_some());

        let after = late.plus_seconds(LIFETIME);
        prolong(&conn, &one, after)?;
        assert!(get(&conn, &one, after)?.is_none(), "what is over stays over");
        begin(&conn, &two, &admin, "127.0.0.1", after)?;
        let left: i64 = conn.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0))?;
        assert_eq!(left, 1, "the one that is over is gone");
        end(&conn, &two)?;
        assert!(get(&conn, &two, after)?.is_none());
        Ok(())
    }
}
