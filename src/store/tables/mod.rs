//! The tables: one file per family, with what may be read of it and written to it.

pub mod accounts;
mod account_lookup;
mod account_row;
pub mod account_search;
pub mod admins;
pub mod sessions;
pub mod keys;
pub mod key_view;
pub mod key_changes;
pub mod prices;
pub mod providers;
pub mod endpoints;
pub mod recounts;
pub mod usage;
pub mod settlement;
pub mod served;
pub mod ledger;
pub mod debit_requests;
mod debts;
mod csv_text;
pub mod refund;
pub mod withdrawals;
pub mod invites;
pub mod idempotency;
pub mod request_keys;
pub mod events;
