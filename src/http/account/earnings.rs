//! What an account earned as a provider.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::ids::ProviderId;
use crate::domain::money::{MicroUsd, Usd};
use crate::domain::time::Timestamp;
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::{AnyScope, ByKey};
use crate::http::shared::fields::A_TIME;
use crate::http::shared::query::Query;
use crate::http::state::AppState;
use crate::store::earnings::{self, Earned};
use crate::store::{Read, accounts, withdrawals};

/// The answer. Totals and rows are of the span that was asked for; what can be withdrawn is as of now.
#[derive(Debug, Serialize, ToSchema)]
pub struct Earnings {
    /// What the payers were charged, less the fee.
    earned_micro_usd: MicroUsd,
    earned_usd: Usd,
    /// What refunds took back of it, ever.
    reversed_micro_usd: MicroUsd,
    /// What it owes of them: refunded when they had been spent or paid out. Its next earnings pay it off.
    debt_micro_usd: MicroUsd,
    /// What can be withdrawn now.
    withdrawable_micro_usd: MicroUsd,
    withdrawable_usd: Usd,
    /// What was asked for and is not paid yet.
    withdrawals_pending_micro_usd: MicroUsd,
    requests: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    by_provider: Vec<Sum>,
    by_model: Vec<Sum>,
    by_day: Vec<Sum>,
    /// By provider, model and day; newest day first.
    rows: Vec<Earned>,
}

/// The sum over one provider, one model or one day.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = EarningsSum)]
pub struct Sum {
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_id: Option<ProviderId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<String>,
    requests: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    earned_micro_usd: MicroUsd,
}

/// `GET /v1/provider/account-earnings?since=&until=`
pub async fn get(by: ByKey<AnyScope>, request: HttpRequest, state: Data<AppState>) -> Result<Json<Earnings>, ApiError> {
    let account = by.caller.account;
    let query = Query::of(&request)?;
    let since = query.parsed("since", A_TIME, Timestamp::parse)?;
    let until = query.parsed("until", A_TIME, Timestamp::parse)?;
    let held = state.relay.holds().of_account(account).total;
    let read = move |conn: &Read| {
        let withdrawable = withdrawals::available(conn, account, held)?;
        let debt = accounts::debt(conn, account)?;
        let (_, pending) = withdrawals::pending(conn, Some(account))?;
        let reversed = earnings::reversed(conn, account)?;
        Ok((earnings::earned(conn, account, since, until)?, withdrawable, pending, (reversed, debt)))
    };
    let (rows, withdrawable, pending, (reversed, debt)) = state.store.read_blocking(read).await?;
    let all = sums(&rows, |_| (), |_| Sum::default()).pop().unwrap_or_default();
    let by_provider = sums(
        &rows,
        |row| row.provider_id,
        |row| Sum {
            provider_id: Some(row.provider_id),
            provider_name: Some(row.provider_name.clone()),
            ..Sum::default()
        },
    );
    let by_model = |row: &Earned| Sum { model: Some(row.model.clone()), ..Sum::default() };
    let by_day = |row: &Earned| Sum { day: Some(row.day.clone()), ..Sum::default() };
    Ok(Json(Earnings {
        earned_micro_usd: all.earned_micro_usd,
        earned_usd: Usd(all.earned_micro_usd),
        reversed_micro_usd: reversed,
        debt_micro_usd: debt,
        withdrawable_micro_usd: withdrawable,
        withdrawable_usd: Usd(withdrawable),
        withdrawals_pending_micro_usd: pending,
        requests: all.requests,
        prompt_tokens: all.prompt_tokens,
        completion_tokens: all.completion_tokens,
        by_provider,
        by_model: sums(&rows, |row| row.model.clone(), by_model),
        by_day: sums(&rows, |row| row.day.clone(), by_day),
        rows,
    }))
}

/// The rows added up by `key`, in its order.
fn sums<K: Ord>(rows: &[Earned], key: impl Fn(&Earned) -> K, named: impl Fn(&Earned) -> Sum) -> Vec<Sum> {
    let mut sums: BTreeMap<K, Sum> = BTreeMap::new();
    for row in rows {
        let sum = sums.entry(key(row)).or_insert_with(|| named(row));
        sum.requests = sum.requests.saturating_add(row.requests);
        sum.prompt_tokens = sum.prompt_tokens.saturating_add(row.prompt_tokens);
        sum.completion_tokens = sum.completion_tokens.saturating_add(row.completion_tokens);
        // All of it lies in one balance, or did: it fits.
        let earned = sum.earned_micro_usd.checked_add(row.earned_micro_usd);
        sum.earned_micro_usd = earned.unwrap_or(MicroUsd::new(i64::MAX));
    }
    sums.into_values().collect()
}
