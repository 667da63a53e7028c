//! The certificate that is shown to clients now, and those that only an authority's question sees.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::validity;
use crate::domain::time::Timestamp;

/// How TLS-ALPN-01 is asked for (RFC 8737).
pub const ACME: &[u8] = b"acme-tls/1";

/// A certificate with its key, and when it was and is valid.
#[derive(Debug, Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    /// From then on it is valid.
    pub from: Timestamp,
    /// Until then.
    pub until: Timestamp,
}

impl Certificate {
    /// From a chain and a private key, both PEM; they may stand in one text.
    ///
    /// # Errors
    /// One of them is missing or unreadable, they do not belong together, or it is not valid now; the text says which.
    pub fn read(chain: &[u8], key: &[u8], now: Timestamp) -> Result<Self, String> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| "the certificate is no PEM".to_owned())?;
        let Some(first) = chain.first() else {
            return Err("there is no certificate in PEM (-----BEGIN CERTIFICATE-----)".to_owned());
        };
        let (from, until) = validity::of(first).ok_or("the certificate cannot be read")?;
        if until <= now {
            return Err(format!("the certificate has expired: it was valid until {until}"));
        }
        if from > now {
            return Err(format!("the certificate is not valid before {from}: is the clock right?"));
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| "there is no private key in PEM (-----BEGIN PRIVATE KEY-----)".to_owned())?;
        let provider = rustls::crypto::ring::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(|e| match e {
            rustls::Error::InconsistentKeys(_) => "the private key is not that of the certificate".to_owned(),
            e => format!("the private key cannot be used: {e}"),
        })?;
        Ok(Self { key: Arc::new(key), from, until })
    }
}

/// What the server shows.
#[derive(Debug, Default)]
pub struct Certificates {
    shown: RwLock<Option<Certificate>>,
    /// By domain, while an authority asks.
    challenges: RwLock<HashMap<String, Arc<CertifiedKey>>>,
}

impl Certificates {
    /// Shows this one from the next connection on.
    pub fn show(&self, certificate: Certificate) {
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Some(certificate);
    }

    /// Until when the one that is shown is valid; `None` if there is none yet.
    pub fn valid_until(&self) -> Option<Timestamp> {
        self.times().map(|(_, until)| until)
    }

    /// From when until when.
    pub fn times(&self) -> Option<(Timestamp, Timestamp)> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        shown.as_ref().map(|shown| (shown.from, shown.until))
    }

    /// Answers the authority's question about a domain.
    pub fn answer(&self, domain: &str, key: CertifiedKey) {
        let mut challenges = self.challenges.write().unwrap_or_else(PoisonError::into_inner);
        challenges.insert(domain.to_owned(), Arc::new(key));
    }

    /// No question is open any more.
    pub fn forget_answers(&self) {
        self.challenges.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // An authority offers nothing else; a client that offers it among others is none.
        let mut offered = hello.alpn().into_iter().flatten();
        if offered.next() == Some(ACME) && offered.next().is_none() {
            let challenges = self.challenges.read().unwrap_or_else(PoisonError::into_inner);
            return challenges.get(hello.server_name()?).cloned();
        }
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        shown.as_ref().map(|shown| Arc::clone(&shown.key))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn pair(until: i32) -> (String, String) {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn a_pair_is_read_and_what_is_wrong_with_one_is_said() {
        let now = Timestamp::now();
        let (chain, key) = pair(2090);
        let both = [chain.as_str(), key.as_str()].concat();
        assert!(Certificate::read(chain.as_bytes(), key.as_bytes(), now).is_ok());
        assert!(Certificate::read(both.as_bytes(), both.as_bytes(), now).is_ok());
        let (old, old_key) = pair(2001);
        let early = Timestamp::from_millis(0);
        let rows = [
            (key.as_str(), key.as_str(), now, "there is no certificate in PEM"),
            ("hello", key.as_str(), now, "there is no certificate in PEM"),
            (chain.as_str(), chain.as_str(), now, "there is no private key in PEM"),
            (chain.as_str(), old_key.as_str(), now, "the private key is not that of the certificate"),
            (old.as_str(), old_key.as_str(), now, "the certificate has expired: it was valid until 2001-01-01"),
            (chain.as_str(), key.as_str(), early, "the certificate is not valid before"),
        ];
        for (chain, key, now, says) in rows {
            let why = Certificate::read(chain.as_bytes(), key.as_bytes(), now).err().unwrap_or_default();
            assert!(why.starts_with(says), "{why}");
        }
    }
}
