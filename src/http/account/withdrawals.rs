//! An account's withdrawals.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::domain::ids::{LedgerId, WithdrawalId};
use crate::domain::money::{MicroUsd, Usd};
use crate::domain::time::Timestamp;
use crate::domain::withdrawal::Wanted;
use crate::http::shared::auth;
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::{ByKey, CallerBody, Manage};
use crate::http::shared::idempotency::{self, answer};
use crate::http::shared::money;
use crate::http::shared::paging;
use crate::http::shared::query::Query;
use crate::http::shared::types;
use crate::http::state::AppState;
use crate::store::withdrawals::{self, Withdrawal, WithdrawalFilter};
use crate::store::{Tx, accounts};

#[derive(Deserialize, ToSchema)]
#[schema(as = WithdrawalBody)]
#[serde(deny_unknown_fields)]
pub struct Body {
    #[schema(value_type = types::AmountUsd)]
    amount_usd: Box<RawValue>,
    note: Option<String>,
}

/// A withdrawal as its account sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnWithdrawal {
    id: WithdrawalId,
    amount_micro_usd: MicroUsd,
    amount_usd: Usd,
    /// What refunds took back of it while it was pending.
    reduced_micro_usd: MicroUsd,
    status: String,
    note: Option<String>,
    created_at: Timestamp,
    decided_at: Option<Timestamp>,
    decided_by: Option<String>,
    reason: Option<String>,
    reference: Option<String>,
    ledger_id: LedgerId,
    returned_ledger_id: Option<LedgerId>,
}

impl From<Withdrawal> for OwnWithdrawal {
    fn from(w: Withdrawal) -> Self {
        Self {
            id: w.id,
            amount_micro_usd: w.amount_micro_usd,
            amount_usd: w.amount_usd,
            reduced_micro_usd: w.reduced_micro_usd,
            status: w.status,
            note: Some(w.note).filter(|note| !note.is_empty()),
            created_at: w.created_at,
            decided_at: w.decided_at,
            decided_by: w.decided_by,
            reason: w.reason,
            reference: w.reference,
            ledger_id: w.ledger_id,
            returned_ledger_id: w.returned_ledger_id,
        }
    }
}

/// A withdrawal that was just asked for, and what it left.
#[derive(Debug, Serialize, ToSchema)]
pub struct Requested {
    #[serde(flatten)]
    withdrawal: OwnWithdrawal,
    balance_micro_usd: MicroUsd,
    withdrawable_micro_usd: MicroUsd,
}

/// `GET /v1/payments/withdrawals`: newest first.
pub async fn list(by: ByKey<Manage>, request: HttpRequest, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let account = by.caller.account;
    let query = Query::of(&request)?;
    let limit = query.limit(100)?;
    let filter = WithdrawalFilter { account: Some(account), ..filter(&query)? };
    let rows = state.store.read_blocking(move |conn| withdrawals::list(conn, &filter, limit + 1)).await?;
    let rows: Vec<OwnWithdrawal> = rows.into_iter().map(OwnWithdrawal::from).collect();
    Ok(paging::json(&request, &query, rows, limit, |row| row.id.to_string()))
}

/// `status`, `before`.
pub fn filter(query: &Query) -> Result<WithdrawalFilter, ApiError> {
    let status = |text: &str| Some(text.to_owned()).filter(|t| matches!(t.as_str(), "pending" | "paid" | "rejected"));
    Ok(WithdrawalFilter {
        account: None,
        status: query.parsed("status", "pending, paid or rejected", status)?,
        before: query.parsed("before", "a withdrawal id", WithdrawalId::parse)?,
    })
}

/// `POST /v1/payments/withdrawals`
///
/// # Errors
/// 400 for a field or for more than can be withdrawn, 422 for a reused idempotency key.
pub async fn request(
    sent: CallerBody<Manage, Body>,
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let (account, asked) = (sent.by.caller.account, sent.body);
    let wanted = Wanted { account, amount: money::amount(&asked.amount_usd)?, note: asked.note.unwrap_or_default() };
    let mut held = state.relay.hold_withdrawal(wanted)?;
    let write = move |conn: &Tx, actor: &str, now| {
        let withdrawal = held.run(conn, actor, now)?.into();
        let left = accounts::balance(conn, account)?;
        let requested =
            Requested { withdrawal, balance_micro_usd: left.total, withdrawable_micro_usd: left.withdrawable };
        answer(201, &requested)
    };
    Ok(idempotency::money_write(&request, &state, auth::actor(account), &sent.bytes, write).await?)
}
