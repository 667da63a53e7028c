//! What adds up usage rows: of everybody, of an account, of an account as a provider.

pub mod usage_sums;
pub mod summary;
pub mod earnings;
