//! How a server is reached: the options of `serve` about addresses and proxies.

use clap::Args as ClapArgs;

use crate::http::{Network, Outside, PublicUrl};

#[derive(Debug, ClapArgs)]
#[group(skip)]
pub struct Args {
    /// The address that people open, if a proxy stands before the server: scheme, host, port and path
    #[arg(long, env = "COORDINATOR_PUBLIC_URL", value_name = "URL", value_parser = PublicUrl::read)]
    public_url: Option<PublicUrl>,
    /// Proxies whose X-Forwarded-For, -Proto and -Host are believed, and no others'; may be given often
    #[arg(long = "trusted-proxy", env = "COORDINATOR_TRUSTED_PROXY", value_delimiter = ',', default_value = "127.0.0.0/8,::1", value_name = "CIDR", value_parser = Network::read)]
    trusted_proxies: Vec<Network>,
    /// Let people sign in over plain http from other machines: who listens on the network has their password
    #[arg(long, env = "COORDINATOR_INSECURE_HTTP_SIGN_IN")]
    insecure_http_sign_in: bool,
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

    /// What addresses to open begin with, without a slash at the end; `listening` is host and port.
    pub fn base(&self, listening: &str) -> String {
        self.public_url.as_ref().map_or_else(|| format!("http://{listening}"), PublicUrl::base)
    }
}
