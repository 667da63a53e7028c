//! What anybody may read: prices, health, version, totals.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::money::MicroUsd;
use crate::domain::price::price_text;
use crate::http::shared::error::ApiError;
use crate::http::state::AppState;
use crate::store::prices::{self, PriceRow};

/// A price as everybody sees it: micro-USD per 1,000,000 tokens.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Price)]
pub struct PriceView {
    model: String,
    display_name: String,
    input_price: MicroUsd,
    output_price: MicroUsd,
    cache_read_price: Option<MicroUsd>,
    /// For prompt tokens written to a cache for some minutes; null: the input price.
    cache_write_price: Option<MicroUsd>,
    /// For prompt tokens written to a cache for an hour; null: as for some minutes.
    cache_write_1h_price: Option<MicroUsd>,
    input_usd: String,
    output_usd: String,
}

impl From<&PriceRow> for PriceView {
    fn from(row: &PriceRow) -> Self {
        Self {
            model: row.model.clone(),
            display_name: row.display_name.clone(),
            input_price: row.price.input,
            output_price: row.price.output,
            cache_read_price: row.price.cache_read,
            cache_write_price: row.price.cache_write,
            cache_write_1h_price: row.price.cache_write_1h,
            input_usd: price_text(row.price.input),
            output_usd: price_text(row.price.output),
        }
    }
}

/// The body of `GET /v1/pricing`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pricing {
    prices: Vec<PriceView>,
}

/// `GET /v1/pricing`
pub async fn pricing(state: Data<AppState>) -> Result<Json<Pricing>, ApiError> {
    let rows = state.store.read_inline(prices::list)?;
    Ok(Json(Pricing { prices: rows.iter().map(PriceView::from).collect() }))
}

/// `GET /health`: the process is alive.
pub async fn health() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({"status": "ok"}))
}

/// `GET /readyz`: new work is taken.
///
/// # Errors
/// 503 while draining, with a full disk, or with a database that cannot be written.
pub async fn ready(state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let soon = std::time::Duration::from_secs(5);
    if state.relay.is_draining() {
        return Err(ApiError::unavailable("the server is shutting down", soon));
    }
    state.writer.open_for_work()?;
    // A commit of nothing goes through the writer: it answers only if it can still begin a transaction.
    state.writer.write(|_| Ok(())).await.map_err(|_| ApiError::unavailable("the database cannot be written", soon))?;
    Ok(HttpResponse::Ok().json(serde_json::json!({"status": "ready"})))
}

/// `GET /api/version`
pub async fn version() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({"name": "coordinator", "version": env!("CARGO_PKG_VERSION")}))
}
