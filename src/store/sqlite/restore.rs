//! Putting a backup in the place of a database, so that nothing of the hours between the two happens twice.
//!
//! What the books know is again as it was at the backup: charges and credit of the hours since are gone together, and
//! who sends such a request again is charged once, in the books that count. What the world outside knows is not gone:
//!
//! - ids that were given out. New ones begin above all of them.
//! - money that was paid out. A withdrawal that was marked as paid stays so.
//! - answers to admins' idempotency keys. A program that asks again is told that the first answer is gone, rather
//!   than have done what somebody may have put right by hand.
//! - what a key had spent of its cap. A cap is a promise about the month, not about the books.
//! - keys that were revoked. They stay so.
//!
//! All of this is read from the database that is replaced. If that cannot be read any more, ids begin above what the
//! clock and its files say, and the rest cannot be known: it is said.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::{Connection, OpenFlags, params};
use serde::Serialize;
use serde_json::json;

use super::access::{Read, Tx};
use super::ownership::{beside, cannot, hand_over};
use super::{schema, sound};
use crate::domain::ids::RequestId;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::audit::Report;
use crate::store::tables::events;

/// What an admin's program is told whose first answer was lost.
const LOST_ANSWER: &str = "this idempotency key was used in hours that a restore undid: look whether it is still to be \
     done, then use a new key";

/// What was done.
#[derive(Debug, Serialize)]
pub struct Restored {
    /// Where the database that was replaced is now; none if there was none.
    pub kept: Option<PathBuf>,
    /// The time of the last thing that the backup knows.
    pub until: Option<Timestamp>,
    /// What was found out of the hours since.
    pub since: Since,
    /// The audit of the restored database.
    pub audit: Report,
}

/// The hours since the backup, as the replaced database knew them.
#[derive(Debug, Default, Serialize)]
pub struct Since {
    /// It could be read.
    pub known: bool,
    /// Charges that are undone.
    pub usage_rows: u64,
    /// Other movements of money that are undone.
    pub ledger_entries: u64,
    /// Idempotency keys of admins and commands that are refused from now on.
    pub idempotency_keys: u64,
    /// Withdrawals that stay paid.
    pub withdrawals_paid: u64,
    /// Withdrawals that were paid, and that the backup does not know: the money is in the balance again.
    pub paid_but_undone: Vec<String>,
    /// Keys whose window keeps what was spent.
    pub key_windows: u64,
    /// Keys that stay revoked.
    pub keys_revoked: u64,
    /// Every new id is above it.
    #[serde(skip)]
    ids_above: i64,
}

/// Puts the database in `file` in the place of `database`, which nobody may have open, and keeps what it replaces.
///
/// # Errors
/// The file is no database that this program can use, or does not pass the audit: then nothing is changed. Or a file
/// cannot be written.
pub fn restore(file: &Path, database: &Path, actor: &str, now: Timestamp) -> Result<Restored, StoreError> {
    let dir = database.parent().unwrap_or(database);
    let part = beside(database, ".restoring");
    let done = prepare(file, &part, database, actor, now).and_then(|(until, since, audit)| {
        let kept = put_in_place(&part, database, now)?;
        Ok(Restored { kept, until, since, audit })
    });
    for rest in ["", "-wal", "-shm", "-journal"] {
        drop(fs::remove_file(beside(&part, rest)));
    }
    if let Ok(dir) = fs::File::open(dir) {
        drop(dir.sync_all());
    }
    done
}

/// Copies the backup beside the database, audits it, and notes in it what must not happen twice.
fn prepare(
    file: &Path,
    part: &Path,
    database: &Path,
    actor: &str,
    now: Timestamp,
) -> Result<(Option<Timestamp>, Since, Report), StoreError> {
    for ending in ["", "-wal"] {
        let (from, to) = (beside(file, ending), beside(part, ending));
        drop(fs::remove_file(&to));
        if ending.is_empty() || from.exists() {
            fs::copy(&from, &to).map_err(|e| cannot("copy", &from, &e))?;
            let private = fs::set_permissions(&to, fs::Permissions::from_mode(0o600));
            private.map_err(|e| cannot("make private", &to, &e))?;
        }
    }
    let unusable = |e: StoreError| StoreError::Invalid(format!("{} cannot be restored: {e}", file.display()));
    let mut conn = Connection::open_with_flags(part, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let checked = |conn: &mut Connection| {
        // No name of a table is looked for in a file that has none: that would be an empty database, made.
        let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == 0 {
            return Err(StoreError::Invalid("it is no coordinator's database".to_owned()));
        }
        sound::whole(conn)?;
        schema::upgrade(conn)?;
        conn.pragma_update(None, "journal_mode", "DELETE")?;
        Ok(())
    };
    checked(&mut conn).map_err(unusable)?;
    let tx = Tx::new(conn);
    sound::in_agreement(&tx).map_err(unusable)?;
    let until: Option<i64> = tx.query_row(NEWEST, [], |row| row.get(0))?;
    tx.execute("BEGIN IMMEDIATE", [])?;
    let since = carry(&tx, database, now)?;
    tx.execute("DELETE FROM sessions", [])?;
    tx.execute("DELETE FROM debit_requests", [])?;
    let detail = json!({"ids_above": since.ids_above, "until": until.map(Timestamp::from_millis), "since": since});
    events::record(&tx, actor, "database.restore", "database", &detail, now)?;
    tx.execute("COMMIT", [])?;
    let report = sound::in_agreement(&tx).map_err(unusable)?;
    drop(tx);
    let file = fs::File::open(part).map_err(|e| cannot("open", part, &e))?;
    file.sync_all().map_err(|e| cannot("write", part, &e))?;
    hand_over(&file, database.parent().unwrap_or(database));
    Ok((until.map(Timestamp::from_millis), since, report))
}

pub(super) const NEWEST: &str = "SELECT max(at) FROM (SELECT max(created_at) AS at FROM usage UNION ALL \
     SELECT max(created_at) FROM ledger UNION ALL SELECT max(created_at) FROM events)";

/// The id that all later ones must be above, of a database that was restored; 0 of one that was not.
pub fn ids_above(conn: &Read) -> Result<i64, StoreError> {
    let sql = "SELECT coalesce(max(detail ->> 'ids_above'), 0) FROM events WHERE action = 'database.restore'";
    Ok(conn.query_row(sql, [], |row| row.get(0))?)
}

/// Takes over from the database that is replaced what must not happen twice.
fn carry(tx: &Tx, database: &Path, now: Timestamp) -> Result<Since, StoreError> {
    let mut since = Since::default();
    if let Ok(old) = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE) {
        match carry_from(tx, &old, now) {
            Ok(found) => since = found,
            Err(e) => tracing::warn!(error = %e, "the replaced database cannot be read"),
        }
    }
    // A clock that was ahead made ids that are; what wrote the files last knew it.
    let files = ["", "-wal"].map(|ending| fs::metadata(beside(database, ending)).and_then(|meta| meta.modified()));
    let written = files.into_iter().flatten().filter_map(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let written = written.filter_map(|at| i64::try_from(at.as_millis()).ok()).max().unwrap_or(0);
    let newest = Timestamp::from_millis(written.max(now.millis()).saturating_add(1));
    since.ids_above = since.ids_above.max(RequestId::first_at(newest).to_i64());
    Ok(since)
}

fn carry_from(tx: &Tx, old: &Connection, now: Timestamp) -> Result<Since, StoreError> {
    let last = |table: &str| -> Result<(i64, i64), StoreError> {
        let sql = format!("SELECT coalesce(max(id), 0) FROM {table}");
        let [ours, theirs] = [tx.engine(), old].map(|conn| conn.query_row(&sql, [], |row| row.get::<_, i64>(0)));
        Ok((ours?, theirs?))
    };
    let count = |table: &str, above: i64| -> Result<u64, StoreError> {
        Ok(old.query_row(&format!("SELECT count(*) FROM {table} WHERE id > ?1"), [above], |row| row.get(0))?)
    };
    let mut since = Since { known: true, ..Since::default() };
    let (usage, ledger) = (last("usage")?, last("ledger")?);
    since.usage_rows = count("usage", usage.0)?;
    since.ledger_entries = count("ledger", ledger.0)?;
    for table in ["usage", "ledger", "withdrawals", "accounts", "keys", "providers"] {
        since.ids_above = since.ids_above.max(last(table)?.1);
    }
    since.idempotency_keys = carry_answers(tx, old, now)?;
    since.key_windows = carry_windows(tx, old)?;
    since.keys_revoked = carry_revocations(tx, old)?;
    carry_payments(tx, old, &mut since)?;
    Ok(since)
}

/// Admins' idempotency keys that the backup does not know are refused for a day.
fn carry_answers(tx: &Tx, old: &Connection, now: Timestamp) -> Result<u64, StoreError> {
    let error = json!({"message": LOST_ANSWER, "type": "conflict_error", "code": null, "param": null});
    let answer = json!({"error": error}).to_string();
    let mut statement = old.prepare("SELECT actor, key, body_hash FROM idempotency")?;
    let mut rows = statement.query([])?;
    let mut refused = 0;
    while let Some(row) = rows.next()? {
        let (actor, key, hash): (String, String, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let sql = "INSERT OR IGNORE INTO idempotency (actor, key, body_hash, status, answer, created_at) \
             VALUES (?1, ?2, ?3, 409, ?4, ?5)";
        refused += u64::try_from(tx.execute(sql, params![actor, key, hash, answer, now.millis()])?).unwrap_or(0);
    }
    Ok(refused)
}

/// What a key had spent of its window stays spent.
fn carry_windows(tx: &Tx, old: &Connection) -> Result<u64, StoreError> {
    let sql = "SELECT id, window_started_at, window_spent_micro_usd FROM keys WHERE limit_micro_usd IS NOT NULL";
    let mut statement = old.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut kept = 0;
    while let Some(row) = rows.next()? {
        let (id, began, spent): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let sql = "UPDATE keys SET window_started_at = ?2, window_spent_micro_usd = ?3 WHERE id = ?1 AND \
             (window_started_at < ?2 OR window_started_at = ?2 AND window_spent_micro_usd < ?3)";
        kept += u64::try_from(tx.execute(sql, [id, began, spent])?).unwrap_or(0);
    }
    Ok(kept)
}

/// Who lost a key to a thief must not find it working again.
fn carry_revocations(tx: &Tx, old: &Connection) -> Result<u64, StoreError> {
    let mut statement = old.prepare("SELECT id, revoked_at FROM keys WHERE revoked_at IS NOT NULL")?;
    let mut rows = statement.query([])?;
    let mut revoked = 0;
    while let Some(row) = rows.next()? {
        let (id, at): (i64, i64) = (row.get(0)?, row.get(1)?);
        let sql = "UPDATE keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL";
        revoked += u64::try_from(tx.execute(sql, [id, at])?).unwrap_or(0);
    }
    Ok(revoked)
}

/// What was marked as paid has left: it must not be paid again.
fn carry_payments(tx: &Tx, old: &Connection, since: &mut Since) -> Result<(), StoreError> {
    let sql = "SELECT id, decided_at, decided_by, reference FROM withdrawals WHERE status = 'paid'";
    let mut statement = old.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, at, by, reference): (i64, Option<i64>, Option<String>, Option<String>) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        let sql = "UPDATE withdrawals SET status = 'paid', decided_at = ?2, decided_by = ?3, reference = ?4 \
             WHERE id = ?1 AND status = 'pending'";
        since.withdrawals_paid += u64::try_from(tx.execute(sql, params![id, at, by, reference])?).unwrap_or(0);
        let known = tx.prepare("SELECT 1 FROM withdrawals WHERE id = ?1 AND status = 'paid'")?.exists([id])?;
        if !known {
            since.paid_but_undone.push(crate::domain::ids::WithdrawalId::from_i64(id).to_string());
        }
    }
    Ok(())
}

/// The database that is there goes into a folder of its own, with its log; then the new one takes its name. Between the
/// two steps there is never none, nor one with another's log.
fn put_in_place(part: &Path, database: &Path, now: Timestamp) -> Result<Option<PathBuf>, StoreError> {
    let dir = database.parent().unwrap_or(database);
    let mut kept = None;
    if database.exists() {
        let folder = dir.join(format!("replaced-{}", now.in_a_name()));
        fs::create_dir_all(&folder).map_err(|e| cannot("make", &folder, &e))?;
        let name = |ending: &str| Some(folder.join(beside(database, ending).file_name()?));
        for ending in ["-wal", "-shm", "-journal"] {
            let from = beside(database, ending);
            if let (true, Some(to)) = (from.exists(), name(ending)) {
                fs::rename(&from, to).map_err(|e| cannot("move", &from, &e))?;
            }
        }
        if let Some(to) = name("") {
            fs::hard_link(database, &to)
                .or_else(|_| fs::copy(database, &to).map(drop))
                .map_err(|e| cannot("keep", &to, &e))?;
        }
        kept = Some(folder);
    }
    fs::rename(part, database).map_err(|e| cannot("make", database, &e))?;
    Ok(kept)
}
