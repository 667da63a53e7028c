//! Opening the database: the data directory and its modes, connections and their settings, the lock.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::FlockOperation;

use super::access::{Read, Tx};
use super::schema;
use super::snapshot::in_snapshot;
use crate::store::StoreError;
use crate::store::admission_cache::{Memory, Reader};

/// The database's file in the data directory.
const DATABASE: &str = "coordinator.db";
/// The file whose lock says that a server runs on this directory.
const LOCK: &str = "coordinator.lock";
/// How long a write waits for another process's write. The command line and the server share the file.
const BUSY: Duration = Duration::from_secs(10);
/// Reading connections of the workers' point reads, other than what [`Store::look`] remembers.
const READERS: u32 = 8;
/// Those of lists and reports. They have their own, because a point read that waited for a report to end
/// would make every settlement wait behind it.
const REPORTS: u32 = 4;

/// A database that is open for reading, and can be written to.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    readers: r2d2::Pool<Readers>,
    reports: r2d2::Pool<Readers>,
    /// For what every request looks at.
    reader: Arc<Reader>,
}

/// While it lives, no other server can start on the same data directory.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "closing the file releases the lock")] File);

impl Store {
    /// Opens the database in `dir`; makes the directory (mode 0700), the file (0600) and the tables
    /// where they are missing, and upgrades an older database.
    ///
    /// # Errors
    /// The directory or file cannot be made or opened, or the database is newer than this program.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        make_dir(dir)?;
        let path = dir.join(DATABASE);
        let mut conn = open_writable(&path)?;
        schema::upgrade(&mut conn)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let pool = |size| {
            let manager = Readers(SqliteConnectionManager::file(&path).with_flags(flags).with_init(prepare_reader));
            r2d2::Pool::builder()
                .max_size(size)
                .min_idle(Some(0))
                // A connection to a local file does not go stale: the check would be a statement per read.
                .test_on_check_out(false)
                .connection_timeout(BUSY)
                .build(manager)
        };
        let mut conn = Connection::open_with_flags(&path, flags)?;
        prepare_reader(&mut conn)?;
        let reader = Arc::new(Reader::new(Read::new(conn))?);
        Ok(Self { dir: dir.to_owned(), readers: pool(READERS)?, reports: pool(REPORTS)?, reader })
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
        let path = self.dir.join(LOCK);
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|e| StoreError::Io(format!("{}: {e}", path.display())))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock(file)),
            Err(_) => Err(StoreError::Conflict(format!("another server runs on {}", self.dir.display()))),
        }
    }

    /// Runs a read on this thread, on one snapshot. For point reads: a few microseconds.
    ///
    /// # Errors
    /// What `read` returns, or no connection within ten seconds.
    pub fn read<T>(&self, read: impl FnOnce(&Read) -> Result<T, StoreError>) -> Result<T, StoreError> {
        in_snapshot(&*self.readers.get()?, read)
    }

    /// Runs a read of one statement, which is a snapshot by itself.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_one<T>(&self, read: impl FnOnce(&Read) -> Result<T, StoreError>) -> Result<T, StoreError> {
        read(&*self.readers.get()?)
    }

    /// Looks at rows as they are now, which costs next to nothing if they were looked at since the last
    /// commit. Two looks of one `look` may see a commit between them.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn look<T>(&self, look: impl FnOnce(&mut Memory) -> Result<T, StoreError>) -> Result<T, StoreError> {
        look(&mut *self.reader.look()?)
    }

    /// Runs a longer read on the blocking pool.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_later<T: Send + 'static>(
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
    pub fn write_now<T>(&self, write: impl FnOnce(&Tx) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let tx = Tx::new(open_writable(&self.path())?);
        tx.execute("BEGIN IMMEDIATE", [])?;
        // Without a commit the connection ends, and all that was written with it.
        let result = write(&tx)?;
        tx.execute("COMMIT", [])?;
        Ok(result)
    }
}

/// Makes the connections of a pool.
#[derive(Debug)]
struct Readers(SqliteConnectionManager);

impl r2d2::ManageConnection for Readers {
    type Connection = Read;
    type Error = rusqlite::Error;

    fn connect(&self) -> Result<Read, rusqlite::Error> {
        self.0.connect().map(Read::new)
    }

    fn is_valid(&self, conn: &mut Read) -> Result<(), rusqlite::Error> {
        conn.prepare_cached("SELECT 1")?.query_row([], |_| Ok(()))
    }

    fn has_broken(&self, _: &mut Read) -> bool {
        false
    }
}

/// What a reading connection is told once.
fn prepare_reader(conn: &mut Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(64);
    conn.execute_batch("PRAGMA query_only = ON; PRAGMA foreign_keys = ON; PRAGMA cache_size = -1024;")
}

/// A connection that can write: WAL, a sync at every commit, foreign keys.
pub(super) fn open_writable(path: &Path) -> Result<Connection, StoreError> {
    let conn = Connection::open(path).map_err(|e| StoreError::Io(format!("{}: {e}", path.display())))?;
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(64);
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -8192;")?;
    Ok(conn)
}

fn make_dir(dir: &Path) -> Result<(), StoreError> {
    let missing = !dir.exists();
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| StoreError::Io(format!("{}: {e}", dir.display())))?;
    let database = dir.join(DATABASE);
    if missing || !database.exists() {
        // Made before SQLite opens it, so that it and its -wal and -shm are never group-readable.
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&database);
        file.map_err(|e| StoreError::Io(format!("{}: {e}", database.display())))?;
    }
    Ok(())
}
