//! One question to a server on a Unix socket: how the command line asks the server that runs beside it. Here, because
//! no other room names the HTTP client.

use std::future::Future;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// Nobody listens there.
    #[error("nobody listens there")]
    Nobody,
    /// Somebody does, and was silent for so long.
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// The connection cannot be made or broke.
    #[error("{0}")]
    Broken(String),
}

/// Asks, and reads the whole answer: its status and its body. The server may be silent for `patience` at a time, before
/// the answer and within it.
///
/// # Errors
/// There is no whole answer.
pub async fn ask_local(
    socket: &Path,
    method: Method,
    path: &str,
    patience: Duration,
) -> Result<(u16, Bytes), Unanswered> {
    let stream = match in_time(patience, UnixStream::connect(socket)).await? {
        Ok(stream) => stream,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Err(Unanswered::Nobody);
        }
        // Its line of connections to accept is full, and it accepts none.
        Err(e) if e.kind() == ErrorKind::WouldBlock => return Err(Unanswered::Silent(patience)),
        Err(e) => return Err(Unanswered::Broken(e.to_string())),
    };
    let broken = |e: hyper::Error| Unanswered::Broken(super::connect::with_causes(&e));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = Request::builder().method(method).uri(path).header(HOST, "coordinator").body(Empty::<Bytes>::new());
    let request = request.map_err(|e| Unanswered::Broken(e.to_string()))?;
    let answered = async move {
        let mut answer = in_time(patience, sender.send_request(request)).await?.map_err(broken)?;
        let mut body = Vec::new();
        while let Some(frame) = in_time(patience, answer.body_mut().frame()).await? {
            if let Ok(bytes) = frame.map_err(broken)?.into_data() {
                body.extend_from_slice(&bytes);
            }
        }
        Ok((answer.status().as_u16(), Bytes::from(body)))
    };
    tokio::pin!(connection, answered);
    // The connection moves only while it is polled, and says nothing that the answer does not.
    tokio::select! {
        answer = &mut answered => answer,
        _ = &mut connection => answered.await,
    }
}

async fn in_time<T>(patience: Duration, step: impl Future<Output = T>) -> Result<T, Unanswered> {
    tokio::time::timeout(patience, step).await.map_err(|_| Unanswered::Silent(patience))
}
