//! Refunds.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::ids::RequestId;
use crate::domain::note::{self, is_note};
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::AdminBody;
use crate::http::shared::idempotency::answer;
use crate::http::shared::money::money_write;
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

/// `POST /v1/admin/refund`
///
/// # Errors
/// 400 for a field, 404 for the charge, 409 if it was refunded already, 422 for a reused idempotency key.
pub async fn post(
    sent: AdminBody<RefundBody>,
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let RefundBody { request_id, reason } = sent.body;
    let id = RequestId::parse(&request_id)
        .ok_or_else(|| ApiError::invalid(Some("request_id"), "request_id must be a request's id, like req_…"))?;
    let reason = reason.unwrap_or_default();
    if !is_note(&reason) {
        return Err(ApiError::invalid(Some("reason"), note::too_long("reason")));
    }
    let refund = state.relay.refund(id, reason);
    money_write(&request, &state, sent.by, &sent.bytes, move |conn, actor, now| {
        answer(200, &refund.run(conn, actor, now)?)
    })
    .await
}
