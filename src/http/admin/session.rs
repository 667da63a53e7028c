//! The admin page's session: the one-time setup, signing in and out, and who is signed in.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::http::header::{CACHE_CONTROL, SET_COOKIE};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::auth::{SetupToken, SignIn, Token, hash_password};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::http::admin::overview::Remembered;
use crate::http::shared::auth::Admin;
use crate::http::shared::body;
use crate::http::shared::browser::{self, From};
use crate::http::shared::error::ApiError;
use crate::http::state::World;
use crate::store::sessions::{self, LIFETIME, Session};
use crate::store::{Store, StoreError, admins};

/// Shorter passwords are refused.
const SHORTEST_PASSWORD: usize = 12;
/// Longer ones too: hashing megabytes would be work for nothing.
const LONGEST_PASSWORD: usize = 1_000;

/// What the admin page needs beside the relay.
#[derive(Debug)]
pub struct Door {
    /// Names and passwords.
    pub signin: SignIn,
    /// The one-time link.
    pub setup: SetupToken,
    /// What the overview remembers.
    pub overview: Remembered,
}

impl Door {
    /// Nobody has come yet.
    pub fn new(store: Store) -> Self {
        Self { signin: SignIn::new(store), setup: SetupToken::default(), overview: Remembered::default() }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInBody {
    name: String,
    #[schema(value_type = String)]
    password: Secret,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetupBody {
    #[schema(value_type = String)]
    token: Secret,
    name: String,
    #[schema(value_type = String)]
    password: Secret,
}

/// `GET /v1/admin/session`: who is signed in, and whether there is any admin at all.
///
/// # Errors
/// The store cannot be read.
pub async fn get(request: HttpRequest, world: Data<World>) -> Result<HttpResponse, ApiError> {
    let session = current(&world, &request)?;
    let setup_required = !world.relay.store.read(admins::any)?;
    Ok(view(StatusCode::OK, session.as_ref(), setup_required, None))
}

/// `POST /v1/admin/session`: signs in. The session is always a new one.
///
/// # Errors
/// 401 for a wrong name or password, 429 after failures, 403 from another origin.
pub async fn sign_in(request: HttpRequest, payload: Payload, world: Data<World>) -> Result<HttpResponse, ApiError> {
    refuse_strangers(&request)?;
    let bytes = body::read_small(&world, &request, payload).await?;
    let SignInBody { name, password } = body::parse(&bytes)?;
    if password.expose().len() > LONGEST_PASSWORD {
        return Err(ApiError::invalid(Some("password"), "this password is too long"));
    }
    let admin = world.door.signin.check(&name, password, address(&request)).await?;
    begin(&world, &request, StatusCode::OK, move |_, _| Ok(admin.clone())).await
}

/// `DELETE /v1/admin/session`: signs out, here and on the server.
///
/// # Errors
/// 403 from another origin; the store cannot be written.
pub async fn sign_out(request: HttpRequest, world: Data<World>) -> Result<HttpResponse, ApiError> {
    refuse_strangers(&request)?;
    if let Some(token) = browser::session_token(request.headers()).map(Token::hash_of) {
        world.relay.writer.write(move |conn| sessions::end(conn, &token)).await?;
    }
    Ok(HttpResponse::NoContent().insert_header((SET_COOKIE, browser::no_cookie(request.headers()))).finish())
}

/// `POST /v1/admin/setup`: the first admin, by the one-time link that `serve` printed.
///
/// # Errors
/// 401 for a wrong or used token, 400 for a name or password, 403 from another origin.
pub async fn setup(request: HttpRequest, payload: Payload, world: Data<World>) -> Result<HttpResponse, ApiError> {
    refuse_strangers(&request)?;
    let bytes = body::read_small(&world, &request, payload).await?;
    let SetupBody { token, name, password } = body::parse(&bytes)?;
    if !world.door.setup.is(token.expose()) {
        return Err(ApiError::wrong_setup_token());
    }
    let hashed = hash_new_password(password).await?;
    let made =
        begin(&world, &request, StatusCode::CREATED, move |conn, now| admins::create_first(conn, &name, &hashed, now));
    match made.await {
        // Somebody made an admin on the command line meanwhile.
        Err(e) if e.status() == StatusCode::CONFLICT => Err(ApiError::wrong_setup_token()),
        other => {
            let made = other?;
            world.door.setup.spend();
            Ok(made)
        }
    }
}

/// The PHC text of a password that somebody chose.
///
/// # Errors
/// 400 if it is too short or too long.
pub async fn hash_new_password(password: Secret) -> Result<String, ApiError> {
    if !(SHORTEST_PASSWORD..=LONGEST_PASSWORD).contains(&password.expose().len()) {
        let text = format!("a password is {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters");
        return Err(ApiError::invalid(Some("password"), text));
    }
    let hashed = tokio::task::spawn_blocking(move || hash_password(&password)).await;
    hashed.ok().and_then(Result::ok).ok_or_else(ApiError::internal)
}

/// The admin whose session the request carries.
///
/// # Errors
/// 401 without a session, 403 for a request of another origin's page.
pub fn admin(world: &World, request: &HttpRequest) -> Result<Admin, ApiError> {
    let session = current(world, request)?.ok_or_else(ApiError::session_expired)?;
    let from = browser::sent_from(request.headers());
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    // A page's own writes always say where they come from.
    if from == From::Elsewhere || (from == From::Unknown && !is_read) {
        return Err(ApiError::cross_site());
    }
    Ok(Admin { actor: format!("admin:{}", session.admin.name) })
}

/// The session of the request's cookie. Using it prolongs it.
fn current(world: &World, request: &HttpRequest) -> Result<Option<Session>, StoreError> {
    let Some(token) = browser::session_token(request.headers()).map(Token::hash_of) else { return Ok(None) };
    let now = Timestamp::now();
    let session = world.relay.store.read(|conn| sessions::get(conn, &token, now))?;
    if session.as_ref().is_some_and(|session| session.is_due(now)) {
        // Nobody waits for it: the worst is a session that ends ten minutes early.
        world.relay.writer.submit(move |conn| sessions::prolong(conn, &token, now), drop);
    }
    Ok(session)
}

/// Begins a session for the admin that `who` finds or makes, in the same transaction, and ends the one the
/// request came with.
async fn begin(
    world: &World,
    request: &HttpRequest,
    status: StatusCode,
    mut who: impl FnMut(&crate::store::Connection, Timestamp) -> Result<admins::Admin, StoreError> + Send + 'static,
) -> Result<HttpResponse, ApiError> {
    let token = Token::generate().map_err(|e| {
        tracing::error!(error = %e, "no session token");
        ApiError::internal()
    })?;
    let (hash, now, address) = (token.hash(), Timestamp::now(), address(request).to_string());
    let before = browser::session_token(request.headers()).map(Token::hash_of);
    let session = world.relay.writer.write(move |conn| {
        let admin = who(conn, now)?;
        if let Some(before) = &before {
            sessions::end(conn, before)?;
        }
        sessions::begin(conn, &hash, &admin, &address, now)
    });
    let cookie = browser::cookie(request.headers(), &token, LIFETIME);
    Ok(view(status, Some(&session.await?), false, Some(cookie)))
}

fn view(status: StatusCode, session: Option<&Session>, setup_required: bool, cookie: Option<String>) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    response.insert_header((CACHE_CONTROL, "no-store"));
    if let Some(cookie) = cookie {
        response.insert_header((SET_COOKIE, cookie));
    }
    response.json(json!({
        "admin": session.map(|session| &session.admin),
        "expires_at": session.map(|session| session.expires_at),
        "setup_required": setup_required,
    }))
}

/// Signing in needs no cookie, so the cookie's own protection does not reach it: a page of another origin
/// could sign a browser in as somebody else.
fn refuse_strangers(request: &HttpRequest) -> Result<(), ApiError> {
    match browser::sent_from(request.headers()) {
        From::Elsewhere => Err(ApiError::cross_site()),
        From::Here | From::Unknown => Ok(()),
    }
}

/// Who knocks. Behind a proxy on this machine it is whom the proxy names last: what comes before that, the
/// client may have made up.
fn address(request: &HttpRequest) -> IpAddr {
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let forwarded = || {
        let names = request.headers().get_all("x-forwarded-for").last()?.to_str().ok()?;
        names.rsplit(',').next()?.trim().parse().ok()
    };
    if peer.is_loopback() { forwarded().unwrap_or(peer) } else { peer }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use actix_web::test::TestRequest;

    use super::*;
    use crate::auth::Verifier;
    use crate::domain::byte_budget::ByteBudget;
    use crate::domain::settle::FeeBps;
    use crate::http::Settings;
    use crate::relay::{Relay, Rooms};
    use crate::store::Writer;
    use crate::upstream::Timeouts;

    type Headers = &'static [(&'static str, &'static str)];

    fn world(store: &Store) -> Result<World, StoreError> {
        let second = Duration::from_secs(1);
        let rooms = Rooms { bodies: ByteBudget::new(1 << 20), answers: ByteBudget::new(1 << 20) };
        let relay =
            Relay::new(store.clone(), Writer::start(store)?.0, FeeBps::default(), rooms, |key| Some(key.clone()));
        Ok(World {
            relay: Arc::new(relay),
            verifier: Arc::new(Verifier::new(store.clone())?),
            door: Arc::new(Door::new(store.clone())),
            settings: Arc::new(Settings {
                body_limit: 1_000,
                body_timeout: second,
                write_timeout: second,
                sign_of_life: second * 10,
                keep_alive: second,
                drain: second,
                workers: 1,
                cors_origins: Vec::new(),
                timeouts: Timeouts { connect: second, first_byte: second, idle: second, event: second },
            }),
        })
    }

    #[test]
    fn a_session_is_for_this_origins_pages_until_it_ends() -> Result<(), StoreError> {
        let Ok(dir) = tempfile::tempdir() else { panic!("no directory") };
        let store = Store::open(dir.path())?;
        let Ok(token) = Token::generate() else { panic!("no entropy") };
        let (hash, now) = (token.hash(), Timestamp::now());
        store.write_now(|conn| {
            let admin = admins::create(conn, "ada", None, "test", now)?;
            sessions::begin(conn, &hash, &admin, "127.0.0.1", now)
        })?;
        let world = world(&store)?;
        let status = |method: Method, cookie: &str, from: Headers| {
            let mut request = TestRequest::default().method(method).insert_header(("host", "127.0.0.1:8080"));
            for header in from {
                request = request.insert_header(*header);
            }
            let request = request.insert_header(("cookie", format!("coordinator={cookie}"))).to_http_request();
            admin(&world, &request).map_or_else(|e| e.status().as_u16(), |_| 200)
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
        store.write_now(|conn| sessions::end(conn, &hash))?;
        assert_eq!(status(Method::GET, good, &[]), 401);
        Ok(())
    }

    #[test]
    fn the_address_is_the_peer_or_whom_the_local_proxy_names_last() {
        let rows = [
            ("10.0.0.9:5", None, "10.0.0.9"),
            ("10.0.0.9:5", Some("1.2.3.4"), "10.0.0.9"),
            ("127.0.0.1:5", None, "127.0.0.1"),
            ("127.0.0.1:5", Some("6.6.6.6, 1.2.3.4"), "1.2.3.4"),
            ("127.0.0.1:5", Some("nonsense"), "127.0.0.1"),
        ];
        for (peer, forwarded, expected) in rows {
            let Ok(peer) = peer.parse() else { panic!("{peer}") };
            let mut request = TestRequest::default().peer_addr(peer);
            if let Some(value) = forwarded {
                request = request.insert_header(("x-forwarded-for", value));
            }
            assert_eq!(address(&request.to_http_request()).to_string(), expected, "{peer} {forwarded:?}");
        }
    }
}
