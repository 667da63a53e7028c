//! Totals that anybody may read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::web::{Data, Json};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::time::Timestamp;
use crate::http::shared::error::ApiError;
use crate::http::state::AppState;
use crate::relay::Relay;
use crate::store::usage_sums::UsageSums;
use crate::store::{Read, StoreError, endpoints, providers};

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

/// What was answered last.
#[derive(Debug, Default)]
pub struct Remembered(Mutex<Memory>);

#[derive(Debug, Default, Clone, Copy)]
struct Memory {
    last: Option<Stats>,
    /// Until when it is given again.
    due: Option<Instant>,
}

/// Anybody may ask, as often as they like: the same answer is given for this long, and for twenty times as long as it
/// took to find it.
const FRESH: Duration = Duration::from_secs(2);
/// While one request reads, the others get the last answer; for this long, should it never finish.
const LOOKING: Duration = Duration::from_secs(60);

/// `GET /v1/stats`
pub async fn get(state: Data<AppState>, remembered: Data<Remembered>) -> Result<Json<Stats>, ApiError> {
    let began = Instant::now();
    {
        let mut memory = remembered.lock();
        if let Some(stats) = memory.last.filter(|_| memory.due.is_some_and(|due| began < due)) {
            return Ok(Json(stats));
        }
        memory.due = began.checked_add(LOOKING);
    }
    let (relay, sums) = (Arc::clone(&state.relay), state.store.usage_sums());
    let read = move |conn: &Read| look(conn, &relay, &sums, Timestamp::now());
    let stats = state.store.read_blocking(read).await?;
    let due = Instant::now().checked_add(FRESH.max(began.elapsed() * 20));
    *remembered.lock() = Memory { last: Some(stats), due };
    Ok(Json(stats))
}

impl Remembered {
    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn look(conn: &Read, relay: &Relay, sums: &UsageSums, now: Timestamp) -> Result<Stats, StoreError> {
    let all = sums.total(conn, now)?;
    let health = |id| relay.providers().health(id, Instant::now());
    let enabled = providers::list(conn)?.into_iter().filter(|p| p.disabled_at.is_none());
    Ok(Stats {
        requests: all.requests,
        prompt_tokens: all.prompt_tokens,
        completion_tokens: all.completion_tokens,
        total_tokens: all.prompt_tokens.saturating_add(all.completion_tokens),
        providers_up: enabled.filter(|p| !health(p.id).down).count(),
        models: endpoints::served(conn)?.len(),
    })
}
