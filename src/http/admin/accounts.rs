//! Accounts, as an admin sees them.

use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::Admin;
use crate::domain::ids::AccountId;
use crate::domain::money::{MicroUsd, Usd};
use crate::domain::time::Timestamp;
use crate::http::account::payments;
use crate::http::shared::body;
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::{AdminBody, At};
use crate::http::shared::paging;
use crate::http::shared::query::Query;
use crate::http::state::AppState;
use crate::store::Tx;
use crate::store::account_search::{self, Change, Search};
use crate::store::accounts::{self, Account};

/// An account with its money.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub struct AccountView {
    /// `acct_…`
    pub id: AccountId,
    name: String,
    email: Option<String>,
    /// `active` or `suspended`.
    status: &'static str,
    created_at: Timestamp,
    /// It may make keys that machines join with (scope `provide`).
    may_provide: bool,
    balance_micro_usd: MicroUsd,
    balance_usd: Usd,
    /// The part of the balance that was earned as a provider.
    withdrawable_micro_usd: MicroUsd,
    /// What it owes of earnings that were refunded when they had left it.
    debt_micro_usd: MicroUsd,
    /// What requests in flight have reserved.
    held_micro_usd: MicroUsd,
    available_micro_usd: MicroUsd,
    /// All that it ever earned as a provider; only where one account is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    earned_micro_usd: Option<MicroUsd>,
    /// When its last request was settled; only where one account is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Timestamp>)]
    last_used_at: Option<Option<Timestamp>>,
}

/// The body of `POST /v1/admin/accounts`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccountBody {
    name: String,
    email: Option<String>,
}

/// The body of `PATCH /v1/admin/accounts/{id}`: what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountPatch {
    name: Option<String>,
    #[serde(default, deserialize_with = "body::given")]
    #[schema(value_type = Option<String>)]
    email: Option<Option<String>>,
    status: Option<Status>,
    /// It may make keys that machines join with; each machine waits for an admin.
    may_provide: Option<bool>,
}

/// Whether an account's keys work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = AccountStatus)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// They do.
    Active,
    /// They are refused.
    Suspended,
}

impl AccountView {
    fn new(account: Account, state: &AppState) -> Self {
        let (balance, held) = (account.balance, state.relay.holds().of_account(account.id).total);
        Self {
            id: account.id,
            name: account.name,
            email: account.email,
            status: if account.suspended_at.is_some() { "suspended" } else { "active" },
            created_at: account.created_at,
            may_provide: account.may_provide,
            balance_micro_usd: balance.total,
            balance_usd: Usd(balance.total),
            withdrawable_micro_usd: balance.withdrawable,
            debt_micro_usd: account.debt,
            held_micro_usd: held,
            available_micro_usd: balance.total.minus_floor_zero(held),
            earned_micro_usd: None,
            last_used_at: None,
        }
    }
}

/// `GET /v1/admin/accounts`: newest first.
pub async fn list(_: Admin, request: HttpRequest, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let query = Query::of(&request)?;
    let limit = query.limit(50)?;
    let before = query.parsed("before", "an account id", AccountId::parse)?;
    let search = Search {
        text: query.text("q").map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()),
        suspended: query.parsed("status", "active or suspended", |text| match text {
            "active" => Some(false),
            "suspended" => Some(true),
            _ => None,
        })?,
    };
    let found = state.store.read_blocking(move |conn| account_search::search(conn, &search, before, limit + 1));
    let (rows, count) = found.await?;
    let views = rows.into_iter().map(|account| AccountView::new(account, &state)).collect();
    let mut response = paging::json(&request, &query, views, limit, |last: &AccountView| last.id.to_string());
    response.headers_mut().insert(
        actix_web::http::header::HeaderName::from_static("x-total-count"),
        actix_web::http::header::HeaderValue::from(count),
    );
    Ok(response)
}

/// `POST /v1/admin/accounts`
///
/// # Errors
/// 400 for a field, 409 for a name or an email that is taken.
pub async fn create(sent: AdminBody<NewAccountBody>, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let (admin, NewAccountBody { name, email }) = (sent.by, sent.body);
    let now = Timestamp::now();
    let write = move |conn: &Tx| accounts::create(conn, &name, email.as_deref(), &admin.actor, now);
    let made = state.writer.write(write).await?;
    Ok(HttpResponse::Created().json(AccountView::new(made, &state)))
}

/// `GET /v1/admin/accounts/{id}`
pub async fn get(at: At<Admin, AccountId>, state: Data<AppState>) -> Result<Json<AccountView>, ApiError> {
    one(&state, at.id).await
}

/// An account with what takes a longer read.
async fn one(state: &AppState, id: AccountId) -> Result<Json<AccountView>, ApiError> {
    let read = state.store.read_blocking(move |conn| {
        Ok((accounts::get(conn, id)?, account_search::earned(conn, id)?, account_search::last_used(conn, id)?))
    });
    let (account, earned, last_used) = read.await?;
    let view = AccountView::new(account, state);
    Ok(Json(AccountView { earned_micro_usd: Some(earned), last_used_at: Some(last_used), ..view }))
}

/// `PATCH /v1/admin/accounts/{id}`
///
/// # Errors
/// 400 for a field, 404, 409 for a name or an email that is taken.
pub async fn patch(
    sent: AdminBody<AccountPatch, AccountId>,
    state: Data<AppState>,
) -> Result<Json<AccountView>, ApiError> {
    let (admin, id, AccountPatch { name, email, status, may_provide }) = (sent.by, sent.id, sent.body);
    let now = Timestamp::now();
    let change = Change { name, email, suspended: status.map(|status| status == Status::Suspended), may_provide };
    let write = move |conn: &Tx| account_search::change(conn, id, &change, &admin.actor, now);
    state.writer.write(write).await?;
    one(&state, id).await
}

/// `GET /v1/admin/accounts/{id}/usage`: as the account sees it, and who served it at which prices.
pub async fn usage(
    at: At<Admin, AccountId>,
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let id = existing(&state, at.id)?;
    payments::served_of(&request, &state, id).await
}

/// `GET /v1/admin/accounts/{id}/ledger`: as the account sees it.
pub async fn ledger(
    at: At<Admin, AccountId>,
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let id = existing(&state, at.id)?;
    payments::ledger_of(&request, &state, id).await
}

/// `GET /v1/admin/accounts/{id}/usage/summary`: as the account sees it.
pub async fn summary(
    at: At<Admin, AccountId>,
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let id = existing(&state, at.id)?;
    Ok(HttpResponse::Ok().json(payments::summary_of(&request, &state, id).await?.into_inner()))
}

/// The account, if there is one of that id.
///
/// # Errors
/// 404.
pub fn existing(state: &AppState, id: AccountId) -> Result<AccountId, ApiError> {
    state.store.read_inline(|conn| accounts::get(conn, id))?;
    Ok(id)
}
