//! Why an alert did not get to its receiver, and what follows.

/// A try that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// Why, in words.
    pub error: String,
    /// It is this alert that the receiver does not take: others go on.
    pub lets_pass: bool,
    /// It is not tried again.
    pub is_final: bool,
}

impl Undelivered {
    /// The receiver is not there, or not well: nothing gets there now.
    pub const fn later(error: String) -> Self {
        Self { error, lets_pass: false, is_final: false }
    }

    /// There is nobody to deliver it to any more.
    pub fn never(error: &str) -> Self {
        Self { error: error.to_owned(), lets_pass: true, is_final: true }
    }
}
