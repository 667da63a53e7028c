//! The server's side of TLS: one handshake for each connection, HTTP/1.1 inside it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::shown::{ACME, Certificates};

/// Who takes longer for a handshake is cut off.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A connection inside TLS.
pub type TlsSocket = TlsStream<TcpStream>;

/// Takes connections with the certificates that are shown at the time.
#[derive(Clone)]
pub struct Acceptor(TlsAcceptor);

impl Acceptor {
    /// TLS 1.2 and 1.3; HTTP/1.1 is all that it offers.
    pub fn new(certificates: Arc<Certificates>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        #[allow(clippy::expect_used, reason = "a fixed pair of provider and versions: cannot fail on any input")]
        let builder = builder.with_safe_default_protocol_versions().expect("ring supports TLS 1.2 and 1.3");
        let mut config = builder.with_no_client_auth().with_cert_resolver(certificates);
        config.alpn_protocols = vec![b"http/1.1".to_vec(), b"http/1.0".to_vec(), ACME.to_vec()];
        Self(TlsAcceptor::from(Arc::new(config)))
    }

    /// Shakes hands.
    ///
    /// # Errors
    /// The client speaks no TLS, knows no common version, took too long, or was an authority that has its answer now.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsSocket> {
        let shaken = tokio::time::timeout(HANDSHAKE, self.0.accept(stream)).await;
        let stream = shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if stream.get_ref().1.alpn_protocol() == Some(ACME) {
            return Err(io::Error::other("a certificate authority asked"));
        }
        Ok(stream)
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}
