//! Keys of an account, as an admin sees them.

use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse};

use super::accounts::existing;
use crate::auth::Admin;
use crate::domain::ids::AccountId;
use crate::domain::keys::KeyId;
use crate::domain::time::Timestamp;
use crate::http::account::{key_body, keys};
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::{AdminBody, At, Unread};
use crate::http::state::AppState;
use crate::store::key_view::{self, KeyView};

/// `GET /v1/admin/accounts/{id}/keys`: newest first, revoked ones too.
pub async fn list(at: At<Admin, AccountId>, state: Data<AppState>) -> Result<Json<Vec<KeyView>>, ApiError> {
    let id = existing(&state, at.id)?;
    let read = state.store.read_blocking(move |conn| key_view::list(conn, id, Timestamp::now()));
    Ok(Json(read.await?))
}

/// `POST /v1/admin/accounts/{id}/keys`
pub async fn create(
    sent: AdminBody<Unread, AccountId>,
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let new = key_body::read_new(&sent.bytes, false, Timestamp::now())?;
    keys::create_for(&request, &state, (sent.id, sent.by.actor), new, &sent.bytes).await
}

/// `DELETE /v1/admin/accounts/{id}/keys/{key}`
pub async fn revoke(at: At<Admin, (AccountId, KeyId)>, state: Data<AppState>) -> Result<Json<KeyView>, ApiError> {
    let (account, key) = at.id;
    Ok(Json(keys::revoke_of(&state, account, at.by.actor, key).await?.into()))
}
