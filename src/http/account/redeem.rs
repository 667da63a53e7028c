//! Invite codes, redeemed by accounts.

use std::time::{Duration, Instant};

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::ids::AccountId;
use crate::http::shared::auth;
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::{AnyScope, CallerBody};
use crate::http::shared::idempotency::{self, NotWritten, answer};
use crate::http::state::AppState;
use crate::relay::MinuteCounter;
use crate::store::{StoreError, Tx, invites};

/// Wrong codes that an account tried recently. In memory: a restart forgives them.
#[derive(Debug, Default)]
pub struct Guesses(MinuteCounter<AccountId>);

/// Tries within a minute, before the next is refused unseen.
const MOST_TRIES: u32 = 10;

impl Guesses {
    /// Counts a try.
    ///
    /// # Errors
    /// There were too many recently: how long to wait.
    fn count(&self, account: AccountId, now: Instant) -> Result<(), Duration> {
        self.0.count(account, MOST_TRIES, now).map(|_| ()).map_err(|status| status.reset)
    }

    /// One try was no guess. The others still count: who has one good code could else guess for ever.
    fn forgive(&self, account: AccountId) {
        self.0.forgive(account);
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
/// 400 for a field, 404 for an unknown code, 409 for one that this account redeemed, that is used
/// up or that expired, 429 after too many wrong ones.
pub async fn redeem(
    sent: CallerBody<AnyScope, Redeem>,
    request: HttpRequest,
    state: Data<AppState>,
    guesses: Data<Guesses>,
) -> Result<HttpResponse, ApiError> {
    let (account, Redeem { code }) = (sent.by.caller.account, sent.body);
    if code.trim().is_empty() {
        return Err(ApiError::invalid(Some("code"), "code must not be empty"));
    }
    guesses
        .count(account, Instant::now())
        .map_err(|wait| ApiError::rate_limited("too many wrong codes: try again later", wait))?;
    let write = move |conn: &Tx, actor: &str, now| answer(200, &invites::redeem(conn, account, &code, actor, now)?);
    let redeemed = idempotency::money_write(&request, &state, auth::actor(account), &sent.bytes, write).await;
    if !matches!(redeemed, Err(NotWritten::Store(StoreError::NotFound(_)))) {
        guesses.forgive(account);
    }
    Ok(redeemed?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

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
