//! Several statements that see one state of the database.

use rusqlite::Connection;

use crate::store::StoreError;

/// Runs `read` on one snapshot.
///
/// # Errors
/// What `read` returns, or SQLite fails.
pub fn in_snapshot<T>(
    conn: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    // Prepared once a connection: parsing these two took longer than the read between them.
    conn.prepare_cached("BEGIN")?.execute([])?;
    let snapshot = EndSnapshot(conn);
    let result = read(conn);
    drop(snapshot);
    result
}

/// Ends a read's snapshot, also when the read panics: a connection goes back to the pool as it came.
struct EndSnapshot<'a>(&'a Connection);

impl Drop for EndSnapshot<'_> {
    fn drop(&mut self) {
        let ended = self.0.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        if let Err(e) = ended {
            tracing::warn!(error = %e, "ending a read");
        }
    }
}
