//! An account's money: balance and usage.

use actix_web::http::header::{ACCEPT, CONTENT_DISPOSITION, LINK};
use actix_web::web::{Bytes, Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use serde::Serialize;

use super::auth::{self, Need};
use super::error::ApiError;
use super::query::Query;
use super::world::World;
use crate::domain::ids::{AccountId, RequestId};
use crate::domain::keys::KeyId;
use crate::domain::money::{MicroUsd, Usd};
use crate::domain::settle::Balance;
use crate::domain::time::Timestamp;
use crate::relay::Relay;
use crate::store::usage::{self, Filter, UsageRow};
use crate::store::{StoreError, accounts};

/// The body of `GET /v1/payments/balance`.
#[derive(Debug, Serialize)]
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
            available_micro_usd: balance.total.less(held),
        }
    }
}

/// `GET /v1/payments/balance`
///
/// # Errors
/// 401, 403.
pub async fn balance(request: HttpRequest, world: Data<World>) -> Result<Json<BalanceView>, ApiError> {
    let caller = auth::caller(&world, &request, Need::Any).await?;
    let balance = world.relay.store.read(|conn| accounts::balance(conn, caller.account))?;
    Ok(Json(BalanceView::new(balance, world.relay.holds.of_account(caller.account).total)))
}

/// `GET /v1/payments/usage`: a page of JSON, or every matching row as CSV.
///
/// # Errors
/// 400 for a parameter, 401, 403.
pub async fn usage(request: HttpRequest, world: Data<World>) -> Result<HttpResponse, ApiError> {
    let caller = auth::caller(&world, &request, Need::Any).await?;
    usage_of(&request, &world, caller.account).await
}

/// The usage of an account as its owner sees it.
///
/// # Errors
/// 400 for a parameter.
pub async fn usage_of(request: &HttpRequest, world: &World, account: AccountId) -> Result<HttpResponse, ApiError> {
    let query = Query::of(request)?;
    let filter = filter(&query)?;
    let limit = query.limit(100)?;
    if wants_csv(request, &query)? {
        return Ok(csv_response(world, account, filter));
    }
    // One more than asked for tells whether there is another page.
    let mut rows = page(&world.relay, account, filter, limit + 1).await?;
    let mut response = HttpResponse::Ok();
    if rows.len() > usize::try_from(limit).unwrap_or(usize::MAX) {
        rows.pop();
        if let Some(last) = rows.last() {
            response.insert_header((LINK, query.next_page(request.path(), &last.request_id.to_string())));
        }
    }
    Ok(response.json(rows))
}

async fn page(relay: &Relay, account: AccountId, filter: Filter, limit: u32) -> Result<Vec<UsageRow>, StoreError> {
    relay.store.read_later(move |conn| usage::list(conn, account, &filter, limit)).await
}

/// `before`, `model`, `key`, `since`, `until`.
fn filter(query: &Query) -> Result<Filter, ApiError> {
    let time = "a time like 2026-04-30T14:22:01Z or a day like 2026-04-30";
    Ok(Filter {
        before: query.parsed("before", "a request id", RequestId::parse)?,
        model: query.text("model").map(str::to_owned),
        key: query.parsed("key", "a key id", KeyId::parse)?,
        since: query.parsed("since", time, Timestamp::parse)?,
        until: query.parsed("until", time, Timestamp::parse)?,
    })
}

fn wants_csv(request: &HttpRequest, query: &Query) -> Result<bool, ApiError> {
    let format = query.parsed("format", "csv or json", |text| match text {
        "csv" => Some(true),
        "json" => Some(false),
        _ => None,
    })?;
    let accepts =
        || request.headers().get(ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|v| v.starts_with("text/csv"));
    Ok(format.unwrap_or_else(accepts))
}

/// Rows of one read: the whole export never lies in memory.
const CSV_ROWS: u32 = 1_000;

fn csv_response(world: &World, account: AccountId, filter: Filter) -> HttpResponse {
    let relay = std::sync::Arc::clone(&world.relay);
    let pages = stream::unfold(Some((relay, filter, true)), move |state| async move {
        let (relay, filter, first) = state?;
        let part = csv_page(&relay, account, filter.clone(), first).await;
        Some(match part {
            Ok((text, Some(last))) => (Ok(text), Some((relay, Filter { before: Some(last), ..filter }, false))),
            Ok((text, None)) => (Ok(text), None),
            // The status is out already: breaking off is all that can still be said.
            Err(e) => (Err(e), None),
        })
    });
    HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header((CONTENT_DISPOSITION, "attachment; filename=\"usage.csv\""))
        .streaming(pages)
}

/// One read's rows as text, and the id to go on from if there may be more.
async fn csv_page(
    relay: &Relay,
    account: AccountId,
    filter: Filter,
    first: bool,
) -> Result<(Bytes, Option<RequestId>), ApiError> {
    let rows = page(relay, account, filter, CSV_ROWS).await?;
    let more = rows.len() == usize::try_from(CSV_ROWS).unwrap_or(usize::MAX);
    let last = rows.last().filter(|_| more).map(|row| row.request_id);
    let text = usage::to_csv(&rows, first).map_err(ApiError::from)?;
    Ok((Bytes::from(text), last))
}
