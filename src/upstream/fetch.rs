//! One request to an address that the operator named, and its whole answer: a certificate authority, a webhook.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::connect::{self, Connector};
use super::tls;

/// Sends `request` on a connection of its own, and reads at most `most` bytes of the answer; what is longer is cut.
/// All of it takes at most `patience`. Redirects are not followed, proxies of the environment not used, and link-local
/// and metadata addresses not connected to.
///
/// # Errors
/// There is no whole answer; in words for an operator.
pub async fn fetch(request: Request<Bytes>, patience: Duration, most: usize) -> Result<Response<Bytes>, String> {
    let answered = tokio::time::timeout(patience, exchange(request.map(Full::new), patience, most));
    answered.await.unwrap_or_else(|_| Err(format!("no whole answer within {} s", patience.as_secs())))
}

async fn exchange(request: Request<Full<Bytes>>, patience: Duration, most: usize) -> Result<Response<Bytes>, String> {
    let config = tls::config(None)?;
    let https = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1();
    let connector = Connector::new(https.wrap_connector(connect::tcp(patience)), patience);
    let client: Client<_, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
    let host = request.uri().host().unwrap_or_default().to_owned();
    let (head, mut body) = client.request(request).await.map_err(|e| connect::words(&e, &host))?.into_parts();
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| connect::with_causes(&e))?;
        if let Some(bytes) = frame.data_ref() {
            read.extend_from_slice(bytes.get(..most.saturating_sub(read.len())).unwrap_or(bytes));
        }
        if read.len() >= most {
            break;
        }
    }
    Ok(Response::from_parts(head, read.freeze()))
}

/// Reads an address that [`fetch`] can be sent to: `https://…` or `http://…`, with a host and no user.
///
/// # Errors
/// It is none; the text says why.
pub fn check_address(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.trim().parse().map_err(|_| "this is no address".to_owned())?;
    if !matches!(uri.scheme_str(), Some("https" | "http")) {
        return Err("an address begins with https:// or http://".to_owned());
    }
    match uri.authority() {
        None => Err("it names no host".to_owned()),
        Some(authority) if authority.as_str().contains('@') => Err("it has no user and no password".to_owned()),
        Some(_) => Ok(uri),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_and_a_host_and_no_user() {
        for good in ["https://hooks.example/a?b=c", "http://127.0.0.1:8025/", " https://[::1]:14000/dir "] {
            assert!(check_address(good).is_ok(), "{good}");
        }
        for bad in ["", "hooks.example", "ftp://a/", "https://", "https://u:p@a/", "/x"] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn an_address_that_no_server_of_ours_has_is_not_connected_to() {
        let request = Request::get("http://169.254.169.254/latest").body(Bytes::new());
        let Ok(request) = request else { panic!("a request") };
        let refused = fetch(request, Duration::from_secs(2), 10).await.err().unwrap_or_default();
        assert!(refused.contains("link-local"), "{refused}");
    }
}
