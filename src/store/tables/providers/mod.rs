//! Providers: who serves and earns, which models they offer, and changing them.

mod rows;
mod changes;
mod joining;

pub use changes::{ProviderChange, change, move_to, set_disabled};
pub use joining::{Joined, JoiningMachine, join, known};
pub(in crate::store) use rows::flag;
pub use rows::{
    ModelPlaces, NewProvider, Offer, ProviderRow, create, find, get, list, models, offers, places, remove, set_models,
};
