//! Admins: who may add credit, and how they are let in.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::auth::Admin;
use crate::domain::ids::AdminId;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::http::admin::session;
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::{AdminBody, At};
use crate::http::state::AppState;
use crate::store::Tx;
use crate::store::admins::{self, AdminView};

/// The body of `POST /v1/admin/admins`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAdminBody {
    name: String,
    /// For the page; without one the admin can only be used with a key.
    #[schema(value_type = Option<String>)]
    password: Option<Secret>,
}

/// The body of `PATCH /v1/admin/admins/{id}`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminPatch {
    /// The new one.
    #[schema(value_type = String)]
    password: Secret,
}

/// `GET /v1/admin/admins`: by name.
pub async fn list(_: Admin, state: Data<AppState>) -> Result<Json<Vec<AdminView>>, ApiError> {
    Ok(Json(state.store.read_blocking(|conn| admins::list(conn, Timestamp::now())).await?))
}

/// `POST /v1/admin/admins`
///
/// # Errors
/// 400 for a field, 409 for a name that is taken.
pub async fn create(sent: AdminBody<NewAdminBody>, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let (admin, NewAdminBody { name, password }) = (sent.by, sent.body);
    let hash = match password {
        Some(password) => Some(session::hash_new_password(password).await?),
        None => None,
    };
    let now = Timestamp::now();
    let write = move |conn: &Tx| {
        let made = admins::create(conn, &name, hash.as_deref(), &admin.actor, now)?;
        admins::view(conn, made.id, now)
    };
    let made = state.writer.write(write).await;
    Ok(HttpResponse::Created().json(made?))
}

/// `PATCH /v1/admin/admins/{id}`: another password. It ends the admin's sessions and keys.
pub async fn set_password(
    sent: AdminBody<AdminPatch, AdminId>,
    state: Data<AppState>,
) -> Result<Json<AdminView>, ApiError> {
    let (admin, id, AdminPatch { password }) = (sent.by, sent.id, sent.body);
    state.store.read_inline(|conn| admins::get(conn, id))?;
    let (hash, now) = (session::hash_new_password(password).await?, Timestamp::now());
    let write = move |conn: &Tx| {
        admins::set_password(conn, id, &hash, &admin.actor, now)?;
        admins::view(conn, id, now)
    };
    Ok(Json(state.writer.write(write).await?))
}

/// `DELETE /v1/admin/admins/{id}`
///
/// # Errors
/// 404, 409 for the last one.
pub async fn remove(at: At<Admin, AdminId>, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let (admin, id) = (at.by, at.id);
    let write = move |conn: &Tx| admins::remove(conn, id, &admin.actor, Timestamp::now());
    state.writer.write(write).await?;
    Ok(HttpResponse::NoContent().finish())
}
