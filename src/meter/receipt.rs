//! The cost, written into an answer.

use crate::domain::money::MicroUsd;
use crate::domain::usage::{MeteredBy, Usage};

/// What a settled request used and cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The tokens billed.
    pub usage: Usage,
    /// What they cost.
    pub cost: MicroUsd,
    /// Who counted them.
    pub metered_by: MeteredBy,
}
