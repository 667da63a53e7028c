//! When an account is told of its balance.

use actix_web::web::{Data, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::ids::AccountId;
use crate::domain::money::{MicroUsd, Usd};
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::{AnyScope, ByKey, CallerBody, Manage};
use crate::http::shared::fields::{self, AN_AMOUNT, Field};
use crate::http::shared::types;
use crate::http::state::AppState;
use crate::store::{Tx, accounts, alert_channels, alerts};

/// The account's own threshold.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BalanceAlert)]
pub struct AlertView {
    /// An alert is sent when the balance falls below it; null: only when nothing is left.
    below_micro_usd: Option<MicroUsd>,
    below_usd: Option<Usd>,
    /// The account has an address, and mail is sent to account holders.
    mailed: bool,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = BalanceAlertBody)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// Null: none.
    #[serde(default, deserialize_with = "fields::given")]
    #[schema(value_type = Option<types::AmountUsd>)]
    below_usd: Field,
}

/// `GET /v1/payments/alert`
pub async fn get(by: ByKey<AnyScope>, state: Data<AppState>) -> Result<Json<AlertView>, ApiError> {
    view(&state, by.caller.account).map(Json)
}

fn view(state: &AppState, account: AccountId) -> Result<AlertView, ApiError> {
    let (below, mailed) = state.store.read_inline(|conn| {
        let has_address = accounts::get(conn, account)?.email.is_some();
        Ok((alerts::threshold(conn, account)?, has_address && alert_channels::load(conn)?.holders))
    })?;
    Ok(AlertView { below_micro_usd: below, below_usd: below.map(Usd), mailed })
}

/// `PUT /v1/payments/alert`
///
/// # Errors
/// 400 for a field.
pub async fn put(sent: CallerBody<Manage, Body>, state: Data<AppState>) -> Result<Json<AlertView>, ApiError> {
    let account = sent.by.caller.account;
    let below = fields::read("below_usd", &sent.body.below_usd, AN_AMOUNT, fields::usd)?;
    let below = below.ok_or_else(|| ApiError::invalid(Some("below_usd"), "below_usd is missing; null for none"))?;
    state.writer.write(move |conn: &Tx| alerts::set_threshold(conn, account, below)).await?;
    view(&state, account).map(Json)
}
