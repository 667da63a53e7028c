//! HTTP ⇄ domain: routes, extractors, one error table, views. The only room that names actix.

mod admin;
mod auth;
mod body;
mod browser;
mod cors;
mod error;
mod inference;
mod log;
mod models;
mod overview;
mod pages;
mod payments;
mod public;
mod query;
mod session;
mod world;
pub mod demo;

use std::net::TcpListener;

use actix_web::dev::Extensions;
pub use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data, Payload, ServiceConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};

use crate::domain::request::Endpoint;
use crate::upstream::Client;
use error::{ApiError, Envelope};
pub use session::Door;
pub use world::{Settings, World};

/// Starts the server on `listener`; it runs until its handle stops it.
///
/// # Errors
/// The listener cannot be used.
pub fn start(world: World, listener: TcpListener) -> std::io::Result<Server> {
    let settings = std::sync::Arc::clone(&world.settings);
    let write_timeout = settings.write_timeout;
    let server = HttpServer::new(move || {
        // One client per worker, made on its thread.
        let client = Data::new(Client::new(world.settings.timeouts));
        App::new()
            .app_data(Data::new(world.clone()))
            .app_data(client)
            .wrap(from_fn(cors::middleware))
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
    .on_connect(move |io, _: &mut Extensions| limit_unread(io, write_timeout))
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

/// A client that leaves unread what it is sent is cut off by the kernel: `TCP_USER_TIMEOUT` also counts
/// data that a closed window keeps back. (actix has no write timeout.)
fn limit_unread(io: &dyn std::any::Any, timeout: std::time::Duration) {
    if let Some(stream) = io.downcast_ref::<actix_web::rt::net::TcpStream>()
        && let Err(e) = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(timeout))
    {
        tracing::debug!(error = %e, "TCP_USER_TIMEOUT");
    }
}

fn routes(app: &mut ServiceConfig) {
    let get = |path: &str| web::resource(path.to_owned()).default_service(web::to(not_implemented));
    for endpoint in Endpoint::ALL {
        let run = move |request: HttpRequest, payload: Payload, world: Data<World>, client: Data<Client>| {
            inference::run(endpoint, request, payload, world, client)
        };
        app.service(get(endpoint.path()).route(web::post().to(run)));
    }
    app.service(get("/v1/models").route(web::get().to(models::list)))
        .service(get("/v1/models/{id:.+}").route(web::get().to(models::get)))
        .service(get("/v1/pricing").route(web::get().to(public::pricing)))
        .service(get("/v1/payments/balance").route(web::get().to(payments::balance)))
        .service(get("/v1/payments/usage").route(web::get().to(payments::usage)))
        .configure(admin::routes)
        .service(get("/v1/admin/overview").route(web::get().to(overview::get)))
        .service(get("/v1/admin/audit").route(web::get().to(overview::audit)))
        .service(get("/v1/admin/setup").route(web::post().to(session::setup)))
        .service(
            get("/v1/admin/session")
                .route(web::get().to(session::get))
                .route(web::post().to(session::sign_in))
                .route(web::delete().to(session::sign_out)),
        )
        .service(get("/health").route(web::get().to(public::health)))
        .service(get("/readyz").route(web::get().to(public::ready)))
        .service(get("/api/version").route(web::get().to(public::version)))
        .configure(pages::routes)
        .default_service(web::to(not_implemented));
}

/// 404 for an unknown path, and for a wrong method on a known one.
async fn not_implemented(request: HttpRequest) -> HttpResponse {
    let (method, path) = (request.method(), request.path());
    let e = ApiError::not_found(format!("{method} {path} is not implemented"));
    e.response(Envelope::of_path(path), Some(log::arrived(&request).id))
}
