//! A machine connects: the handshake of a WebSocket, and its life.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{HeaderName, UPGRADE};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::raw;
use crate::auth::Token;
use crate::domain::time::Timestamp;
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::{ByKey, Provide};
use crate::http::state::AppState;
use crate::store::keys::NotInForce;
use crate::store::{StoreError, providers};
use crate::tunnel::{self, SESSION};
use crate::upstream::{Attached, Machine};

/// How often it is looked whether a machine may still be here.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// `GET /v1/provider/tunnel`, with `Upgrade: websocket`
///
/// # Errors
/// 400 if it is no handshake of a WebSocket (RFC 6455, section 4.2.1), 404 for a session that nobody waits for.
pub async fn connect(
    by: ByKey<Provide>,
    request: HttpRequest,
    payload: Payload,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let text = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let is_websocket = text(UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let key = text(HeaderName::from_static("sec-websocket-key")).filter(|key| key.len() == 24);
    let version = text(HeaderName::from_static("sec-websocket-version"));
    let (true, true, Some(key), Some("13")) = (is_websocket, request.head().upgrade(), key, version) else {
        return Err(ApiError::invalid(None, "this is for coordinator join: a WebSocket of version 13"));
    };
    let session = Token::hash_of(text(HeaderName::from_static(SESSION)).unwrap_or_default());
    let machines = state.relay.providers().machines();
    let attached = machines.attached(&session, by.caller.key.id);
    let attached = attached.ok_or_else(|| ApiError::not_found("no machine registered this session: register again"))?;
    let (io, body) = raw::pair(payload);
    actix_web::rt::spawn(serve(state.clone(), attached, io));
    Ok(HttpResponse::SwitchingProtocols()
        .upgrade("websocket")
        .insert_header(("sec-websocket-accept", tunnel::accept(key)))
        .streaming(body))
}

/// Serves one connection of a machine until it ends.
async fn serve(state: Data<AppState>, attached: Attached, io: raw::Raw) {
    let machine = Arc::clone(&attached.machine);
    let (relay, machines) = (&state.relay, state.relay.providers().machines());
    let serving = machines.serve(attached, io, || {
        relay.machine_came(&machine);
        tracing::info!(provider = %machine.provider, key_id = %machine.key, "a machine has joined");
        // Of all its connections.
        actix_web::rt::spawn(watch(state.clone(), Arc::clone(&machine)));
    });
    let ended = serving.await;
    let why = ended.why.as_deref().unwrap_or("it has left");
    if ended.is_gone {
        relay.machine_went(machine.provider, why);
        tracing::info!(provider = %machine.provider, why, "a machine is gone");
    }
}

/// Sends a machine away when it may be here no longer, and ends when it is gone.
async fn watch(state: Data<AppState>, machine: Arc<Machine>) {
    while !machine.has_ended() {
        if let Some(why) = not_welcome(&state, &machine) {
            return state.relay.providers().machines().dismiss(&machine, why).await;
        }
        actix_web::rt::time::sleep(LOOK_AGAIN).await;
    }
}

fn not_welcome(state: &AppState, machine: &Machine) -> Option<&'static str> {
    // A store that fails now says nothing of the machine.
    let key = state.store.cached(|memory| memory.key(machine.key)).ok()?;
    let Some(key) = key.filter(|key| key.scopes.provide) else { return Some("its key was revoked") };
    match key.in_force(Timestamp::now()) {
        Ok(()) => {}
        Err(NotInForce::Revoked) => return Some("its key was revoked"),
        Err(NotInForce::Expired) => return Some("its key has expired"),
    }
    if key.phc() != machine.phc {
        return Some("its key was rotated: start it with the new one");
    }
    if key.suspended {
        return Some("its account is suspended");
    }
    match state.store.read_inline(|conn| providers::get(conn, machine.provider)) {
        Err(StoreError::NotFound(_)) => Some("it was removed"),
        _ => None,
    }
}
