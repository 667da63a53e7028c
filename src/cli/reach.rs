//! How a server is reached: the options of `serve` about addresses, proxies and certificates.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args as ClapArgs;
use tokio::task::JoinHandle;

use super::Failed;
use crate::certs::{self, Acceptor, Certificate, Certificates, Domain, Files, LETS_ENCRYPT, Order};
use crate::domain::metrics;
use crate::http::local::LocalState;
use crate::http::{self, AppState, Network, Outside, PublicUrl};
use crate::upstream::check_address;
use crate::watch::UnderWatch;

/// Where certificates and the account with an authority lie, in the data directory.
const KEPT_IN: &str = "certificates";

#[derive(Debug, ClapArgs)]
#[group(skip)]
pub struct Args {
    /// Serve https for this domain, with a certificate from an authority, got and renewed by itself; may be given often
    #[arg(long = "domain", env = "COORDINATOR_DOMAIN", value_delimiter = ',', value_name = "NAME", value_parser = Domain::read)]
    domains: Vec<Domain>,
    /// Whom the authority tells of trouble with the certificate
    #[arg(long, env = "COORDINATOR_ACME_EMAIL", requires = "domains", value_name = "EMAIL")]
    acme_email: Option<String>,
    /// The authority's directory
    #[arg(long, env = "COORDINATOR_ACME_DIRECTORY", default_value = LETS_ENCRYPT, value_name = "URL", value_parser = directory)]
    acme_directory: String,
    /// Serve https with this certificate: its chain, PEM; read again when it changes
    #[arg(long, env = "COORDINATOR_TLS_CERT", requires = "tls_key", conflicts_with = "domains", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, env = "COORDINATOR_TLS_KEY", requires = "tls_cert", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Also listen here for plain http, only to send browsers on to https (0.0.0.0:80)
    #[arg(long, env = "COORDINATOR_REDIRECT_LISTEN", value_name = "ADDRESS")]
    redirect_listen: Option<SocketAddr>,
    /// The address that people open, if a proxy stands before the server: scheme, host, port and path
    #[arg(long, env = "COORDINATOR_PUBLIC_URL", value_name = "URL", value_parser = PublicUrl::read)]
    public_url: Option<PublicUrl>,
    /// Proxies whose X-Forwarded-For, -Proto and -Host are believed, and no others'; may be given often
    #[arg(long = "trusted-proxy", env = "COORDINATOR_TRUSTED_PROXY", value_delimiter = ',', default_value = "127.0.0.0/8,::1", value_name = "CIDR", value_parser = Network::read)]
    trusted_proxies: Vec<Network>,
    /// Let people sign in over plain http from other machines: who listens on the network has their password
    #[arg(long, env = "COORDINATOR_INSECURE_HTTP_SIGN_IN")]
    insecure_http_sign_in: bool,
    /// Also listen here for scrapes by Prometheus, at /metrics; whoever reaches it may read it
    #[arg(long, env = "COORDINATOR_METRICS_LISTEN", value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
}

fn directory(text: &str) -> Result<String, String> {
    check_address(text).map(|uri| uri.to_string())
}

/// What https takes while the server runs.
#[derive(Debug)]
pub struct Https {
    /// What is shown now.
    pub certificates: Arc<Certificates>,
    tasks: Vec<JoinHandle<()>>,
}

impl Args {
    /// What the HTTP side must know of it.
    pub fn outside(&self) -> Outside {
        Outside {
            public: self.public_url.clone(),
            trusted: self.trusted_proxies.clone(),
            allows_plain_sign_in: self.insecure_http_sign_in,
        }
    }

    /// What addresses to open begin with, without a slash at the end; `listening` is where the server listens.
    pub fn base(&self, listening: SocketAddr) -> String {
        if let Some(public) = &self.public_url {
            return public.base();
        }
        // A browser cannot open "every address".
        let host = match self.domains.first() {
            Some(domain) => domain.to_string(),
            None if listening.ip().is_unspecified() => "127.0.0.1".to_owned(),
            None if listening.is_ipv6() => format!("[{}]", listening.ip()),
            None => listening.ip().to_string(),
        };
        match (self.is_https(), listening.port()) {
            (true, 443) => format!("https://{host}"),
            (true, port) => format!("https://{host}:{port}"),
            (false, port) => format!("http://{host}:{port}"),
        }
    }

    const fn is_https(&self) -> bool {
        !self.domains.is_empty() || self.tls_cert.is_some()
    }

    /// Whether what they say can be had, without listening anywhere.
    ///
    /// # Errors
    /// As of [`Self::https`].
    pub fn check(&self) -> Result<(), Failed> {
        self.given().map(drop)
    }

    /// The files of the certificate, and what they hold, where they are given.
    fn given(&self) -> Result<Option<(Files, Certificate)>, Failed> {
        let read = |files: Files| files.read().map(|certificate| (files, certificate)).map_err(Failed::Other);
        let given = self.files().map(read).transpose()?;
        if self.redirect_listen.is_some() && !self.is_https() && self.public_url.is_none() {
            let text = "--redirect-listen sends browsers on to https: it needs --domain, --tls-cert or --public-url";
            return Err(Failed::Other(text.to_owned()));
        }
        Ok(given)
    }

    fn files(&self) -> Option<Files> {
        Some(Files { chain: self.tls_cert.clone()?, key: self.tls_key.clone()? })
    }

    /// What is asked of an authority, if one is to be asked.
    fn order(&self, data_dir: &Path) -> Option<Order> {
        let order = || Order {
            domains: self.domains.clone(),
            email: self.acme_email.clone(),
            directory: self.acme_directory.clone(),
            kept_in: data_dir.join(KEPT_IN),
        };
        (!self.domains.is_empty()).then(order)
    }

    /// The certificate that a server would show at its start: none if it speaks no https, or from files that
    /// [`Self::check`] finds fault with.
    ///
    /// # Errors
    /// None was got from the authority yet, or none that is still good.
    pub fn certificate(&self, data_dir: &Path) -> Option<Result<Certificate, String>> {
        if let Some(files) = self.files() {
            return files.read().ok().map(Ok);
        }
        let order = self.order(data_dir)?;
        let names = order.domains.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Some(order.kept().ok_or_else(|| format!("there is none that is good for {names} yet")))
    }

    /// Where the private key of `--tls-cert` lies.
    pub fn key_file(&self) -> Option<&Path> {
        self.tls_key.as_deref()
    }

    /// Reads the certificate, or has one got, and looks after it.
    ///
    /// # Errors
    /// The files cannot be used, or there is nothing to redirect to.
    pub fn https(&self, data_dir: &Path, listening: SocketAddr) -> Result<Option<Https>, Failed> {
        let given = self.given()?;
        let certificates = Arc::new(Certificates::default());
        let mut tasks = Vec::new();
        if let Some((files, certificate)) = given {
            certificates.show(certificate);
            tasks.push(tokio::spawn(certs::watch(files, Arc::clone(&certificates))));
        } else if let Some(order) = self.order(data_dir) {
            if let Some(kept) = order.kept() {
                certificates.show(kept);
            }
            tasks.push(tokio::spawn(certs::keep_fresh(order, Arc::clone(&certificates))));
        }
        if let Some(address) = self.redirect_listen {
            let base = (self.public_url.is_some() || !self.domains.is_empty()).then(|| self.base(listening));
            tasks.push(tokio::spawn(http::redirect(bind(address)?, base, listening.port())));
        }
        Ok((!tasks.is_empty()).then_some(Https { certificates, tasks }))
    }

    /// Begins to count, and to be scraped.
    ///
    /// # Errors
    /// The address is taken.
    pub fn metrics(&self, state: &LocalState, https: Option<&Https>) -> Result<(), Failed> {
        let Some(address) = self.metrics_listen else { return Ok(()) };
        let certificates = https.map(|https| Arc::clone(&https.certificates));
        let end = Arc::new(move || certificates.as_ref().and_then(|certificates| certificates.valid_until()));
        let listener = bind(address)?;
        tokio::spawn(http::metrics::serve(listener, state.clone(), metrics::turn_on(), end));
        Ok(())
    }

    /// What is looked after while the server runs.
    pub fn watched(&self, state: &AppState, https: Option<&Https>) -> UnderWatch {
        let certificates = https.filter(|_| self.is_https()).map(|https| Arc::clone(&https.certificates));
        UnderWatch {
            store: state.store.clone(),
            writer: state.writer.clone(),
            providers: Arc::clone(state.relay.providers()),
            backups: state.backups.clone(),
            certificate: Arc::new(move || certificates.as_ref().and_then(|certificates| certificates.times())),
            courier: state.courier.clone(),
        }
    }

    /// What takes connections, if the server speaks https.
    pub fn acceptor(&self, https: Option<&Https>) -> Option<Acceptor> {
        https.filter(|_| self.is_https()).map(|https| Acceptor::new(Arc::clone(&https.certificates)))
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Listens there.
///
/// # Errors
/// It is taken, or not ours to take.
pub fn bind(address: SocketAddr) -> Result<TcpListener, Failed> {
    TcpListener::bind(address).map_err(|e| Failed::Other(format!("cannot listen on {address}: {e}")))
}
