//! Money in bodies: amounts, and an admin's writes of them.

use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::value::RawValue;

use crate::auth::Admin;
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::http::shared::error::ApiError;
use crate::http::shared::idempotency;
use crate::http::state::AppState;
use crate::store::idempotency::SavedAnswer;
use crate::store::{StoreError, Tx};

/// An amount in USD, as a string or a number: read from its text, never through a float.
///
/// # Errors
/// 400 for anything that is not an exact decimal above zero.
pub fn amount(raw: &RawValue) -> Result<MicroUsd, ApiError> {
    let invalid = |why: String| ApiError::invalid(Some("amount_usd"), format!("amount_usd: {why}"));
    let text = match serde_json::from_str::<String>(raw.get()) {
        Ok(text) => text,
        Err(_) => raw.get().to_owned(),
    };
    let amount = MicroUsd::parse_usd(&text).map_err(|e| invalid(e.to_string()))?;
    if amount == MicroUsd::ZERO { Err(invalid("the amount must be more than zero".into())) } else { Ok(amount) }
}

/// Runs an admin's money write, at most once for its `Idempotency-Key`.
pub async fn money_write(
    request: &HttpRequest,
    state: &AppState,
    admin: Admin,
    body: &Bytes,
    write: impl FnMut(&Tx, &str, Timestamp) -> Result<SavedAnswer, StoreError> + Send + 'static,
) -> Result<HttpResponse, ApiError> {
    Ok(idempotency::money_write(request, state, admin.actor, body, write).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_or_refused() {
        let read = |text: &str| {
            let raw = RawValue::from_string(text.to_owned()).unwrap_or_default();
            amount(&raw).map(MicroUsd::micro).map_err(|e| e.status().as_u16())
        };
        for (text, micro) in [("\"10.00\"", 10_000_000), ("\"0.000001\"", 1), ("10", 10_000_000), ("0.1", 100_000)] {
            assert_eq!(read(text), Ok(micro), "{text}");
        }
        for text in
            ["\"0\"", "\"-1\"", "-1", "1e3", "\"1e3\"", "\"0.0000001\"", "null", "[]", "\"\"", "true", "\"\\u0000\""]
        {
            assert_eq!(read(text), Err(400), "{text}");
        }
    }
}
