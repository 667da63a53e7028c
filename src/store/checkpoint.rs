//! Moving the write-ahead log into the database, away from the writer's commits.

use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::time::Duration;

use rusqlite::Connection;

use super::open::open_writable;
use super::writer::fail_stop_if_unknown;
use super::{Store, StoreError};

/// Commits between two checkpoints. With 256 jobs a commit the log stays within some tens of MiB.
const EVERY_COMMITS: u32 = 200;
/// A log longer than this is cut to nothing, which the writer waits for: pages of 4 KiB.
const CUT_ABOVE_PAGES: i64 = 16_384;
/// How long cutting waits for readers. It holds the write lock meanwhile, so a reader that stays would
/// stop every settlement for as long; the next checkpoint tries again.
const CUT_WAITS: Duration = Duration::from_millis(50);

/// Tells the checkpoint thread that there is something to do.
#[derive(Debug)]
pub struct Checkpointer {
    wake: SyncSender<()>,
    commits: u32,
}

impl Checkpointer {
    /// Starts the thread with a connection of its own. It ends with the writer.
    ///
    /// # Errors
    /// The database or the thread cannot be opened.
    pub fn start(store: &Store) -> Result<Self, StoreError> {
        let conn = open_writable(&store.path())?;
        conn.busy_timeout(CUT_WAITS)?;
        let (wake, woken) = mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || {
                while woken.recv().is_ok() {
                    if let Err(e) = checkpoint(&conn) {
                        // A disk whose sync failed once may say yes the next time without having written.
                        fail_stop_if_unknown(&e);
                        tracing::warn!(error = %e, "checkpoint");
                    }
                }
            })
            .map_err(|e| StoreError::Io(format!("checkpoint thread: {e}")))?;
        Ok(Self { wake, commits: 0 })
    }

    /// One more commit was made.
    pub fn committed(&mut self) {
        self.commits += 1;
        if self.commits < EVERY_COMMITS {
            return;
        }
        // A full channel means that one is under way already.
        match self.wake.try_send(()) {
            Ok(()) => self.commits = 0,
            Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

/// PASSIVE never makes the writer wait; TRUNCATE does, and only runs when readers kept the log growing.
fn checkpoint(conn: &Connection) -> rusqlite::Result<()> {
    let run = |mode: &str| conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, i64>(1));
    if run("PASSIVE")? > CUT_ABOVE_PAGES {
        run("TRUNCATE")?;
    }
    Ok(())
}
