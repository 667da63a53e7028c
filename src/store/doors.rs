//! Opening the store: who reads where, who writes alone, and the lock of the server.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;
use scheduled_thread_pool::ScheduledThreadPool;

use super::StoreError;
use super::admission_cache::{AdmissionCache, AdmissionReader};
use super::sqlite::access::{Read, Tx};
use super::sqlite::open::{
    NewFiles, ReadPool, make_private, open_reader, open_writable, private, read_pool, refuse_read_only,
};
use super::sqlite::ownership::{cannot, hand_over, obstacle};
use super::sqlite::schema;
use super::sqlite::snapshot::in_snapshot;
use super::usage_sums::UsageSums;

/// The database's file in the data directory.
const DATABASE: &str = "coordinator.db";
/// The file whose lock says that a server runs on this directory.
const LOCK: &str = "coordinator.lock";
/// Reading connections of the workers' point reads, other than what [`Store::cached`] remembers.
const READERS: u32 = 8;
/// Reading connections of lists and reports. They are a pool of their own: a point read queued behind a report would
/// delay every settlement.
const REPORTS: u32 = 4;

/// A database that is open for reading, and can be written to.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    readers: ReadPool,
    reports: ReadPool,
    /// For what every request looks at.
    reader: Arc<AdmissionReader>,
    usage_sums: Arc<UsageSums>,
    /// What this one made of the data directory.
    made: Arc<NewFiles>,
}

/// While it lives, no other server can start on the same data directory.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "closing the file releases the lock")] File);

impl Lock {
    /// Locks a data directory, whatever is in it.
    ///
    /// # Errors
    /// A server has it, or the file cannot be made.
    pub fn of(dir: &Path) -> Result<Self, StoreError> {
        private();
        let path = dir.join(LOCK);
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|e| cannot("lock", &path, &e))?;
        hand_over(&file, dir);
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(_) => Err(StoreError::Conflict(format!("another server runs on {}", dir.display()))),
        }
    }
}

/// The database's file in a data directory.
pub fn database_in(dir: &Path) -> PathBuf {
    dir.join(DATABASE)
}

impl Store {
    /// Opens the database in `dir`; makes the directory (mode 0700), the file (0600) and the tables
    /// where they are missing, and upgrades an older database.
    ///
    /// # Errors
    /// The directory or file cannot be made or opened, or the database is newer than this program. Nothing that was
    /// made is left then.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(DATABASE);
        let made = make_private(dir, &path)?;
        match Self::open_file(dir, &path) {
            Ok(store) => Ok(Self { made: Arc::new(made), ..store }),
            Err(e) => {
                made.undo();
                Err(e)
            }
        }
    }

    /// Opens the database that is in `dir`, and makes none.
    ///
    /// # Errors
    /// As [`Self::open`]; and [`StoreError::NotFound`] if there is none.
    pub fn open_existing(dir: &Path) -> Result<Self, StoreError> {
        private();
        let path = dir.join(DATABASE);
        match std::fs::metadata(&path) {
            Ok(_) => Self::open_file(dir, &path),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
                Err(StoreError::NotFound(format!("there is no database in {}: is --data-dir right?", dir.display())))
            }
            Err(e) => Err(cannot("open", &path, &e)),
        }
    }

    fn open_file(dir: &Path, path: &Path) -> Result<Self, StoreError> {
        let opened = || {
            let mut conn = open_writable(path)?;
            schema::upgrade(&mut conn)?;
            Ok(Arc::new(AdmissionReader::new(open_reader(path)?)?))
        };
        // What the engine says names neither the file nor who may not use it.
        let reader = opened().map_err(|e: StoreError| match e {
            StoreError::Sql(_) => obstacle(path).unwrap_or(e),
            other => other,
        })?;
        let opener = Arc::new(ScheduledThreadPool::builder().num_threads(1).thread_name_pattern("opener").build());
        let (readers, reports) = (read_pool(path, READERS, &opener)?, read_pool(path, REPORTS, &opener)?);
        Ok(Self { dir: dir.to_owned(), readers, reports, reader, usage_sums: Arc::default(), made: Arc::default() })
    }

    /// Takes the database away again if this store made it and nobody has written to it: what a command leaves that
    /// failed on a mistyped directory.
    pub fn remove_if_untouched(self) {
        let untouched =
            |conn: &Read| Ok(!conn.prepare("SELECT 1 FROM events UNION ALL SELECT 1 FROM accounts")?.exists([])?);
        if !self.made.is_new() || !self.read_inline(untouched).unwrap_or(false) {
            return;
        }
        let Ok(lock) = self.lock() else { return };
        for file in [LOCK, "ballast"] {
            drop(std::fs::remove_file(self.dir.join(file)));
        }
        self.made.undo();
        drop(lock);
    }

    /// The sums over usage rows, as far as they are known.
    pub fn usage_sums(&self) -> Arc<UsageSums> {
        Arc::clone(&self.usage_sums)
    }

    /// Where the files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of the database file.
    pub fn path(&self) -> PathBuf {
        self.dir.join(DATABASE)
    }

    /// Locks the directory for a server: two would not see each other's holds.
    ///
    /// # Errors
    /// Another server has it, or the file cannot be made.
    pub fn lock(&self) -> Result<Lock, StoreError> {
        Lock::of(&self.dir)
    }

    /// Runs a read on this thread, on one snapshot. For point reads: a few microseconds.
    ///
    /// # Errors
    /// What `read` returns, or no connection within ten seconds.
    pub fn read_inline<T>(&self, read: impl FnOnce(&Read) -> Result<T, StoreError>) -> Result<T, StoreError> {
        in_snapshot(&*self.readers.get()?, read)
    }

    /// Runs a read of one statement, which is a snapshot by itself.
    pub fn read_statement<T>(&self, read: impl FnOnce(&Read) -> Result<T, StoreError>) -> Result<T, StoreError> {
        read(&*self.readers.get()?)
    }

    /// Reads the rows that admissions need, as they are now: from memory, if nobody has committed since they were
    /// read. Two reads in one call may see a commit between them.
    pub fn cached<T>(&self, look: impl FnOnce(&mut AdmissionCache) -> Result<T, StoreError>) -> Result<T, StoreError> {
        look(&mut *self.reader.look()?)
    }

    /// Forgets what is remembered where anybody else has committed since.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn look(&self) -> Result<(), StoreError> {
        self.reader.look().map(drop)
    }

    /// As [`Self::cached`], but not asking whether anybody has committed since the last look. By whoever has looked for
    /// the same request a moment ago; for money only under the lock of the holds, taken right after a look: a commit of
    /// this server is noted before its holds are let go, so what is found there is never from before it.
    pub fn cached_unchecked<T>(
        &self,
        look: impl FnOnce(&mut AdmissionCache) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        look(&mut self.reader.look_again())
    }

    /// What is remembered for all workers.
    pub(super) fn reader(&self) -> Arc<AdmissionReader> {
        Arc::clone(&self.reader)
    }

    /// Runs a longer read on the blocking pool.
    pub async fn read_blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Read) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reports = self.reports.clone();
        tokio::task::spawn_blocking(move || in_snapshot(&*reports.get()?, read))
            .await
            .unwrap_or(Err(StoreError::Closed))
    }

    /// Runs one write in a transaction of its own, on a connection of its own: for the command line.
    /// Works while a server runs: the two wait for each other.
    ///
    /// # Errors
    /// What `write` returns (then nothing is written), or SQLite fails.
    pub fn write_exclusive<T>(&self, write: impl FnOnce(&Tx) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let tx = Tx::new(open_writable(&self.path())?);
        if tx.engine().is_readonly(rusqlite::MAIN_DB)? {
            refuse_read_only(tx.engine(), &self.path())?;
        }
        tx.execute("BEGIN IMMEDIATE", [])?;
        // Without a commit the connection ends, and all that was written with it.
        let result = write(&tx)?;
        tx.execute("COMMIT", [])?;
        Ok(result)
    }
}
