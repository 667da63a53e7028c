//! The schema and the steps that bring an older database to it.

use rusqlite::{Connection, TransactionBehavior};

use crate::store::StoreError;

/// The whole truth.
const SCHEMA: &str = include_str!("../../../schema.sql");

/// Step `n` brings a database of version `n + 1` to `n + 2`. Steps are never edited once released.
const STEPS: &[&str] = &[
    include_str!("steps/1.sql"),
    include_str!("steps/2.sql"),
    include_str!("steps/3.sql"),
    include_str!("steps/4.sql"),
    include_str!("steps/5.sql"),
    include_str!("steps/6.sql"),
    include_str!("steps/7.sql"),
    include_str!("steps/8.sql"),
    include_str!("steps/9.sql"),
    include_str!("steps/10.sql"),
    include_str!("steps/11.sql"),
    include_str!("steps/12.sql"),
    include_str!("steps/13.sql"),
    include_str!("steps/14.sql"),
];

/// The version of [`SCHEMA`], kept in `user_version`.
pub(super) fn current() -> i64 {
    1 + i64::try_from(STEPS.len()).unwrap_or(i64::MAX - 1)
}

/// Makes an empty database, or upgrades an older one, in one transaction.
///
/// Foreign keys are not enforced meanwhile, and all checked before it commits: a step may make a table anew, and
/// with them a `DROP TABLE` would look for each of its rows in the tables that point to it.
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
    // Inside a transaction the setting could not be changed.
    let enforced: bool = conn.pragma_query_value(None, "foreign_keys", |row| row.get(0))?;
    conn.pragma_update(None, "foreign_keys", false)?;
    let done = apply(conn, schema, steps, current);
    conn.pragma_update(None, "foreign_keys", enforced)?;
    done
}

fn apply(conn: &mut Connection, schema: &str, steps: &[&str], current: i64) -> Result<(), StoreError> {
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
            if tx.prepare("PRAGMA foreign_key_check")?.exists([])? {
                return Err(StoreError::Invalid(
                    "the database has rows that point to nothing: it was not upgraded".into(),
                ));
            }
        }
    }
    tx.pragma_update(None, "user_version", current)?;
    tx.commit()?;
    Ok(())
}

pub(super) fn version(conn: &Connection) -> Result<i64, StoreError> {
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

    /// Every table, index and trigger, with its text folded to single blanks, none of them beside a bracket.
    fn shape(conn: &Connection) -> Vec<(String, String)> {
        let read = || -> rusqlite::Result<Vec<(String, String)>> {
            conn.prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")?
                .query_map([], |row| {
                    let sql: String = row.get(1)?;
                    let folded = sql.split_whitespace().collect::<Vec<_>>().join(" ");
                    Ok((row.get(0)?, folded.replace("( ", "(").replace(" )", ")").replace(" ,", ",")))
                })?
                .collect()
        };
        read().unwrap_or_default()
    }

    #[test]
    fn old_plus_steps_is_the_schema() {
        // The first release's file is kept beside the tests; every later one must grow out of it.
        let mut old = memory();
        assert!(old.execute_batch(include_str!("../../../tests/fixtures/schema-1.sql")).is_ok());
        assert!(old.pragma_update(None, "user_version", 1).is_ok());
        let mut new = memory();
        for conn in [&mut old, &mut new] {
            assert!(upgrade(conn).is_ok());
            assert_eq!(version(conn).ok(), Some(current()));
        }
        assert!(shape(&new).len() > 10);
        assert_eq!(shape(&old), shape(&new));
    }

    /// A database of the first version with rows in every table, as that version wrote them.
    fn first_version() -> Connection {
        let conn = memory();
        for text in [
            include_str!("../../../tests/fixtures/schema-1.sql"),
            include_str!("../../../tests/fixtures/rows-1.sql"),
            "PRAGMA user_version = 1; PRAGMA foreign_keys = ON",
        ] {
            assert!(conn.execute_batch(text).is_ok());
        }
        conn
    }

    fn counts(conn: &Connection) -> Result<Vec<(String, i64)>, StoreError> {
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name";
        let names: Vec<String> = conn.prepare(tables)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let count = |name: &String| conn.query_row(&format!("SELECT count(*) FROM {name}"), [], |row| row.get(0));
        names.iter().map(|name| Ok((name.clone(), count(name)?))).collect()
    }

    #[test]
    fn an_upgrade_keeps_every_row_and_the_books() -> Result<(), StoreError> {
        let mut conn = first_version();
        let before = counts(&conn)?;
        assert!(before.len() > 15 && before.iter().all(|(_, count)| *count > 0), "{before:?}");
        let money =
            "SELECT group_concat(id || ':' || balance_micro_usd || '/' || withdrawable_micro_usd) FROM accounts";
        let keys = "SELECT group_concat(id || name || hash || scopes || coalesce(allowed_models, '-')) FROM keys";
        let read = |conn: &Connection, sql: &str| conn.query_row(sql, [], |row| row.get::<_, String>(0));
        let (rich, held) = (read(&conn, money)?, read(&conn, keys)?);
        upgrade(&mut conn)?;
        assert_eq!((read(&conn, money)?, read(&conn, keys)?), (rich, held));
        assert!(conn.pragma_query_value(None, "foreign_keys", |row| row.get::<_, bool>(0))?, "still enforced");
        for (name, count) in before {
            // What an account had paid to itself is written down once.
            let more = i64::from(name == "ledger");
            assert!(counts(&conn)?.contains(&(name.clone(), count + more)), "{name}");
        }
        let whole: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        assert_eq!(whole, "ok");
        assert_eq!(crate::store::audit::audit(&crate::store::Read::new(conn))?.problems, Vec::<String>::new());
        Ok(())
    }

    #[test]
    fn no_check_is_false_of_null_in_an_older_sqlite() {
        // Its tools run every CHECK of every row, and `json_valid(NULL)` was 0 before 3.41.
        let columns: Vec<&str> = SCHEMA.lines().filter(|l| l.contains("json_valid(") && !l.starts_with("--")).collect();
        assert!(columns.len() >= 2);
        for line in columns {
            assert!(line.contains("NOT NULL") || line.contains("IS NULL OR json_valid("), "{line}");
        }
    }

    #[test]
    fn a_charge_makes_no_table_of_its_own() -> Result<(), StoreError> {
        for conn in [&mut first_version(), &mut memory()] {
            upgrade(conn)?;
            let columns: Vec<String> = conn
                .prepare("SELECT name FROM pragma_table_info('usage')")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let values = vec!["1"; columns.len()].join(", ");
            let insert = format!("INSERT INTO usage ({}) VALUES ({values})", columns.join(", "));
            let opcodes: Vec<String> = conn
                .prepare(&format!("EXPLAIN {insert}"))?
                .query_map([], |row| row.get("opcode"))?
                .collect::<Result<_, _>>()?;
            assert!(opcodes.iter().any(|code| code == "Insert"), "{opcodes:?}");
            assert!(!opcodes.iter().any(|code| code == "OpenEphemeral"), "{opcodes:?}");
            assert!(conn.execute(&insert, []).is_err_and(|e| e.to_string().contains("outcome")), "still checked");
        }
        Ok(())
    }

    #[test]
    fn an_upgrade_that_would_leave_a_row_pointing_to_nothing_changes_nothing() -> Result<(), StoreError> {
        let mut conn = first_version();
        let step = "DELETE FROM keys";
        assert!(upgrade_with(&mut conn, SCHEMA, &[step], 2).is_err());
        assert_eq!(version(&conn)?, 1);
        assert!(conn.query_row("SELECT count(*) > 0 FROM keys", [], |row| row.get::<_, bool>(0))?);
        Ok(())
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
