//! A connection that this machine makes: TCP, through a proxy if need be, TLS if the URL says so.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::domain::secret::Secret;
use crate::upstream::{tls_config, tls_words};

/// A connection.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// How long a connection, a proxy's answer and a TLS handshake may take together.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// The longest head of a proxy's answer.
const LONGEST_HEAD: usize = 16 << 10;

/// Somewhere to connect to.
#[derive(Debug, Clone)]
pub struct Address {
    host: String,
    port: u16,
    /// TLS, and whom to trust; made when it is first needed.
    tls: Option<Tls>,
    proxy: Option<Proxy>,
}

#[derive(Debug, Clone)]
struct Tls {
    ca_pem: Option<String>,
    config: Arc<OnceLock<Arc<rustls::ClientConfig>>>,
}

#[derive(Debug, Clone)]
struct Proxy {
    host: String,
    port: u16,
    /// `Basic …`
    credentials: Option<Secret>,
}

impl Address {
    /// Of an `http` or `https` URL.
    ///
    /// # Errors
    /// It is none.
    pub fn read(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|e| format!("{url} is no URL: {e}"))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(format!("{url} is no URL: it begins with http:// or https://")),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| format!("{url} names no host"))?;
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tls = is_tls.then(|| Tls { ca_pem: None, config: Arc::default() });
        Ok(Self { host: host.trim_matches(['[', ']']).to_owned(), port, tls, proxy: None })
    }

    /// The same, through a proxy and with a private authority trusted.
    ///
    /// # Errors
    /// The proxy's URL is none.
    pub fn through(mut self, proxy: Option<&str>, ca_pem: Option<&str>) -> Result<Self, String> {
        if let Some(tls) = &mut self.tls {
            tls.ca_pem = ca_pem.map(str::to_owned);
        }
        self.proxy = proxy.map(Proxy::read).transpose()?;
        Ok(self)
    }

    /// As it stands in a `Host` header.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.port, self.tls.is_some()) {
            (443, true) | (80, false) => host,
            (port, _) => format!("{host}:{port}"),
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// Why not, in a sentence.
    pub async fn connect(&self) -> Result<Box<dyn Socket>, String> {
        let made = tokio::time::timeout(CONNECT_WITHIN, self.connect_now()).await;
        made.unwrap_or_else(|_| Err(format!("no connection to {} within {} s", self.host, CONNECT_WITHIN.as_secs())))
    }

    async fn connect_now(&self) -> Result<Box<dyn Socket>, String> {
        let (host, port) = self.proxy.as_ref().map_or((&self.host, self.port), |proxy| (&proxy.host, proxy.port));
        let failed = |e: &dyn std::fmt::Display| format!("{host}:{port} cannot be reached: {e}");
        let mut tcp = TcpStream::connect((host.as_str(), port)).await.map_err(|e| failed(&e))?;
        tcp.set_nodelay(true).map_err(|e| failed(&e))?;
        if let Some(proxy) = &self.proxy {
            proxy.pass(&mut tcp, &self.host, self.port).await?;
        }
        let Some(tls) = &self.tls else { return Ok(Box::new(tcp)) };
        let name = ServerName::try_from(self.host.clone()).map_err(|_| format!("{} is no name", self.host))?;
        let connector = TlsConnector::from(tls.config()?);
        let secured = connector.connect(name, tcp).await;
        let wrong = |e: std::io::Error| {
            let why = tls_words(&e, &self.host).unwrap_or_else(|| e.to_string());
            format!("{}: {why}", self.host)
        };
        Ok(Box::new(secured.map_err(wrong)?))
    }
}

impl Tls {
    fn config(&self) -> Result<Arc<rustls::ClientConfig>, String> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(tls_config(self.ca_pem.as_deref())?);
        Ok(Arc::clone(self.config.get_or_init(|| config)))
    }
}

impl Proxy {
    fn read(url: &str) -> Result<Self, String> {
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        // Never with its password in it.
        let uri: Uri = url.parse().map_err(|_| "the proxy's URL is none".to_owned())?;
        if uri.scheme_str() != Some("http") {
            return Err("a proxy is http://[USER:PASSWORD@]HOST:PORT".to_owned());
        }
        let authority = uri.authority().ok_or("the proxy's URL names no host")?;
        let credentials = authority.as_str().rsplit_once('@').map(|(user, _)| decoded(user));
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            credentials: credentials.map(|user| Secret::new(format!("Basic {}", STANDARD.encode(user)))),
        })
    }

    /// Has the proxy connect (RFC 9110, section 9.3.6).
    async fn pass(&self, tcp: &mut TcpStream, host: &str, port: u16) -> Result<(), String> {
        let broke = |e: std::io::Error| format!("the proxy {}:{}: {e}", self.host, self.port);
        let to = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut asked = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n");
        if let Some(credentials) = &self.credentials {
            asked += &format!("Proxy-Authorization: {}\r\n", credentials.expose());
        }
        asked += "\r\n";
        tcp.write_all(asked.as_bytes()).await.map_err(broke)?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            // What follows is the other end's.
            let byte = tcp.read_u8().await.map_err(broke)?;
            head.push(byte);
            if head.len() > LONGEST_HEAD {
                return Err(format!("the proxy {}:{} gives an endless answer", self.host, self.port));
            }
        }
        let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
        let line: String = String::from_utf8_lossy(line).chars().filter(|c| !c.is_control()).take(100).collect();
        match line.split(' ').nth(1) {
            Some(status) if status.starts_with('2') => Ok(()),
            _ => Err(format!("the proxy {}:{} refuses to connect to {to}: {line}", self.host, self.port)),
        }
    }
}

/// `%40` → `@`: what a URL cannot hold as it is.
fn decoded(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut out = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let value = part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match value {
            Some(value) => out.push(value),
            None => out.push(b'%'),
        }
        out.extend_from_slice(part.get(if value.is_some() { 2 } else { 0 }..).unwrap_or_default().as_bytes());
    }
    out
}

/// Sends one request on a connection of its own.
///
/// # Errors
/// No answer began.
pub async fn send<B>(address: &Address, mut request: Request<B>) -> Result<Response<Incoming>, String>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let io = address.connect().await?;
    let broke = |e: hyper::Error| format!("{}: {e}", address.authority());
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(broke)?;
    tokio::spawn(connection.with_upgrades());
    let host = HeaderValue::try_from(address.authority()).map_err(|e| e.to_string())?;
    request.headers_mut().insert(HOST, host);
    sender.send_request(request).await.map_err(broke)
}

/// Reads something: its status and at most `most` bytes, within `patience`.
///
/// # Errors
/// It does not answer, or with more.
pub async fn get(
    address: &Address,
    path: String,
    key: Option<&Secret>,
    patience: Duration,
    most: usize,
) -> Result<(u16, Bytes), String> {
    let mut request = Request::builder().uri(path);
    if let Some(key) = key {
        request = request.header(AUTHORIZATION, format!("Bearer {}", key.expose()));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
    let asked = async {
        let answer = send(address, request).await?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), most).collect().await.map_err(|e| e.to_string())?;
        Ok((status, body.to_bytes()))
    };
    let late = || Err(format!("no answer within {} s", patience.as_secs()));
    tokio::time::timeout(patience, asked).await.unwrap_or_else(|_| late())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_proxies_are_read() {
        let authority = |url: &str| Address::read(url).map(|address| address.authority());
        assert_eq!(authority("https://ai.example.org").as_deref(), Ok("ai.example.org"));
        assert_eq!(authority("http://[::1]:8080/v1").as_deref(), Ok("[::1]:8080"));
        assert!(authority("ftp://x").is_err() && authority("x").is_err());
        let proxy = Proxy::read("http://ann:p%40ss@proxy.lan:3128").unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.lan", 3_128));
        assert_eq!(proxy.credentials.unwrap().expose(), format!("Basic {}", STANDARD.encode("ann:p@ss")));
        assert_eq!(Proxy::read("proxy.lan:3128").unwrap().port, 3_128);
        assert!(Proxy::read("socks5://x:1").is_err());
    }
}
