//! The routes of the socket: `/status`, `/providers`, `/providers/{id}/probe`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use actix_web::rt::task::JoinHandle;
use actix_web::web::{self, Bytes, Data, Json, Path, Query, ServiceConfig};
use futures_util::stream;
use serde::Deserialize;

use super::views::{ProbeOutcome, ProbeReport, ProviderLoad, Status};
use crate::domain::ids::ProviderId;
use crate::domain::time::{Timestamp, millis};
use crate::http::public::capacity::ModelCapacity;
use crate::http::shared::error::ApiError;
use crate::http::state::AppState;
use crate::relay::{PROBE_TIMEOUTS, QUICK_PROBE_TIMEOUTS};
use crate::store::endpoints::ProbeRow;
use crate::store::{StoreError, providers};
use crate::upstream::Client;

/// Who commands act as, in the events.
const ACTOR: &str = "cli";
/// So often whoever waits for a probe hears that the server is alive. A probe may take minutes.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// What the routes can reach.
#[derive(Debug, Clone)]
pub struct LocalState {
    /// What all of the server shares.
    pub app: AppState,
    /// Where it listens for clients.
    pub listening: SocketAddr,
    /// When it started, by a clock that nobody sets.
    pub started: Instant,
    /// The same, by the clock on the wall.
    pub started_at: Timestamp,
}

/// Serves them.
pub fn routes(app: &mut ServiceConfig) {
    app.route("/status", web::get().to(status));
    app.route("/providers", web::get().to(list));
    app.route("/providers/{id}/probe", web::post().to(probe));
}

async fn status(state: Data<LocalState>) -> Result<Json<Status>, ApiError> {
    let relay = &state.app.relay;
    let places = state.app.store.read_blocking(providers::places).await?;
    let (waiting, longest_wait) = relay.waiting();
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_seconds: state.started.elapsed().as_secs(),
        listening: state.listening,
        draining: relay.is_draining(),
        holds: relay.holds().count(),
        held_micro_usd: relay.holds().total(),
        waiting,
        longest_wait_ms: longest_wait.map(millis),
        writer_queue: u64::try_from(state.app.writer.pending()).unwrap_or(u64::MAX),
        models: relay.capacity(&places).into_iter().map(ModelCapacity::from).collect(),
        providers: loads(&state).await?,
    }))
}

async fn list(state: Data<LocalState>) -> Result<Json<Vec<ProviderLoad>>, ApiError> {
    Ok(Json(loads(&state).await?))
}

/// How each provider does.
///
/// # Errors
/// SQLite fails.
pub async fn loads(state: &LocalState) -> Result<Vec<ProviderLoad>, StoreError> {
    let relay = Arc::clone(&state.app.relay);
    let read = state.app.store.read_blocking(move |conn| {
        let rows = providers::list(conn)?.into_iter();
        rows.map(|row| ProviderLoad::read(conn, &row, relay.health(row.id))).collect()
    });
    read.await
}

#[derive(Deserialize)]
struct HowToProbe {
    /// With the timeouts for a provider that was just added.
    #[serde(default)]
    quick: bool,
}

/// Probes in a task of its own: what it finds is stored even if the command is gone by then.
async fn probe(
    state: Data<LocalState>,
    id: Path<ProviderId>,
    how: Query<HowToProbe>,
) -> Result<HttpResponse, ApiError> {
    let id = id.into_inner();
    state.app.store.read_inline(|conn| providers::find(conn, &id.to_string()))?;
    let timeouts = if how.quick { QUICK_PROBE_TIMEOUTS } else { PROBE_TIMEOUTS };
    let relay = Arc::clone(&state.app.relay);
    let client = Client::new(timeouts).with(relay.providers().machines());
    let probing = actix_web::rt::spawn(async move { relay.probe(&client, id, ACTOR.to_owned()).await });
    let parts = stream::unfold(Some(probing), |probing| async {
        let (bytes, left) = part(probing?).await;
        Some((Ok::<_, Infallible>(bytes), left))
    });
    Ok(HttpResponse::Ok().content_type("application/json").streaming(parts))
}

type Probing = JoinHandle<Result<ProbeRow, StoreError>>;

/// The outcome; or, if that is not there yet, a line break, which means nothing in JSON.
async fn part(mut probing: Probing) -> (Bytes, Option<Probing>) {
    let Ok(ended) = tokio::time::timeout(SIGN_OF_LIFE, &mut probing).await else {
        return (Bytes::from_static(b"\n"), Some(probing));
    };
    let outcome = match ended.unwrap_or(Err(StoreError::Closed)) {
        Ok(found) => ProbeOutcome::Done(ProbeReport::from(found)),
        Err(e) => ProbeOutcome::Failed(ApiError::from(e).message().to_owned()),
    };
    (serde_json::to_vec(&outcome).unwrap_or_default().into(), None)
}
