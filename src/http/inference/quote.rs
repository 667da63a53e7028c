//! What a request would cost, without running it.

use actix_web::HttpRequest;
use actix_web::web::{Data, Json, Payload};
use serde::Serialize;
use utoipa::ToSchema;

use crate::dialect::request::{BadRequest, Endpoint, InferenceRequest};
use crate::domain::json::TopLevel;
use crate::domain::money::{MicroUsd, Usd};
use crate::http::shared::body;
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::{AnyScope, ByKey};
use crate::http::state::AppState;

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Quote)]
pub struct QuoteView {
    model: String,
    endpoint: &'static str,
    /// The most it can cost, if it uses all it may.
    max_cost_micro_usd: MicroUsd,
    max_cost_usd: Usd,
    /// What it would cost with the prompt as the tokenizer counts it and an answer of the usual length.
    typical_cost_micro_usd: MicroUsd,
    typical_cost_usd: Usd,
    /// The most tokens its prompt can have.
    prompt_tokens_bound: u64,
    /// What the tokenizer counts.
    prompt_tokens_estimate: u64,
    /// The most tokens its answer can have.
    max_output_tokens: u64,
    /// The median of the account's last answers of this model.
    typical_output_tokens: u64,
    /// What the account, and this key, can pay now.
    available_micro_usd: MicroUsd,
    /// All of the most it can cost is there.
    balance_covers: bool,
    /// It would run with this output bound; null if it would be refused for lack of money.
    output_tokens_if_run: Option<u64>,
    /// It would run, but with a lower output bound than asked for.
    limited: bool,
}

/// `POST /v1/payments/quote`
///
/// # Errors
/// 400 for a field, 404 for the model.
pub async fn quote(
    by: ByKey<AnyScope>,
    request: HttpRequest,
    payload: Payload,
    state: Data<AppState>,
) -> Result<Json<QuoteView>, ApiError> {
    let caller = by.caller;
    let bytes = body::read_prompt(&state, &request, payload, || state.relay.await_free_body(&caller)).await?;
    let (endpoint, text) = without_endpoint(&bytes)?;
    let asked = InferenceRequest::read(endpoint, text.as_bytes())?;
    let quote = state.relay.quote(&caller, &asked, text.clone().into()).await?;
    let runs_as_asked = quote.output_if_run == Some(quote.bounds.completion_tokens);
    Ok(Json(QuoteView {
        model: asked.model,
        endpoint: endpoint.path(),
        max_cost_micro_usd: quote.most,
        max_cost_usd: Usd(quote.most),
        typical_cost_micro_usd: quote.typical,
        typical_cost_usd: Usd(quote.typical),
        prompt_tokens_bound: quote.bounds.prompt_tokens,
        prompt_tokens_estimate: quote.typical_usage.prompt_tokens,
        max_output_tokens: quote.bounds.completion_tokens,
        typical_output_tokens: quote.typical_usage.completion_tokens,
        available_micro_usd: quote.available,
        balance_covers: quote.most <= quote.available,
        output_tokens_if_run: quote.output_if_run,
        limited: quote.output_if_run.is_some() && !runs_as_asked,
    }))
}

/// The endpoint that a body names, and the body as it would be sent there.
fn without_endpoint(bytes: &[u8]) -> Result<(Endpoint, String), ApiError> {
    let wrong = || {
        let paths = Endpoint::ALL.map(Endpoint::path).join(", ");
        ApiError::invalid(Some("endpoint"), format!("endpoint must be one of {paths}"))
    };
    let top = TopLevel::read(bytes).map_err(BadRequest::from)?;
    let path: String = top.get("endpoint").and_then(|raw| serde_json::from_str(raw).ok()).ok_or_else(wrong)?;
    let endpoint = Endpoint::from_path(&path).ok_or_else(wrong)?;
    let rest = top.iter().filter(|(key, _)| *key != "endpoint");
    let rest: Vec<String> = rest.map(|(key, raw)| format!("{}:{raw}", serde_json::Value::from(key))).collect();
    Ok((endpoint, format!("{{{}}}", rest.join(","))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_taken_out_of_the_body() {
        let read = |body: &str| without_endpoint(body.as_bytes()).map_err(|e| e.status().as_u16());
        let body = r#"{ "model": "m", "endpoint": "/v1/embeddings", "input": ["a", 1.50] }"#;
        assert_eq!(read(body), Ok((Endpoint::Embeddings, r#"{"model":"m","input":["a", 1.50]}"#.to_owned())));
        for bad in ["", "[]", "{}", r#"{"endpoint":1}"#, r#"{"endpoint":"/v1/models"}"#, r#"{"a":1,"a":2}"#] {
            assert_eq!(read(bad), Err(400), "{bad}");
        }
    }
}
