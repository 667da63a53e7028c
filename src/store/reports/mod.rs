//! What adds up usage rows: totals of a time, an account, a provider, a day.

pub mod usage_totals;
pub mod summary;
pub mod earnings;
pub mod stats;
pub mod overview;
