//! HTTP ⇄ domain: routes, extractors, one error table, views. The only room that names actix.

mod admin;
mod admin_withdrawals;
mod auth;
mod body;
mod browser;
mod cors;
mod earnings;
mod edge;
mod error;
mod fields;
mod idempotent;
mod invites;
mod key_body;
mod keys;
mod paging;
mod inference;
mod log;
mod models;
mod openapi;
mod overview;
mod pages;
mod payments;
mod public;
mod query;
mod quote;
mod session;
mod stall;
mod stats;
mod unknown;
mod withdrawals;
mod world;
pub mod demo;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::net::TcpListener;

use actix_web::dev::Extensions;
pub use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data, Payload, ServiceConfig};
use actix_web::{App, HttpRequest, HttpServer, Resource};

use crate::domain::request::Endpoint;
use crate::upstream::Client;
pub use session::Door;
pub use world::{Settings, World};

/// Starts the server on `listener`; it runs until its handle stops it.
///
/// # Errors
/// The listener cannot be used.
pub fn start(world: World, listener: TcpListener) -> std::io::Result<Server> {
    let settings = std::sync::Arc::clone(&world.settings);
    let write_timeout = settings.write_timeout;
    let (guesses, stats) = (Data::new(invites::Guesses::default()), Data::new(stats::Remembered::default()));
    let server = HttpServer::new(move || {
        // One client per worker, made on its thread.
        let client = Data::new(Client::new(world.settings.timeouts));
        App::new()
            .app_data(Data::new(world.clone()))
            .app_data(client)
            .app_data(guesses.clone())
            .app_data(stats.clone())
            .wrap(from_fn(edge::middleware))
            .wrap(from_fn(log::middleware))
            .configure(routes)
    })
    .workers(settings.workers)
    // Without it an event waits for the other side's delayed ACK: 40 ms.
    .tcp_nodelay(true)
    // A half-closed connection is a client that is gone; with the default its stream goes on for nobody.
    .h1_allow_half_closed(false)
    .keep_alive(settings.keep_alive)
    .client_request_timeout(std::time::Duration::from_secs(10))
    .shutdown_timeout(settings.drain.as_secs())
    .disable_signals()
    .on_connect(move |io, extensions| prepare_connection(io, extensions, write_timeout))
    .listen(listener)?;
    Ok(server.run())
}

/// Runs a future, and what it spawns, on this thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    actix_web::rt::System::new().block_on(future)
}

/// Runs a server beside the caller, until its handle stops it.
pub fn spawn(server: Server) {
    actix_web::rt::spawn(async move {
        if let Err(e) = server.await {
            tracing::error!(error = %e, "a server ended");
        }
    });
}

/// What the kernel keeps for a client that does not keep up, in bytes (it doubles it). Left to itself it
/// takes megabytes of an answer that nobody reads, all of them generated and billed.
const SEND_BUFFER: usize = 64 << 10;

/// A client that leaves unread what it is sent is cut off by the kernel: `TCP_USER_TIMEOUT` also counts
/// data that a closed window keeps back. (actix has no write timeout.)
fn prepare_connection(io: &dyn std::any::Any, extensions: &mut Extensions, timeout: std::time::Duration) {
    let Some(stream) = io.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
    stall::Connection::note(stream, extensions);
    let socket = socket2::SockRef::from(stream);
    let set = socket.set_tcp_user_timeout(Some(timeout)).and_then(|()| socket.set_send_buffer_size(SEND_BUFFER));
    if let Err(e) = set {
        tracing::debug!(error = %e, "a socket option");
    }
}

fn routes(app: &mut ServiceConfig) {
    for endpoint in Endpoint::ALL {
        let run = move |request: HttpRequest, payload: Payload, world: Data<World>, client: Data<Client>| {
            inference::run(endpoint, request, payload, world, client)
        };
        app.service(resource(endpoint.path()).route(web::post().to(run)));
    }
    app.service(resource("/v1/models").route(web::get().to(models::list)))
        .service(resource("/v1/models/{id:.+}").route(web::get().to(models::get)))
        .service(resource("/v1/pricing").route(web::get().to(public::pricing)))
        .configure(account_routes)
        .configure(admin::routes)
        .service(resource("/v1/admin/overview").route(web::get().to(overview::get)))
        .service(resource("/v1/admin/audit").route(web::get().to(overview::audit)))
        .service(resource("/v1/admin/setup").route(web::post().to(session::setup)))
        .service(
            resource("/v1/admin/session")
                .route(web::get().to(session::get))
                .route(web::post().to(session::sign_in))
                .route(web::delete().to(session::sign_out)),
        )
        .service(resource("/health").route(web::get().to(public::health)))
        .service(resource("/readyz").route(web::get().to(public::ready)))
        .service(resource("/api/version").route(web::get().to(public::version)))
        .configure(openapi::routes)
        .configure(pages::routes)
        .default_service(web::to(unknown::not_implemented));
}

/// What an account does with its keys and its money.
fn account_routes(app: &mut ServiceConfig) {
    app.configure(keys::routes)
        .configure(payments::routes)
        .configure(quote::routes)
        .configure(withdrawals::routes)
        .configure(admin_withdrawals::routes)
        .configure(earnings::routes)
        .configure(invites::routes)
        .configure(stats::routes)
        .service(resource("/v1/messages/count_tokens").route(web::post().to(inference::count_tokens)));
}

/// A path that answers 405 to the methods it does not know.
fn resource(path: &str) -> Resource {
    web::resource(path.to_owned()).default_service(web::to(unknown::wrong_method))
}
