//! Prices and their versions.

use actix_web::web::{self, Data, Json, Path, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::ids::PriceId;
use crate::domain::money::MicroUsd;
use crate::domain::price::Price;
use crate::domain::time::Timestamp;
use crate::http::public::reads::PriceView;
use crate::http::shared::auth;
use crate::http::shared::body;
use crate::http::shared::error::ApiError;
use crate::http::shared::idempotency::answer;
use crate::http::shared::money::money_write;
use crate::http::shared::paging;
use crate::http::shared::query::Query;
use crate::http::shared::resource::resource;
use crate::http::state::AppState;
use crate::store::prices::{self, NewPrice, Version};
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
}

impl From<Version> for PriceVersion {
    fn from(version: Version) -> Self {
        let row = version.row;
        Self {
            price: (&row).into(),
            id: row.id,
            version: version.number,
            context_length: row.context_length,
            max_output_tokens: row.max_output,
            created_at: row.created_at,
            actor: row.created_by,
            removed: version.removed,
        }
    }
}

/// The routes of prices.
pub fn routes(app: &mut ServiceConfig) {
    app.service(resource("/v1/admin/pricing").route(web::get().to(list)).route(web::put().to(put)))
        .service(resource("/v1/admin/pricing/history").route(web::get().to(history)))
        // A model's name may have slashes in it.
        .service(resource("/v1/admin/pricing/{model:.+}").route(web::delete().to(remove)));
}

/// The version of a model that is in force.
fn in_force(conn: &Read, model: &str) -> Result<PriceVersion, StoreError> {
    let newest = prices::history(conn, Some(model), None, 1)?.into_iter().next();
    newest.map(PriceVersion::from).ok_or_else(|| StoreError::NotFound(format!("no price for \"{model}\"")))
}

async fn list(request: HttpRequest, state: Data<AppState>) -> Result<Json<AdminPricing>, ApiError> {
    auth::admin(&state, &request).await?;
    let read = state.store.read_later(|conn| {
        prices::list(conn)?.iter().map(|row| in_force(conn, &row.model)).collect::<Result<Vec<_>, _>>()
    });
    Ok(Json(AdminPricing { prices: read.await? }))
}

async fn history(request: HttpRequest, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    auth::admin(&state, &request).await?;
    let query = Query::of(&request)?;
    let limit = query.limit(50)?;
    let before = query.parsed("before", "a price version's id", PriceId::parse)?;
    let model = query.text("model").map(str::to_owned);
    let read = state.store.read_later(move |conn| prices::history(conn, model.as_deref(), before, limit + 1));
    let views = read.await?.into_iter().map(PriceVersion::from).collect();
    Ok(paging::json(&request, &query, views, limit, |last: &PriceVersion| last.id.to_string()))
}

async fn put(request: HttpRequest, payload: Payload, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let admin = auth::admin(&state, &request).await?;
    let bytes = body::read(&state, &request, payload).await?;
    let price: PriceBody = body::parse(&bytes)?;
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
        keep: false,
    };
    money_write(&request, &state, admin, &bytes, move |conn, actor, now| {
        prices::set(conn, &new, actor, now)?;
        answer(200, &in_force(conn, &new.model)?)
    })
    .await
}

async fn remove(request: HttpRequest, state: Data<AppState>, model: Path<String>) -> Result<HttpResponse, ApiError> {
    let admin = auth::admin(&state, &request).await?;
    let (model, now) = (model.into_inner(), Timestamp::now());
    state.writer.write(move |conn| prices::remove(conn, &model, &admin.actor, now)).await?;
    Ok(HttpResponse::NoContent().finish())
}
