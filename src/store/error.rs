//! What can go wrong in the store, sorted by what the caller can do about it.

use rusqlite::ErrorCode;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What was named is not there. The text names it, for people.
    #[error("{0}")]
    NotFound(String),
    /// It is there already, or was changed by somebody else. The text says what, for people.
    #[error("{0}")]
    Conflict(String),
    /// As [`Self::Conflict`]: somebody else has the value of this field.
    #[error("{message}")]
    Taken {
        /// The field's name in a request.
        field: &'static str,
        /// What there is already, for people.
        message: String,
    },
    /// An idempotency key came back with another request.
    #[error("this idempotency key was used with another request")]
    IdempotencyKeyReused,
    /// The request cannot be carried out as it stands. The text says why, for people.
    #[error("{0}")]
    Invalid(String),
    /// As [`Self::Invalid`], and it is this field's fault.
    #[error("{message}")]
    InvalidField {
        /// The field's name in a request.
        field: &'static str,
        /// What is wrong, for people.
        message: String,
    },
    /// The disk is full: a definite no, nothing was written.
    #[error("the disk is full")]
    Full,
    /// The database's files are not those that were opened, or the engine begins no write: nothing was written.
    #[error("the database cannot be written")]
    Unwritable,
    /// The database stayed locked by another process for longer than the busy timeout.
    #[error("the database is locked by another process")]
    Busy,
    /// The writer is gone; the process is about to end.
    #[error("the database writer has stopped")]
    Closed,
    /// Files, directories, locks.
    #[error("{0}")]
    Io(String),
    /// Anything else SQLite says.
    #[error("database: {0}")]
    Sql(EngineError),
    /// No connection could be had from the pool.
    #[error("database: {0}")]
    Pool(EngineError),
}

/// What the engine says, for the log.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct EngineError(Box<dyn std::error::Error + Send + Sync>);

impl From<r2d2::Error> for StoreError {
    fn from(e: r2d2::Error) -> Self {
        Self::Pool(EngineError(Box::new(e)))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(e: rusqlite::Error) -> Self {
        match e.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseBusy) => Self::Busy,
            _ => Self::Sql(EngineError(Box::new(e))),
        }
    }
}

impl StoreError {
    /// The write broke a UNIQUE rule: the thing is there already.
    pub(super) fn is_duplicate(e: &rusqlite::Error) -> bool {
        matches!(e.sqlite_error_code(), Some(ErrorCode::ConstraintViolation))
            && e.sqlite_error().is_some_and(|e| matches!(e.extended_code, 2067 | 1555))
    }
}
