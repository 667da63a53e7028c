//! One thing that `doctor` looked at.

use serde::Serialize;

/// What was looked at, and what is to be done.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// `directory`, `disk` …
    pub what: &'static str,
    /// It is well.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What to do about it; none if it is well.
    pub mend: Option<String>,
}

/// It is well.
pub fn well(what: &'static str, found: impl Into<String>) -> Finding {
    Finding { what, ok: true, found: found.into(), mend: None }
}

/// It is not, and this mends it.
pub fn wrong(what: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { what, ok: false, found: found.into(), mend: Some(mend.into()) }
}
