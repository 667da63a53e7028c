//! The admin page's session: the one-time setup, signing in and out, and who is signed in.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, SET_COOKIE};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::auth::{self, SignInError, Token, hash_password};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::http::shared::body;
use crate::http::shared::browser::{self, From};
use crate::http::shared::error::ApiError;
use crate::http::shared::seen::{self, Seen};
use crate::http::state::AppState;
use crate::store::sessions::{self, LIFETIME, Session};
use crate::store::{StoreError, Tx, admins};

/// Shorter passwords are refused.
const SHORTEST_PASSWORD: usize = 12;
/// Longer ones too: hashing megabytes would be work for nothing.
const LONGEST_PASSWORD: usize = 1_000;

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
pub async fn get(request: HttpRequest, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let session = current(&state, &request)?;
    let setup_required = !state.store.read_inline(admins::any)?;
    Ok(view(&request, StatusCode::OK, session.as_ref(), setup_required, None))
}

/// `POST /v1/admin/session`: signs in. The session is always a new one.
///
/// # Errors
/// 401 for a wrong name or password, 429 after failures, 403 from another origin.
pub async fn sign_in(request: HttpRequest, payload: Payload, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    refuse_strangers(&request)?;
    let bytes = body::read_small(&state, &request, payload).await?;
    let SignInBody { name, password } = body::parse(&bytes)?;
    if password.expose().len() > LONGEST_PASSWORD {
        return Err(ApiError::invalid(Some("password"), "this password is too long"));
    }
    let verified = state.admins.sign_in.check(&name, password, seen::client(&request)).await?;
    let token = new_token()?;
    match begin(&state, &request, &token, move |conn, _| verified.in_force(conn)).await {
        Ok(session) => Ok(begun(&request, StatusCode::OK, &session, &token)),
        // The password was changed while it was being verified.
        Err(StoreError::NotFound(_)) => Err(SignInError::Wrong.into()),
        Err(e) => Err(e.into()),
    }
}

/// `DELETE /v1/admin/session`: signs out, here and on the server.
///
/// # Errors
/// 403 from another origin; the store cannot be written.
pub async fn sign_out(request: HttpRequest, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    refuse_strangers(&request)?;
    if let Some(token) = browser::session_token(request.headers(), &Seen::of(&request)).map(Token::hash_of) {
        state.writer.write(move |conn| sessions::end(conn, &token)).await?;
    }
    Ok(HttpResponse::NoContent()
        .insert_header((SET_COOKIE, browser::no_cookie(request.headers(), &Seen::of(&request))))
        .finish())
}

/// `POST /v1/admin/setup`: the first admin, by the one-time link that `serve` printed.
///
/// # Errors
/// 401 for a wrong or used token, 400 for a name or password, 403 from another origin.
pub async fn setup(request: HttpRequest, payload: Payload, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    refuse_strangers(&request)?;
    let bytes = body::read_small(&state, &request, payload).await?;
    let SetupBody { token, name, password } = body::parse(&bytes)?;
    if !state.admins.setup.is(token.expose()) {
        return Err(ApiError::wrong_setup_token());
    }
    let hashed = hash_new_password(password).await?;
    let token = new_token()?;
    let made = begin(&state, &request, &token, move |conn, now| admins::create_first(conn, &name, &hashed, now));
    match made.await {
        Ok(session) => {
            state.admins.setup.spend();
            Ok(begun(&request, StatusCode::CREATED, &session, &token))
        }
        // Somebody made an admin on the command line meanwhile.
        Err(StoreError::Conflict(_) | StoreError::Taken { .. }) => Err(ApiError::wrong_setup_token()),
        Err(e) => Err(e.into()),
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

/// The session of the request's cookie.
fn current(state: &AppState, request: &HttpRequest) -> Result<Option<Session>, StoreError> {
    match browser::session_token(request.headers(), &Seen::of(request)) {
        Some(token) => auth::session(&state.store, &state.writer, token),
        None => Ok(None),
    }
}

/// Begins a session for the admin that `who` finds or makes, in the same transaction, and ends the one the
/// request came with.
async fn begin(
    state: &AppState,
    request: &HttpRequest,
    token: &Token,
    mut who: impl FnMut(&Tx, Timestamp) -> Result<admins::AdminRow, StoreError> + Send + 'static,
) -> Result<Session, StoreError> {
    let (hash, now, address) = (token.hash(), Timestamp::now(), seen::client(request).to_string());
    let before = browser::session_token(request.headers(), &Seen::of(request)).map(Token::hash_of);
    let session = state.writer.write(move |conn| {
        let admin = who(conn, now)?;
        if let Some(before) = &before {
            sessions::end(conn, before)?;
        }
        sessions::begin(conn, &hash, &admin, &address, now)
    });
    session.await
}

fn new_token() -> Result<Token, ApiError> {
    Token::generate().map_err(|e| {
        tracing::error!(error = %e, "no session token");
        ApiError::internal()
    })
}

/// The answer that begins a session, with its cookie.
fn begun(request: &HttpRequest, status: StatusCode, session: &Session, token: &Token) -> HttpResponse {
    let cookie = browser::cookie(request.headers(), &Seen::of(request), token, LIFETIME);
    view(request, status, Some(session), false, Some(cookie))
}

fn view(
    request: &HttpRequest,
    status: StatusCode,
    session: Option<&Session>,
    setup_required: bool,
    cookie: Option<String>,
) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    response.insert_header((CACHE_CONTROL, "no-store"));
    if let Some(cookie) = cookie {
        response.insert_header((SET_COOKIE, cookie));
    }
    response.json(json!({
        "admin": session.map(|session| &session.admin),
        "expires_at": session.map(|session| session.expires_at),
        "setup_required": setup_required,
        "plain_http_allowed": Seen::of(request).allows_plain,
    }))
}

/// Signing in needs no cookie, so the cookie's own protection does not reach it: a page of another origin
/// could sign a browser in as somebody else.
fn refuse_strangers(request: &HttpRequest) -> Result<(), ApiError> {
    let seen = Seen::of(request);
    match browser::sent_from(request.headers(), &seen) {
        From::Elsewhere => Err(ApiError::cross_site(request.headers(), &seen)),
        From::Here | From::Unknown if browser::drops_cookie(request.headers(), &seen) => {
            Err(ApiError::cookie_dropped())
        }
        From::Here | From::Unknown => Ok(()),
    }
}
