//! An account's money: balance, usage, ledger.

use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::ids::{AccountId, LedgerId, RequestId};
use crate::domain::keys::KeyId;
use crate::domain::money::{MicroUsd, Usd};
use crate::domain::settle::Balance;
use crate::domain::time::Timestamp;
use crate::domain::usage::Outcome;
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::{AnyScope, ByKey};
use crate::http::shared::fields::A_TIME;
use crate::http::shared::paging;
use crate::http::shared::query::Query;
use crate::http::state::AppState;
use crate::store::summary::{self, GroupBy, Total};
use crate::store::usage::{self, UsageFilter};
use crate::store::{Read, StoreError, accounts, ledger, served};

/// The body of `GET /v1/payments/balance`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Balance)]
pub struct BalanceView {
    balance_micro_usd: MicroUsd,
    balance_usd: Usd,
    withdrawable_micro_usd: MicroUsd,
    withdrawable_usd: Usd,
    held_micro_usd: MicroUsd,
    available_micro_usd: MicroUsd,
}

impl BalanceView {
    /// `held` is what requests in flight have reserved.
    pub fn new(balance: Balance, held: MicroUsd) -> Self {
        Self {
            balance_micro_usd: balance.total,
            balance_usd: Usd(balance.total),
            withdrawable_micro_usd: balance.withdrawable,
            withdrawable_usd: Usd(balance.withdrawable),
            held_micro_usd: held,
            available_micro_usd: balance.total.minus_floor_zero(held),
        }
    }
}

/// `GET /v1/payments/balance`
pub async fn balance(by: ByKey<AnyScope>, state: Data<AppState>) -> Result<Json<BalanceView>, ApiError> {
    let account = by.caller.account;
    let balance = state.store.read_inline(|conn| accounts::balance(conn, account))?;
    Ok(Json(BalanceView::new(balance, state.relay.holds().of_account(account).total)))
}

/// `GET /v1/payments/usage`: a page of JSON, or every matching row as CSV.
pub async fn usage(by: ByKey<AnyScope>, request: HttpRequest, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let query = Query::of(&request)?;
    let (account, filter, limit) = (by.caller.account, filter(&query)?, query.limit(100)?);
    if paging::wants_csv(&request, &query)? {
        return Ok(usage_csv((&state, account, filter), (usage::list, usage::to_csv, |row| row.request_id)));
    }
    // One more than asked for tells whether there is another page.
    let rows = state.store.read_blocking(move |conn| usage::list(conn, account, &filter, limit + 1)).await?;
    Ok(paging::json(&request, &query, rows, limit, |row| row.request_id.to_string()))
}

/// The usage of an account as an admin sees it.
pub async fn served_of(request: &HttpRequest, state: &AppState, account: AccountId) -> Result<HttpResponse, ApiError> {
    let query = Query::of(request)?;
    let (filter, limit) = (filter(&query)?, query.limit(100)?);
    if paging::wants_csv(request, &query)? {
        return Ok(usage_csv((state, account, filter), (served::list, served::to_csv, |one| one.row.request_id)));
    }
    let read = move |conn: &Read| served::list(conn, account, &filter, limit + 1);
    let rows = state.store.read_blocking(read).await?;
    Ok(paging::json(request, &query, rows, limit, |one| one.row.request_id.to_string()))
}

/// `before`, `model`, `key`, `since`, `until`, `outcome`.
pub fn filter(query: &Query) -> Result<UsageFilter, ApiError> {
    Ok(UsageFilter {
        before: query.parsed("before", "a request id", RequestId::parse)?,
        model: query.text("model").map(str::to_owned),
        key: query.parsed("key", "a key id", KeyId::parse)?,
        since: query.parsed("since", A_TIME, Timestamp::parse)?,
        until: query.parsed("until", A_TIME, Timestamp::parse)?,
        outcome: query.parsed("outcome", "completed, client_disconnected or provider_error", Outcome::from_text)?,
    })
}

/// How rows of one kind are read, and written as CSV, and what their ids are.
type UsageKind<Row> = (
    fn(&Read, AccountId, &UsageFilter, u32) -> Result<Vec<Row>, StoreError>,
    fn(&[Row], bool) -> Result<Vec<u8>, StoreError>,
    fn(&Row) -> RequestId,
);

/// Every matching row of one kind.
fn usage_csv<Row: Send + 'static>(
    (state, account, filter): (&AppState, AccountId, UsageFilter),
    (list, to_csv, id): UsageKind<Row>,
) -> HttpResponse {
    let store = state.store.clone();
    paging::csv("usage.csv", move |after: Option<RequestId>| {
        let (store, filter) = (store.clone(), filter.clone());
        async move {
            let first = after.is_none();
            let filter = UsageFilter { before: after.or(filter.before), ..filter };
            let rows = store.read_blocking(move |conn| list(conn, account, &filter, paging::CSV_ROWS)).await?;
            Ok((to_csv(&rows, first)?, paging::more(&rows, id)))
        }
    })
}

/// `GET /v1/payments/ledger`: a page of JSON, or every matching entry as CSV.
pub async fn ledger(
    by: ByKey<AnyScope>,
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    ledger_of(&request, &state, by.caller.account).await
}

/// The ledger of an account.
pub async fn ledger_of(request: &HttpRequest, state: &AppState, account: AccountId) -> Result<HttpResponse, ApiError> {
    let query = Query::of(request)?;
    let filter = ledger::LedgerFilter {
        before: query.parsed("before", "a ledger id", LedgerId::parse)?,
        since: query.parsed("since", A_TIME, Timestamp::parse)?,
        until: query.parsed("until", A_TIME, Timestamp::parse)?,
    };
    let limit = query.limit(100)?;
    if paging::wants_csv(request, &query)? {
        return Ok(ledger_csv(state, account, filter));
    }
    let rows = state.store.read_blocking(move |conn| ledger::list(conn, account, filter, limit + 1)).await?;
    Ok(paging::json(request, &query, rows, limit, |entry| entry.id.to_string()))
}

fn ledger_csv(state: &AppState, account: AccountId, filter: ledger::LedgerFilter) -> HttpResponse {
    let store = state.store.clone();
    paging::csv("ledger.csv", move |after: Option<LedgerId>| {
        let store = store.clone();
        async move {
            let first = after.is_none();
            let filter = ledger::LedgerFilter { before: after.or(filter.before), ..filter };
            let read = move |conn: &Read| ledger::list(conn, account, filter, paging::CSV_ROWS);
            let rows = store.read_blocking(read).await?;
            Ok((ledger::to_csv(&rows, first)?, paging::more(&rows, |entry| entry.id)))
        }
    })
}

/// `GET /v1/payments/usage/summary`
pub async fn summary(
    by: ByKey<AnyScope>,
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<Json<Vec<Total>>, ApiError> {
    summary_of(&request, &state, by.caller.account).await
}

/// Totals of an account's usage: by day, unless `group_by` says otherwise.
pub async fn summary_of(
    request: &HttpRequest,
    state: &AppState,
    account: AccountId,
) -> Result<Json<Vec<Total>>, ApiError> {
    let query = Query::of(request)?;
    let by = query.parsed("group_by", "day, model, key or day,model", GroupBy::from_text)?.unwrap_or(GroupBy::Day);
    let filter = UsageFilter { before: None, ..filter(&query)? };
    let read = move |conn: &Read| summary::summary(conn, account, &filter, by);
    Ok(Json(state.store.read_blocking(read).await?))
}
