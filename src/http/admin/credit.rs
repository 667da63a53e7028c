//! Credit: added by an admin, and taken back.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::domain::money::MicroUsd;
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::AdminBody;
use crate::http::shared::idempotency::answer;
use crate::http::shared::money::{amount, money_write};
use crate::http::shared::types;
use crate::http::state::AppState;
use crate::store::{accounts, ledger};

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
/// 400 for a field, 404 for the account, 422 for a reused idempotency key.
pub async fn credit(
    sent: AdminBody<CreditBody>,
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let Wanted { who, amount, note } = wanted(sent.body)?;
    money_write(&request, &state, sent.by, &sent.bytes, move |conn, actor, now| {
        let account = accounts::find(conn, &who)?;
        let credited = ledger::credit(conn, account.id, amount, &note, actor, now)?;
        answer(200, &credited)
    })
    .await
}

/// `POST /v1/admin/debit`: takes credit back that was added by mistake.
///
/// # Errors
/// 400 for a field, or for more than is there and not on hold; 404 for the account, 422 for a reused
/// idempotency key.
pub async fn debit(
    sent: AdminBody<CreditBody>,
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let Wanted { who, amount, note } = wanted(sent.body)?;
    let account = state.store.read_inline(|conn| accounts::find(conn, &who))?.id;
    let mut held = state.relay.hold_debit(ledger::Debit { account, amount, note })?;
    money_write(&request, &state, sent.by, &sent.bytes, move |conn, actor, now| {
        answer(200, &held.run(conn, actor, now)?)
    })
    .await
}

/// What the two bodies say.
struct Wanted {
    who: String,
    amount: MicroUsd,
    note: String,
}

fn wanted(body: CreditBody) -> Result<Wanted, ApiError> {
    let who = match (body.account, body.email) {
        (Some(who), None) | (None, Some(who)) => who,
        _ => return Err(ApiError::invalid(Some("account"), "give either account or email")),
    };
    Ok(Wanted { who, amount: amount(&body.amount_usd)?, note: body.note.unwrap_or_default() })
}
