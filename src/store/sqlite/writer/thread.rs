//! The writer's thread: takes a job, then all that wait, and commits them together.
//!
//! A commit costs one fsync (0.2 to 8 ms), whatever is in it; a job alone would pay it alone. If a job fails,
//! all run again by themselves with a savepoint each, so that it takes nothing of the others with it.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use crate::domain::metrics;
use crate::store::StoreError;
use crate::store::admission_cache::{AdmissionReader, Changes, Left};
use crate::store::sqlite::access::Tx;
use crate::store::sqlite::ballast::{Ballast, LOOK_FOR_ROOM_EVERY};
use crate::store::sqlite::checkpoint::{Checkpointer, has_committed};
use crate::store::sqlite::commit_clock::DatabaseState;
use crate::store::sqlite::job::{Job, own_failure};
use crate::store::sqlite::unknown_commit::fail_stop_if_unknown;
use crate::store::sqlite::writable::Writable;
use crate::store::tables::accounts;
use crate::store::tables::settlement::Settlements;

/// The most jobs in one commit: more would make the first of them wait without saving a sync.
pub(super) const BATCH: usize = 256;

/// What the thread owns.
pub(super) struct WriterThread {
    pub(super) conn: Tx,
    pub(super) queue: Receiver<Job>,
    pub(super) pending: Arc<AtomicUsize>,
    pub(super) ballast: Ballast,
    pub(super) writable: Arc<Writable>,
    pub(super) checkpointer: Checkpointer,
    pub(super) reader: Arc<AdmissionReader>,
}

impl WriterThread {
    /// Commits until every [`Writer`](super::Writer) is dropped.
    pub(super) fn run(&mut self) {
        let _stop_on_panic = StopOnPanic;
        while let Some(first) = self.next() {
            // What came while the last commit was synced. Waiting for more was no faster at 64 and 256 clients.
            let mut batch = vec![first];
            batch.extend(self.queue.try_iter().take(BATCH - 1));
            let timed = metrics::on().map(|metrics| (metrics, Instant::now()));
            let failed = self.commit(&mut batch).err();
            if let Some((metrics, began)) = timed {
                metrics.committed(batch.len(), began.elapsed());
            }
            self.pending.fetch_sub(batch.len(), Ordering::Relaxed);
            for job in batch {
                job.answer(failed.as_ref().map(|e| match e {
                    StoreError::Full => StoreError::Full,
                    StoreError::Unwritable => StoreError::Unwritable,
                    StoreError::Busy => StoreError::Busy,
                    other => StoreError::Io(other.to_string()),
                }));
            }
            self.checkpointer.committed(self.conn.engine());
        }
    }

    /// The next job; while the disk is full or the database not written, also looks every second whether that is over.
    fn next(&self) -> Option<Job> {
        while self.ballast.is_spent() || self.writable.is_refused() {
            // Also between jobs: writes of admins are let in meanwhile, and might never pause.
            if self.ballast.is_spent() && self.ballast.is_due() {
                self.ballast.fill();
                continue;
            }
            if self.writable.is_refused() && self.begin().is_ok() {
                drop(self.execute("ROLLBACK"));
                continue;
            }
            match self.queue.recv_timeout(LOOK_FOR_ROOM_EVERY) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        self.queue.recv().ok()
    }

    /// One transaction for the batch; once more with the ballast freed if the disk is full.
    fn commit(&mut self, batch: &mut [Job]) -> Result<(), StoreError> {
        match self.try_commit(batch) {
            Err(StoreError::Full) => {
                self.ballast.free();
                self.try_commit(batch)
            }
            other => other,
        }
    }

    /// All jobs in one transaction, the charges settled together. Nearly always none of them fails; only if one does is
    /// everything rolled back and run again, each by itself in a savepoint of its own, so that it takes nothing of the
    /// others with it. (Savepoints that are not needed cost a tenth of a settlement.)
    fn try_commit(&self, batch: &mut [Job]) -> Result<(), StoreError> {
        if self.transaction(batch, |job, all| job.run_with(&self.conn, all))? {
            return Ok(());
        }
        self.transaction(batch, |job, _| in_savepoint(&self.conn, job)).map(drop)
    }

    /// Runs all jobs with `run` and commits, unless one says that it failed: then all is rolled back.
    fn transaction(
        &self,
        batch: &mut [Job],
        run: impl Fn(&mut Job, &mut Settlements) -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        self.begin()?;
        let before = self.reader.state();
        let (mut all_well, mut all) = (true, Settlements::default());
        let ran = batch.iter_mut().try_for_each(|job| {
            all_well = all_well && run(job, &mut all)?;
            Ok(())
        });
        let ran = ran.and_then(|()| {
            all_well = all_well && own_failure(all.write(&self.conn))?;
            Ok(())
        });
        let committed = match ran {
            Ok(()) if all_well => self.commit_and_note(before, batch, &all),
            other => other,
        };
        if !self.conn.engine().is_autocommit() {
            self.execute("ROLLBACK")?;
        }
        committed.map(|()| all_well)
    }

    /// Commits what got the write lock in `before`, and notes what it left, before anybody is answered and a hold let go.
    fn commit_and_note(
        &self,
        before: Option<DatabaseState>,
        batch: &[Job],
        all: &Settlements,
    ) -> Result<(), StoreError> {
        let left = self.left(batch, all);
        let _committing = self.reader.commit_begins(before);
        has_committed();
        self.execute("COMMIT").inspect_err(fail_stop_if_unknown)?;
        self.reader.committed(before, has_committed(), batch.iter().map(Job::changes), &left);
        Ok(())
    }

    /// What the charges of a batch leave those who pay and earn, and their keys, known or read in their own
    /// transaction: admissions look at these next. What cannot be read, they read themselves.
    fn left(&self, batch: &[Job], all: &Settlements) -> Left {
        let mut left = Left::default();
        for job in batch {
            let (touched, key) = match job.changes() {
                Changes::Anything => return Left::default(),
                Changes::Nothing => continue,
                Changes::Charge { accounts, key } => (accounts, key),
            };
            for account in touched {
                if let Entry::Vacant(place) = left.balances.entry(account)
                    && let Some(balance) = all.balance(account).or_else(|| accounts::balance(&self.conn, account).ok())
                {
                    place.insert(balance);
                }
            }
            if let Some((key, window)) = key.and_then(|key| Some((key, all.window(key)?))) {
                left.windows.insert(key, window);
            }
        }
        left
    }

    /// Waits for as long as another process writes: a settlement is never refused for that. Nothing is written to
    /// files that nobody will find.
    fn begin(&self) -> Result<(), StoreError> {
        self.writable.look()?;
        loop {
            match self.execute("BEGIN IMMEDIATE").map_err(StoreError::from) {
                Err(StoreError::Busy) => tracing::warn!("waiting: another process holds the database's write lock"),
                Ok(()) => {
                    self.writable.began(None);
                    return Ok(());
                }
                Err(StoreError::Full) => return Err(StoreError::Full),
                Err(e) => {
                    self.writable.began(Some(&e));
                    return Err(StoreError::Unwritable);
                }
            }
        }
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.conn.execute(sql, []).map(drop)
    }
}

/// Runs a job so that its failure undoes only itself; which is no failure of the transaction.
fn in_savepoint(conn: &Tx, job: &mut Job) -> Result<bool, StoreError> {
    let execute = |sql: &str| conn.execute(sql, []);
    execute("SAVEPOINT job")?;
    if !job.run(conn)? {
        execute("ROLLBACK TO job")?;
    }
    execute("RELEASE job")?;
    Ok(true)
}

/// `EX_SOFTWARE` of sysexits.h.
const EXIT_PANIC: i32 = 70;

/// Without its writer the server can settle nothing: better gone than serving for free.
struct StopOnPanic;

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::exit(EXIT_PANIC);
        }
    }
}
