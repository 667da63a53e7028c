//! An account's keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Bytes, Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::auth::{HashFailed, hash_key};
use crate::domain::ids::AccountId;
use crate::domain::key_limits::KeyLimits;
use crate::domain::keys::{KeyId, PlainKey, Scopes};
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::http::account::key_body;
use crate::http::shared::auth;
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::{AnyScope, At, ByKey, CallerBody, Manage, Unread};
use crate::http::shared::idempotency::{self, answer};
use crate::http::shared::seen::Seen;
use crate::http::state::AppState;
use crate::store::key_view::{self, KeyView};
use crate::store::keys::{self, KeyRow, NewKey, Owner};
use crate::store::{Read, StoreError, Tx, accounts, key_changes};

/// A key and its plain text: the only answer that ever holds it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewKey)]
pub struct Made {
    /// Null in an answer that is given again under an `Idempotency-Key`: it is stored nowhere. Rotate it then.
    key: Option<String>,
    /// Of a key that machines join with: the one line to run there. It holds the key, and is told only where that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    #[serde(flatten)]
    view: KeyView,
}

/// The line that a machine joins with, as whoever asks sees this server.
fn command(request: &HttpRequest, scopes: Scopes, key: &PlainKey) -> Option<String> {
    let line = || format!("coordinator join {} --key {}", Seen::of(request).base(), key.expose());
    scopes.provide.then(line)
}

/// `GET /v1/keys`: all of the account, newest first, revoked ones too.
pub async fn list(by: ByKey<Manage>, state: Data<AppState>) -> Result<Json<Vec<KeyView>>, ApiError> {
    let account = by.caller.account;
    let read = move |conn: &Read| key_view::list(conn, account, Timestamp::now());
    Ok(Json(state.store.read_blocking(read).await?))
}

/// `POST /v1/keys`: one that machines join with only where an admin lets the account make such keys, and then each
/// machine that is new waits for an admin.
///
/// # Errors
/// 400 for a field, 422 for a reused idempotency key.
pub async fn create(
    sent: CallerBody<Manage, Unread>,
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let account = sent.by.caller.account;
    let (name, scopes, limits) = key_body::read_new(&sent.bytes, true, Timestamp::now())?;
    if scopes.provide {
        if !state.store.read_inline(|conn| accounts::get(conn, account))?.may_provide {
            let message =
                "this account may not let machines join: whoever runs this server can allow it, or invite a machine";
            return Err(ApiError::forbidden(message));
        }
        if !limits.holds_machines {
            let message = "an admin looks at each machine that comes with a key of the account's own";
            return Err(ApiError::invalid(Some("holds_machines"), message));
        }
    }
    let new = (name, scopes, limits);
    create_for(&request, &state, (account, auth::actor(account)), new, &sent.bytes).await
}

/// Makes a key for an account, at most once for the `Idempotency-Key` and `body` that asked for it.
///
/// # Errors
/// 400 for a field, 404 for the account, 422 for a reused idempotency key.
pub async fn create_for(
    request: &HttpRequest,
    state: &AppState,
    (account, actor): (AccountId, String),
    (name, scopes, limits): (String, Scopes, KeyLimits),
    body: &Bytes,
) -> Result<HttpResponse, ApiError> {
    let key = PlainKey::generate().map_err(|e| no_key(&e))?;
    let hash = hash(key.clone()).await?;
    let new = NewKey { id: key.id(), hash, owner: Owner::Account(account), name, scopes, limits };
    let is_new = Arc::new(AtomicBool::new(false));
    let made_now = Arc::clone(&is_new);
    let write = move |conn: &Tx, actor: &str, now: Timestamp| {
        accounts::get(conn, account)?;
        let row = keys::create(conn, &new, actor, now)?;
        made_now.store(true, Ordering::Relaxed);
        answer(201, &Made { key: None, command: None, view: KeyView::new(row, None, now) })
    };
    let saved = idempotency::money_write_saved(request, state, actor, body, write).await?;
    // Not through a value: that would read and write the amounts anew.
    let told = match saved.body.strip_prefix(r#"{"key":null"#) {
        Some(rest) if is_new.load(Ordering::Relaxed) => {
            let command = command(request, scopes, &key).map(|line| format!(",\"command\":{}", json!(line)));
            format!(r#"{{"key":"{}"{}{rest}"#, key.expose(), command.unwrap_or_default())
        }
        _ => saved.body,
    };
    let status = StatusCode::from_u16(saved.status).unwrap_or(StatusCode::CREATED);
    // The secret must not stay in a proxy or a browser's cache.
    Ok(HttpResponse::build(status)
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type("application/json")
        .body(told))
}

/// `GET /v1/keys/{id}`
///
/// # Errors
/// 404 also for another account's key.
pub async fn get(at: At<ByKey<Manage>, KeyId>, state: Data<AppState>) -> Result<Json<KeyView>, ApiError> {
    let (account, id) = (at.by.caller.account, at.id);
    let row = state.store.read_inline(|conn| key_changes::of_account(conn, account, id))?;
    view(&state, account, row).await.map(Json)
}

/// `PATCH /v1/keys/{id}`: fields that are left out stay as they are; null takes a limit away.
///
/// # Errors
/// 400 for a field, 404, 409 for a revoked key.
pub async fn update(sent: CallerBody<Manage, Unread, KeyId>, state: Data<AppState>) -> Result<Json<KeyView>, ApiError> {
    let (account, id) = (sent.by.caller.account, sent.id);
    let now = Timestamp::now();
    let change = key_body::read_change(&sent.bytes, now)?;
    let row = state.relay.change_key(account, id, change, auth::actor(account), now).await?;
    view(&state, account, row).await.map(Json)
}

/// `DELETE /v1/keys/{id}`: refuses it from now on. Doing it twice is fine.
pub async fn revoke(at: At<ByKey<Manage>, KeyId>, state: Data<AppState>) -> Result<Json<KeyView>, ApiError> {
    let account = at.by.caller.account;
    let row = revoke_of(&state, account, auth::actor(account), at.id).await?;
    view(&state, account, row).await.map(Json)
}

/// Revokes an account's key.
///
/// # Errors
/// 404, also for another account's key.
pub async fn revoke_of(state: &AppState, account: AccountId, actor: String, id: KeyId) -> Result<KeyRow, ApiError> {
    let write = move |conn: &Tx| {
        key_changes::of_account(conn, account, id)?;
        keys::revoke(conn, id, &actor, Timestamp::now())
    };
    Ok(state.writer.write(write).await?)
}

/// `POST /v1/keys/{id}/rotate`: a new secret; the old one is refused at once. Id, limits and what was spent
/// stay, so that rotating is no way around a cap.
///
/// # Errors
/// 404, 409 for a revoked key.
pub async fn rotate(
    at: At<ByKey<Manage>, KeyId>,
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let (account, id) = (at.by.caller.account, at.id);
    state.store.read_inline(|conn| key_changes::of_account(conn, account, id))?;
    let key = PlainKey::with_id(id).map_err(|e| no_key(&e))?;
    let hash = hash(key.clone()).await?;
    let actor = auth::actor(account);
    let write = move |conn: &Tx| key_changes::rotate(conn, account, id, &hash, &actor, Timestamp::now());
    let row = state.writer.write(write).await?;
    let command = command(&request, row.scopes, &key);
    let view = view(&state, account, row).await?;
    // The secret must not stay in a proxy or a browser's cache.
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-store"));
    Ok(response.json(Made { key: Some(key.expose().to_owned()), command, view }))
}

/// The calling key: what it may do, what it may spend, what is left of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnKey {
    #[serde(flatten)]
    view: KeyView,
    /// What its requests in flight have reserved.
    held_micro_usd: MicroUsd,
    account: OwnAccount,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OwnAccount {
    id: AccountId,
    name: String,
    /// It may make keys that machines join with.
    may_provide: bool,
}

/// `GET /v1/key`
pub async fn own(by: ByKey<AnyScope>, state: Data<AppState>) -> Result<Json<OwnKey>, ApiError> {
    let caller = by.caller;
    let account = state.store.read_inline(|conn| accounts::get(conn, caller.account))?;
    let held_micro_usd = state.relay.holds().of_key(caller.key.id).total;
    let view = view(&state, caller.account, caller.key.as_ref().clone()).await?;
    let account = OwnAccount { id: account.id, name: account.name, may_provide: account.may_provide };
    Ok(Json(OwnKey { view, held_micro_usd, account }))
}

async fn view(state: &AppState, account: AccountId, row: KeyRow) -> Result<KeyView, ApiError> {
    let read = move |conn: &Read| key_view::view(conn, account, row, Timestamp::now());
    Ok(state.store.read_blocking(read).await?)
}

async fn hash(key: PlainKey) -> Result<String, ApiError> {
    let hashed = tokio::task::spawn_blocking(move || hash_key(&key)).await;
    hashed.map_err(|_| ApiError::from(StoreError::Closed))?.map_err(|e: HashFailed| no_key(&e))
}

fn no_key(e: &dyn std::fmt::Display) -> ApiError {
    tracing::error!(error = %e, "no key could be made");
    ApiError::internal()
}
