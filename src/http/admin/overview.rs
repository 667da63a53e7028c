//! The admin's first page: the traffic and money of each day, how providers do, and what needs attention.

use std::time::Instant;

use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Admin;
use crate::domain::metrics;
use crate::domain::money::MicroUsd;
use crate::domain::time::{Timestamp, millis};
use crate::http::shared::error::ApiError;
use crate::http::shared::query::Query;
use crate::http::state::AppState;
use crate::relay::Relay;
use crate::store::backups::BackupHealth;
use crate::store::recounts::Recount;
use crate::store::usage_sums::{Day, DayTotals, day_of, start_of};
use crate::store::{StoreError, accounts, providers, recounts, withdrawals};

/// The most days of a chart.
const MOST_DAYS: u32 = 366;

/// How the last audit ended.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct LastAudit {
    /// The books agree.
    pub ok: bool,
    /// When it was done.
    pub checked_at: Timestamp,
}

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Overview {
    accounts: u64,
    balance_micro_usd: MicroUsd,
    held_micro_usd: MicroUsd,
    withdrawable_micro_usd: MicroUsd,
    today: DayView,
    /// Oldest first; days without requests are left out.
    days: Vec<DayView>,
    providers: ProvidersView,
    attention: Attention,
    /// Since the server started, also of a backup that it made.
    audit: Option<LastAudit>,
    /// Backups on a schedule; null if there are none.
    backup: Option<BackupView>,
}

/// How backups on a schedule stand.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BackupStanding)]
pub struct BackupView {
    /// When the last one was made that was opened and audited.
    last_good_at: Option<Timestamp>,
    /// Why the last attempt failed.
    error: Option<String>,
    /// It is older than two of its intervals.
    is_old: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Day)]
pub struct DayView {
    day: String,
    requests: u64,
    charged_micro_usd: MicroUsd,
    fee_micro_usd: MicroUsd,
    /// What refunds gave back on that day, of whichever day's requests.
    refunded_micro_usd: MicroUsd,
}

#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Providers)]
pub struct ProvidersView {
    up: u32,
    /// Their names.
    down: Vec<String>,
    /// Names of machines that joined and wait for an admin's approval.
    held: Vec<String>,
    disabled: u32,
    /// Requests that wait for a place.
    waiting: u32,
    /// How long the first of them has waited.
    longest_wait_ms: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Attention {
    withdrawals_pending: u64,
    withdrawals_pending_micro_usd: MicroUsd,
    estimated_today: u64,
    failed_today: u64,
    /// Providers that report something else than is counted, in words.
    out_of_line: Vec<String>,
}

/// `GET /v1/admin/overview?days=30`
///
/// # Errors
/// 400 for `days`.
pub async fn get(_: Admin, request: HttpRequest, state: Data<AppState>) -> Result<Json<Overview>, ApiError> {
    let in_range = |text: &str| text.parse().ok().filter(|n| (1..=MOST_DAYS).contains(n));
    let days = Query::of(&request)?.parsed("days", "an integer between 1 and 366", in_range)?.unwrap_or(30);
    Ok(Json(overview(&state, days, Timestamp::now()).await?))
}

/// Puts the overview of the last `count` days together.
async fn overview(state: &AppState, count: u32, now: Timestamp) -> Result<Overview, StoreError> {
    let today = day_of(now);
    let first = today - Day::from(count) + 1;
    let sums = state.store.usage_sums();
    let read = state.store.read_blocking(move |conn| {
        let pending = (withdrawals::pending(conn, None)?, recounts::list(conn)?);
        Ok((accounts::totals(conn)?, sums.days(conn, first, now)?, providers::list(conn)?, pending))
    });
    let (totals, days, rows, (pending, recounts)) = read.await?;
    let backup = match &state.backups {
        Some(backups) => {
            let BackupHealth { last_good, failed, is_old } = backups.standing(now).await;
            Some(BackupView { last_good_at: last_good, error: failed, is_old })
        }
        None => None,
    };
    let now_today = days.last().filter(|(day, _)| *day == today).map(|(_, totals)| *totals).unwrap_or_default();
    Ok(Overview {
        accounts: totals.accounts,
        balance_micro_usd: totals.balance,
        held_micro_usd: state.relay.holds().total(),
        withdrawable_micro_usd: totals.withdrawable,
        today: DayView::of(today, now_today),
        days: days.into_iter().map(|(day, totals)| DayView::of(day, totals)).collect(),
        providers: providers_view(&state.relay, &rows),
        attention: Attention {
            withdrawals_pending: pending.0,
            withdrawals_pending_micro_usd: pending.1,
            estimated_today: now_today.estimated,
            failed_today: now_today.failed,
            out_of_line: out_of_line(&rows, &recounts),
        },
        audit: metrics::last_audit().map(|(checked_at, ok)| LastAudit { ok, checked_at }),
        backup,
    })
}

/// Who reports something else than is counted.
fn out_of_line(rows: &[providers::ProviderRow], all: &[Recount]) -> Vec<String> {
    let named = |one: &Recount| {
        let name = rows.iter().find(|row| row.id == one.provider_id).map_or("?", |row| row.name.as_str());
        format!("{name} reports {} times the {} tokens that are counted for {}", one.text(), one.part, one.model)
    };
    all.iter().filter(|one| one.is_out_of_line(all)).map(named).collect()
}

fn providers_view(relay: &Relay, rows: &[providers::ProviderRow]) -> ProvidersView {
    let now = Instant::now();
    let (waiting, longest) = relay.waiting();
    let longest_wait_ms = longest.map(millis);
    let mut view = ProvidersView { waiting, longest_wait_ms, ..ProvidersView::default() };
    for row in rows {
        if row.is_held() {
            view.held.push(row.name.clone());
        } else if row.disabled_at.is_some() {
            view.disabled += 1;
        } else if relay.providers().health(row.id, now).down {
            view.down.push(row.name.clone());
        } else {
            view.up += 1;
        }
    }
    view
}

impl DayView {
    fn of(day: Day, totals: DayTotals) -> Self {
        let day = start_of(day).to_string();
        Self {
            day: day.split('T').next().unwrap_or_default().to_owned(),
            requests: totals.requests,
            charged_micro_usd: totals.charged,
            fee_micro_usd: totals.fee,
            refunded_micro_usd: totals.refunded,
        }
    }
}
