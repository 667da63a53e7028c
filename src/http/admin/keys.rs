//! Keys of an account, as an admin sees them.

use actix_web::HttpRequest;
use actix_web::web::{self, Data, Json, Path, ServiceConfig};

use super::accounts::account_id;
use super::resource;
use crate::domain::keys::KeyId;
use crate::domain::time::Timestamp;
use crate::http::auth;
use crate::http::error::ApiError;
use crate::http::world::World;
use crate::store::keys::{self, KeyView, Owner};
use crate::store::{StoreError, accounts};

/// The routes of keys.
pub fn routes(app: &mut ServiceConfig) {
    app.service(resource("/v1/admin/accounts/{id}/keys").route(web::get().to(list)))
        .service(resource("/v1/admin/accounts/{id}/keys/{key}").route(web::delete().to(revoke)));
}

async fn list(request: HttpRequest, world: Data<World>, id: Path<String>) -> Result<Json<Vec<KeyView>>, ApiError> {
    auth::admin(&world, &request).await?;
    let id = account_id(&id)?;
    let read = world.relay.store.read_later(move |conn| {
        accounts::get(conn, id)?;
        keys::list(conn, id)
    });
    Ok(Json(read.await?.into_iter().map(KeyView::from).collect()))
}

async fn revoke(
    request: HttpRequest,
    world: Data<World>,
    ids: Path<(String, String)>,
) -> Result<Json<KeyView>, ApiError> {
    let admin = auth::admin(&world, &request).await?;
    let (account, key) = ids.into_inner();
    let account = account_id(&account)?;
    let id = KeyId::parse(&key);
    let missing = move || StoreError::NotFound(format!("this account has no key {key}"));
    let id = id.ok_or_else(&missing)?;
    let now = Timestamp::now();
    let write = move |conn: &crate::store::Connection| {
        keys::get(conn, id)?.filter(|row| row.owner == Owner::Account(account)).ok_or_else(&missing)?;
        keys::revoke(conn, id, &admin.actor, now)
    };
    Ok(Json(world.relay.writer.write(write).await?.into()))
}
