//! A provider and its probe, as an admin sees them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::endpoint::Endpoint;
use crate::domain::ids::{AccountId, ProviderId};
use crate::domain::money::MicroUsd;
use crate::domain::time::{Timestamp, millis};
use crate::http::machines::view::{FailureView, JoinedView};
use crate::store::endpoints::{self, EndpointRow, ProbeRow};
use crate::store::providers::{self, ProviderRow};
use crate::store::recounts::{self, Recount};
use crate::store::{Read, StoreError, accounts};
use crate::upstream::{Machine, ProviderStatus};

/// A provider: what was set, how it does, what it earned. Its key is not in it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Provider)]
pub struct ProviderView {
    id: ProviderId,
    name: String,
    base_url: String,
    /// Who earns.
    account_id: AccountId,
    account_name: String,
    enabled: bool,
    /// `up`, `down`, `disabled`, `unknown`.
    state: &'static str,
    in_flight: u32,
    max_concurrent: Option<u32>,
    /// Requests that wait for a place and could have it there.
    waiting: u32,
    /// How long the first of them has waited.
    longest_wait_ms: Option<u64>,
    has_api_key: bool,
    /// The header that its key goes into: `bearer` or `x-api-key`.
    auth: &'static str,
    /// It writes its reasoning into the content of a chat.
    think_tags: bool,
    /// Fields and tools whose work at the provider may be asked for.
    allow: Vec<String>,
    /// A private authority is trusted for it.
    has_ca: bool,
    models: Vec<ProviderModel>,
    recent: Recent,
    earned_micro_usd: MicroUsd,
    last_error: Option<String>,
    /// Requests whose reported usage was above what they could have used, or zero for what was sent or delivered, or
    /// whose output went on beyond its bound.
    flagged: u64,
    /// What it reports beside what is counted, for each model.
    recounts: Vec<Recount>,
    probe: Option<ProbeView>,
    /// Of a machine that joins: as what, with which key, and whether it is there. Null for one that is dialled.
    machine: Option<JoinedView>,
    created_at: Timestamp,
}

/// A model: the public name, and what the provider calls it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderModel {
    model: String,
    upstream_model: String,
}

/// Since the server started.
#[derive(Debug, Serialize, ToSchema)]
pub struct Recent {
    requests: u64,
    failed: u64,
    /// Until the first byte, smoothed.
    latency_ms: Option<u64>,
    /// The last failures and their reasons, newest first.
    failures: Vec<FailureView>,
}

/// What a probe found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Probe)]
pub struct ProbeView {
    at: Timestamp,
    /// Something answered, and at least one endpoint can be sold.
    ok: bool,
    /// The quickest answer.
    latency_ms: Option<u64>,
    server: Option<String>,
    /// How many requests the server says that it takes at once: what `max_concurrent` may be set to.
    places: Option<u32>,
    error: Option<String>,
    /// The models that at least one endpoint served.
    models: Vec<String>,
    endpoints: Vec<EndpointView>,
}

/// What an endpoint did, over all models.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Endpoint)]
pub struct EndpointView {
    endpoint: &'static str,
    supported: bool,
    /// Whose count of tokens is billed: `provider`, `estimate`; `none` where it is not served; null if that is
    /// not known.
    usage: Option<&'static str>,
    note: Option<String>,
}

impl ProviderView {
    /// What the store knows, before the earnings of long ago are added.
    pub fn read(
        conn: &Read,
        row: ProviderRow,
        (health, machine): (ProviderStatus, Option<&Machine>),
        earned: MicroUsd,
    ) -> Result<Self, StoreError> {
        let probe = endpoints::last_probe(conn, row.id)?.map(ProbeView::from);
        let state = state(&row, &health, probe.as_ref().map(|probe| probe.ok));
        let models = providers::models(conn, row.id)?.into_iter();
        Ok(Self {
            id: row.id,
            account_id: row.account_id,
            account_name: accounts::get(conn, row.account_id)?.name,
            enabled: row.disabled_at.is_none(),
            state,
            in_flight: health.in_flight,
            max_concurrent: row.max_concurrent,
            waiting: health.waiting,
            longest_wait_ms: health.longest_wait.map(millis),
            has_api_key: row.api_key.is_some(),
            auth: row.manners.auth.as_str(),
            think_tags: row.manners.think_tags,
            allow: row.allow.names().to_vec(),
            has_ca: row.ca_pem.is_some(),
            models: models.map(|(model, upstream_model)| ProviderModel { model, upstream_model }).collect(),
            recent: Recent {
                requests: health.served + health.failed,
                failed: health.failed,
                latency_ms: health.first_byte.map(millis),
                failures: health.failures.iter().map(FailureView::from).collect(),
            },
            earned_micro_usd: earned,
            last_error: health.last_failure,
            flagged: row.flagged,
            recounts: recounts::of_provider(conn, row.id)?,
            probe,
            machine: JoinedView::read(conn, &row, machine)?,
            created_at: row.created_at,
            name: row.name,
            base_url: row.url,
        })
    }
}

/// `up`, `down`, `disabled`, `unknown`: from how it does, or else from whether its last probe was fine.
pub fn state(row: &ProviderRow, health: &ProviderStatus, probe_is_fine: Option<bool>) -> &'static str {
    let answered = health.served + health.failed > 0;
    match probe_is_fine {
        _ if row.disabled_at.is_some() => "disabled",
        _ if health.down => "down",
        // A machine that joined is there for as long as it is connected.
        _ if answered || row.joined_with.is_some() => "up",
        Some(true) => "up",
        Some(false) => "down",
        None => "unknown",
    }
}

impl From<ProbeRow> for ProbeView {
    fn from(probe: ProbeRow) -> Self {
        let served = |row: &&EndpointRow| row.serves == Some(true);
        let mut models: Vec<_> = probe.endpoints.iter().filter(served).map(|row| row.model.clone()).collect();
        models.dedup();
        Self {
            at: probe.at,
            ok: probe.reached && !models.is_empty(),
            latency_ms: probe.latency_ms,
            server: None,
            places: probe.places,
            error: probe.error,
            models,
            endpoints: Endpoint::ALL.into_iter().filter_map(|e| EndpointView::of(e, &probe.endpoints)).collect(),
        }
    }
}

impl ProbeView {
    /// A probe that nobody waits for any more.
    pub fn unfinished(at: Timestamp) -> Self {
        let error = Some("the probe is still running; look again later".to_owned());
        Self {
            at,
            ok: false,
            latency_ms: None,
            server: None,
            places: None,
            error,
            models: Vec::new(),
            endpoints: Vec::new(),
        }
    }
}

impl EndpointView {
    /// `None` if it was never tried.
    fn of(endpoint: Endpoint, rows: &[EndpointRow]) -> Option<Self> {
        let rows: Vec<_> = rows.iter().filter(|row| row.endpoint == endpoint.path()).collect();
        let served: Vec<_> = rows.iter().filter(|row| row.serves == Some(true)).collect();
        let first = rows.first()?;
        let usage = match served.first() {
            Some(_) if served.iter().all(|row| row.reports_usage) => Some("provider"),
            Some(_) => Some("estimate"),
            None => rows.iter().all(|row| row.serves == Some(false)).then_some("none"),
        };
        let note = match served.len() {
            0 => first.error.clone(),
            n if n < rows.len() => Some(partly(&rows)),
            _ => served.iter().any(|row| row.reports_cached).then(|| "reports cached tokens".to_owned()),
        };
        Some(Self { endpoint: endpoint.path(), supported: !served.is_empty(), usage, note })
    }
}

/// Which ways to ask an endpoint do not work.
fn partly(rows: &[&EndpointRow]) -> String {
    let not = |stream| rows.iter().filter(|row| row.stream == stream).all(|row| row.serves != Some(true));
    match (not(false), not(true)) {
        (true, _) => "only streaming".to_owned(),
        (_, true) => "not streaming".to_owned(),
        _ => {
            let mut missing: Vec<_> =
                rows.iter().filter(|row| row.serves != Some(true)).map(|row| row.model.as_str()).collect();
            missing.dedup();
            format!("not with {}", missing.join(", "))
        }
    }
}
