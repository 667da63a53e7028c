//! From headers to who asks. One path reads both credential headers.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;

use super::error::ApiError;
use super::world::World;
use super::{browser, log, session};
use crate::domain::ids::AccountId;
use crate::domain::time::Timestamp;
use crate::relay::Caller;
use crate::store::admins;
use crate::store::keys::{KeyRow, Owner};

/// What a key must be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Any key of the account.
    Any,
    /// Run models.
    Inference,
    /// Make and change keys, withdraw.
    Manage,
}

/// The account whose key the request carries.
///
/// # Errors
/// 401 for a key that is not in force, 403 for the wrong scope or a suspended account.
pub async fn caller(world: &World, request: &HttpRequest, need: Need) -> Result<Caller, ApiError> {
    let key = key(world, request).await?;
    let Owner::Account(account) = key.owner else {
        return Err(ApiError::forbidden("an admin key works only below /v1/admin"));
    };
    log::note_caller(request, account, key.id);
    if key.suspended {
        return Err(ApiError::forbidden("this account is suspended"));
    }
    let (allowed, scope) = match need {
        Need::Any => (true, ""),
        Need::Inference => (key.scopes.inference, "inference"),
        Need::Manage => (key.scopes.manage, "manage"),
    };
    if !allowed {
        return Err(ApiError::forbidden(format!("this key does not have the scope \"{scope}\"")));
    }
    Ok(Caller { account, key })
}

/// An admin who may do everything below `/v1/admin`.
#[derive(Debug, Clone)]
pub struct Admin {
    /// `admin:NAME`, for the events.
    pub actor: String,
}

/// The admin whose key or session the request carries. A key goes first: who sends one means it.
///
/// # Errors
/// 401 for a key that is not in force or a session that is over, 403 for an account's key or a page of
/// another origin.
pub async fn admin(world: &World, request: &HttpRequest) -> Result<Admin, ApiError> {
    let has_key = request.headers().contains_key(AUTHORIZATION) || request.headers().contains_key("x-api-key");
    if !has_key && browser::session_token(request.headers()).is_some() {
        return session::admin(world, request);
    }
    let key = key(world, request).await?;
    let Owner::Admin(id) = key.owner else {
        return Err(ApiError::forbidden("this needs an admin key"));
    };
    let name = world.relay.store.read(|conn| admins::get(conn, id))?.name;
    Ok(Admin { actor: format!("admin:{name}") })
}

/// Who did something with an account's key, for the ledger and the events.
pub fn actor(account: AccountId) -> String {
    format!("account:{account}")
}

async fn key(world: &World, request: &HttpRequest) -> Result<Arc<KeyRow>, ApiError> {
    let text = credential(request)?;
    Ok(world.verifier.verify(text, Timestamp::now()).await?)
}

/// The text of the key: `Authorization: Bearer …` or `x-api-key: …`, the same in both if both are there.
fn credential(request: &HttpRequest) -> Result<&str, ApiError> {
    let mut found = None;
    let bearers = request.headers().get_all(AUTHORIZATION).map(|value| value.to_str().ok().and_then(bearer));
    let keys = request.headers().get_all("x-api-key").map(|value| value.to_str().ok().map(str::trim));
    for text in bearers.chain(keys) {
        let text = text.ok_or_else(ApiError::unauthorized)?;
        match found {
            Some(other) if other != text => return Err(ApiError::unauthorized()),
            _ => found = Some(text),
        }
    }
    found.ok_or_else(ApiError::unauthorized)
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, rest) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(rest.trim())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn one_credential_is_read_from_two_headers() {
        // Authorization, x-api-key → the text
        let rows = [
            (Some("Bearer a"), None, Some("a")),
            (Some("bearer  a "), None, Some("a")),
            (None, Some("a"), Some("a")),
            (Some("Bearer a"), Some("a"), Some("a")),
            (Some("Bearer a"), Some("b"), None),
            (Some("Basic a"), Some("a"), None),
            (Some("a"), None, None),
            (None, None, None),
        ];
        for (authorization, key, expected) in rows {
            let mut request = TestRequest::default();
            if let Some(value) = authorization {
                request = request.insert_header((AUTHORIZATION, value));
            }
            if let Some(value) = key {
                request = request.insert_header(("x-api-key", value));
            }
            assert_eq!(credential(&request.to_http_request()).ok(), expected, "{authorization:?} {key:?}");
        }
    }
}
