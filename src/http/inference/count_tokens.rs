//! Counting the tokens of a message, without running it.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::run::{call, check_query, header};
use crate::dialect::request::Endpoint;
use crate::http::shared::auth::{self, Need};
use crate::http::shared::body;
use crate::http::shared::error::ApiError;
use crate::http::shared::log::{self, Arrived};
use crate::http::state::AppState;
use crate::relay::CountedTokens;
use crate::upstream::Client;

/// `POST /v1/messages/count_tokens`: free, and not metered.
pub async fn count_tokens(
    request: HttpRequest,
    payload: Payload,
    state: Data<AppState>,
    client: Data<Client>,
) -> HttpResponse {
    let arrived = log::arrived(&request);
    let counted = counted(&request, payload, &state, &client, arrived).await;
    let answer = counted.map(|counted| {
        let mut response = HttpResponse::Ok();
        header(&mut response, "x-counted-by", if counted.by_provider { "provider" } else { "estimate" });
        response.json(serde_json::json!({"input_tokens": counted.tokens}))
    });
    answer.unwrap_or_else(|e| e.response(Endpoint::Messages.dialect().errors.envelope, Some(arrived.id)))
}

async fn counted(
    request: &HttpRequest,
    payload: Payload,
    state: &AppState,
    client: &Client,
    arrived: Arrived,
) -> Result<CountedTokens, ApiError> {
    check_query(request)?;
    let caller = auth::caller(state, request, Need::Inference).await?;
    let _place = state.relay.begin_count(&caller)?;
    let body = body::read_prompt(state, request, payload, || state.relay.await_free_body(&caller)).await?;
    let call = call(Endpoint::Messages, request, body, arrived);
    Ok(state.relay.count_tokens(client, &caller, &call).await?)
}
