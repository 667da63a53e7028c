//! Whether the books agree.

use actix_web::web::{Data, Json};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Admin;
use crate::domain::time::Timestamp;
use crate::http::admin::overview::Remembered;
use crate::http::shared::error::ApiError;
use crate::http::state::AppState;
use crate::store::audit;

/// `GET /v1/admin/audit`: derives every balance again; takes a while on a large database.
///
/// # Errors
/// 401, 403; the store cannot be read.
pub async fn audit(_: Admin, state: Data<AppState>, remembered: Data<Remembered>) -> Result<Json<AuditView>, ApiError> {
    let report = state.store.read_blocking(audit::audit).await?;
    let checked_at = Timestamp::now();
    remembered.audited(report.ok, checked_at);
    Ok(Json(AuditView { report, checked_at }))
}

/// What the audit found, and when.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Audit)]
pub struct AuditView {
    #[serde(flatten)]
    report: audit::Report,
    checked_at: Timestamp,
}
