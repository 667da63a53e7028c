//! Several statements that see one state of the database.

use super::access::Read;
use crate::store::StoreError;

/// Runs `read` on one snapshot: the one that `conn` has open, or one of its own.
pub fn in_snapshot<T>(conn: &Read, read: impl FnOnce(&Read) -> Result<T, StoreError>) -> Result<T, StoreError> {
    if !conn.engine().is_autocommit() {
        return read(conn);
    }
    // Prepared once a connection: parsing these two took longer than the read between them.
    conn.prepare_cached("BEGIN")?.execute([])?;
    let snapshot = EndSnapshot(conn);
    let result = read(conn);
    drop(snapshot);
    result
}

/// Ends a read's snapshot, also when the read panics: a connection goes back to the pool as it came.
struct EndSnapshot<'a>(&'a Read);

impl Drop for EndSnapshot<'_> {
    fn drop(&mut self) {
        let ended = self.0.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        if let Err(e) = ended {
            tracing::warn!(error = %e, "ending a read");
        }
    }
}
