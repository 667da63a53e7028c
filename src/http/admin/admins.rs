//! Admins: who may add credit, and how they are let in.

use actix_web::web::{self, Data, Json, Path, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::ids::AdminId;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::http::admin::session;
use crate::http::shared::auth;
use crate::http::shared::body;
use crate::http::shared::error::ApiError;
use crate::http::shared::resource::resource;
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

/// The routes of admins.
pub fn routes(app: &mut ServiceConfig) {
    app.service(resource("/v1/admin/admins").route(web::get().to(list)).route(web::post().to(create))).service(
        resource("/v1/admin/admins/{id}").route(web::patch().to(set_password)).route(web::delete().to(remove)),
    );
}

fn admin_id(text: &str) -> Result<AdminId, ApiError> {
    AdminId::parse(text).ok_or_else(|| ApiError::not_found(format!("no admin {text}")))
}

async fn list(request: HttpRequest, state: Data<AppState>) -> Result<Json<Vec<AdminView>>, ApiError> {
    auth::admin(&state, &request).await?;
    Ok(Json(state.store.read_later(|conn| admins::list(conn, Timestamp::now())).await?))
}

async fn create(request: HttpRequest, payload: Payload, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let admin = auth::admin(&state, &request).await?;
    let bytes = body::read(&state, &request, payload).await?;
    let NewAdminBody { name, password } = body::parse(&bytes)?;
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
    Ok(HttpResponse::Created().json(made.map_err(|e| ApiError::from(e).of_field("name"))?))
}

async fn set_password(
    request: HttpRequest,
    payload: Payload,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<AdminView>, ApiError> {
    let admin = auth::admin(&state, &request).await?;
    let id = admin_id(&id)?;
    let bytes = body::read(&state, &request, payload).await?;
    let AdminPatch { password } = body::parse(&bytes)?;
    state.store.read(|conn| admins::get(conn, id))?;
    let (hash, now) = (session::hash_new_password(password).await?, Timestamp::now());
    let write = move |conn: &Tx| {
        admins::set_password(conn, id, &hash, &admin.actor, now)?;
        admins::view(conn, id, now)
    };
    Ok(Json(state.writer.write(write).await?))
}

async fn remove(request: HttpRequest, state: Data<AppState>, id: Path<String>) -> Result<HttpResponse, ApiError> {
    let admin = auth::admin(&state, &request).await?;
    let id = admin_id(&id)?;
    let write = move |conn: &Tx| admins::remove(conn, id, &admin.actor, Timestamp::now());
    state.writer.write(write).await?;
    Ok(HttpResponse::NoContent().finish())
}
