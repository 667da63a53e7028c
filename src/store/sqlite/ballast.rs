//! A file of nothing that is given up when the disk is full, so that what is in flight still settles.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Freed when the disk is full, so that what is in flight still settles.
pub const BALLAST_BYTES: u64 = 4 << 20;
/// While the disk is full.
pub const LOOK_FOR_ROOM_EVERY: Duration = Duration::from_secs(1);

/// A file of nothing that is given up when the disk is full.
#[derive(Debug)]
pub struct Ballast {
    path: PathBuf,
    disk_full: Arc<AtomicBool>,
    /// When it was last freed, or room for it last looked for.
    looked: Cell<Instant>,
}

impl Ballast {
    /// Beside the database, not written yet.
    pub fn new(dir: &Path, disk_full: Arc<AtomicBool>) -> Self {
        Self { path: dir.join("ballast"), disk_full, looked: Cell::new(Instant::now()) }
    }

    /// It is time to look for room again.
    pub fn is_due(&self) -> bool {
        self.looked.get().elapsed() >= LOOK_FOR_ROOM_EVERY
    }

    /// It was given up, and is not back yet: the disk is full.
    pub fn is_spent(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed)
    }

    /// Gives it up.
    pub fn free(&self) {
        self.looked.set(Instant::now());
        self.disk_full.store(true, Ordering::Relaxed);
        if std::fs::remove_file(&self.path).is_ok() {
            tracing::warn!("the disk is full: freed the ballast; new work is refused until there is room");
        }
    }

    /// Writes the ballast if there is room for it: then the disk is not full.
    pub fn fill(&self) {
        self.looked.set(Instant::now());
        let whole = std::fs::metadata(&self.path).is_ok_and(|m| m.len() == BALLAST_BYTES);
        let wrote = whole || self.write().is_ok();
        if wrote && self.disk_full.swap(false, Ordering::Relaxed) {
            tracing::warn!("there is room on the disk again");
        }
        if !wrote {
            drop(std::fs::remove_file(&self.path));
            self.disk_full.store(true, Ordering::Relaxed);
        }
    }

    fn write(&self) -> std::io::Result<()> {
        let file = std::fs::File::create(&self.path)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, BALLAST_BYTES)?;
        file.sync_all()
    }
}
