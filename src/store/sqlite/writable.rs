//! Whether what is written lands in the database that is there: its files are those that were opened, and can be written.
//!
//! A database that was moved away, replaced or deleted under a running server takes every write, and none is there
//! after a restart.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::ownership::beside;
use crate::store::StoreError;

/// How long what was seen of the files is believed by those who ask for work to do: a look is two calls of the system.
const BELIEVED: Duration = Duration::from_millis(20);

/// A file, whatever it is called.
type Identity = (u64, u64);

/// What is known of the database's files.
#[derive(Debug)]
pub struct Writable {
    files: Vec<(PathBuf, Option<Identity>)>,
    began: Instant,
    /// When somebody looked last, in microseconds since `began`.
    looked: AtomicU64,
    moved: AtomicBool,
    /// The engine refused the last transaction.
    refused: AtomicBool,
}

impl Writable {
    /// The files as they are: the database's is open, and has been written or read.
    pub fn of(database: &Path) -> Self {
        let files = [database.to_owned(), beside(database, "-wal")].map(|path| (path.clone(), identity(&path)));
        Self {
            files: files.into(),
            began: Instant::now(),
            looked: AtomicU64::new(0),
            moved: AtomicBool::new(false),
            refused: AtomicBool::new(false),
        }
    }

    /// New work may be taken; what is not a moment old is looked at again.
    pub fn check(&self) -> Result<(), StoreError> {
        let (now, looked) = (self.now(), self.looked.load(Ordering::Relaxed));
        let is_old = u128::from(now.saturating_sub(looked)) > BELIEVED.as_micros();
        if is_old && self.looked.compare_exchange(looked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.look()?;
        }
        if self.moved.load(Ordering::Relaxed) || self.is_refused() { Err(StoreError::Unwritable) } else { Ok(()) }
    }

    /// Microseconds since `began`.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Looks at the files now.
    ///
    /// # Errors
    /// They are not those that were opened: what is written to them nobody will find.
    pub fn look(&self) -> Result<(), StoreError> {
        self.looked.store(self.now(), Ordering::Relaxed);
        let moved = self.files.iter().any(|(path, opened)| identity(path) != *opened);
        if self.moved.swap(moved, Ordering::Relaxed) != moved {
            let database = self.files.first().map(|(path, _)| path.display().to_string()).unwrap_or_default();
            if moved {
                tracing::error!(database, "the database's files were moved, replaced or deleted: no new work is taken");
            } else {
                tracing::warn!(database, "the database's files are back");
            }
        }
        if moved { Err(StoreError::Unwritable) } else { Ok(()) }
    }

    /// The engine began a transaction, or would not.
    pub fn began(&self, refused: Option<&StoreError>) {
        if self.refused.swap(refused.is_some(), Ordering::Relaxed) != refused.is_some() {
            match refused {
                Some(error) => tracing::error!(%error, "the database cannot be written: no new work is taken"),
                None => tracing::warn!("the database can be written again"),
            }
        }
    }

    /// The engine refused the last transaction.
    pub fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }
}

fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}
