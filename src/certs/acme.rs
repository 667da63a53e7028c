//! A certificate from an authority (ACME, RFC 8555), which asks for a proof on the very port that clients use
//! (TLS-ALPN-01, RFC 8737); and a new one in good time.

use std::fmt;
use std::fs;
use std::future::Future;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, Error, HttpClient,
    Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use super::shown::{Certificate, Certificates};
use crate::domain::time::Timestamp;
use crate::upstream::fetch;

/// Where certificates come from unless another authority is named.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// How long one question to the authority may take, and how long its answer may be.
const PATIENCE: Duration = Duration::from_secs(30);
const LONGEST_ANSWER: usize = 1 << 20;
/// How often it is looked at least whether the certificate is to be renewed: clocks are set, and machines sleep.
const EVERY: Duration = Duration::from_secs(3_600);
/// How long after a failure it is tried again: Let's Encrypt takes five failures an hour.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3_600);

/// What is most often wrong.
const HINT: &str = "Does the domain lead to this machine, and its port 443 to --listen?";

/// A name that an authority can prove over TLS: no address, no wildcard, nothing of this machine alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain(String);

impl Domain {
    /// Reads one.
    ///
    /// # Errors
    /// No authority gives a certificate for it in this way; the text says why.
    pub fn read(text: &str) -> Result<Self, String> {
        let name = text.trim().trim_end_matches('.').to_ascii_lowercase();
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let why = if name.contains(['/', ':']) {
            "a domain has no scheme, port or path"
        } else if name.starts_with("*.") {
            "a wildcard cannot be proved over TLS: name each domain"
        } else if name.parse::<std::net::IpAddr>().is_ok() {
            "an address is no domain"
        } else if !name.contains('.') || name.ends_with(".local") || name.ends_with(".localhost") {
            "no authority knows this name: it must be one of public DNS"
        } else if name.len() > 253 || !name.split('.').all(is_label) {
            "this is no name of DNS"
        } else {
            return Ok(Self(name));
        };
        Err(format!("{why}; it is like ai.example.org"))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is asked of an authority.
#[derive(Debug, Clone)]
pub struct Order {
    /// All in one certificate.
    pub domains: Vec<Domain>,
    /// Whom the authority tells of trouble.
    pub email: Option<String>,
    /// The authority's directory.
    pub directory: String,
    /// Where account and certificate are kept, for the server's owner alone.
    pub kept_in: PathBuf,
}

impl Order {
    /// The certificate that was got before, if it is still good and for the same domains.
    pub fn kept(&self) -> Option<Certificate> {
        let text = fs::read(self.path("pem")).ok()?;
        match Certificate::read(&text, &text, Timestamp::now()) {
            Ok(certificate) => Some(certificate),
            Err(why) => {
                tracing::warn!(why, "the certificate that is kept cannot be used");
                None
            }
        }
    }

    /// A file for these domains of this authority.
    fn path(&self, ending: &str) -> PathBuf {
        let names = self.domains.iter().map(|domain| domain.0.as_str());
        let all: String = std::iter::once(self.directory.as_str()).chain(names).collect::<Vec<_>>().join(" ");
        let sum = crc32fast::hash(all.as_bytes());
        let first = self.domains.first().map_or("", |domain| &domain.0);
        self.kept_in.join(format!("{first}-{sum:08x}.{ending}"))
    }

    /// Gets a certificate, keeps it, and gives it.
    async fn get(&self, certificates: &Certificates) -> Result<Certificate, String> {
        let account = self.account().await?;
        let names: Vec<_> = self.domains.iter().map(|domain| Identifier::Dns(domain.0.clone())).collect();
        let mut order = account.new_order(&NewOrder::new(&names)).await.map_err(words)?;
        prove(&mut order, certificates).await?;
        let ready = order.poll_ready(&RetryPolicy::default()).await;
        let status = ready.map_err(|e| format!("{}. {HINT}", words(e)))?;
        if status != OrderStatus::Ready {
            return Err(why_refused(&mut order).await);
        }
        let key = order.finalize().await.map_err(words)?;
        let chain = order.poll_certificate(&RetryPolicy::default()).await.map_err(words)?;
        let text = [key, chain].concat();
        let certificate = Certificate::read(text.as_bytes(), text.as_bytes(), Timestamp::now())?;
        keep(&self.kept_in, &self.path("pem"), text.as_bytes())?;
        Ok(certificate)
    }

    /// The account with the authority, made at the first time.
    async fn account(&self) -> Result<Account, String> {
        let path = self.path("account.json");
        let known: Option<AccountCredentials> =
            fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let builder = Account::builder_with_http(Box::new(Fetching));
        if let Some(known) = known {
            return builder.from_credentials(known).await.map_err(words);
        }
        let contact = self.email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) = builder.create(&new, self.directory.clone(), None).await.map_err(words)?;
        let text = serde_json::to_vec(&credentials).map_err(|e| e.to_string())?;
        keep(&self.kept_in, &path, &text)?;
        Ok(account)
    }
}

/// Puts an answer to each of the authority's questions where it will look.
async fn prove(order: &mut instant_acme::Order, certificates: &Certificates) -> Result<(), String> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(words)?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let challenge = authorization.challenge(ChallengeType::TlsAlpn01);
        let mut challenge = challenge.ok_or("the authority does not ask over TLS (TLS-ALPN-01)")?;
        let domain = challenge.identifier().to_string();
        let answer = answer(&domain, challenge.key_authorization().digest().as_ref()).map_err(|e| e.to_string())?;
        certificates.answer(&domain, answer);
        challenge.set_ready().await.map_err(words)?;
    }
    Ok(())
}

/// The certificate that proves a domain (RFC 8737, 3).
fn answer(domain: &str, digest: &[u8]) -> Result<CertifiedKey, Box<dyn std::error::Error>> {
    let mut params = CertificateParams::new(vec![domain.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let pair = KeyPair::generate()?;
    let chain = vec![params.self_signed(&pair)?.der().clone()];
    let key = PrivateKeyDer::try_from(pair.serialize_der())?;
    // Not checked against each other: that reads the certificate, and knows nothing of this critical extension.
    Ok(CertifiedKey::new(chain, rustls::crypto::ring::default_provider().key_provider.load_private_key(key)?))
}

/// What the authority found wrong, domain by domain.
async fn why_refused(order: &mut instant_acme::Order) -> String {
    let mut found = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(authorization)) = authorizations.next().await {
        let domain = authorization.identifier().to_string();
        let errors = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        found.extend(errors.map(|e| format!("{domain}: {}", e.detail.as_deref().unwrap_or("refused"))));
    }
    if found.is_empty() {
        return "the authority refused, and does not say why".to_owned();
    }
    format!("{}. {HINT}", found.join("; "))
}

fn words(e: Error) -> String {
    match e {
        Error::Api(problem) => format!("the authority says: {problem}"),
        e => e.to_string(),
    }
}

/// Writes a file that only the owner may read, whole or not at all.
fn keep(dir: &Path, path: &Path, bytes: &[u8]) -> Result<(), String> {
    let write = || {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let beside = path.with_extension("new");
        let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|e| format!("{}: {e}", path.display()))
}

/// Keeps a good certificate shown: the one that is kept, and another one when a third of its time is left.
pub async fn keep_fresh(order: Order, certificates: Arc<Certificates>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let due = certificates.times().map_or(Duration::ZERO, |times| due_in(times, Timestamp::now()));
        if !due.is_zero() {
            tokio::time::sleep(due.min(EVERY)).await;
            continue;
        }
        let domains = order.domains.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        tracing::info!(domains, authority = order.directory, "asking for a certificate");
        let got = order.get(&certificates).await;
        certificates.forget_answers();
        match got {
            Ok(certificate) => {
                tracing::info!(domains, valid_until = %certificate.until, "got a certificate");
                certificates.show(certificate);
                pause = FIRST_PAUSE;
            }
            Err(why) => {
                let again = pause.as_secs();
                tracing::error!(domains, why, again_in_seconds = again, "no certificate");
                tokio::time::sleep(pause).await;
                pause = (pause * 4).min(LONGEST_PAUSE);
            }
        }
    }
}

/// How long until two thirds of its time are over.
fn due_in((from, until): (Timestamp, Timestamp), now: Timestamp) -> Duration {
    let (from, until, now) = (from.millis(), until.millis(), now.millis());
    let due = until.saturating_sub(until.saturating_sub(from) / 3);
    Duration::from_millis(u64::try_from(due.saturating_sub(now)).unwrap_or(0))
}

/// The HTTP client of this house.
struct Fetching;

impl HttpClient for Fetching {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(|e| Error::Other(Box::new(e)))?.to_bytes();
            let answer = fetch(Request::from_parts(head, body), PATIENCE, LONGEST_ANSWER).await;
            let (parts, body) = answer.map_err(|why| Error::Other(why.into()))?.into_parts();
            Ok(BytesResponse { parts, body: Box::new(body) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_one_that_an_authority_can_prove() {
        for (text, name) in [("AI.Example.org", "ai.example.org"), ("a-b.example.org.", "a-b.example.org")] {
            assert_eq!(Domain::read(text).map(|domain| domain.0).as_deref(), Ok(name));
        }
        let rows = [
            ("https://ai.example.org", "no scheme"),
            ("ai.example.org:443", "no scheme"),
            ("*.example.org", "wildcard"),
            ("10.0.0.1", "an address"),
            ("localhost", "public DNS"),
            ("box.local", "public DNS"),
            ("a..example.org", "no name of DNS"),
            ("-a.example.org", "no name of DNS"),
            ("ä.example.org", "no name of DNS"),
            ("", "public DNS"),
        ];
        for (text, says) in rows {
            let why = Domain::read(text).err().unwrap_or_default();
            assert!(why.contains(says), "{text}: {why}");
        }
    }

    #[test]
    fn a_third_before_its_end_a_certificate_is_renewed() {
        let at = Timestamp::from_millis;
        for (now, left) in [(0, 60), (59, 1), (60, 0), (61, 0), (200, 0), (-10, 70)] {
            assert_eq!(due_in((at(0), at(90)), at(now)), Duration::from_millis(left), "{now}");
        }
    }
}
