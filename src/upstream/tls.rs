//! TLS to providers, receivers of alerts and the like: whom to trust, and what went wrong in plain words.

use std::error::Error;
use std::io;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, RootCertStore};

/// The most that certificates of an authority take, in bytes of PEM.
const LONGEST_PEM: usize = 256 << 10;

/// Checks the certificates of a private authority, PEM, and gives them their stored form.
pub fn check_ca_pem(text: &str) -> Result<String, String> {
    if text.len() > LONGEST_PEM {
        return Err(format!("certificates are at most {LONGEST_PEM} bytes of PEM"));
    }
    if text.contains("PRIVATE KEY") {
        return Err("there is a private key in it: give the authority's certificate alone".to_owned());
    }
    let text = text.trim();
    add(&mut RootCertStore::empty(), text)?;
    Ok(format!("{text}\n"))
}

fn add(roots: &mut RootCertStore, pem: &str) -> Result<(), String> {
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| "not a certificate in PEM".to_owned())?;
        roots.add(certificate).map_err(|_| "a certificate in it cannot be read".to_owned())?;
        count += 1;
    }
    if count == 0 { Err("no certificate in PEM (-----BEGIN CERTIFICATE-----) is in it".to_owned()) } else { Ok(()) }
}

/// Trusts the machine's own certificates (or those that `SSL_CERT_FILE` names), and a private authority's.
///
/// # Errors
/// The authority's certificates cannot be read.
pub fn config(ca_pem: Option<&str>) -> Result<rustls::ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    tracing::debug!(certificates = added, "read the machine's root certificates");
    if let Some(pem) = ca_pem {
        add(&mut roots, pem)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    #[allow(clippy::expect_used, reason = "a fixed pair of provider and versions: cannot fail on any input")]
    let builder = builder.with_safe_default_protocol_versions().expect("ring supports TLS 1.2 and 1.3");
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// What is wrong with a server's TLS, if that is what is wrong.
pub fn words(e: &(dyn Error + 'static), host: &str) -> Option<String> {
    let e = find(e)?;
    Some(match e {
        rustls::Error::InvalidCertificate(e) => format!("its certificate {}", certificate_words(e, host)),
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS there: is it http://, or for mail STARTTLS, that is meant?".to_owned()
        }
        rustls::Error::AlertReceived(alert) => format!("it refused the TLS handshake: {alert:?}"),
        other => format!("TLS failed: {other}"),
    })
}

fn certificate_words(e: &CertificateError, host: &str) -> String {
    match e {
        CertificateError::UnknownIssuer => "is not trusted: the authority that signed it is not known here. Trust a \
            private authority with SSL_CERT_FILE, for one provider alone with --ca-file"
            .to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet: is the clock right?".to_owned()
        }
        CertificateError::NotValidForName => format!("is for another name than {host}"),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<_> = presented.iter().take(3).map(|name| named(name)).collect();
            match names.len() {
                0 => format!("is for another name than {host}"),
                _ => format!("is for another name than {host}: {}", names.join(", ")),
            }
        }
        CertificateError::Revoked => "was revoked".to_owned(),
        other => {
            let text = format!("{other:?}");
            if text.contains("CaUsedAsEndEntity") {
                "is not trusted: it is an authority's own. Make one for the server that this authority signed"
                    .to_owned()
            } else {
                format!("is not valid: {text}")
            }
        }
    }
}

/// `DnsName("gpu-7")` → `gpu-7`, bounded: it is the other side's text.
fn named(presented: &str) -> String {
    let inner = presented.split_once('"').and_then(|(_, rest)| rest.split_once('"')).map(|(inner, _)| inner);
    inner.unwrap_or(presented).chars().filter(|c| !c.is_control()).take(100).collect()
}

/// An I/O error hides what it was made of from `source`.
fn find<'a>(e: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(e) = e.downcast_ref::<rustls::Error>() {
        return Some(e);
    }
    e.downcast_ref::<io::Error>()?.get_ref().and_then(|inner| find(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused() {
        let cut = "-----BEGIN CERTIFICATE-----\nMIIB\n";
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for text in ["", "hello", cut, garbage, key] {
            assert!(check_ca_pem(text).is_err(), "{text}");
        }
        // Whatever else is wrong with it, a private key does not belong there.
        assert!(check_ca_pem(key).is_err_and(|why| why.contains("private key")));
        assert!(check_ca_pem(&"x".repeat(LONGEST_PEM + 1)).is_err());
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_in_plain_words() {
        let rows = [
            (CertificateError::UnknownIssuer, "its certificate is not trusted"),
            (CertificateError::Expired, "its certificate has expired"),
            (CertificateError::NotValidForName, "its certificate is for another name than gpu-7"),
        ];
        for (e, expected) in rows {
            // As it comes: an error in an I/O error in an I/O error.
            let e = io::Error::other(io::Error::other(rustls::Error::InvalidCertificate(e)));
            let text = words(&e, "gpu-7").unwrap_or_default();
            assert!(text.starts_with(expected), "{text}");
        }
        assert_eq!(words(&io::Error::other("x"), "gpu-7"), None);
    }
}
