//! A machine that joins, as its owner and an admin see it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::keys::KeyId;
use crate::domain::time::Timestamp;
use crate::http::shared::error::shortened;
use crate::store::providers::ProviderRow;
use crate::store::{Read, StoreError, keys};
use crate::upstream::{Machine, ProviderFailure};

/// What a provider that is not dialled but joins has beside the others.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JoinedMachine)]
pub struct JoinedView {
    /// It is there.
    connected: bool,
    /// Since when.
    since: Option<Timestamp>,
    /// What it calls itself.
    joined_as: String,
    /// How many requests it says that it takes at once; null while it is not there.
    takes: Option<u32>,
    /// It is new, and waits for an admin to enable it.
    held: bool,
    /// The key that it came with last.
    key_id: KeyId,
    key_name: String,
    key_revoked: bool,
    /// How many machines have come with that key.
    key_machines: u32,
}

/// A request that a provider failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProviderFailure)]
pub struct FailureView {
    at: Timestamp,
    why: String,
}

/// Longer reasons are cut.
const LONGEST_REASON: usize = 300;

impl JoinedView {
    /// `None` for a provider that is dialled.
    pub fn read(conn: &Read, row: &ProviderRow, machine: Option<&Machine>) -> Result<Option<Self>, StoreError> {
        let Some(id) = row.joined_with else { return Ok(None) };
        let key = keys::get(conn, id)?;
        Ok(Some(Self {
            connected: machine.is_some(),
            since: machine.map(|machine| machine.since_at),
            joined_as: row.joined_as.clone().unwrap_or_else(|| row.name.clone()),
            takes: machine.map(|machine| machine.max_concurrent),
            held: row.is_held(),
            key_id: id,
            key_revoked: key.as_ref().is_none_or(|key| key.revoked_at.is_some()),
            key_name: key.map(|key| key.name).unwrap_or_default(),
            key_machines: keys::machines(conn, id)?,
        }))
    }
}

impl From<&ProviderFailure> for FailureView {
    fn from(failure: &ProviderFailure) -> Self {
        Self { at: failure.at, why: shortened(&failure.why, LONGEST_REASON).into_owned() }
    }
}
