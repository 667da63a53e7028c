//! Providers: where requests go and who earns.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::{Data, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::provider_view::{ProbeView, ProviderView};
use crate::auth::Admin;
use crate::dialect::request::hosted::Allow;
use crate::domain::ids::ProviderId;
use crate::domain::model_name::is_model_name;
use crate::domain::money::MicroUsd;
use crate::domain::provider::{Auth, Manners};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::http::shared::body;
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::{AdminBody, At};
use crate::http::state::AppState;
use crate::relay::PROBE_TIMEOUTS;
use crate::store::providers::{self, NewProvider, ProviderChange};
use crate::store::{StoreError, Tx, accounts};
use crate::upstream::{Client, check_base_url, check_ca_pem};

/// A model: the public name, and what the provider calls it if that is another name.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = ProviderModelBody)]
#[serde(deny_unknown_fields)]
pub struct ModelBody {
    model: String,
    upstream_model: Option<String>,
}

/// The body of `POST /v1/admin/providers`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProviderBody {
    name: String,
    /// Up to and with `/v1`.
    base_url: String,
    /// Who earns: an account's id, name or email.
    account: String,
    models: Vec<ModelBody>,
    /// What it asks for; `env:VARIABLE` is read from the server's environment.
    api_key: Option<String>,
    max_concurrent: Option<u32>,
    /// The certificates of a private authority that is trusted for it, PEM.
    ca_pem: Option<String>,
    /// Fields and tools whose work at the provider may be asked for: `web_search`, `store` …
    allow: Option<Vec<String>>,
    /// The header that its key goes into: `bearer` (as without this), or `x-api-key`, as at Anthropic.
    auth: Option<String>,
    /// It writes its reasoning into the content of a chat, between `<think>` and `</think>`.
    think_tags: Option<bool>,
}

/// The body of `PATCH /v1/admin/providers/{id}`: what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderPatch {
    name: Option<String>,
    base_url: Option<String>,
    account: Option<String>,
    models: Option<Vec<ModelBody>>,
    #[serde(default, deserialize_with = "body::given")]
    #[schema(value_type = Option<String>)]
    api_key: Option<Option<String>>,
    #[serde(default, deserialize_with = "body::given")]
    #[schema(value_type = Option<u32>)]
    max_concurrent: Option<Option<u32>>,
    #[serde(default, deserialize_with = "body::given")]
    #[schema(value_type = Option<String>)]
    ca_pem: Option<Option<String>>,
    allow: Option<Vec<String>>,
    auth: Option<String>,
    think_tags: Option<bool>,
    enabled: Option<bool>,
}

/// How long an admin waits for a probe; it goes on, and is stored, after that.
const PATIENCE: Duration = Duration::from_secs(100);
/// The same where adding a provider is what was asked for.
const SHORT_PATIENCE: Duration = Duration::from_secs(15);

/// `GET /v1/admin/providers`
pub async fn list(_: Admin, state: Data<AppState>) -> Result<Json<Vec<ProviderView>>, ApiError> {
    let relay = Arc::clone(&state.relay);
    let sums = state.store.usage_sums();
    let read = state.store.read_blocking(move |conn| {
        let totals = sums.by_provider(conn, Timestamp::now())?;
        let view = |row: providers::ProviderRow| {
            let earned = totals.get(&row.id).map_or(MicroUsd::ZERO, |total| total.earned);
            let (health, machine) = (relay.health(row.id), relay.providers().machines().get(row.id));
            ProviderView::read(conn, row, (health, machine.as_deref()), earned)
        };
        providers::list(conn)?.into_iter().map(view).collect()
    });
    Ok(Json(read.await?))
}

/// A provider as it is now.
///
/// # Errors
/// 404.
pub async fn one(state: &AppState, id: ProviderId) -> Result<ProviderView, ApiError> {
    let (health, machine) = (state.relay.health(id), state.relay.providers().machines().get(id));
    let sums = state.store.usage_sums();
    let read = state.store.read_blocking(move |conn| {
        let total = sums.by_provider(conn, Timestamp::now())?.get(&id).copied().unwrap_or_default();
        ProviderView::read(conn, providers::get(conn, id)?, (health.clone(), machine.as_deref()), total.earned)
    });
    Ok(read.await?)
}

/// `POST /v1/admin/providers`: adds one, and probes it.
///
/// # Errors
/// 400 for a field, 409 for a name that is taken.
pub async fn create(sent: AdminBody<NewProviderBody>, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let (admin, new) = (sent.by, sent.body);
    let url = base_url(&new.base_url)?;
    let models = models(new.models)?;
    let max_concurrent = at_least_one(new.max_concurrent)?;
    let account = new.account.clone();
    let account_id = state.store.read_inline(|conn| accounts::find(conn, &account)).map_err(account_error)?.id;
    let api_key = new.api_key.filter(|key| !key.is_empty()).map(Secret::new);
    let ca_pem = new.ca_pem.as_deref().filter(|pem| !pem.is_empty()).map(ca_pem).transpose()?;
    let auth = new.auth.as_deref().map(auth).transpose()?.unwrap_or_default();
    let new = NewProvider {
        name: new.name,
        account_id,
        url,
        api_key,
        max_concurrent,
        ca_pem,
        allow: allow(&new.allow.unwrap_or_default())?,
        manners: Manners { auth, think_tags: new.think_tags.unwrap_or_default() },
        models,
    };
    let now = Timestamp::now();
    let actor = admin.actor.clone();
    let write = move |conn: &Tx| providers::create(conn, &new, &admin.actor, now).map(|row| row.id);
    let id = state.writer.write(write).await?;
    // A provider that does not answer yet is added anyway.
    drop(run_probe(&state, id, actor, SHORT_PATIENCE).await);
    Ok(HttpResponse::Created().json(one(&state, id).await?))
}

/// `PATCH /v1/admin/providers/{id}`
///
/// # Errors
/// 400 for a field, 404, 409 for a name that is taken.
pub async fn patch(
    sent: AdminBody<ProviderPatch, ProviderId>,
    state: Data<AppState>,
) -> Result<Json<ProviderView>, ApiError> {
    let (admin, id, patch) = (sent.by, sent.id, sent.body);
    let account_id = match &patch.account {
        Some(text) => Some(state.store.read_inline(|conn| accounts::find(conn, text)).map_err(account_error)?.id),
        None => None,
    };
    let change = ProviderChange {
        name: patch.name,
        account_id,
        url: patch.base_url.as_deref().map(base_url).transpose()?,
        api_key: patch.api_key.map(|key| key.filter(|key| !key.is_empty()).map(Secret::new)),
        max_concurrent: patch.max_concurrent.map(at_least_one).transpose()?,
        ca_pem: patch
            .ca_pem
            .map(|given| given.as_deref().filter(|pem| !pem.is_empty()).map(ca_pem).transpose())
            .transpose()?,
        allow: patch.allow.as_deref().map(allow).transpose()?,
        auth: patch.auth.as_deref().map(auth).transpose()?,
        think_tags: patch.think_tags,
        models: patch.models.map(models).transpose()?,
    };
    let (enabled, now) = (patch.enabled, Timestamp::now());
    let write = move |conn: &Tx| {
        if providers::get(conn, id)?.joined_with.is_some()
            && let Some(field) = change.not_of_machines()
        {
            let message = format!("a machine that joins has no {field} of ours: it says itself what it serves");
            return Err(StoreError::InvalidField { field, message });
        }
        if !change.is_empty() {
            providers::change(conn, id, &change, &admin.actor, now)?;
        }
        match enabled {
            Some(enabled) => providers::set_disabled(conn, id, !enabled, &admin.actor, now).map(drop),
            None => providers::get(conn, id).map(drop),
        }
    };
    state.writer.write(write).await?;
    Ok(Json(one(&state, id).await?))
}

/// `DELETE /v1/admin/providers/{id}`
pub async fn remove(at: At<Admin, ProviderId>, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let (admin, id) = (at.by, at.id);
    let now = Timestamp::now();
    state.writer.write(move |conn| providers::remove(conn, id, &admin.actor, now)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /v1/admin/providers/{id}/probe`
pub async fn probe(at: At<Admin, ProviderId>, state: Data<AppState>) -> Result<Json<ProbeView>, ApiError> {
    let (admin, id) = (at.by, at.id);
    state.store.read_inline(|conn| providers::get(conn, id))?;
    Ok(Json(run_probe(&state, id, admin.actor, PATIENCE).await?))
}

/// Probes in a task of its own: it is stored even if nobody waits for it any more.
async fn run_probe(state: &AppState, id: ProviderId, actor: String, patience: Duration) -> Result<ProbeView, ApiError> {
    let relay = Arc::clone(&state.relay);
    let client = Client::new(PROBE_TIMEOUTS).with(relay.providers().machines());
    let task = actix_web::rt::spawn(async move { relay.probe(&client, id, actor).await });
    match tokio::time::timeout(patience, task).await {
        Ok(Ok(probed)) => Ok(probed?.into()),
        Ok(Err(_)) => Err(StoreError::Closed.into()),
        Err(_) => Ok(ProbeView::unfinished(Timestamp::now())),
    }
}

/// An account that is not there is the field's fault.
pub fn account_error(e: StoreError) -> ApiError {
    match e {
        StoreError::NotFound(text) => ApiError::invalid(Some("account"), text),
        other => other.into(),
    }
}

fn base_url(text: &str) -> Result<String, ApiError> {
    check_base_url(text).map_err(|e| ApiError::invalid(Some("base_url"), format!("base_url: {e}")))
}

fn auth(text: &str) -> Result<Auth, ApiError> {
    text.parse().map_err(|e: String| ApiError::invalid(Some("auth"), e))
}

fn allow(names: &[String]) -> Result<Allow, ApiError> {
    Allow::of(names).map_err(|e| ApiError::invalid(Some("allow"), format!("allow: {e}")))
}

fn ca_pem(text: &str) -> Result<String, ApiError> {
    check_ca_pem(text).map_err(|e| ApiError::invalid(Some("ca_pem"), format!("ca_pem: {e}")))
}

fn at_least_one(most: Option<u32>) -> Result<Option<u32>, ApiError> {
    match most {
        Some(0) => Err(ApiError::invalid(Some("max_concurrent"), "max_concurrent must be at least 1")),
        other => Ok(other),
    }
}

/// The names of the models: each once, without blanks.
fn models(bodies: Vec<ModelBody>) -> Result<Vec<(String, String)>, ApiError> {
    let invalid = |text: &str| Err(ApiError::invalid(Some("models"), text));
    let mut models: Vec<(String, String)> = Vec::with_capacity(bodies.len());
    for ModelBody { model, upstream_model } in bodies {
        let upstream = upstream_model.filter(|name| !name.is_empty()).unwrap_or_else(|| model.clone());
        if !is_model_name(&model) || !is_model_name(&upstream) {
            return invalid("a model's names are 1 to 256 bytes each, without blanks");
        }
        if models.iter().any(|(other, _)| *other == model) {
            return invalid("a model is given twice");
        }
        models.push((model, upstream));
    }
    if models.is_empty() { invalid("a provider offers at least one model") } else { Ok(models) }
}
