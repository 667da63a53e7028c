//! The server: its workers, their sockets, and the application that each of them runs.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::App;
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Extensions, Server, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::web::{Data, ServiceConfig};

use crate::certs::{Acceptor, TlsSocket};
use crate::http::account::redeem;
use crate::http::public::{capacity, stats};
use crate::http::shared::socket::{Encrypted, Http1Socket, Wire};
use crate::http::shared::{edge, stall};
use crate::http::state::AppState;
use crate::upstream::Client;

/// What all workers share: the state, and what some routes remember.
#[derive(Debug, Clone)]
pub struct Shared {
    state: Data<AppState>,
    guesses: Data<redeem::Guesses>,
    stats: Data<stats::Remembered>,
    places: Data<capacity::KnownPlaces>,
}

impl Shared {
    /// Nothing is remembered yet.
    pub fn new(state: AppState) -> Self {
        Self { state: Data::new(state), guesses: Data::default(), stats: Data::default(), places: Data::default() }
    }
}

/// What a worker runs, made on its thread.
pub fn app(
    shared: &Shared,
    routes: fn(&mut ServiceConfig),
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody + 'static + use<>>,
        Error = actix_web::Error,
        InitError = (),
    > + use<>,
> {
    App::new()
        .app_data(shared.state.clone())
        .app_data(shared.guesses.clone())
        .app_data(shared.stats.clone())
        .app_data(shared.places.clone())
        // One client per worker, made on its thread.
        .app_data(Data::new(
            Client::new(shared.state.settings.timeouts).with(shared.state.relay.providers().machines()),
        ))
        .wrap(from_fn(edge::middleware))
        .configure(routes)
}

/// Starts the server on `listener`; it runs until its handle stops it. Put together by hand, as actix-web's
/// `HttpServer` does it, for the sake of the socket (`http::shared::socket`). With `tls`, https is all it speaks.
///
/// # Errors
/// The listener cannot be used.
pub fn start(
    state: AppState,
    listener: TcpListener,
    tls: Option<Acceptor>,
    routes: fn(&mut ServiceConfig),
) -> std::io::Result<Server> {
    let settings = std::sync::Arc::clone(&state.settings);
    let shared = Shared::new(state);
    let address = listener.local_addr()?;
    let builder =
        Server::build().workers(settings.workers).shutdown_timeout(settings.drain.as_secs()).disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    // What a worker runs on its sockets, of whichever kind.
    macro_rules! http {
        ($socket:ty) => {{
            let app = app(&shared, routes).into_factory().map_err(|e: actix_web::Error| e.error_response());
            let (stopping, write_timeout) = (stopping.clone(), settings.write_timeout);
            HttpService::build()
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
                .on_connect_ext(move |io: &Http1Socket<$socket>, extensions| {
                    prepare_connection(&io.0, extensions, write_timeout);
                })
                .finish(map_config(app, |()| AppConfig::default()))
        }};
    }
    let server = match tls {
        None => builder.listen("coordinator", listener, move || {
            let accept = |stream: TcpStream| async move {
                let peer = stream.peer_addr().ok();
                Ok((Http1Socket(stream), Protocol::Http1, peer))
            };
            fn_service(accept).and_then(http!(TcpStream))
        })?,
        Some(tls) => builder.listen("coordinator", listener, move || {
            let tls = tls.clone();
            let accept = move |stream: TcpStream| shake_hands(tls.clone(), stream);
            fn_service(accept).and_then(http!(TlsSocket))
        })?,
    };
    Ok(server.run())
}

/// A connection inside TLS. One that does not get that far is nobody's fault here: it is told in the debug log.
async fn shake_hands(
    tls: Acceptor,
    stream: TcpStream,
) -> Result<(Http1Socket<TlsSocket>, Protocol, Option<SocketAddr>), DispatchError> {
    let peer = stream.peer_addr().ok();
    match tls.accept(stream).await {
        Ok(socket) => Ok((Http1Socket(socket), Protocol::Http1, peer)),
        Err(e) => {
            tracing::debug!(error = %e, "no TLS handshake");
            Err(DispatchError::Io(e))
        }
    }
}

/// What the kernel keeps for a client that does not keep up, in bytes (it doubles it). Left to itself it
/// takes megabytes of an answer that nobody reads, all of them generated and billed.
const SEND_BUFFER: usize = 64 << 10;

/// A client that leaves unread what it is sent is cut off by the kernel: `TCP_USER_TIMEOUT` also counts
/// data that a closed window keeps back. (actix has no write timeout.)
fn prepare_connection<S: Wire>(socket: &S, extensions: &mut Extensions, timeout: Duration) {
    let stream = socket.tcp();
    if S::IS_ENCRYPTED {
        extensions.insert(Encrypted);
    }
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
