//! The only room with SQL: one writer thread, pools of readers, one file per table family.
//!
//! - `doors`: who reads where, who writes alone; `admission_cache`: what admissions read, remembered.
//! - `sqlite`: all that is the engine's. No other room names its types.
//! - `tables`: rows, read and written; `settlement` is what charges move, `alerts`, `alert_deliveries` and
//!   `alert_channels` the outbox, the way out of it, and where it goes. A new table: `schema.sql`, and a step in
//!   `sqlite/steps`. `reports`: what adds up usage rows. `audit`: what must be true of all of them.
//!
//! Functions that read take a [`Read`], those that write a [`Tx`]. Reads run on a
//! pooled connection that is `query_only`; what every request looks at is remembered by one that all workers
//! share ([`Store::cached`]). Writes run inside a `BEGIN IMMEDIATE` transaction: of the
//! writer thread in the server ([`Writer`]), or of [`Store::write_exclusive`] on the command line.

mod error;
mod sqlite;
mod admission_cache;
mod doors;
mod tables;
mod reports;
pub mod audit;

pub use admission_cache::{AdmissionCache, Offered};
pub use doors::{Lock, Store, database_in};
pub use error::{EngineError, StoreError};
pub use reports::{earnings, summary, usage_sums};
pub use sqlite::access::{Read, Tx};
pub use sqlite::job::{AtDebit, ChargeHold};
pub use sqlite::writer::Writer;
pub use sqlite::{backup, backups, examine, restore};
pub use tables::{
    account_search, accounts, admins, alert_channels, alerts, debit_requests, endpoints, events, idempotency, invites,
    key_changes, key_view, keys, ledger, prices, providers, recounts, refund, request_keys, served, sessions,
    settlement, usage, usage_index, withdrawals,
};
