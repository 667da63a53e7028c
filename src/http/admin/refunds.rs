//! Refunds.

use actix_web::web::{self, Data, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::ids::RequestId;
use crate::http::shared::auth;
use crate::http::shared::body;
use crate::http::shared::error::ApiError;
use crate::http::shared::idempotency::answer;
use crate::http::shared::money::money_write;
use crate::http::shared::resource::resource;
use crate::http::state::AppState;

/// The body of `POST /v1/admin/refund`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefundBody {
    /// The charge.
    request_id: String,
    /// For the payer's ledger.
    reason: Option<String>,
}

/// The routes of refunds.
pub fn routes(app: &mut ServiceConfig) {
    app.service(resource("/v1/admin/refund").route(web::post().to(post)));
}

async fn post(request: HttpRequest, payload: Payload, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let admin = auth::admin(&state, &request).await?;
    let bytes = body::read(&state, &request, payload).await?;
    let RefundBody { request_id, reason } = body::parse(&bytes)?;
    let id = RequestId::parse(&request_id)
        .ok_or_else(|| ApiError::invalid(Some("request_id"), "request_id must be a request's id, like req_…"))?;
    let reason = reason.unwrap_or_default();
    if reason.chars().count() > 1_000 || reason.contains('\0') {
        return Err(ApiError::invalid(Some("reason"), "a reason is at most 1000 characters"));
    }
    let refund = state.relay.refund(id, reason);
    money_write(&request, &state, admin, &bytes, move |conn, actor, now| answer(200, &refund.run(conn, actor, now)?))
        .await
}
