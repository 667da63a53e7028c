//! An account's machines, and how they do.

use std::sync::Arc;

use actix_web::web::{Data, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::view::{FailureView, JoinedView};
use crate::domain::ids::ProviderId;
use crate::domain::money::MicroUsd;
use crate::domain::time::{Timestamp, millis};
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::{AnyScope, ByKey};
use crate::http::state::AppState;
use crate::store::providers::{self, ProviderRow};
use crate::store::usage_sums::ProviderTotal;
use crate::store::{Read, StoreError};
use crate::upstream::{Machine, ProviderStatus};

/// A machine that joins and earns for the account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Machine)]
pub struct OwnMachine {
    id: ProviderId,
    name: String,
    /// `up`; `down`: connected, and its local server does not answer; `away`: not connected; `held`: new, and waits for an
    /// admin; `disabled` by an admin.
    state: &'static str,
    models: Vec<String>,
    /// Requests under way.
    running: u32,
    /// The most at once: what an admin set, and what it says itself, whichever is less; null: not known while it is away.
    max_concurrent: Option<u32>,
    /// Requests that it answered, ever: usage rows.
    requests: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    /// What they earned.
    earned_micro_usd: MicroUsd,
    /// Until the first byte, smoothed; null: none since the server started.
    first_byte_ms: Option<u64>,
    /// Requests failed since the server started.
    failed: u64,
    /// The last of them and their reasons, newest first.
    failures: Vec<FailureView>,
    /// Why it is away or down, or what went wrong last.
    last_error: Option<String>,
    machine: JoinedView,
    created_at: Timestamp,
}

fn state(row: &ProviderRow, health: &ProviderStatus, is_connected: bool) -> &'static str {
    match () {
        () if row.is_held() => "held",
        () if row.disabled_at.is_some() => "disabled",
        () if !is_connected => "away",
        () if health.down => "down",
        () => "up",
    }
}

impl OwnMachine {
    /// `None` for a provider that is dialled.
    fn read(
        conn: &Read,
        row: ProviderRow,
        (health, machine): (ProviderStatus, Option<&Machine>),
        total: ProviderTotal,
    ) -> Result<Option<Self>, StoreError> {
        let Some(joined) = JoinedView::read(conn, &row, machine)? else { return Ok(None) };
        let takes = machine.map(|machine| machine.max_concurrent);
        Ok(Some(Self {
            state: state(&row, &health, machine.is_some()),
            models: providers::models(conn, row.id)?.into_iter().map(|(model, _)| model).collect(),
            running: health.in_flight,
            max_concurrent: row.max_concurrent.into_iter().chain(takes).min(),
            requests: total.served.requests,
            prompt_tokens: total.served.prompt_tokens,
            completion_tokens: total.served.completion_tokens,
            earned_micro_usd: total.earned,
            first_byte_ms: health.first_byte.map(millis),
            failed: health.failed,
            failures: health.failures.iter().map(FailureView::from).collect(),
            last_error: health.last_failure,
            machine: joined,
            id: row.id,
            name: row.name,
            created_at: row.created_at,
        }))
    }
}

/// `GET /v1/provider/machines`: those that earn for the account, by name.
pub async fn list(by: ByKey<AnyScope>, state: Data<AppState>) -> Result<Json<Vec<OwnMachine>>, ApiError> {
    let account = by.caller.account;
    let (relay, sums) = (Arc::clone(&state.relay), state.store.usage_sums());
    let read = state.store.read_blocking(move |conn| {
        let rows = providers::list(conn)?.into_iter();
        let rows: Vec<ProviderRow> =
            rows.filter(|row| row.account_id == account && row.joined_with.is_some()).collect();
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let totals = sums.by_provider(conn, Timestamp::now())?;
        let view = |row: ProviderRow| {
            let (health, machine) = (relay.health(row.id), relay.providers().machines().get(row.id));
            let total = totals.get(&row.id).copied().unwrap_or_default();
            OwnMachine::read(conn, row, (health, machine.as_deref()), total).transpose()
        };
        rows.into_iter().filter_map(view).collect()
    });
    Ok(Json(read.await?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::AccountId;
    use crate::domain::keys::KeyId;

    #[test]
    fn a_machine_is_what_its_row_and_its_connection_say() {
        let created_at = Timestamp::from_millis(7);
        let row = |disabled: Option<i64>| ProviderRow {
            id: ProviderId::from_i64(1),
            name: "a".into(),
            account_id: AccountId::from_i64(2),
            url: "joined".into(),
            api_key: None,
            max_concurrent: None,
            ca_pem: None,
            allow: Default::default(),
            manners: Default::default(),
            flagged: 0,
            disabled_at: disabled.map(Timestamp::from_millis),
            created_at,
            joined_with: Some(KeyId::from_i64(3)),
            joined_as: None,
        };
        let health = |down| ProviderStatus { down, ..ProviderStatus::default() };
        let rows = [
            (None, false, true, "up"),
            (None, true, true, "down"),
            (None, true, false, "away"),
            (Some(7), false, true, "held"),
            (Some(7), true, false, "held"),
            (Some(8), false, true, "disabled"),
        ];
        for (disabled, down, is_connected, expected) in rows {
            assert_eq!(
                state(&row(disabled), &health(down), is_connected),
                expected,
                "{disabled:?} {down} {is_connected}"
            );
        }
    }
}
