//! Prices and their versions.

use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::Admin;
use crate::domain::ids::PriceId;
use crate::domain::money::MicroUsd;
use crate::domain::price::Price;
use crate::domain::time::Timestamp;
use crate::http::public::reads::PriceView;
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::{AdminBody, At};
use crate::http::shared::idempotency::answer;
use crate::http::shared::money::money_write;
use crate::http::shared::paging;
use crate::http::shared::query::Query;
use crate::http::state::AppState;
use crate::store::prices::{self, NewPrice, NumberedPrice};
use crate::store::{Read, StoreError};

/// A version of a model's price.
#[derive(Debug, Serialize, ToSchema)]
pub struct PriceVersion {
    #[serde(flatten)]
    price: PriceView,
    /// `price_…`
    id: PriceId,
    /// The first version of a model is 1.
    version: u64,
    context_length: Option<u64>,
    max_output_tokens: Option<u64>,
    /// How many requests an account may have running at once; null: any number.
    max_running: Option<u32>,
    created_at: Timestamp,
    actor: String,
    /// It ended without another one taking its place.
    removed: bool,
}

/// The body of `GET /v1/admin/pricing`: the versions in force.
#[derive(Debug, Serialize, ToSchema)]
pub struct AdminPricing {
    prices: Vec<PriceVersion>,
}

/// The body of `PUT /v1/admin/pricing`. Prices are micro-USD per 1,000,000 tokens.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceBody {
    model: String,
    display_name: Option<String>,
    input_price: i64,
    output_price: i64,
    /// null: the input price.
    cache_read_price: Option<i64>,
    /// null: the input price.
    cache_write_price: Option<i64>,
    /// null: as `cache_write_price`.
    cache_write_1h_price: Option<i64>,
    context_length: Option<u64>,
    max_output_tokens: Option<u64>,
    /// How many requests an account may have running at once; null: any number.
    max_running: Option<u32>,
}

impl From<NumberedPrice> for PriceVersion {
    fn from(version: NumberedPrice) -> Self {
        let row = version.row;
        Self {
            price: (&row).into(),
            id: row.id,
            version: version.number,
            context_length: row.context_length,
            max_output_tokens: row.max_output,
            max_running: row.max_running,
            created_at: row.created_at,
            actor: row.created_by,
            removed: version.removed,
        }
    }
}

/// The version of a model that is in force.
fn in_force(conn: &Read, model: &str) -> Result<PriceVersion, StoreError> {
    let newest = prices::history(conn, Some(model), None, 1)?.into_iter().next();
    newest.map(PriceVersion::from).ok_or_else(|| StoreError::NotFound(format!("no price for \"{model}\"")))
}

/// `GET /v1/admin/pricing`
pub async fn list(_: Admin, state: Data<AppState>) -> Result<Json<AdminPricing>, ApiError> {
    let read = state.store.read_blocking(|conn| {
        prices::list(conn)?.iter().map(|row| in_force(conn, &row.model)).collect::<Result<Vec<_>, _>>()
    });
    Ok(Json(AdminPricing { prices: read.await? }))
}

/// `GET /v1/admin/pricing/history`: newest first.
pub async fn history(_: Admin, request: HttpRequest, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let query = Query::of(&request)?;
    let limit = query.limit(50)?;
    let before = query.parsed("before", "a price version's id", PriceId::parse)?;
    let model = query.text("model").map(str::to_owned);
    let read = state.store.read_blocking(move |conn| prices::history(conn, model.as_deref(), before, limit + 1));
    let views = read.await?.into_iter().map(PriceVersion::from).collect();
    Ok(paging::json(&request, &query, views, limit, |last: &PriceVersion| last.id.to_string()))
}

/// `PUT /v1/admin/pricing`: requests that are admitted from now on cost this.
///
/// # Errors
/// 400 for a field, 422 for a reused idempotency key.
pub async fn put(
    sent: AdminBody<PriceBody>,
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let price = sent.body;
    let new = NewPrice {
        model: price.model,
        display_name: price.display_name.filter(|name| !name.is_empty()),
        price: Price {
            input: MicroUsd::new(price.input_price),
            output: MicroUsd::new(price.output_price),
            cache_read: price.cache_read_price.map(MicroUsd::new),
            cache_write: price.cache_write_price.map(MicroUsd::new),
            cache_write_1h: price.cache_write_1h_price.map(MicroUsd::new),
        },
        context_length: price.context_length,
        max_output: price.max_output_tokens,
        max_running: price.max_running,
        keep: false,
    };
    money_write(&request, &state, sent.by, &sent.bytes, move |conn, actor, now| {
        prices::set(conn, &new, actor, now)?;
        answer(200, &in_force(conn, &new.model)?)
    })
    .await
}

/// `DELETE /v1/admin/pricing/{model}`: it is not sold any more.
pub async fn remove(at: At<Admin, String>, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let (admin, model, now) = (at.by, at.id, Timestamp::now());
    state.writer.write(move |conn| prices::remove(conn, &model, &admin.actor, now)).await?;
    Ok(HttpResponse::NoContent().finish())
}
