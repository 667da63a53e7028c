//! From headers to who asks. One path reads both credential headers.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};

use crate::auth::{self, Admin};
use crate::domain::ids::AccountId;
use crate::domain::keys::PlainKey;
use crate::domain::time::Timestamp;
use crate::http::shared::browser::{self, From};
use crate::http::shared::error::ApiError;
use crate::http::shared::log;
use crate::http::shared::seen::Seen;
use crate::http::state::AppState;
use crate::relay::Caller;
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
    /// Let machines join.
    Provide,
}

/// The account whose key the request carries.
///
/// # Errors
/// 401 for a key that is not in force, 403 for the wrong scope or a suspended account.
pub async fn caller(state: &AppState, request: &HttpRequest, need: Need) -> Result<Caller, ApiError> {
    let key = key(state, request).await?;
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
        Need::Provide => (key.scopes.provide, "provide"),
    };
    if !allowed {
        return Err(ApiError::forbidden(format!("this key does not have the scope \"{scope}\"")));
    }
    Ok(Caller { account, key })
}

/// The admin whose key or session the request carries. A key goes first: who sends one means it.
///
/// # Errors
/// 401 for a key that is not in force or a session that is over, 403 for an account's key or a page of
/// another origin.
pub async fn admin(state: &AppState, request: &HttpRequest) -> Result<Admin, ApiError> {
    if !has_key(request.headers())
        && let Some(token) = browser::session_token(request.headers(), &Seen::of(request))
    {
        return signed_in(state, request, token);
    }
    let key = key(state, request).await?;
    let Owner::Admin(id) = key.owner else {
        return Err(ApiError::forbidden("this needs an admin key"));
    };
    Ok(Admin::of_key(&state.store, id)?)
}

/// The admin whose session the request carries, if a page of ours sent it.
fn signed_in(state: &AppState, request: &HttpRequest, token: &str) -> Result<Admin, ApiError> {
    let session = auth::session(&state.store, &state.writer, token)?.ok_or_else(ApiError::session_expired)?;
    let seen = Seen::of(request);
    let from = browser::sent_from(request.headers(), &seen);
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    // A page's own writes always say where they come from.
    if from == From::Elsewhere || (from == From::Unknown && !is_read) {
        return Err(ApiError::cross_site(request.headers(), &seen));
    }
    Ok(Admin::of_session(&session))
}

/// Who did something with an account's key, for the ledger and the events.
pub fn actor(account: AccountId) -> String {
    format!("account:{account}")
}

async fn key(state: &AppState, request: &HttpRequest) -> Result<Arc<KeyRow>, ApiError> {
    let text = credential(request)?;
    Ok(state.verifier.verify(text, Timestamp::now()).await?)
}

/// The text of the key: `Authorization: Bearer …` or `x-api-key: …`. Agents send a stored login of another service
/// in the one and the key in the other: of two that differ, the one with our keys' format counts.
fn credential(request: &HttpRequest) -> Result<&str, ApiError> {
    let is_ours = |text: &str| PlainKey::parse(text).is_some();
    let mut found = None;
    for text in credentials(request.headers()) {
        found = Some(match found {
            Some(other) if other != text => match (is_ours(other), is_ours(text)) {
                (true, true) => return Err(ApiError::two_keys()),
                (true, false) => other,
                (false, _) => text,
            },
            _ => text,
        });
    }
    found.ok_or_else(ApiError::unauthorized)
}

/// Whether the request carries what may be a key.
pub fn has_key(headers: &HeaderMap) -> bool {
    credentials(headers).next().is_some()
}

fn credentials(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let bearers = headers.get_all(AUTHORIZATION).filter_map(|value| value.to_str().ok().and_then(bearer));
    let keys = headers.get_all("x-api-key").filter_map(|value| value.to_str().ok().map(str::trim));
    bearers.chain(keys)
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, rest) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(rest.trim())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::test::TestRequest;

    use super::*;
    use crate::auth::Token;
    use crate::domain::byte_budget::ByteBudget;
    use crate::domain::settle::Terms;
    use crate::http::Settings;
    use crate::http::shared::outside::Outside;
    use crate::relay::{QueueLimits, Relay, Rooms};
    use crate::store::{Store, StoreError, Writer, admins, sessions};
    use crate::upstream::Timeouts;

    #[test]
    fn one_credential_is_read_from_two_headers() {
        let key = || PlainKey::generate().map(|key| key.expose().to_owned()).unwrap_or_default();
        let (ours, other) = (key(), key());
        let bearer = |text: &str| ("authorization", format!("Bearer {text}"));
        let api_key = |text: &str| ("x-api-key", text.to_owned());
        // headers → the text, or what the refusal says
        let rows = [
            (vec![bearer("a")], Ok("a")),
            (vec![("authorization", "bearer  a ".into())], Ok("a")),
            (vec![api_key("a")], Ok("a")),
            (vec![bearer("a"), api_key("a")], Ok("a")),
            (vec![bearer(&ours), api_key(&ours)], Ok(ours.as_str())),
            (vec![bearer("sk-ant-oat01-login"), api_key(&ours)], Ok(ours.as_str())),
            (vec![bearer(&ours), api_key("sk-ant-api03-x")], Ok(ours.as_str())),
            (vec![bearer("junk"), bearer("more"), api_key(&ours)], Ok(ours.as_str())),
            (vec![bearer(&ours), bearer("junk"), api_key(&ours)], Ok(ours.as_str())),
            (vec![("authorization", "Basic dTpw".into()), api_key(&ours)], Ok(ours.as_str())),
            (vec![("authorization", "é".into()), api_key(&ours)], Ok(ours.as_str())),
            (vec![bearer(""), api_key(&ours)], Ok(ours.as_str())),
            (vec![bearer("a"), api_key("b")], Ok("b")),
            (vec![bearer(&ours), api_key(&other)], Err("x-api-key")),
            (vec![bearer(&ours), bearer(&other)], Err("x-api-key")),
            (vec![bearer(&ours), bearer("junk"), api_key(&other)], Err("x-api-key")),
            (vec![("authorization", ours.clone())], Err("missing")),
            (vec![], Err("missing")),
        ];
        for (headers, expected) in rows {
            let request = headers
                .iter()
                .fold(TestRequest::default(), |request, header| request.append_header((header.0, header.1.as_str())));
            let request = request.to_http_request();
            match (credential(&request), expected) {
                (Ok(text), Ok(expected)) => assert_eq!(text, expected, "{headers:?}"),
                (Err(e), Err(says)) => {
                    assert_eq!(e.status().as_u16(), 401);
                    assert!(e.to_string().contains(says), "{headers:?}: {e}");
                }
                (found, _) => panic!("{headers:?}: {found:?}"),
            }
        }
    }

    type Headers = &'static [(&'static str, &'static str)];

    fn state(store: &Store) -> Result<AppState, StoreError> {
        let second = Duration::from_secs(1);
        let rooms = Rooms {
            bodies: ByteBudget::new(1 << 20),
            answers: ByteBudget::new(1 << 20),
            longest_body: 1_000,
            queue: QueueLimits { timeout: Duration::ZERO, length: 1, affinity: false },
        };
        let (writer, _) = Writer::start(store)?;
        let relay = Relay::new(store.clone(), writer.clone(), Terms::default(), rooms, |key| Some(key.clone()));
        let settings = Settings {
            body_limit: 1_000,
            body_timeout: second,
            write_timeout: second,
            sign_of_life: second * 10,
            keep_alive: second,
            drain: second,
            workers: 1,
            cors_origins: Vec::new(),
            outside: Outside::default(),
            timeouts: Timeouts { connect: second, first_byte: second, idle: second, event: second },
        };
        AppState::new(Arc::new(relay), store.clone(), writer, settings)
    }

    #[test]
    fn a_session_is_for_this_origins_pages_until_it_ends() -> Result<(), StoreError> {
        let Ok(dir) = tempfile::tempdir() else { panic!("no directory") };
        let store = Store::open(dir.path())?;
        let Ok(token) = Token::generate() else { panic!("no entropy") };
        let (hash, now) = (token.hash(), Timestamp::now());
        store.write_exclusive(|conn| {
            let admin = admins::create(conn, "ada", None, "test", now)?;
            sessions::begin(conn, &hash, &admin, "127.0.0.1", now)
        })?;
        let state = state(&store)?;
        let status = |method: Method, cookie: &str, from: Headers| {
            let mut request = TestRequest::default().method(method).insert_header(("host", "127.0.0.1:8080"));
            for header in from {
                request = request.insert_header(*header);
            }
            let request = request.insert_header(("cookie", format!("coordinator={cookie}"))).to_http_request();
            let token = browser::session_token(request.headers(), &Seen::of(&request)).unwrap_or_default();
            signed_in(&state, &request, token).map_or_else(|e| e.status().as_u16(), |_| 200)
        };
        const OWN: (&str, &str) = ("origin", "http://127.0.0.1:8080");
        const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");
        let good = token.expose();
        let rows: [(Method, &str, Headers, u16); 9] = [
            (Method::GET, good, &[], 200),
            (Method::GET, good, &[SAME], 200),
            (Method::GET, good, &[("sec-fetch-site", "cross-site")], 403),
            (Method::GET, "0123", &[], 401),
            (Method::POST, good, &[OWN, SAME], 200),
            (Method::POST, good, &[OWN], 200),
            (Method::POST, good, &[], 403),
            (Method::POST, good, &[("origin", "http://127.0.0.1:8081"), ("sec-fetch-site", "same-site")], 403),
            (Method::DELETE, good, &[("origin", "null")], 403),
        ];
        for (method, cookie, from, expected) in rows {
            assert_eq!(status(method.clone(), cookie, from), expected, "{method} {from:?}");
        }
        store.write_exclusive(|conn| sessions::end(conn, &hash))?;
        assert_eq!(status(Method::GET, good, &[]), 401);
        Ok(())
    }
}
