//! All that is SQLite's: the file and its connections, the writer, checkpoints, the commit clock, backup, the schema.

pub mod access;
pub mod ownership;
pub mod writable;
pub mod open;
pub mod snapshot;
pub mod commit_clock;
pub mod schema;
pub mod job;
mod sound;
pub mod writer;
mod unknown_commit;
mod ballast;
mod checkpoint;
pub mod backup;
pub mod backups;
pub mod restore;
pub mod examine;
