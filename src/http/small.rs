//! A server for one short answer: a head is read, an answer written, the connection closed.

use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

/// The longest head that is read, in bytes; how long all of it may take; and how many may be at work.
const LONGEST_HEAD: usize = 8 << 10;
const PATIENCE: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 256;

/// Answers on `listener` for as long as it is polled; `answer` makes a whole response from the head of a request.
pub async fn serve<F, Answering>(listener: TcpListener, answer: F)
where
    F: Fn(Vec<u8>) -> Answering + Send + Sync + 'static,
    Answering: Future<Output = String> + Send + 'static,
{
    let listener = listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
    let listener = match listener {
        Ok(listener) => listener,
        Err(e) => return tracing::error!(error = %e, "a small server's port cannot be used"),
    };
    let (answer, places) = (Arc::new(answer), Arc::new(Semaphore::new(AT_ONCE)));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let answer = Arc::clone(&answer);
                tokio::spawn(async move {
                    drop(tokio::time::timeout(PATIENCE, exchange(stream, &*answer)).await);
                    drop(place);
                });
            }
            // No descriptor is free, most likely.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn exchange<Answering: Future<Output = String>>(
    mut stream: TcpStream,
    answer: &impl Fn(Vec<u8>) -> Answering,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut part = [0; 1_024];
        let read = stream.read(&mut part).await?;
        head.extend_from_slice(part.get(..read).unwrap_or_default());
        if read == 0 || head.len() > LONGEST_HEAD {
            return Ok(());
        }
    }
    stream.write_all(answer(head).await.as_bytes()).await?;
    stream.shutdown().await
}

/// A whole response, after which the connection is closed; `headers` end with a line break each.
pub fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}
