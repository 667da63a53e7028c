//! Making a connection: to addresses that a provider may have, in bounded time, with plain words where it fails.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tower_service::Service;

use super::address::is_out_of_bounds;
use super::guard::Guarded;
use super::tls;

type BoxError = Box<dyn Error + Send + Sync>;
type Soon<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// A connection that is not made, in words for an operator.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0} is no address of a provider (link-local, metadata, multicast or unspecified)")]
    Address(IpAddr),
    #[error("{0} resolves to {1}, which is no address of a provider (link-local, metadata, multicast or unspecified)")]
    Name(String, IpAddr),
    #[error("no connection within {} s", .0.as_secs())]
    TooSlow(Duration),
    #[error("no TLS handshake within {} s", .0.as_secs())]
    HandshakeTooSlow(Duration),
}

/// TCP, plain or below TLS. Redirects, proxies from the environment: it knows none.
pub fn tcp(timeout: Duration) -> HttpConnector<Resolver> {
    let mut http = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(timeout));
    http
}

/// Looks names up, and leaves out the addresses that no provider has: on every connection, since a name can
/// change its mind.
#[derive(Debug, Clone)]
pub struct Resolver(GaiResolver);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Soon<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let text = name.as_str().to_owned();
        let found = self.0.call(name);
        Box::pin(async move { Ok(within_bounds(&text, found.await?)?.into_iter()) })
    }
}

fn within_bounds(name: &str, found: impl Iterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, Refused> {
    let (bad, good): (Vec<_>, Vec<_>) = found.partition(|address| is_out_of_bounds(address.ip()));
    match bad.first() {
        Some(address) if good.is_empty() => Err(Refused::Name(name.to_owned(), address.ip())),
        _ => Ok(good),
    }
}

/// An address of a host, by its name or number, where a server may be.
///
/// # Errors
/// There is none, or none within bounds; in words for an operator.
pub async fn look_up(host: &str, port: u16) -> Result<SocketAddr, String> {
    let host = host.trim_matches(['[', ']']);
    let found = tokio::net::lookup_host((host, port)).await.map_err(|e| format!("{host} is not found: {e}"))?;
    let good = within_bounds(host, found).map_err(|e| e.to_string())?;
    good.first().copied().ok_or_else(|| format!("{host} has no address"))
}

/// A connector whose connections are made within a time, and are watched.
#[derive(Debug, Clone)]
pub struct Connector<C> {
    inner: C,
    timeout: Duration,
}

impl<C> Connector<C> {
    /// Of `inner`; a handshake included, a connection is there after `timeout`.
    pub const fn new(inner: C, timeout: Duration) -> Self {
        Self { inner, timeout }
    }
}

impl<C> Service<Uri> for Connector<C>
where
    C: Service<Uri>,
    C::Response: Read + Write + Connection + Unpin + Send + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
{
    type Response = TokioIo<Guarded<TokioIo<C::Response>>>;
    type Error = BoxError;
    type Future = Soon<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // A number is not looked up, and what was stored long ago was checked by the rules of then.
        let number = uri.host().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        if let Some(address) = number.filter(|address| is_out_of_bounds(*address)) {
            return Box::pin(async move { Err(Refused::Address(address).into()) });
        }
        let is_tls = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
        let (timeout, connecting) = (self.timeout, self.inner.call(uri));
        Box::pin(async move {
            match tokio::time::timeout(timeout, connecting).await {
                Ok(made) => made.map(|made| TokioIo::new(Guarded::new(TokioIo::new(made)))).map_err(Into::into),
                // TCP has given up by itself before that.
                Err(_) if is_tls => Err(Refused::HandshakeTooSlow(timeout).into()),
                Err(_) => Err(Refused::TooSlow(timeout).into()),
            }
        })
    }
}

/// What an operator should read of a connection that failed; `host` as the URL names it.
pub fn words(e: &(dyn Error + 'static), host: &str) -> String {
    let mut next = Some(e);
    while let Some(e) = next {
        if let Some(e) = e.downcast_ref::<Refused>() {
            return e.to_string();
        }
        if let Some(text) = tls::words(e, host) {
            return text;
        }
        if let Some(e) = e.downcast_ref::<io::Error>() {
            match e.kind() {
                io::ErrorKind::ConnectionRefused => return "nobody listens there (connection refused)".to_owned(),
                io::ErrorKind::TimedOut => return "it does not accept a connection in time".to_owned(),
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    return "there is no way to its address (unreachable)".to_owned();
                }
                _ => {}
            }
        }
        next = e.source();
    }
    with_causes(e)
}

/// The error with its causes: hyper's own text says only "client error".
pub fn with_causes(e: &dyn Error) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_resolve_out_of_bounds_are_refused_in_words() {
        let found = |texts: &[&str]| {
            let parsed: Vec<SocketAddr> = texts.iter().filter_map(|text| text.parse().ok()).collect();
            assert_eq!(parsed.len(), texts.len());
            within_bounds("gpu", parsed.into_iter()).map_err(|e| e.to_string())
        };
        assert_eq!(found(&["127.0.0.1:0", "[::1]:0"]).map(|good| good.len()), Ok(2));
        assert_eq!(found(&["169.254.169.254:0", "10.0.0.7:0"]).map(|good| good.len()), Ok(1));
        let text = found(&["169.254.169.254:0"]).err().unwrap_or_default();
        assert!(text.starts_with("gpu resolves to 169.254.169.254, which is no address of a provider"), "{text}");
        assert!(found(&["[2002:a9fe:a9fe::1]:0"]).is_err());
    }
}
