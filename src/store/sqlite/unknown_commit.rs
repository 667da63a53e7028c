//! What is done when nobody knows whether something was committed: nothing more.

use std::time::Duration;

use rusqlite::ErrorCode;

/// An I/O error at COMMIT or at a checkpoint means *unknown*: the rows may be there after a restart. Answering either way
/// could lose or repeat money, so nobody is answered and the process ends; the restart reads the truth.
pub fn fail_stop_if_unknown(e: &rusqlite::Error) {
    if matches!(e.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy)) {
        return;
    }
    tracing::error!(error = %e, "whether the disk has what it was given is unknown: stopping");
    // The log is written by a thread of its own; its last words matter most.
    std::thread::sleep(Duration::from_millis(200));
    std::process::exit(EXIT_UNKNOWN_COMMIT);
}

/// `EX_IOERR` of sysexits.h.
const EXIT_UNKNOWN_COMMIT: i32 = 74;
