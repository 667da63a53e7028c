//! Whether the books agree.

use actix_web::web::{Data, Json};

use crate::auth::Admin;
use crate::http::shared::error::ApiError;
use crate::http::state::AppState;
use crate::store::audit;

/// `GET /v1/admin/audit`: derives every balance again; takes a while on a large database.
///
/// # Errors
/// 401, 403; the store cannot be read.
pub async fn audit(_: Admin, state: Data<AppState>) -> Result<Json<audit::Report>, ApiError> {
    Ok(Json(state.store.read_blocking(audit::audit).await?))
}
