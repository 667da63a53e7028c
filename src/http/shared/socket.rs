//! A client's connection: the socket, and an offer on it that is not taken up.
//!
//! Every stock Java client offers HTTP/2 in its requests over plain HTTP (`Connection: Upgrade, HTTP2-Settings`,
//! `Upgrade: h2c`). A server may ignore that and go on in HTTP/1.1. actix would take the connection for one that is
//! about to change and close it after the answer, so the word is blanked out before actix reads it. Nothing else
//! of a request changes, and not its length.

use std::io;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use actix_web::rt::net::TcpStream;
use memchr::memmem::{self, Finder};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::certs::TlsSocket;

/// Made once: making a searcher costs more than most searches.
static OFFER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"2-"));

/// Noted of a connection that is encrypted up to this process.
#[derive(Debug, Clone, Copy)]
pub struct Encrypted;

/// A client's connection, plain or inside TLS.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + 'static {
    /// It is inside TLS.
    const IS_ENCRYPTED: bool;

    /// The connection itself.
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    const IS_ENCRYPTED: bool = false;

    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for TlsSocket {
    const IS_ENCRYPTED: bool = true;

    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// A socket whose offers of HTTP/2 are not heard.
#[derive(Debug)]
pub struct Http1Socket<S>(pub S);

impl<S: AsyncRead + Unpin> AsyncRead for Http1Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.0).poll_read(cx, buffer);
        if let Some(new) = buffer.filled_mut().get_mut(before..) {
            decline_http2(new);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Http1Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

/// Blanks `Upgrade` out of the `Connection` header of a head that offers HTTP/2. `read` is what one read brought:
/// a head that does not begin it is left alone, and its connection closes after the answer.
fn decline_http2(read: &mut [u8]) {
    // A body of JSON does not begin with a capital, and most heads are done with the first search.
    if !read.first().is_some_and(u8::is_ascii_uppercase) {
        return;
    }
    // The setting's name has the only `2-` of an ordinary head.
    if OFFER.find(read).is_none() {
        return;
    }
    let end = memmem::find(read, b"\r\n\r\n").unwrap_or(read.len());
    let Some(head) = read.get_mut(..end) else { return };
    for line in head.split_mut(|&b| b == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
        let (name, value) = line.split_at_mut(colon);
        if name.eq_ignore_ascii_case(b"connection") {
            let Some(value) = value.get_mut(1..) else { continue };
            let names = |value: &[u8], token: &[u8]| {
                value.split(|&b| b == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(token))
            };
            if names(value, b"http2-settings") {
                value
                    .split_mut(|&b| b == b',')
                    .filter(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
                    .for_each(|option| option.iter_mut().filter(|b| b.is_ascii_alphabetic()).for_each(|b| *b = b' '));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_of_http_2_is_blanked_and_nothing_else() {
        let declined = [
            ("Connection: Upgrade, HTTP2-Settings", "Connection:        , HTTP2-Settings"),
            ("connection: http2-settings,upgrade", "connection: http2-settings,       "),
            ("CONNECTION:keep-alive, Upgrade, HTTP2-Settings", "CONNECTION:keep-alive,        , HTTP2-Settings"),
        ];
        let left = [
            "Connection: Upgrade",
            "Connection: keep-alive",
            "X-Connection: Upgrade, HTTP2-Settings",
            "Connection-X: Upgrade, HTTP2-Settings",
            "Connection: Upgrades, HTTP2-Settings",
            "X: 2-Connection: Upgrade, HTTP2-Settings",
        ];
        let rows = declined.into_iter().chain(left.into_iter().map(|line| (line, line)));
        for (line, expected) in rows {
            let wire = |line: &str| {
                format!(
                    "POST /a HTTP/1.1\r\nHost: x\r\n{line}\r\nUpgrade: h2c\r\n\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                )
            };
            let mut read = wire(line).into_bytes();
            decline_http2(&mut read);
            assert_eq!(String::from_utf8_lossy(&read), wire(expected), "{line}");
        }
        let body = "{\"a\":1}\r\nConnection: Upgrade, HTTP2-Settings\r\n";
        for text in [body, "", "A", "GET / HTTP/1.1\r\nconnection"] {
            let mut read = text.as_bytes().to_vec();
            decline_http2(&mut read);
            assert_eq!(read, text.as_bytes());
        }
    }
}
