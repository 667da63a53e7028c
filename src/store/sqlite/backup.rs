//! Online backup: a copy of the database while the server runs, without its sessions, proved before it is called one.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::access::Read;
use super::open::open_writable;
use super::sound;
use crate::store::audit::Report;
use crate::store::{Store, StoreError};

/// Copies the database to `file`, then opens the copy, checks its integrity and audits it.
///
/// # Errors
/// The file exists, cannot be written, or the copy does not pass; then no file is left.
pub fn backup(store: &Store, file: &Path) -> Result<Report, StoreError> {
    if file.exists() {
        return Err(StoreError::Conflict(format!("{} exists already", file.display())));
    }
    let name = file.file_name().ok_or_else(|| StoreError::Invalid(format!("{} is not a file", file.display())))?;
    let mut part_name = name.to_owned();
    part_name.push(".part");
    let part = file.with_file_name(part_name);
    let done = copy(store, &part).and_then(|()| verify(&part)).and_then(|report| {
        let io = |e: std::io::Error| StoreError::Io(format!("{}: {e}", file.display()));
        fs::File::open(&part).and_then(|f| f.sync_all()).map_err(io)?;
        fs::rename(&part, file).map_err(io)?;
        Ok(report)
    });
    if done.is_err() {
        drop(fs::remove_file(&part));
    }
    done
}

fn copy(store: &Store, to: &Path) -> Result<(), StoreError> {
    let io = |e: &dyn std::fmt::Display| StoreError::Io(format!("{}: {e}", to.display()));
    // The source is opened like a writer's: a read of one long snapshot, no writes.
    let from = open_writable(&store.path())?;
    let mut copy = Connection::open(to).map_err(|e| io(&e))?;
    // One step over everything: a copy in parts starts over whenever the server writes in between.
    let backup = Backup::new(&from, &mut copy)?;
    while !matches!(backup.step(-1)?, rusqlite::backup::StepResult::Done) {
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(backup);
    // A file of its own, without -wal and -shm beside it.
    copy.pragma_update(None, "journal_mode", "DELETE")?;
    // Who was signed in then must not be signed in again when the copy is put in place, and what the command line
    // was waiting for is over. Not even their bytes stay in free pages.
    copy.execute_batch("PRAGMA secure_delete = ON; DELETE FROM sessions; DELETE FROM debit_requests;")?;
    Ok(())
}

fn verify(file: &Path) -> Result<Report, StoreError> {
    let conn = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let good = sound::whole(&conn).and_then(|()| sound::in_agreement(&Read::new(conn)));
    good.map_err(|e| StoreError::Invalid(format!("the copy is no good: {e}")))
}
