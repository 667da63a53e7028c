//! Keys of an account, as an admin sees them.

use actix_web::web::{self, Data, Json, Path, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use super::accounts::{account_id, asked_for};
use crate::domain::time::Timestamp;
use crate::http::account::keys;
use crate::http::shared::auth;
use crate::http::shared::body;
use crate::http::shared::error::ApiError;
use crate::http::shared::resource::resource;
use crate::http::state::AppState;
use crate::store::key_view::{self, KeyView};

/// The routes of keys.
pub fn routes(app: &mut ServiceConfig) {
    app.service(resource("/v1/admin/accounts/{id}/keys").route(web::get().to(list)).route(web::post().to(create)))
        .service(resource("/v1/admin/accounts/{id}/keys/{key}").route(web::delete().to(revoke)));
}

async fn list(request: HttpRequest, state: Data<AppState>, id: Path<String>) -> Result<Json<Vec<KeyView>>, ApiError> {
    let id = asked_for(&state, &request, &id).await?;
    let read = state.store.read_later(move |conn| key_view::list(conn, id, Timestamp::now()));
    Ok(Json(read.await?))
}

async fn create(
    request: HttpRequest,
    payload: Payload,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let admin = auth::admin(&state, &request).await?;
    let id = account_id(&id)?;
    let bytes = body::read(&state, &request, payload).await?;
    keys::create_for(&state, id, admin.actor, &bytes).await
}

async fn revoke(
    request: HttpRequest,
    state: Data<AppState>,
    ids: Path<(String, String)>,
) -> Result<Json<KeyView>, ApiError> {
    let admin = auth::admin(&state, &request).await?;
    let (account, key) = ids.into_inner();
    Ok(Json(keys::revoke_of(&state, account_id(&account)?, admin.actor, &key).await?.into()))
}
