//! What every group of routes uses: who asks, what is read, how it is answered.

pub mod auth;
pub mod body;
pub mod browser;
pub mod cors;
pub mod edge;
pub mod error;
pub mod extract;
pub mod fields;
pub mod idempotency;
pub mod log;
pub mod money;
pub mod origin;
pub mod outside;
pub mod paging;
pub mod query;
pub mod route;
pub mod seen;
pub mod socket;
pub mod stall;
pub mod types;
pub mod unknown;
pub mod unread;
