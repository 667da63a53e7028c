//! A machine registers: its row, and a session to connect with.

use actix_web::HttpResponse;
use actix_web::web::Data;

use crate::auth::Token;
use crate::domain::time::Timestamp;
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::{CallerBody, Provide};
use crate::http::state::AppState;
use crate::store::Tx;
use crate::store::providers::{self, Joined, JoiningMachine};
use crate::tunnel::{Hello, LANES, MOST_AT_ONCE, OCCUPIED, Welcome};
use crate::upstream::{Expected, Occupied};

/// More models than that are no list.
const MOST_MODELS: usize = 1_000;
/// The longest name of a process.
const LONGEST_INSTANCE: usize = 64;

/// `POST /v1/provider/machines`
///
/// # Errors
/// 400 for a field, or a protocol that is not spoken; 409 if another machine has the name, or the key all its machines.
pub async fn register(sent: CallerBody<Provide, Hello>, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let (caller, hello) = (sent.by.caller, sent.body);
    hello.check_protocol().map_err(|e| ApiError::invalid(Some("protocol"), e.to_string()))?;
    check(&hello)?;
    if state.relay.is_draining() {
        return Err(ApiError::unavailable("the server is about to stop", std::time::Duration::from_secs(1)));
    }
    let token = Token::generate().map_err(|_| ApiError::internal())?;
    let joining = JoiningMachine {
        key: caller.key.id,
        account: caller.account,
        name: hello.name,
        models: hello.models.into_iter().map(|m| (m.model, m.upstream_model)).collect(),
    };
    let machines = state.relay.providers().machines();
    let occupied = |e: Occupied| ApiError::conflict(Some("name"), e.to_string()).code(OCCUPIED);
    // Before anything is written: the models of the one that is connected are not those of one that is refused.
    if let Some(known) = state.store.read_inline(|conn| providers::known(conn, &joining))? {
        machines.has_place(known, &hello.instance, hello.replace).map_err(occupied)?;
    }
    let write = move |conn: &Tx| providers::join(conn, &joining, Timestamp::now());
    let Joined { row, models, left_out } = state.writer.write(write).await?;
    let expected = Expected {
        provider: row.id,
        key: caller.key.id,
        phc: caller.key.phc().to_owned(),
        instance: hello.instance,
        replace: hello.replace,
        max_concurrent: hello.max_concurrent.min(MOST_AT_ONCE),
    };
    machines.expect(token.hash(), expected).map_err(occupied)?;
    state.relay.machine_went(row.id, "it has registered, and not connected yet");
    Ok(HttpResponse::Created().json(Welcome {
        id: row.id,
        name: row.name,
        protocol: Hello::PROTOCOL.min(hello.protocol),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        session: token.expose().to_owned(),
        lanes: LANES,
        held: row.disabled_at.is_some(),
        models,
        left_out,
    }))
}

fn check(hello: &Hello) -> Result<(), ApiError> {
    if hello.max_concurrent == 0 {
        return Err(ApiError::invalid(Some("max_concurrent"), "max_concurrent is at least 1"));
    }
    if hello.models.len() > MOST_MODELS {
        return Err(ApiError::invalid(Some("models"), format!("a machine has at most {MOST_MODELS} models")));
    }
    if !(1..=LONGEST_INSTANCE).contains(&hello.instance.len()) {
        return Err(ApiError::invalid(Some("instance"), format!("instance is 1 to {LONGEST_INSTANCE} bytes")));
    }
    Ok(())
}
