//! How busy each model is, for anybody who asks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::web::{Data, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::shared::error::ApiError;
use crate::http::state::AppState;
use crate::relay::Capacity;
use crate::store::providers::{self, ModelPlaces};

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelCapacities {
    /// By name.
    data: Vec<ModelCapacity>,
}

/// How busy the servers of a model are.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ModelCapacity {
    /// The model's public name.
    pub id: String,
    /// How many requests its servers take at once, of all their models; null if one of them has no limit.
    pub places: Option<u32>,
    /// How many run at these servers now.
    pub running: u32,
    /// How many requests for it wait for a place.
    pub waiting: u32,
    /// The median of the last times until the first byte, in milliseconds; null before the first.
    pub first_byte_ms: Option<u64>,
}

/// Who serves what, as it was read last: anybody may ask, as often as they like.
#[derive(Debug, Default)]
pub struct KnownPlaces(Mutex<Option<(Instant, Arc<Vec<ModelPlaces>>)>>);

/// How long what was read is taken for true.
const FRESH: Duration = Duration::from_secs(1);

/// `GET /v1/models/capacity`
pub async fn get(state: Data<AppState>, known: Data<KnownPlaces>) -> Result<Json<ModelCapacities>, ApiError> {
    let last = known.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let places = match last.filter(|(read, _)| read.elapsed() < FRESH) {
        Some((_, places)) => places,
        None => {
            let places = Arc::new(state.store.read_blocking(providers::places).await?);
            *known.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), Arc::clone(&places)));
            places
        }
    };
    let data = state.relay.capacity(&places).into_iter().map(ModelCapacity::from);
    Ok(Json(ModelCapacities { data: data.collect() }))
}

impl From<Capacity> for ModelCapacity {
    fn from(of: Capacity) -> Self {
        Self {
            id: of.model,
            places: of.places,
            running: of.running,
            waiting: of.waiting,
            first_byte_ms: of.first_byte_ms,
        }
    }
}
