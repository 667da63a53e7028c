//! Invite codes: admins make them, accounts redeem them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::auth::{self, Need};
use super::error::ApiError;
use super::fields::{self, A_TIME, Field, given};
use super::idempotent::{self, answer};
use super::openapi::types;
use super::query::Query;
use super::world::World;
use super::{admin, body, paging, resource};
use crate::domain::ids::{AccountId, InviteId};
use crate::domain::invite_code;
use crate::domain::time::Timestamp;
use crate::store::Connection;
use crate::store::invites::{self, NewInvite};

/// `/v1/invite/redeem`, `/v1/admin/invite-codes…`. They need [`Guesses`], one for all workers.
pub fn routes(app: &mut ServiceConfig) {
    app.service(resource("/v1/invite/redeem").route(web::post().to(redeem)))
        .service(resource("/v1/admin/invite-codes").route(web::get().to(list)).route(web::post().to(create)))
        .service(resource("/v1/admin/invite-codes/{code}").route(web::delete().to(remove)));
}

/// Wrong codes that an account tried lately. In memory: a restart forgives them.
#[derive(Debug, Default)]
pub struct Guesses(Mutex<HashMap<AccountId, Tries>>);

#[derive(Debug, Clone, Copy)]
struct Tries {
    since: Instant,
    count: u32,
}

/// Tries within the window, before the next is refused unseen.
const MOST_TRIES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);

impl Guesses {
    /// Counts a try.
    ///
    /// # Errors
    /// There were too many lately: how long to wait.
    fn count(&self, account: AccountId, now: Instant) -> Result<(), Duration> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, tries| now.saturating_duration_since(tries.since) < WINDOW);
        let tries = all.entry(account).or_insert(Tries { since: now, count: 0 });
        if tries.count >= MOST_TRIES {
            return Err(WINDOW.saturating_sub(now.saturating_duration_since(tries.since)));
        }
        tries.count += 1;
        Ok(())
    }

    /// One try was no guess. The others still count: who has one good code could else guess for ever.
    fn forgive(&self, account: AccountId) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tries) = all.get_mut(&account) {
            tries.count = tries.count.saturating_sub(1);
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[schema(as = RedeemBody)]
#[serde(deny_unknown_fields)]
pub struct Redeem {
    code: String,
}

/// `POST /v1/invite/redeem`
///
/// # Errors
/// 400 for a field, 401, 403, 404 for an unknown code, 409 for one that this account redeemed, that is used
/// up or that expired, 429 after too many wrong ones.
pub async fn redeem(
    request: HttpRequest,
    payload: Payload,
    world: Data<World>,
    guesses: Data<Guesses>,
) -> Result<HttpResponse, ApiError> {
    let account = auth::caller(&world, &request, Need::Any).await?.account;
    let bytes = body::read(&world, &request, payload).await?;
    let Redeem { code } = body::parse(&bytes)?;
    if code.trim().is_empty() {
        return Err(ApiError::invalid(Some("code"), "code must not be empty"));
    }
    guesses
        .count(account, Instant::now())
        .map_err(|wait| ApiError::rate_limited("too many wrong codes: try again later", wait))?;
    let write =
        move |conn: &Connection, actor: &str, now| answer(200, &invites::redeem(conn, account, &code, actor, now)?);
    let redeemed = idempotent::money_write(&request, &world, auth::actor(account), &bytes, write).await;
    if redeemed.as_ref().map_or_else(|e| e.status() != StatusCode::NOT_FOUND, |_| true) {
        guesses.forgive(account);
    }
    redeemed
}

/// `GET /v1/admin/invite-codes`: newest first.
///
/// # Errors
/// 400 for a parameter, 401, 403.
pub async fn list(request: HttpRequest, world: Data<World>) -> Result<HttpResponse, ApiError> {
    auth::admin(&world, &request).await?;
    let query = Query::of(&request)?;
    let limit = query.limit(50)?;
    let before = query.parsed("before", "an invite id", InviteId::parse)?;
    let rows = world.relay.store.read_later(move |conn| invites::list(conn, before, limit + 1)).await?;
    Ok(paging::json(&request, &query, rows, limit, |row| row.id.to_string()))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = InviteBody)]
#[serde(deny_unknown_fields)]
pub struct Create {
    #[schema(value_type = types::AmountUsd)]
    amount_usd: Box<RawValue>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    max_redemptions: Field,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Timestamp>)]
    expires_at: Field,
    note: Option<String>,
}

/// `POST /v1/admin/invite-codes`
///
/// # Errors
/// 400 for a field, 401, 403.
pub async fn create(request: HttpRequest, payload: Payload, world: Data<World>) -> Result<HttpResponse, ApiError> {
    let admin = auth::admin(&world, &request).await?;
    let bytes = body::read(&world, &request, payload).await?;
    let body: Create = body::parse(&bytes)?;
    let most = fields::read("max_redemptions", &body.max_redemptions, "an integer of at least 1", fields::count)?;
    let new = NewInvite {
        code: invite_code::generate().map_err(|e| {
            tracing::error!(error = %e, "no code could be made");
            ApiError::internal()
        })?,
        amount: admin::amount(&body.amount_usd)?,
        max_redemptions: most.flatten().unwrap_or(1),
        expires_at: fields::read("expires_at", &body.expires_at, A_TIME, fields::time)?.flatten(),
        note: body.note.unwrap_or_default(),
    };
    let write =
        move |conn: &Connection, actor: &str, now: Timestamp| answer(201, &invites::create(conn, &new, actor, now)?);
    admin::money_write(&request, &world, admin, &bytes, write).await
}

/// `DELETE /v1/admin/invite-codes/{code}`
///
/// # Errors
/// 401, 403, 404.
pub async fn remove(request: HttpRequest, world: Data<World>, code: Path<String>) -> Result<HttpResponse, ApiError> {
    let admin = auth::admin(&world, &request).await?;
    let write = move |conn: &Connection| invites::remove(conn, &code, &admin.actor, Timestamp::now());
    world.relay.writer.write(write).await?;
    Ok(HttpResponse::NoContent().finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_is_slow() {
        let guesses = Guesses::default();
        let account = AccountId::from_i64(7);
        let start = Instant::now();
        for _ in 0..MOST_TRIES {
            assert!(guesses.count(account, start).is_ok());
        }
        assert_eq!(guesses.count(account, start + Duration::from_secs(20)), Err(Duration::from_secs(40)));
        assert!(guesses.count(AccountId::from_i64(8), start).is_ok(), "another account");
        assert!(guesses.count(account, start + WINDOW).is_ok(), "a minute later");
        for _ in 0..MOST_TRIES - 1 {
            assert!(guesses.count(account, start + WINDOW).is_ok());
        }
        guesses.forgive(account);
        assert!(guesses.count(account, start + WINDOW).is_ok(), "the one that was no guess");
        assert!(guesses.count(account, start + WINDOW).is_err(), "but not the others");
    }
}
