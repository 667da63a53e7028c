//! What admins decide on withdrawals.

use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::auth::Admin;
use crate::domain::ids::WithdrawalId;
use crate::domain::money::MicroUsd;
use crate::domain::withdrawal::Decision;
use crate::http::account::withdrawals as own;
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::{AdminBody, Maybe, Sent};
use crate::http::shared::idempotency::answer;
use crate::http::shared::money;
use crate::http::shared::paging;
use crate::http::shared::query::Query;
use crate::http::shared::types;
use crate::http::state::AppState;
use crate::store::withdrawals;
use crate::store::{StoreError, Tx};

#[derive(Deserialize, Default, ToSchema)]
#[schema(as = PaidBody)]
#[serde(deny_unknown_fields)]
pub struct Paid {
    reference: Option<String>,
    /// What was sent: refused if the withdrawal is of another amount by now, because a refund reduced it.
    #[schema(value_type = Option<types::AmountUsd>)]
    amount_usd: Option<Box<RawValue>>,
}

#[derive(Deserialize, Default, ToSchema)]
#[schema(as = RejectBody)]
#[serde(deny_unknown_fields)]
pub struct Reject {
    reason: Option<String>,
}

/// `GET /v1/admin/withdrawals?status=…`: newest first.
pub async fn list(_: Admin, request: HttpRequest, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let query = Query::of(&request)?;
    let limit = query.limit(50)?;
    let filter = own::filter(&query)?;
    let rows = state.store.read_blocking(move |conn| withdrawals::list(conn, &filter, limit + 1)).await?;
    Ok(paging::json(&request, &query, rows, limit, |row| row.id.to_string()))
}

/// `POST /v1/admin/withdrawals/{id}/paid`: the money was sent.
///
/// # Errors
/// 400 for a field, 404, 409 if it was decided already, or is of another amount.
pub async fn paid(
    sent: AdminBody<Maybe<Paid>, String>,
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let Sent { by, id, bytes, body: Maybe(body) } = sent;
    let sent = body.amount_usd.as_deref().map(money::amount).transpose()?;
    decide(&request, &state, by, &id, &bytes, Decision::Paid(body.reference), sent).await
}

/// `POST /v1/admin/withdrawals/{id}/reject`: the money goes back to the account.
///
/// # Errors
/// 400 for a field, 404, 409 if it was decided already.
pub async fn reject(
    sent: AdminBody<Maybe<Reject>, String>,
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let Sent { by, id, bytes, body: Maybe(body) } = sent;
    decide(&request, &state, by, &id, &bytes, Decision::Rejected(body.reason), None).await
}

async fn decide(
    request: &HttpRequest,
    state: &AppState,
    admin: Admin,
    id: &str,
    body: &Bytes,
    decision: Decision,
    sent: Option<MicroUsd>,
) -> Result<HttpResponse, ApiError> {
    let id = WithdrawalId::parse(id).ok_or_else(|| ApiError::not_found("there is no such withdrawal"))?;
    let write = move |conn: &Tx, actor: &str, now| {
        let amount = withdrawals::get(conn, id)?.amount_micro_usd;
        if sent.is_some_and(|sent| sent != amount) {
            return Err(StoreError::Conflict(format!("{id} is of {amount} now")));
        }
        answer(200, &withdrawals::decide(conn, id, &decision, actor, now)?)
    };
    money::money_write(request, state, admin, body, write).await
}
