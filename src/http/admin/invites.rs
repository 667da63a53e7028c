//! Invite codes, made and withdrawn by admins.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::auth::Admin;
use crate::domain::ids::InviteId;
use crate::domain::invite_code;
use crate::domain::time::Timestamp;
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::{AdminBody, At};
use crate::http::shared::fields::{self, A_TIME, Field, given};
use crate::http::shared::idempotency::answer;
use crate::http::shared::money;
use crate::http::shared::paging;
use crate::http::shared::query::Query;
use crate::http::shared::types;
use crate::http::state::AppState;
use crate::store::Tx;
use crate::store::invites::{self, NewInvite};

/// `GET /v1/admin/invite-codes`: newest first.
pub async fn list(_: Admin, request: HttpRequest, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let query = Query::of(&request)?;
    let limit = query.limit(50)?;
    let before = query.parsed("before", "an invite id", InviteId::parse)?;
    let rows = state.store.read_blocking(move |conn| invites::list(conn, before, limit + 1)).await?;
    Ok(paging::json(&request, &query, rows, limit, |row| row.id.to_string()))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = InviteBody)]
#[serde(deny_unknown_fields)]
pub struct Create {
    #[schema(value_type = types::AmountUsd)]
    amount_usd: Box<RawValue>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    max_redemptions: Field,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Timestamp>)]
    expires_at: Field,
    note: Option<String>,
}

/// `POST /v1/admin/invite-codes`
pub async fn create(
    sent: AdminBody<Create>,
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let body = sent.body;
    let most = fields::read("max_redemptions", &body.max_redemptions, "an integer of at least 1", fields::count)?;
    let new = NewInvite {
        code: invite_code::generate().map_err(|e| {
            tracing::error!(error = %e, "no code could be made");
            ApiError::internal()
        })?,
        amount: money::amount(&body.amount_usd)?,
        max_redemptions: most.flatten().unwrap_or(1),
        expires_at: fields::read("expires_at", &body.expires_at, A_TIME, fields::time)?.flatten(),
        note: body.note.unwrap_or_default(),
    };
    let write = move |conn: &Tx, actor: &str, now: Timestamp| answer(201, &invites::create(conn, &new, actor, now)?);
    money::money_write(&request, &state, sent.by, &sent.bytes, write).await
}

/// `DELETE /v1/admin/invite-codes/{code}`
pub async fn remove(at: At<Admin, String>, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let At { by: admin, id: code } = at;
    let write = move |conn: &Tx| invites::remove(conn, &code, &admin.actor, Timestamp::now());
    state.writer.write(write).await?;
    Ok(HttpResponse::NoContent().finish())
}
