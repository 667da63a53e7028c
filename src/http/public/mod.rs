//! What anybody may read.

pub mod capacity;
pub mod reads;
pub mod stats;
