//! What admins do below `/v1/admin`, a file for each thing.

pub mod accounts;
pub mod admins;
pub mod alerts;
pub mod audit;
pub mod credit;
pub mod events;
pub mod invites;
pub mod keys;
pub mod machines;
pub mod overview;
pub mod prices;
pub mod provider_view;
pub mod providers;
pub mod refunds;
pub mod session;
pub mod withdrawals;
