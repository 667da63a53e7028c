//! Opening the database: the data directory and its modes, connections and their settings.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, OpenFlags};
use scheduled_thread_pool::ScheduledThreadPool;

use super::access::Read;
use super::ownership::{beside, cannot, hand_over, obstacle};
use crate::store::StoreError;

/// How long a write waits for another process's write. The command line and the server share the file.
const BUSY: Duration = Duration::from_secs(10);

/// Reading connections, lent one at a time.
pub type ReadPool = r2d2::Pool<Readers>;

const READER_FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// A pool of at most `size` reading connections, which `opener` opens as they are needed.
pub fn read_pool(path: &Path, size: u32, opener: &Arc<ScheduledThreadPool>) -> Result<ReadPool, StoreError> {
    let manager = Readers(SqliteConnectionManager::file(path).with_flags(READER_FLAGS).with_init(prepare_reader));
    Ok(r2d2::Pool::builder()
        .max_size(size)
        .thread_pool(Arc::clone(opener))
        .min_idle(Some(0))
        // A connection to a local file does not go stale: the check would be a statement per read.
        .test_on_check_out(false)
        .connection_timeout(BUSY)
        .build(manager)?)
}

/// One reading connection.
pub fn open_reader(path: &Path) -> Result<Read, StoreError> {
    let mut conn = Connection::open_with_flags(path, READER_FLAGS)?;
    prepare_reader(&mut conn)?;
    Ok(Read::new(conn))
}

/// Makes the connections of a pool.
#[derive(Debug)]
pub struct Readers(SqliteConnectionManager);

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

/// The settings of a reading connection.
fn prepare_reader(conn: &mut Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(64);
    conn.execute_batch("PRAGMA query_only = ON; PRAGMA foreign_keys = ON; PRAGMA cache_size = -1024;")
}

/// A connection that can write: WAL, a sync at every commit, foreign keys.
pub fn open_writable(path: &Path) -> Result<Connection, StoreError> {
    let conn = Connection::open(path).map_err(|e| StoreError::Io(format!("{}: {e}", path.display())))?;
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(64);
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -8192;")?;
    Ok(conn)
}

/// SQLite opens what it may not write for reading, and says nothing.
///
/// # Errors
/// The database cannot be written: who runs, and who owns what stands in the way.
pub fn refuse_read_only(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    let writes = !conn.is_readonly(rusqlite::MAIN_DB)? && conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok();
    if writes {
        return Ok(());
    }
    let unknown = || StoreError::Io(format!("{} cannot be written", path.display()));
    Err(obstacle(path).unwrap_or_else(unknown))
}

/// What was made of a data directory that was not there.
#[derive(Debug, Default)]
pub struct NewFiles {
    /// The folders, the deepest first.
    dirs: Vec<PathBuf>,
    database: Option<PathBuf>,
}

impl NewFiles {
    /// The database is new.
    pub const fn is_new(&self) -> bool {
        self.database.is_some()
    }

    /// Takes away what was made; a folder only if nothing else is in it.
    pub fn undo(&self) {
        if let Some(database) = &self.database {
            for file in ["", "-wal", "-shm", "-journal"].map(|ending| beside(database, ending)) {
                drop(fs::remove_file(file));
            }
        }
        for dir in &self.dirs {
            drop(fs::remove_dir(dir));
        }
    }
}

/// Makes the data directory (mode 0700) and the database's file (0600) where they are missing.
///
/// # Errors
/// One cannot be made or not be written; then nothing is left of what was.
pub fn make_private(dir: &Path, database: &Path) -> Result<NewFiles, StoreError> {
    private();
    let missing = |at: &&Path| !at.as_os_str().is_empty() && !at.exists();
    let mut made = NewFiles { dirs: dir.ancestors().take_while(missing).map(Path::to_owned).collect(), database: None };
    let done = fill(dir, database, &mut made);
    match done {
        Ok(()) => Ok(made),
        Err(e) => {
            made.undo();
            Err(e)
        }
    }
}

/// What this process makes is nobody else's to read.
pub fn private() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

fn fill(dir: &Path, database: &Path, made: &mut NewFiles) -> Result<(), StoreError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| cannot("make", dir, &e))?;
    if !database.exists() {
        // Made before SQLite opens it, so that it and its -wal and -shm are never group-readable.
        let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(database);
        let file = file.map_err(|e| cannot("make", database, &e))?;
        made.database = Some(database.to_owned());
        hand_over(&file, dir);
    }
    Ok(())
}
