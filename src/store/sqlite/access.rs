//! What a read and a write run on: the engine's connection behind a wall. No other room can name the engine's
//! types, and what is handed to a read cannot be handed to a write.

use std::ops::Deref;

use rusqlite::{CachedStatement, Connection, Params, Row, Statement};

/// What a read runs on. Other rooms hand it on to the functions of the store.
#[derive(Debug)]
pub struct Read(Connection);

/// What a write runs on: the writer's connection, inside its transaction. It can read, too.
#[derive(Debug)]
pub struct Tx(Read);

impl Read {
    pub(in crate::store) const fn new(conn: Connection) -> Self {
        Self(conn)
    }

    /// The engine's own, for what only it can do.
    pub(in crate::store) const fn engine(&self) -> &Connection {
        &self.0
    }

    /// A statement that reads, parsed once a connection.
    pub(in crate::store) fn prepare_cached(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        let statement = self.0.prepare_cached(sql)?;
        debug_assert!(statement.readonly(), "a read that writes: {sql}");
        Ok(statement)
    }

    /// A statement that reads, for once.
    pub(in crate::store) fn prepare(&self, sql: &str) -> rusqlite::Result<Statement<'_>> {
        let statement = self.0.prepare(sql)?;
        debug_assert!(statement.readonly(), "a read that writes: {sql}");
        Ok(statement)
    }

    /// The one row of a statement that reads, for once.
    pub(in crate::store) fn query_row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.prepare(sql)?.query_row(params, read)
    }
}

impl Tx {
    pub(in crate::store) const fn new(conn: Connection) -> Self {
        Self(Read::new(conn))
    }

    /// Any statement, parsed once a connection.
    pub(in crate::store) fn prepare_cached(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.engine().prepare_cached(sql)
    }

    /// Runs a statement without rows, parsed once a connection. Returns how many rows it changed.
    pub(in crate::store) fn execute(&self, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
        self.prepare_cached(sql)?.execute(params)
    }

    /// The row that was inserted last.
    pub(in crate::store) fn last_insert_rowid(&self) -> i64 {
        self.engine().last_insert_rowid()
    }
}

impl Deref for Tx {
    type Target = Read;

    fn deref(&self) -> &Read {
        &self.0
    }
}

#[cfg(test)]
impl Tx {
    /// A database of its own, in memory, with all tables and nothing in them.
    pub(in crate::store) fn in_memory() -> Self {
        let mut conn = Connection::open_in_memory().unwrap();
        super::schema::upgrade(&mut conn).unwrap();
        Self::new(conn)
    }

    /// Runs statements as they are written.
    pub(in crate::store) fn execute_batch(&self, sql: &str) -> rusqlite::Result<()> {
        self.engine().execute_batch(sql)
    }
}
