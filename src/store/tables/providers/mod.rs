//! Providers: who serves and earns, which models they offer, and changing them.

mod rows;
mod changes;

pub use changes::{ProviderChange, change, move_to, set_disabled};
pub(in crate::store) use rows::flag;
pub use rows::{NewProvider, Offer, ProviderRow, create, find, list, models, offers, remove, set_models};
