//! What admins do: adding credit, and taking it back.

use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::http::auth::{self, Admin};
use crate::http::body;
use crate::http::error::ApiError;
use crate::http::idempotent;
use crate::http::idempotent::answer;
use crate::http::openapi::types;
use crate::http::world::World;
use crate::store::idempotency::Answer;
use crate::store::{Connection, StoreError, accounts, ledger};

/// The body of `POST /v1/admin/credit` and `/v1/admin/debit`: either account or email.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditBody {
    account: Option<String>,
    email: Option<String>,
    #[schema(value_type = types::AmountUsd)]
    amount_usd: Box<RawValue>,
    note: Option<String>,
}

/// `POST /v1/admin/credit`
///
/// # Errors
/// 400 for a field, 401, 403, 404 for the account, 422 for a reused idempotency key.
pub async fn credit(request: HttpRequest, payload: Payload, world: Data<World>) -> Result<HttpResponse, ApiError> {
    let admin = auth::admin(&world, &request).await?;
    let bytes = body::read(&world, &request, payload).await?;
    let Wanted { who, amount, note } = wanted(&bytes)?;
    money_write(&request, &world, admin, &bytes, move |conn, actor, now| {
        let account = accounts::find(conn, &who)?;
        let credited = ledger::credit(conn, account.id, amount, &note, actor, now)?;
        answer(200, &credited)
    })
    .await
}

/// `POST /v1/admin/debit`: takes credit back that was added by mistake.
///
/// # Errors
/// 400 for a field, or for more than is there and not on hold; 401, 403, 404 for the account, 422 for a reused
/// idempotency key.
pub async fn debit(request: HttpRequest, payload: Payload, world: Data<World>) -> Result<HttpResponse, ApiError> {
    let admin = auth::admin(&world, &request).await?;
    let bytes = body::read(&world, &request, payload).await?;
    let Wanted { who, amount, note } = wanted(&bytes)?;
    let account = world.relay.store.read(|conn| accounts::find(conn, &who))?.id;
    let mut hold = world.relay.reserve_debit(account, amount)?;
    let debit = ledger::Debit { account, amount, note };
    money_write(&request, &world, admin, &bytes, move |conn, actor, now| {
        let others = hold.settling();
        answer(200, &ledger::debit(conn, &debit, hold.amount(), others, actor, now)?)
    })
    .await
}

/// What the two bodies say.
struct Wanted {
    who: String,
    amount: MicroUsd,
    note: String,
}

fn wanted(bytes: &Bytes) -> Result<Wanted, ApiError> {
    let body: CreditBody = body::parse(bytes)?;
    let who = match (body.account, body.email) {
        (Some(who), None) | (None, Some(who)) => who,
        _ => return Err(ApiError::invalid(Some("account"), "give either account or email")),
    };
    Ok(Wanted { who, amount: amount(&body.amount_usd)?, note: body.note.unwrap_or_default() })
}

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
///
/// # Errors
/// As [`idempotent::money_write`].
pub async fn money_write(
    request: &HttpRequest,
    world: &World,
    admin: Admin,
    body: &Bytes,
    write: impl FnMut(&Connection, &str, Timestamp) -> Result<Answer, StoreError> + Send + 'static,
) -> Result<HttpResponse, ApiError> {
    idempotent::money_write(request, world, admin.actor, body, write).await
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
