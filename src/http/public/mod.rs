//! What anybody may read.

pub mod reads;
pub mod stats;
