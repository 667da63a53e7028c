//! The one writer, as those see it who have something to write: jobs are queued, and answered only after their commit:
//! what a caller hears of is in the database. How they are committed, many at once: `thread`.

mod thread;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use self::thread::WriterThread;
use super::access::Tx;
use super::ballast::Ballast;
use super::checkpoint::Checkpointer;
use super::job::{ChargeHold, Charging, Job, Writing};
use super::open::{open_writable, refuse_read_only};
use super::writable::Writable;
use crate::domain::charge::Charge;
use crate::store::admission_cache::Changes;
use crate::store::tables::settlement::Settled;
use crate::store::{Store, StoreError};

/// A handle to the writer thread. Cheap to clone; the thread ends when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Writer {
    jobs: Sender<Job>,
    /// Jobs whose outcome is not known yet.
    pending: Arc<AtomicUsize>,
    disk_full: Arc<AtomicBool>,
    writable: Arc<Writable>,
}

impl Writer {
    /// Starts the writer thread on the store's database. Join the handle after dropping every `Writer`
    /// to know that all jobs are done.
    ///
    /// # Errors
    /// The database cannot be written, or the thread not be started.
    pub fn start(store: &Store) -> Result<(Self, JoinHandle<()>), StoreError> {
        let conn = Tx::new(open_writable(&store.path())?);
        refuse_read_only(conn.engine(), &store.path())?;
        let writable = Arc::new(Writable::of(&store.path()));
        let (jobs, queue) = mpsc::channel();
        let disk_full = Arc::new(AtomicBool::new(false));
        let ballast = Ballast::new(store.dir(), Arc::clone(&disk_full));
        ballast.fill();
        let checkpointer = Checkpointer::start(store, conn.engine())?;
        let pending = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&pending);
        let mut thread = WriterThread {
            conn,
            queue,
            pending: counted,
            ballast,
            writable: Arc::clone(&writable),
            checkpointer,
            reader: store.reader(),
        };
        let handle = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || thread.run())
            .map_err(|e| StoreError::Io(format!("writer thread: {e}")))?;
        Ok((Self { jobs, pending, disk_full, writable }, handle))
    }

    /// Queues `write` and waits until its commit is durable.
    ///
    /// `write` may run twice (after a full disk), so it must not consume what it captured.
    ///
    /// # Errors
    /// What `write` returns; or [`StoreError::Full`], nothing written; or the writer is gone.
    pub async fn write<T: Send + 'static>(
        &self,
        write: impl FnMut(&Tx) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.queue_and_wait(Changes::Anything, write).await
    }

    /// The same, of a write as [`Self::submit_aside`] takes it.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn write_aside<T: Send + 'static>(
        &self,
        write: impl FnMut(&Tx) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.queue_and_wait(Changes::Nothing, write).await
    }

    async fn queue_and_wait<T: Send + 'static>(
        &self,
        changes: Changes,
        write: impl FnMut(&Tx) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.queue(changes, write, move |result| drop(answer.send(result)));
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    fn queue<T: Send + 'static>(
        &self,
        changes: Changes,
        write: impl FnMut(&Tx) -> Result<T, StoreError> + Send + 'static,
        then: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) {
        self.send(Job::Write(Box::new(Writing::new(write, changes, then))));
    }

    /// Queues `write`; `then` is called on the writer thread once its outcome is durable. For callers
    /// that cannot wait, like a `drop`.
    pub fn submit<T: Send + 'static>(
        &self,
        write: impl FnMut(&Tx) -> Result<T, StoreError> + Send + 'static,
        then: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) {
        self.queue(Changes::Anything, write, then);
    }

    /// The same, of a write that changes nothing that admissions look at: no key, balance, price or provider, nor what a
    /// provider serves. Nothing is forgotten for it.
    pub fn submit_aside<T: Send + 'static>(
        &self,
        write: impl FnMut(&Tx) -> Result<T, StoreError> + Send + 'static,
        then: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) {
        self.queue(Changes::Nothing, write, then);
    }

    /// Queues a charge; `then` has it back on the writer thread, with what came of it, once that is durable. `hold`
    /// is asked as the debit runs, and dropped before `then` is called.
    pub fn settle(
        &self,
        charge: Charge,
        hold: impl ChargeHold,
        then: impl FnOnce(Charge, Result<Settled, StoreError>) + Send + 'static,
    ) {
        self.send(Job::Charge(Box::new(Charging::new(charge, hold, then))));
    }

    fn send(&self, job: Job) {
        self.pending.fetch_add(1, Ordering::Relaxed);
        if let Err(mpsc::SendError(job)) = self.jobs.send(job) {
            self.pending.fetch_sub(1, Ordering::Relaxed);
            job.answer(Some(StoreError::Closed));
        }
    }

    /// How many jobs wait for their commit.
    pub fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// New work may be taken: its charge can be written.
    ///
    /// # Errors
    /// The disk is full, or the database's files are not what they were.
    pub fn open_for_work(&self) -> Result<(), StoreError> {
        if self.disk_is_full() { Err(StoreError::Full) } else { self.writable.check() }
    }

    /// New work should be refused: the last commit met a full disk, and the ballast is not back yet.
    pub fn disk_is_full(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
