//! The only room with SQL: one writer thread, pools of readers, one file per table family.
//!
//! Functions here take a `&Connection`; where it comes from decides what they may do. Reads run on a
//! pooled connection that is `query_only`; what every request looks at is remembered by one that all workers
//! share ([`Store::look`]). Writes run inside a `BEGIN IMMEDIATE` transaction: of the
//! writer thread in the server ([`Writer`]), or of [`Store::write_now`] on the command line.

mod error;
mod open;
mod changes;
mod reader;
mod schema;
mod writer;
mod checkpoint;
pub mod accounts;
pub mod account_search;
pub mod admins;
pub mod sessions;
pub mod keys;
pub mod key_view;
pub mod key_changes;
pub mod prices;
pub mod providers;
mod provider_changes;
pub mod endpoints;
pub mod recounts;
pub mod usage;
pub mod usage_totals;
pub mod summary;
pub mod earnings;
pub mod stats;
pub mod ledger;
pub mod debit_requests;
mod debts;
pub mod refund;
pub mod withdrawals;
pub mod invites;
mod csv_text;
pub mod idempotency;
pub mod request_keys;
pub mod events;
pub mod audit;
mod audit_movements;
pub mod overview;
pub mod backup;

pub use error::StoreError;
pub use open::{Lock, Store};
pub use reader::{Memory, Offered};
/// What a read or a write runs on; named so that other rooms need not name the SQL library.
pub use rusqlite::Connection;
pub use writer::Writer;
