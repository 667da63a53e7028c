//! The schema and the steps that bring an older database to it.

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// The whole truth.
const SCHEMA: &str = include_str!("../../schema.sql");

/// Step `n` brings a database of version `n + 1` to `n + 2`. Steps are never edited once released.
const STEPS: &[&str] = &[];

/// The version of [`SCHEMA`], kept in `user_version`.
fn current() -> i64 {
    1 + i64::try_from(STEPS.len()).unwrap_or(i64::MAX - 1)
}

/// Makes an empty database, or upgrades an older one, in one transaction.
///
/// # Errors
/// The database is newer than this program, or SQLite fails.
pub fn upgrade(conn: &mut Connection) -> Result<(), StoreError> {
    upgrade_with(conn, SCHEMA, STEPS, current())
}

fn upgrade_with(conn: &mut Connection, schema: &str, steps: &[&str], current: i64) -> Result<(), StoreError> {
    if version(conn)? == current {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match version(&tx)? {
        0 => tx.execute_batch(schema)?,
        old if old > current => {
            return Err(StoreError::Invalid(format!(
                "the database is of version {old}, this program knows up to {current}: use a newer coordinator"
            )));
        }
        old => {
            let done = usize::try_from(old - 1).unwrap_or(0);
            for step in steps.iter().skip(done) {
                tx.execute_batch(step)?;
            }
        }
    }
    tx.pragma_update(None, "user_version", current)?;
    tx.commit()?;
    Ok(())
}

fn version(conn: &Connection) -> Result<i64, StoreError> {
    Ok(conn.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Connection {
        match Connection::open_in_memory() {
            Ok(conn) => conn,
            Err(e) => panic!("{e}"),
        }
    }

    /// Every table, index and trigger, with its text folded to single blanks.
    fn shape(conn: &Connection) -> Vec<(String, String)> {
        let read = || -> rusqlite::Result<Vec<(String, String)>> {
            conn.prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")?
                .query_map([], |row| {
                    let sql: String = row.get(1)?;
                    Ok((row.get(0)?, sql.split_whitespace().collect::<Vec<_>>().join(" ")))
                })?
                .collect()
        };
        read().unwrap_or_default()
    }

    #[test]
    fn old_plus_steps_is_the_schema() {
        // The first release's file is kept beside the tests; every later one must grow out of it.
        let mut old = memory();
        assert!(old.execute_batch(include_str!("../../tests/fixtures/schema-1.sql")).is_ok());
        assert!(old.pragma_update(None, "user_version", 1).is_ok());
        let mut new = memory();
        for conn in [&mut old, &mut new] {
            assert!(upgrade(conn).is_ok());
            assert_eq!(version(conn).ok(), Some(current()));
        }
        assert!(shape(&new).len() > 10);
        assert_eq!(shape(&old), shape(&new));
    }

    #[test]
    fn steps_run_once_in_order_from_where_the_database_is() {
        let schema = "CREATE TABLE a (x INTEGER, y INTEGER, z INTEGER)";
        let steps = ["ALTER TABLE a ADD COLUMN y INTEGER", "ALTER TABLE a ADD COLUMN z INTEGER"];
        let mut conn = memory();
        assert!(conn.execute_batch("CREATE TABLE a (x INTEGER, y INTEGER); PRAGMA user_version = 2").is_ok());
        assert!(upgrade_with(&mut conn, schema, &steps, 3).is_ok());
        assert!(upgrade_with(&mut conn, schema, &steps, 3).is_ok());
        let mut fresh = memory();
        assert!(upgrade_with(&mut fresh, schema, &steps, 3).is_ok());
        assert_eq!(shape(&conn), shape(&fresh));
        assert!(upgrade_with(&mut conn, schema, &[], 2).is_err(), "a newer database is refused");
    }
}
