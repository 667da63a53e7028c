//! One connection to the coordinator, on which that one asks.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::forward::{Forwarder, Passed, plain};
use crate::tunnel::{
    BYE, Bye, Cut, MOST_HEADERS, PING_EVERY, PONG_WITHIN, PROMPT_WINDOW, PROMPTS_WINDOW, WebSocketBytes,
};

/// Requests beside those that callers send: is it there, why it has to leave.
const BESIDE: u32 = 16;
/// What of an answer waits to be sent, in bytes.
const SEND_BUFFER: usize = 16 << 10;
/// The longest reason.
const LONGEST_BYE: usize = 4 << 10;

/// Where it is told that the coordinator ends the connection.
type Told = watch::Sender<Option<Bye>>;

/// Serves one connection until it ends: why, if it broke. After `stopped` it takes no more requests, and ends when those
/// under way are done.
pub async fn lane<T>(
    io: T,
    forwarder: Arc<Forwarder>,
    at_once: u32,
    bye: Told,
    mut stopped: watch::Receiver<bool>,
) -> Option<String>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let cut = Cut::default();
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        // The silence itself is noticed first, and told.
        .keep_alive_timeout(PONG_WITHIN * 2)
        .initial_stream_window_size(PROMPT_WINDOW)
        .initial_connection_window_size(PROMPTS_WINDOW)
        .max_concurrent_streams(at_once.saturating_add(BESIDE))
        .max_header_list_size(MOST_HEADERS)
        .max_send_buf_size(SEND_BUFFER);
    let service = service_fn(move |request| {
        let (forwarder, bye) = (Arc::clone(&forwarder), bye.clone());
        // Boxed, what it takes to ask is given back when an answer begins, and not when that ends.
        Box::pin(async move { Ok::<_, Infallible>(answer(&forwarder, &bye, request).await) })
    });
    let connection = builder.serve_connection(TokioIo::new(WebSocketBytes::client(io, cut.clone())), service);
    // What it is told is not held while the rest runs.
    let stop = async move { stopped.wait_for(|stop| *stop).await.is_ok() };
    tokio::pin!(connection, stop);
    let served = tokio::select! {
        served = &mut connection => served,
        _ = &mut stop => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    served.err().map(|e| crate::upstream::with_causes(&e))
}

async fn answer(forwarder: &Forwarder, bye: &Told, request: Request<Incoming>) -> Response<Passed> {
    if request.method() == Method::POST && request.uri().path() == BYE {
        return hear(bye, request.into_body()).await;
    }
    let (sent, method, path) = (Instant::now(), request.method().clone(), request.uri().path().to_owned());
    let answer = forwarder.forward(request).await;
    let first_byte_ms = crate::domain::time::millis(sent.elapsed());
    tracing::debug!(%method, path, status = answer.status().as_u16(), first_byte_ms, "request");
    answer
}

async fn hear(bye: &Told, body: Incoming) -> Response<Passed> {
    let said = Limited::new(body, LONGEST_BYE).collect().await;
    let said = said.ok().and_then(|body| serde_json::from_slice::<Bye>(&body.to_bytes()).ok());
    if let Some(said) = said {
        let reason = said.reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
        bye.send_replace(Some(Bye { reason, ..said }));
    }
    plain(StatusCode::OK, "")
}
