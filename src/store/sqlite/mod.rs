//! All that is SQLite's: the file and its connections, the writer, checkpoints, the commit clock, backup, the schema.

pub mod open;
pub mod commit_clock;
pub mod schema;
pub mod writer;
mod checkpoint;
pub mod backup;
