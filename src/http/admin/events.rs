//! Who did what, when.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Admin;
use crate::domain::time::Timestamp;
use crate::http::shared::error::ApiError;
use crate::http::shared::paging;
use crate::http::shared::query::Query;
use crate::http::state::AppState;
use crate::store::events::{self, EventRow};

/// Something that an admin, an account or the server did.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// Rises with time.
    id: i64,
    timestamp: Timestamp,
    /// `admin:NAME`, `account:acct_…`, `cli`.
    actor: String,
    /// Like `account.create`.
    action: String,
    /// The id or name of what it was done to.
    subject: Option<String>,
    /// More of it.
    detail: serde_json::Value,
}

impl From<EventRow> for EventView {
    fn from(event: EventRow) -> Self {
        Self {
            id: event.id,
            timestamp: event.created_at,
            actor: event.actor,
            action: event.action,
            subject: Some(event.subject).filter(|subject| !subject.is_empty()),
            detail: event.detail,
        }
    }
}

/// `GET /v1/admin/events`: newest first.
pub async fn list(_: Admin, request: HttpRequest, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let query = Query::of(&request)?;
    let limit = query.limit(50)?;
    let before = query.parsed("before", "an event's id", |text| text.parse().ok())?;
    let text = query.text("q").map(str::to_owned);
    let read = state.store.read_blocking(move |conn| events::list(conn, text.as_deref(), before, limit + 1));
    let views = read.await?.into_iter().map(EventView::from).collect();
    Ok(paging::json(&request, &query, views, limit, |last: &EventView| last.id.to_string()))
}
