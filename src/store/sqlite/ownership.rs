//! Who may use a file: what is wrong, who runs, who owns it. What the system says of an error names none of them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::store::StoreError;

/// The file beside the database with this ending: `-wal`, `-shm`.
pub fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// An error of the system at `path`, with who runs and who owns what is there.
pub fn cannot(what: &str, path: &Path, e: &io::Error) -> StoreError {
    let shown = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut text = format!("cannot {what} {}: {e}", shown.display());
    if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) {
        text.push_str(&format!("; running as {}", user(rustix::process::geteuid().as_raw())));
        // The first of the path's folders that can be looked at.
        if let Some((at, meta)) = shown.ancestors().find_map(|at| fs::metadata(at).ok().map(|meta| (at, meta))) {
            let (owner, mode) = (user(meta.uid()), meta.mode() & 0o7777);
            text.push_str(&format!(", {} is owned by {owner} (mode {mode:04o})", at.display()));
        }
    }
    StoreError::Io(text)
}

/// A user's name and number, or the number alone.
pub fn user(id: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = lines.find(|fields| fields.get(2).and_then(|field| field.parse().ok()) == Some(id));
    match found.as_deref().and_then(|fields| fields.first()) {
        Some(name) => format!("{name} ({id})"),
        None => format!("user {id}"),
    }
}

/// What stands in the way of writing to the database, if its files and folder tell.
pub fn obstacle(database: &Path) -> Option<StoreError> {
    for file in ["", "-wal", "-shm"].map(|ending| beside(database, ending)) {
        match OpenOptions::new().read(true).write(true).open(&file) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Some(cannot("write", &file, &e)),
        }
    }
    let dir = database.parent()?;
    let access = rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK);
    access.err().map(|e| cannot("write in", dir, &e.into()))
}

/// A file that root made in somebody else's folder is that somebody's: the server that runs as them must open it.
pub fn hand_over(file: &File, dir: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    if let Ok(owner) = fs::metadata(dir)
        && owner.uid() != 0
    {
        drop(std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid())));
    }
}
