//! Totals that anybody may read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::web::{self, Data, Json, ServiceConfig};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::ids::RequestId;
use crate::domain::time::Timestamp;
use crate::http::shared::error::ApiError;
use crate::http::shared::resource::resource;
use crate::http::state::AppState;
use crate::relay::Relay;
use crate::store::stats::{self, Totals};
use crate::store::{Read, StoreError, endpoints, providers};

/// `/v1/stats`
pub fn routes(app: &mut ServiceConfig) {
    app.service(resource("/v1/stats").route(web::get().to(get)));
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Stats {
    requests: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    /// Enabled, and not known to be down.
    providers_up: usize,
    /// With a price, and offered by an enabled provider.
    models: usize,
}

/// What was answered last, and the sum of all rows that will not change any more.
#[derive(Debug, Default)]
pub struct Remembered(Mutex<Memory>);

#[derive(Debug, Default, Clone, Copy)]
struct Memory {
    last: Option<Stats>,
    /// Until when it is given again.
    due: Option<Instant>,
    old: Old,
}

#[derive(Debug, Clone, Copy)]
struct Old {
    before: RequestId,
    totals: Totals,
}

impl Default for Old {
    fn default() -> Self {
        Self { before: RequestId::from_i64(0), totals: Totals::default() }
    }
}

/// Anybody may ask, as often as they like: so long the same answer is given, and twenty times as long as it
/// took to find it.
const FRESH: Duration = Duration::from_secs(2);
/// While one looks, the others get the last answer: for so long, should it never come back.
const LOOKING: Duration = Duration::from_secs(60);
/// A row's id is as old as its request: requests that began longer ago, in seconds, are all settled.
const ALL_SETTLED: i64 = 6 * 60 * 60;

/// `GET /v1/stats`
///
/// # Errors
/// The store cannot be read.
pub async fn get(state: Data<AppState>, remembered: Data<Remembered>) -> Result<Json<Stats>, ApiError> {
    let began = Instant::now();
    let memory = {
        let mut memory = remembered.lock();
        if let Some(stats) = memory.last.filter(|_| memory.due.is_some_and(|due| began < due)) {
            return Ok(Json(stats));
        }
        memory.due = began.checked_add(LOOKING);
        *memory
    };
    let relay = Arc::clone(&state.relay);
    let read = move |conn: &Read| look(conn, &relay, memory.old, Timestamp::now());
    let (stats, old) = state.store.read_later(read).await?;
    let due = Instant::now().checked_add(FRESH.max(began.elapsed() * 20));
    *remembered.lock() = Memory { last: Some(stats), due, old };
    Ok(Json(stats))
}

impl Remembered {
    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads only the rows of the last hours, once the older ones were added up.
fn look(conn: &Read, relay: &Relay, old: Old, now: Timestamp) -> Result<(Stats, Old), StoreError> {
    let before = RequestId::first_at(now.plus_seconds(-ALL_SETTLED)).max(old.before);
    let old = Old { before, totals: old.totals.plus(stats::totals(conn, old.before, before)?) };
    let all = old.totals.plus(stats::totals(conn, before, RequestId::from_i64(i64::MAX))?);
    let health = |id| relay.providers.health(id, Instant::now());
    let enabled = providers::list(conn)?.into_iter().filter(|p| p.disabled_at.is_none());
    let stats = Stats {
        requests: all.requests,
        prompt_tokens: all.prompt_tokens,
        completion_tokens: all.completion_tokens,
        total_tokens: all.prompt_tokens.saturating_add(all.completion_tokens),
        providers_up: enabled.filter(|p| !health(p.id).down).count(),
        models: endpoints::served(conn)?.len(),
    };
    Ok((stats, old))
}
