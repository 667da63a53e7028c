//! The folder of scheduled backups: which are there, when the next is due, how the last one went.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::backup::backup;
use super::ownership::cannot;
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError};

const PREFIX: &str = "coordinator-";
const ENDING: &str = ".db";

/// What is done, and how it went.
#[derive(Debug)]
pub struct Backups {
    dir: PathBuf,
    every: Duration,
    keep: usize,
    failed: Mutex<Option<String>>,
}

/// How backups stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupHealth {
    /// When the newest good one was made.
    pub last_good: Option<Timestamp>,
    /// Why the last attempt failed, if it did.
    pub failed: Option<String>,
    /// The newest good one is older than two of its intervals: something is wrong.
    pub is_old: bool,
}

impl Backups {
    /// One every `every` in `dir`, of which the newest `keep` stay.
    ///
    /// # Errors
    /// The folder cannot be made, or not be written in.
    pub fn new(dir: &Path, every: Duration, keep: usize) -> Result<Self, StoreError> {
        super::open::private();
        fs::create_dir_all(dir).map_err(|e| cannot("make", dir, &e))?;
        let access = rustix::fs::access(dir, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
        access.map_err(|e| cannot("write in", dir, &e.into()))?;
        Ok(Self { dir: dir.to_owned(), every, keep: keep.max(1), failed: Mutex::default() })
    }

    /// How long until the next one is due. What cannot be told is due.
    pub fn due_in(&self, now: Timestamp) -> Duration {
        let Some((last, _)) = good(&self.dir).pop() else { return Duration::ZERO };
        let since = u64::try_from(now.millis().saturating_sub(last.millis())).unwrap_or(0);
        self.every.saturating_sub(Duration::from_millis(since))
    }

    /// How long after an attempt that failed the next one is made.
    pub fn retry_in(&self) -> Duration {
        (self.every / 10).clamp(Duration::from_secs(1), Duration::from_secs(600))
    }

    /// Makes one, which is opened and audited before it counts, and takes away what is more than is kept.
    ///
    /// # Errors
    /// As [`backup`]; none is taken away then.
    pub fn take(&self, store: &Store, now: Timestamp) -> Result<PathBuf, StoreError> {
        let done = self.try_take(store, now);
        let failed = done.as_ref().err().map(ToString::to_string);
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
        done
    }

    fn try_take(&self, store: &Store, now: Timestamp) -> Result<PathBuf, StoreError> {
        self.drop_unfinished();
        let file = self.dir.join(format!("{PREFIX}{}{ENDING}", now.in_a_name()));
        backup(store, &file)?;
        let all = good(&self.dir);
        let spare = all.len().saturating_sub(self.keep);
        for (_, old) in all.into_iter().take(spare) {
            fs::remove_file(&old).map_err(|e| cannot("remove", &old, &e))?;
        }
        Ok(file)
    }

    /// How backups stand. The folder may lie on a slow or dead disk: it is not read on the caller's thread.
    pub async fn standing(&self, now: Timestamp) -> BackupHealth {
        let dir = self.dir.clone();
        let newest = tokio::task::spawn_blocking(move || good(&dir).pop()).await;
        let last_good = newest.ok().flatten().map(|(made, _)| made);
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let oldest = i64::try_from((self.every * 2).as_millis()).unwrap_or(i64::MAX);
        let is_old = last_good.is_some_and(|last| now.millis().saturating_sub(last.millis()) > oldest);
        BackupHealth { last_good, failed, is_old }
    }

    /// What a server left that was killed while it copied.
    fn drop_unfinished(&self) {
        for (name, path) in files(&self.dir) {
            if name.starts_with(PREFIX) && name.ends_with(".db.part") {
                drop(fs::remove_file(path));
            }
        }
    }
}

/// The good backups of a folder, the oldest first: a file has its name only once it was audited.
pub fn good(dir: &Path) -> Vec<(Timestamp, PathBuf)> {
    let mut found: Vec<_> = files(dir)
        .into_iter()
        .filter(|(name, _)| name.starts_with(PREFIX) && name.ends_with(ENDING))
        .filter_map(|(_, path)| {
            let made = fs::metadata(&path).and_then(|meta| meta.modified()).ok()?;
            let made = made.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis();
            Some((Timestamp::from_millis(i64::try_from(made).ok()?), path))
        })
        .collect();
    found.sort();
    found
}

fn files(dir: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(dir).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    entries.into_iter().filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path()))).collect()
}
