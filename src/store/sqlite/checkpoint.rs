//! Moving the write-ahead log into the database, away from the writer's commits.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::time::Duration;

use rusqlite::Connection;

use super::open::open_writable;
use super::unknown_commit::fail_stop_if_unknown;
use crate::store::{Store, StoreError};

/// A log that grew by so much is copied into the database: pages of 4 KiB. While a checkpoint syncs, commits take
/// longer, so they should be rare; between 1,000 and 8,000 pages no difference in speed was measured.
const COPY_ABOVE_PAGES: i32 = 4_096;
/// A log longer than this is cut to nothing, which the writer waits for.
const CUT_ABOVE_PAGES: i64 = 16_384;
/// How long cutting waits for readers. It holds the write lock meanwhile, so a reader that stays would
/// stop every settlement for as long; the next checkpoint tries again.
const CUT_WAITS: Duration = Duration::from_millis(50);

/// Tells the checkpoint thread that there is something to do.
#[derive(Debug)]
pub struct Checkpointer {
    wake: SyncSender<()>,
    /// The length of the log when it was last woken.
    pages: i32,
    /// The thread has copied what was there when it began.
    copied: Arc<AtomicBool>,
}

impl Checkpointer {
    /// Starts the thread with a connection of its own. It ends with the writer, whose connection is `conn`.
    ///
    /// # Errors
    /// The database or the thread cannot be opened.
    pub fn start(store: &Store, conn: &Connection) -> Result<Self, StoreError> {
        // Inside a commit it would stall every settlement behind it.
        conn.pragma_update(None, "wal_autocheckpoint", 0)?;
        conn.wal_hook(Some(|_, pages| {
            LOG_PAGES.set(pages);
            HAS_COMMITTED.set(true);
            Ok(())
        }));
        let conn = open_writable(&store.path())?;
        conn.busy_timeout(CUT_WAITS)?;
        let (wake, woken) = mpsc::sync_channel(1);
        let copied = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&copied);
        std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || {
                while woken.recv().is_ok() {
                    report(checkpoint(&conn));
                    done.store(true, Ordering::Relaxed);
                }
            })
            .map_err(|e| StoreError::Io(format!("checkpoint thread: {e}")))?;
        Ok(Self { wake, pages: 0, copied })
    }

    /// The writer has made one more commit on its connection, and nobody waits for it now.
    pub fn committed(&mut self, conn: &Connection) {
        if self.copied.swap(false, Ordering::Relaxed) {
            // What came meanwhile is little. Only when all of the log is copied does the next commit start it
            // anew, and only the writer can copy all of it: nobody commits while it does.
            report(copy(conn).map(drop));
        }
        let pages = LOG_PAGES.get();
        if pages < self.pages {
            self.pages = 0;
        }
        if pages - self.pages < COPY_ABOVE_PAGES {
            return;
        }
        // A full channel means that one is under way already.
        match self.wake.try_send(()) {
            Ok(()) => self.pages = pages,
            Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

/// Has this thread, the writer's, written a commit to the log since it was asked last? A transaction that changed no row
/// writes none, and then SQLite does not call the hook (<https://sqlite.org/c3ref/wal_hook.html>).
pub fn has_committed() -> bool {
    HAS_COMMITTED.take()
}

fn report(result: rusqlite::Result<()>) {
    if let Err(e) = result {
        // A disk whose sync failed once may say yes the next time without having written.
        fail_stop_if_unknown(&e);
        tracing::warn!(error = %e, "checkpoint");
    }
}

/// Copies what no reader stands in the way of, and waits for nobody. Returns the length of the log.
fn copy(conn: &Connection) -> rusqlite::Result<i64> {
    run(conn, "PASSIVE")
}

fn checkpoint(conn: &Connection) -> rusqlite::Result<()> {
    if copy(conn)? > CUT_ABOVE_PAGES {
        // Readers kept it growing.
        run(conn, "TRUNCATE")?;
    }
    Ok(())
}

fn run(conn: &Connection, mode: &str) -> rusqlite::Result<i64> {
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1))
}

thread_local! {
    /// The length of the log after the last commit of this thread: the writer's.
    static LOG_PAGES: Cell<i32> = const { Cell::new(0) };
    static HAS_COMMITTED: Cell<bool> = const { Cell::new(false) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_has_committed_if_the_log_got_a_commit_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("data")).unwrap();
        let conn = open_writable(&store.path()).unwrap();
        let _checkpointer = Checkpointer::start(&store, &conn).unwrap();
        let write = "INSERT INTO admins (name, created_at) SELECT 'a' || count(*), 0 FROM admins";
        let undone = format!("SAVEPOINT s; {write}; ROLLBACK TO s; RELEASE s");
        // The pages of what a savepoint undid are written all the same.
        let rows = [("SELECT 1", false), (write, true), ("DELETE FROM keys", false), (&undone, true), (write, true)];
        for (what, is_commit) in rows {
            conn.execute_batch(&format!("BEGIN IMMEDIATE; {what}; COMMIT")).unwrap();
            assert_eq!((has_committed(), has_committed()), (is_commit, false), "{what}");
            conn.execute_batch(&format!("BEGIN IMMEDIATE; {what}; ROLLBACK")).unwrap();
            assert!(!has_committed(), "{what}, rolled back");
        }
        // As the index of the log counts them, by which everybody else sees it.
        let clock = super::super::commit_clock::CommitClock::of(&conn).unwrap();
        for (what, is_commit) in rows {
            let before = clock.peek().unwrap();
            conn.execute_batch(&format!("BEGIN IMMEDIATE; {what}; COMMIT")).unwrap();
            let after = clock.peek().unwrap();
            assert_eq!(after.is_one_commit_after(&before), is_commit, "{what}");
            assert_eq!((after != before, has_committed()), (is_commit, is_commit), "{what}");
        }
    }
}
