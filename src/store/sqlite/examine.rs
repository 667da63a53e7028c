//! What can be seen of a data directory from outside: its files, whose they are, and whether the database is whole.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::access::Read;
use super::ownership::{beside, obstacle, user};
use super::{schema, sound};
use crate::domain::time::Timestamp;
use crate::store::audit::{self, Report};
use crate::store::{StoreError, database_in};

/// A file or folder of the data directory.
#[derive(Debug, Clone)]
pub struct FileSeen {
    /// Where it is.
    pub path: PathBuf,
    /// Whose it is: a name and a number.
    pub owner: String,
    /// The number.
    pub owner_id: u32,
    /// It is somebody else's than who asks.
    pub is_foreign: bool,
    /// The permissions, like `0600`.
    pub mode: u32,
    /// How long it is, in bytes.
    pub bytes: u64,
}

/// The directory, and the database's files as far as they are there.
pub fn files(dir: &Path) -> Vec<FileSeen> {
    let database = database_in(dir);
    let files = ["", "-wal", "-shm"].map(|ending| beside(&database, ending));
    std::iter::once(dir.to_owned()).chain(files).filter_map(|path| look(&path)).collect()
}

/// There is a database in the directory, whatever it holds.
pub fn has_database(dir: &Path) -> bool {
    database_in(dir).exists()
}

fn look(path: &Path) -> Option<FileSeen> {
    let meta = fs::metadata(path).ok()?;
    let is_foreign = meta.uid() != rustix::process::geteuid().as_raw();
    let (owner_id, mode) = (meta.uid(), meta.mode() & 0o7777);
    Some(FileSeen { path: path.to_owned(), owner: user(owner_id), owner_id, is_foreign, mode, bytes: meta.len() })
}

/// The number of who runs this process.
pub fn who() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Who runs this process: a name and a number.
pub fn who_by_name() -> String {
    user(who())
}

/// What stands in the way of writing to the database.
pub fn unwritable(dir: &Path) -> Option<String> {
    obstacle(&database_in(dir)).map(|e| e.to_string())
}

/// How many bytes the disk of `dir` has left for this user.
pub fn free_bytes(dir: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(dir).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

/// What the database says of itself.
#[derive(Debug)]
pub struct Inside {
    /// The schema's version, and the one of this program.
    pub version: (i64, i64),
    /// The first damage that SQLite's own check finds.
    pub damage: Option<String>,
    /// The time of the newest row.
    pub newest: Option<Timestamp>,
    /// The audit; none if the schema is of another version.
    pub audit: Option<Report>,
}

/// Opens the database and looks into it. Nothing in it is made, upgraded or mended.
///
/// # Errors
/// It is not there, cannot be read, or is no database.
pub fn inside(dir: &Path) -> Result<(Inside, Read), StoreError> {
    let conn = Connection::open_with_flags(database_in(dir), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    conn.pragma_update(None, "query_only", true)?;
    let version = (schema::version(&conn)?, schema::current());
    let damage = sound::damage(&conn)?;
    let conn = Read::new(conn);
    let mut inside = Inside { version, damage, newest: None, audit: None };
    if version.0 == version.1 {
        let newest: Option<i64> = conn.query_row(super::restore::NEWEST, [], |row| row.get(0))?;
        inside.newest = newest.map(Timestamp::from_millis);
        inside.audit = Some(audit::audit(&conn)?);
    }
    Ok((inside, conn))
}
