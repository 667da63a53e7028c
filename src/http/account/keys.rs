//! An account's keys.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, Json, Path, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::{HashFailed, hash_key};
use crate::domain::ids::AccountId;
use crate::domain::keys::{KeyId, PlainKey};
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::http::account::key_body;
use crate::http::shared::auth::{self, Need};
use crate::http::shared::body;
use crate::http::shared::error::ApiError;
use crate::http::shared::resource::resource;
use crate::http::state::AppState;
use crate::store::key_view::{self, KeyView};
use crate::store::keys::{self, KeyRow, NewKey, Owner};
use crate::store::{Read, StoreError, Tx, accounts, key_changes};

/// `/v1/keys…`, `/v1/key`.
pub fn routes(app: &mut ServiceConfig) {
    app.service(resource("/v1/keys").route(web::get().to(list)).route(web::post().to(create)))
        .service(
            resource("/v1/keys/{id}")
                .route(web::get().to(get))
                .route(web::patch().to(update))
                .route(web::delete().to(revoke)),
        )
        .service(resource("/v1/keys/{id}/rotate").route(web::post().to(rotate)))
        .service(resource("/v1/key").route(web::get().to(own)));
}

/// A key and its plain text: the only answer that ever holds it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewKey)]
pub struct Made {
    key: String,
    #[serde(flatten)]
    view: KeyView,
}

/// `GET /v1/keys`: all of the account, newest first, revoked ones too.
///
/// # Errors
/// 401, 403.
pub async fn list(request: HttpRequest, state: Data<AppState>) -> Result<Json<Vec<KeyView>>, ApiError> {
    let account = auth::caller(&state, &request, Need::Manage).await?.account;
    let read = move |conn: &Read| key_view::list(conn, account, Timestamp::now());
    Ok(Json(state.store.read_later(read).await?))
}

/// `POST /v1/keys`
///
/// # Errors
/// 400 for a field, 401, 403.
pub async fn create(request: HttpRequest, payload: Payload, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let account = auth::caller(&state, &request, Need::Manage).await?.account;
    let bytes = body::read(&state, &request, payload).await?;
    create_for(&state, account, auth::actor(account), &bytes).await
}

/// Makes a key for an account, as `body` says.
///
/// # Errors
/// 400 for a field, 404 for the account.
pub async fn create_for(
    state: &AppState,
    account: AccountId,
    actor: String,
    body: &[u8],
) -> Result<HttpResponse, ApiError> {
    let now = Timestamp::now();
    let (name, scopes, limits) = key_body::read_new(body, now)?;
    let key = PlainKey::generate().map_err(|e| no_key(&e))?;
    let hash = hash(key.clone()).await?;
    let new = NewKey { id: key.id(), hash, owner: Owner::Account(account), name, scopes, limits };
    let write = move |conn: &Tx| {
        accounts::get(conn, account)?;
        keys::create(conn, &new, &actor, now)
    };
    let row = state.writer.write(write).await?;
    Ok(made(HttpResponse::Created(), &key, KeyView::new(row, None, now)))
}

/// `GET /v1/keys/{id}`
///
/// # Errors
/// 401, 403, 404 also for another account's key.
pub async fn get(request: HttpRequest, state: Data<AppState>, id: Path<String>) -> Result<Json<KeyView>, ApiError> {
    let account = auth::caller(&state, &request, Need::Manage).await?.account;
    let id = key_id(&id)?;
    let row = state.store.read(|conn| key_changes::of_account(conn, account, id))?;
    view(&state, account, row).await.map(Json)
}

/// `PATCH /v1/keys/{id}`: fields that are left out stay as they are; null takes a limit away.
///
/// # Errors
/// 400 for a field, 401, 403, 404, 409 for a revoked key.
pub async fn update(
    request: HttpRequest,
    payload: Payload,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<KeyView>, ApiError> {
    let account = auth::caller(&state, &request, Need::Manage).await?.account;
    let id = key_id(&id)?;
    let bytes = body::read(&state, &request, payload).await?;
    let now = Timestamp::now();
    let change = key_body::read_change(&bytes, now)?;
    let row = state.relay.change_key(account, id, change, auth::actor(account), now).await?;
    view(&state, account, row).await.map(Json)
}

/// `DELETE /v1/keys/{id}`: refuses it from now on. Doing it twice is fine.
///
/// # Errors
/// 401, 403, 404.
pub async fn revoke(request: HttpRequest, state: Data<AppState>, id: Path<String>) -> Result<Json<KeyView>, ApiError> {
    let account = auth::caller(&state, &request, Need::Manage).await?.account;
    let row = revoke_of(&state, account, auth::actor(account), &id).await?;
    view(&state, account, row).await.map(Json)
}

/// Revokes an account's key.
///
/// # Errors
/// 404, also for another account's key.
pub async fn revoke_of(state: &AppState, account: AccountId, actor: String, id: &str) -> Result<KeyRow, ApiError> {
    let id = key_id(id)?;
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
/// 401, 403, 404, 409 for a revoked key.
pub async fn rotate(request: HttpRequest, state: Data<AppState>, id: Path<String>) -> Result<HttpResponse, ApiError> {
    let account = auth::caller(&state, &request, Need::Manage).await?.account;
    let id = key_id(&id)?;
    state.store.read(|conn| key_changes::of_account(conn, account, id))?;
    let key = PlainKey::with_id(id).map_err(|e| no_key(&e))?;
    let hash = hash(key.clone()).await?;
    let actor = auth::actor(account);
    let write = move |conn: &Tx| key_changes::rotate(conn, account, id, &hash, &actor, Timestamp::now());
    let row = state.writer.write(write).await?;
    let view = view(&state, account, row).await?;
    Ok(made(HttpResponse::Ok(), &key, view))
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
}

/// `GET /v1/key`
///
/// # Errors
/// 401, 403.
pub async fn own(request: HttpRequest, state: Data<AppState>) -> Result<Json<OwnKey>, ApiError> {
    let caller = auth::caller(&state, &request, Need::Any).await?;
    let account = state.store.read(|conn| accounts::get(conn, caller.account))?;
    let held_micro_usd = state.relay.holds.of_key(caller.key.id).total;
    let view = view(&state, caller.account, caller.key.as_ref().clone()).await?;
    Ok(Json(OwnKey { view, held_micro_usd, account: OwnAccount { id: account.id, name: account.name } }))
}

async fn view(state: &AppState, account: AccountId, row: KeyRow) -> Result<KeyView, ApiError> {
    let read = move |conn: &Read| key_view::view(conn, account, row, Timestamp::now());
    Ok(state.store.read_later(read).await?)
}

fn made(mut response: actix_web::HttpResponseBuilder, key: &PlainKey, view: KeyView) -> HttpResponse {
    // The secret must not stay in a proxy or a browser's cache.
    response.insert_header((CACHE_CONTROL, "no-store"));
    response.json(Made { key: key.expose().to_owned(), view })
}

fn key_id(text: &str) -> Result<KeyId, ApiError> {
    // What cannot be an id names no key.
    KeyId::parse(text).ok_or_else(|| ApiError::not_found("there is no such key"))
}

async fn hash(key: PlainKey) -> Result<String, ApiError> {
    let hashed = tokio::task::spawn_blocking(move || hash_key(&key)).await;
    hashed.map_err(|_| ApiError::from(StoreError::Closed))?.map_err(|e: HashFailed| no_key(&e))
}

fn no_key(e: &dyn std::fmt::Display) -> ApiError {
    tracing::error!(error = %e, "no key could be made");
    ApiError::internal()
}
