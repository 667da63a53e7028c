//! HTTP ⇄ domain: routes, extractors, one error table, views. The only room that names actix.

mod account;
mod admin;
mod inference;
mod openapi;
mod pages;
mod public;
mod shared;
mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::net::TcpListener;
use std::time::Duration;

use actix_http::{HttpService, Protocol};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::{AppConfig, Extensions};
pub use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, Data, Payload, ServiceConfig};
use actix_web::{App, HttpRequest};

use crate::domain::request::Endpoint;
use crate::upstream::Client;
use account::redeem;
use admin::{audit, overview, session};
use inference::{models, run};
use public::{reads, stats};
pub use shared::origin::read as read_origin;
use shared::resource::resource;
use shared::socket::Http1Socket;
use shared::{edge, log, stall, unknown};
pub use state::{AppState, Settings};

/// Starts the server on `listener`; it runs until its handle stops it. Put together by hand, as actix-web's
/// `HttpServer` does it, for the sake of the socket (`http::shared::socket`).
///
/// # Errors
/// The listener cannot be used.
pub fn start(state: AppState, listener: TcpListener) -> std::io::Result<Server> {
    let settings = std::sync::Arc::clone(&state.settings);
    let (guesses, stats) = (Data::new(redeem::Guesses::default()), Data::new(stats::Remembered::default()));
    let overview = Data::new(overview::Remembered::default());
    let address = listener.local_addr()?;
    let builder =
        Server::build().workers(settings.workers).shutdown_timeout(settings.drain.as_secs()).disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let server = builder.listen("coordinator", listener, move || {
        // One client per worker, made on its thread.
        let client = Data::new(Client::new(state.settings.timeouts));
        let app = App::new()
            .app_data(Data::new(state.clone()))
            .app_data(client)
            .app_data(guesses.clone())
            .app_data(stats.clone())
            .app_data(overview.clone())
            .wrap(from_fn(edge::middleware))
            .wrap(from_fn(log::middleware))
            .configure(routes);
        let app = app.into_factory().map_err(|e: actix_web::Error| e.error_response());
        let (stopping, write_timeout) = (stopping.clone(), settings.write_timeout);
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .local_addr(address)
            // A half-closed connection is a client that is gone; with the default its stream goes on for nobody.
            .h1_allow_half_closed(false)
            .keep_alive(settings.keep_alive)
            .client_request_timeout(Duration::from_secs(10))
            .client_disconnect_timeout(Duration::from_secs(1))
            .on_connect_ext(move |io: &Http1Socket, extensions| prepare_connection(&io.0, extensions, write_timeout))
            .finish(map_config(app, |()| AppConfig::default()));
        let accept = |stream: TcpStream| async move {
            let peer = stream.peer_addr().ok();
            Ok((Http1Socket(stream), Protocol::Http1, peer))
        };
        fn_service(accept).and_then(http)
    })?;
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
fn prepare_connection(stream: &TcpStream, extensions: &mut Extensions, timeout: Duration) {
    stall::Connection::note(stream, extensions);
    let socket = socket2::SockRef::from(stream);
    // Without it an event waits for the other side's delayed ACK: 40 ms.
    let set = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_user_timeout(Some(timeout)))
        .and_then(|()| socket.set_send_buffer_size(SEND_BUFFER));
    if let Err(e) = set {
        tracing::debug!(error = %e, "a socket option");
    }
}

fn routes(app: &mut ServiceConfig) {
    for endpoint in Endpoint::ALL {
        let run = move |request: HttpRequest, payload: Payload, state: Data<AppState>, client: Data<Client>| {
            run::run(endpoint, request, payload, state, client)
        };
        app.service(resource(endpoint.path()).route(web::post().to(run)));
    }
    app.service(resource("/v1/models").route(web::get().to(models::list)))
        .service(resource("/v1/models/{id:.+}").route(web::get().to(models::get)))
        .service(resource("/v1/pricing").route(web::get().to(reads::pricing)))
        .configure(account_routes)
        .configure(admin::routes)
        .service(resource("/v1/admin/overview").route(web::get().to(overview::get)))
        .service(resource("/v1/admin/audit").route(web::get().to(audit::audit)))
        .service(resource("/v1/admin/setup").route(web::post().to(session::setup)))
        .service(
            resource("/v1/admin/session")
                .route(web::get().to(session::get))
                .route(web::post().to(session::sign_in))
                .route(web::delete().to(session::sign_out)),
        )
        .service(resource("/health").route(web::get().to(reads::health)))
        .service(resource("/readyz").route(web::get().to(reads::ready)))
        .service(resource("/api/version").route(web::get().to(reads::version)))
        .configure(openapi::routes)
        .configure(pages::routes)
        .default_service(web::to(unknown::not_implemented));
}

/// What an account does with its keys and its money.
fn account_routes(app: &mut ServiceConfig) {
    app.configure(account::keys::routes)
        .configure(account::payments::routes)
        .configure(inference::quote::routes)
        .configure(account::withdrawals::routes)
        .configure(admin::withdrawals::routes)
        .configure(account::earnings::routes)
        .configure(redeem::routes)
        .configure(admin::invites::routes)
        .configure(stats::routes)
        .service(resource("/v1/messages/count_tokens").route(web::post().to(run::count_tokens)));
}
