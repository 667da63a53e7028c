//! The models that can be asked for.

use actix_web::web::{Data, Json};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::endpoint::Endpoint;
use crate::domain::time::Timestamp;
use crate::http::public::reads::PriceView;
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::{At, ByKey, Inference};
use crate::http::state::AppState;
use crate::relay::{Caller, Refusal};
use crate::store::endpoints::{self, ServedEndpoints};
use crate::store::prices::{self, PriceRow};

/// A model, for OpenAI's clients and Anthropic's.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Model)]
pub struct ModelView {
    id: String,
    object: &'static str,
    r#type: &'static str,
    created: i64,
    created_at: Timestamp,
    owned_by: &'static str,
    display_name: String,
    pricing: PriceView,
    context_length: Option<u64>,
    max_output_tokens: Option<u64>,
    endpoints: Vec<&'static str>,
    /// Those of `endpoints` whose requests are translated: the servers of the model speak chat alone.
    translated: Vec<&'static str>,
}

/// A list of models; the second half of the fields is what Anthropic's clients page by.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelList {
    object: &'static str,
    data: Vec<ModelView>,
    has_more: bool,
    first_id: Option<String>,
    last_id: Option<String>,
}

impl ModelView {
    fn new(row: &PriceRow, served: &ServedEndpoints) -> Self {
        let paths = |endpoints: &[Endpoint]| endpoints.iter().map(|endpoint| endpoint.path()).collect();
        Self {
            id: row.model.clone(),
            object: "model",
            r#type: "model",
            created: row.created_at.seconds(),
            created_at: row.created_at,
            owned_by: "coordinator",
            display_name: row.display_name.clone(),
            pricing: row.into(),
            context_length: row.context_length,
            max_output_tokens: row.max_output,
            endpoints: paths(&served.endpoints),
            translated: paths(&served.translated),
        }
    }
}

/// The models that have a price, an enabled provider, and are allowed for the key.
fn served(state: &AppState, caller: &Caller) -> Result<Vec<ModelView>, ApiError> {
    let (rows, served) = state.store.read_inline(|conn| Ok((prices::list(conn)?, endpoints::served(conn)?)))?;
    let allowed = caller.key.limits.allowed_models.as_ref();
    let may_see = |row: &&PriceRow| allowed.is_none_or(|models| models.contains(&row.model));
    let view = |row: &PriceRow| Some(ModelView::new(row, served.get(&row.model)?));
    Ok(rows.iter().filter(may_see).filter_map(view).collect())
}

/// `GET /v1/models`
pub async fn list(by: ByKey<Inference>, state: Data<AppState>) -> Result<Json<ModelList>, ApiError> {
    let data = served(&state, &by.caller)?;
    let id = |model: Option<&ModelView>| model.map(|m| m.id.clone());
    let (first_id, last_id) = (id(data.first()), id(data.last()));
    Ok(Json(ModelList { object: "list", data, has_more: false, first_id, last_id }))
}

/// `GET /v1/models/{id}`
pub async fn get(at: At<ByKey<Inference>, String>, state: Data<AppState>) -> Result<Json<ModelView>, ApiError> {
    let found = served(&state, &at.by.caller)?.into_iter().find(|model| model.id == at.id);
    found.map(Json).ok_or_else(|| Refusal::ModelNotFound(at.id).into())
}
