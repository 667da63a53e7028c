//! Why the coordinator ends a connection.

use serde::{Deserialize, Serialize};

/// Why the coordinator ends a connection, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bye {
    /// For people.
    pub reason: String,
    /// It makes sense to join again.
    pub again: bool,
}
