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
}
