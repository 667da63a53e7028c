//! Whether anybody has committed anything, for the price of reading 96 bytes.
//!
//! `PRAGMA data_version` tells the same, but it opens a read transaction: two locks on the index of the
//! write-ahead log, taken under a mutex that all connections of the process share. Workers and writer met
//! there so often that they slept more than they waited for the disk. The index begins with two copies of a
//! header that every commit changes (<https://sqlite.org/walformat.html#the_wal_index_header>: `iChange`,
//! `mxFrame`, checksums), and readers find a commit only through it. So as long as all of it is as it was,
//! nothing was committed.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rusqlite::Connection;

/// What identifies a state of the database. Two that are equal are the same state; copies that differ (48
/// bytes each) are being written just now, and will differ from what comes after, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseState {
    /// The header of the log's index.
    Header([u8; 96]),
    /// SQLite's own count, where the index is not where it is known to be.
    Version(i64),
}

/// One of the two copies of the header, in bytes.
const COPY: usize = 48;
/// Where in a copy its count of commits stands, in the byte order of the machine: `iChange`.
const COMMITS: std::ops::Range<usize> = 8..12;

impl DatabaseState {
    /// Exactly one commit was made since `before`. Whoever held the write lock when it was `before`, and has
    /// committed since, knows that this commit was its own.
    pub fn is_one_commit_after(&self, before: &Self) -> bool {
        matches!((before.commits(), self.commits()), (Some(before), Some(now)) if now == before.wrapping_add(1))
    }

    /// What whoever has had the write lock since `before` does as it commits: the log was started anew for that, the header
    /// is being written just now, or the commit is made. Nobody else can do any of it meanwhile.
    pub fn is_in_a_commit_after(&self, before: &Self) -> bool {
        match (before.commits(), self.commits()) {
            (Some(before_it), Some(now)) => self != before && (now == before_it || now == before_it.wrapping_add(1)),
            (Some(_), None) => matches!(self, Self::Header(_)),
            _ => false,
        }
    }

    /// The count of commits; `None` while the header is being written, or where there is none.
    fn commits(&self) -> Option<u32> {
        let Self::Header(header) = self else { return None };
        let (one, other) = header.split_at_checked(COPY)?;
        let count = one.get(COMMITS)?.try_into().ok()?;
        (one == other).then(|| u32::from_ne_bytes(count))
    }
}

/// The index of the write-ahead log of an open connection.
#[derive(Debug, Clone, Copy)]
pub struct CommitClock(Option<&'static File>);

impl CommitClock {
    /// The one that `conn` uses. As long as the connection is open, nobody removes it.
    pub fn of(conn: &Connection) -> rusqlite::Result<Self> {
        // The first read opens it.
        data_version(conn)?;
        let path = conn.path().filter(|path| !path.is_empty()).map(|path| format!("{path}-shm"));
        // Never closed: POSIX drops all locks of a process on a file when it closes any descriptor of it,
        // also those that SQLite holds through another (<https://sqlite.org/howtocorrupt.html>, 2.2).
        Ok(Self(path.and_then(|path| File::open(path).ok()).map(|file| &*Box::leak(Box::new(file)))))
    }

    /// The state now, if it is known without a connection. What is read afterwards is at least as new.
    pub fn peek(self) -> Option<DatabaseState> {
        let mut header = [0; 96];
        self.0?.read_exact_at(&mut header, 0).ok()?;
        Some(DatabaseState::Header(header))
    }

    /// The state now.
    pub fn now(self, conn: &Connection) -> rusqlite::Result<DatabaseState> {
        self.peek().map_or_else(|| data_version(conn).map(DatabaseState::Version), Ok)
    }
}

fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database with a log, and two connections to it: one to look with, one to commit with.
    fn two(dir: &tempfile::TempDir) -> (Connection, Connection) {
        let open = || {
            let conn = Connection::open(dir.path().join("test.db")).unwrap();
            conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS t (n INTEGER)").unwrap();
            conn
        };
        (open(), open())
    }

    fn each_commit_changes_the_state(clock: CommitClock, conn: &Connection, other: &Connection) {
        for n in 0..50 {
            let before = clock.now(conn).unwrap();
            assert_eq!(clock.now(conn).unwrap(), before, "nobody committed");
            let read = other.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0));
            assert_eq!((read.unwrap(), clock.now(conn).unwrap()), (n, before), "reading changes nothing");
            other.execute("INSERT INTO t VALUES (?1)", [n]).unwrap();
            let after = clock.now(conn).unwrap();
            assert_ne!(after, before, "commit {n}");
            assert_eq!(after.is_one_commit_after(&before), clock.peek().is_some(), "commit {n}");
            assert!(!before.is_one_commit_after(&after) && !after.is_one_commit_after(&after));
            if n % 10 == 9 {
                // The log starts anew.
                other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
            }
        }
    }

    #[test]
    fn each_commit_changes_the_header() {
        let dir = tempfile::tempdir().unwrap();
        let (conn, other) = two(&dir);
        let clock = CommitClock::of(&conn).unwrap();
        assert!(matches!(clock.peek(), Some(DatabaseState::Header(_))), "SQLite keeps its index elsewhere now");
        each_commit_changes_the_state(clock, &conn, &other);
    }

    #[test]
    fn two_commits_are_not_one() {
        let dir = tempfile::tempdir().unwrap();
        let (conn, other) = two(&dir);
        let clock = CommitClock::of(&conn).unwrap();
        for n in 0..20 {
            let before = clock.now(&conn).unwrap();
            for commits in 1..4 {
                other.execute("INSERT INTO t VALUES (?1)", [n]).unwrap();
                if n % 5 == 0 {
                    // The log starts anew, which is no commit.
                    other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
                }
                let after = clock.now(&conn).unwrap();
                assert_eq!(after.is_one_commit_after(&before), commits == 1, "{n}: {commits} commits");
                assert_eq!(after.is_in_a_commit_after(&before), commits == 1, "{n}: {commits} commits");
                assert!(!after.is_in_a_commit_after(&after));
            }
        }
        let mut torn = [0; 96];
        if let Some(DatabaseState::Header(header)) = clock.peek() {
            torn = header;
        }
        let before = DatabaseState::Header(torn);
        let next = u32::from_ne_bytes(torn[8..12].try_into().unwrap()) + 1;
        torn[8..12].copy_from_slice(&next.to_ne_bytes());
        assert!(!DatabaseState::Header(torn).is_one_commit_after(&before), "half written");
        assert!(DatabaseState::Header(torn).is_in_a_commit_after(&before), "half written");
        torn.copy_within(..48, 48);
        assert!(DatabaseState::Header(torn).is_one_commit_after(&before));
    }

    #[test]
    fn without_the_index_sqlite_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let (conn, other) = two(&dir);
        assert_eq!(CommitClock(None).peek(), None);
        each_commit_changes_the_state(CommitClock(None), &conn, &other);
        let memory = Connection::open_in_memory().unwrap();
        assert_eq!(CommitClock::of(&memory).unwrap().peek(), None);
    }
}
