//! Machines that join: inviting them, and sending them away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::provider_view::ProviderView;
use super::providers::{self as shown, account_error};
use crate::domain::ids::ProviderId;
use crate::domain::key_limits::KeyLimits;
use crate::domain::keys::Scopes;
use crate::domain::time::Timestamp;
use crate::http::account::{key_body, keys};
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::{AdminBody, Maybe};
use crate::http::state::AppState;
use crate::store::{StoreError, Tx, accounts, events, keys as stored, providers};

/// The body of `POST /v1/admin/providers/invite`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MachineInviteBody {
    /// Who earns: an account's id, name or email.
    account: String,
    /// What the key is called; `machines` if that is not said.
    name: Option<String>,
    /// The models that its machines may serve; null for all.
    models: Option<Vec<String>>,
    /// How many machines may join with it; 1 if that is not said.
    #[schema(minimum = 1)]
    machines: Option<u32>,
    /// A machine that is new gets no requests until an admin enables it.
    hold: Option<bool>,
}

/// The body of `POST /v1/admin/providers/{id}/disconnect`, if there is one.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DisconnectBody {
    /// Its key too is refused from now on: it cannot come back, nor can others that came with it stay.
    revoke_key: Option<bool>,
}

/// How long a connection may take to end, before it is said that it has not.
const ENDS_WITHIN: Duration = Duration::from_secs(2);
/// How often it is looked whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// `POST /v1/admin/providers/invite`: a key for machines that join, and the one line to run there.
///
/// # Errors
/// 400 for a field, 422 for a reused idempotency key.
pub async fn invite(
    sent: AdminBody<MachineInviteBody>,
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let MachineInviteBody { account, name, models, machines, hold } = sent.body;
    let invalid = |field: &str, must: &str| Err(ApiError::invalid(Some(field), format!("{field} must be {must}")));
    if models.as_deref().is_some_and(|models| !key_body::is_model_list(models)) {
        return invalid("models", "a list of model names, or null for all");
    }
    if machines == Some(0) {
        return invalid("machines", "at least 1");
    }
    let account = state.store.read_inline(|conn| accounts::find(conn, &account)).map_err(account_error)?.id;
    let limits = KeyLimits {
        allowed_models: models,
        max_machines: Some(machines.unwrap_or(1)),
        holds_machines: hold.unwrap_or_default(),
        ..KeyLimits::default()
    };
    let name = name.unwrap_or_else(|| "machines".to_owned());
    keys::create_for(&request, &state, (account, sent.by.actor), (name, Scopes::PROVIDE, limits), &sent.bytes).await
}

/// `POST /v1/admin/providers/{id}/disconnect`: its connection ends, with what is under way on it. Its program ends too;
/// whoever starts it again comes back, unless the key was revoked.
///
/// # Errors
/// 404, 409 for a provider that is dialled.
pub async fn disconnect(
    sent: AdminBody<Maybe<DisconnectBody>, ProviderId>,
    state: Data<AppState>,
) -> Result<Json<ProviderView>, ApiError> {
    let (admin, id) = (sent.by, sent.id);
    let is_revoked = sent.body.0.revoke_key.unwrap_or_default();
    let write = move |conn: &Tx| {
        let Some(key) = providers::get(conn, id)?.joined_with else {
            return Err(StoreError::Conflict("it is dialled: there is no connection to end; disable it".to_owned()));
        };
        let now = Timestamp::now();
        if is_revoked {
            stored::revoke(conn, key, &admin.actor, now)?;
        }
        let detail = json!({"key_revoked": is_revoked});
        events::record(conn, &admin.actor, "provider.disconnect", &id.to_string(), &detail, now)
    };
    state.writer.write(write).await?;
    let machines = state.relay.providers().machines();
    if let Some(machine) = machines.get(id) {
        let why = if is_revoked { "its key was revoked" } else { "an admin disconnected it" };
        machines.dismiss(&machine, why).await;
        let began = Instant::now();
        let is_there = || machines.get(id).is_some_and(|other| Arc::ptr_eq(&other, &machine));
        while is_there() && began.elapsed() < ENDS_WITHIN {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    Ok(Json(shown::one(&state, id).await?))
}
