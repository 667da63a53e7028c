//! What the operator says of the way to this server: the address that people open, and the proxies that are believed.

use std::net::IpAddr;

/// The address under which people reach the server, as the operator gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    /// It begins with `https://`.
    pub is_https: bool,
    /// Host and port, without a default port.
    pub host: String,
    /// Without a slash at its end; empty for the root.
    pub path: String,
}

impl PublicUrl {
    /// Reads `https://ai.example.org` or `https://example.org:8443/ai/`.
    ///
    /// # Errors
    /// It is no such address; the text says why.
    pub fn read(text: &str) -> Result<Self, String> {
        Self::parse(text.trim())
            .map_err(|why| format!("{why}; it is like https://ai.example.org or https://example.org/ai/"))
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: http::Uri = text.parse().map_err(|_| "this is no address")?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("it begins with https:// or http://"),
        };
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("it has no user and no password");
        }
        if text.contains(['?', '#']) {
            return Err("it ends with its path");
        }
        let path = uri.path().trim_end_matches('/');
        if path.split('/').any(|part| part == "v1") {
            return Err("it is the address of the pages, not the base URL of clients: without /v1");
        }
        let host = without_default_port(authority.as_str(), is_https).to_ascii_lowercase();
        Ok(Self { is_https, host, path: path.to_owned() })
    }

    /// With its path and without a slash at its end: what comes behind it begins with one.
    pub fn base(&self) -> String {
        format!("{}://{}{}", scheme(self.is_https), self.host, self.path)
    }
}

/// Addresses that begin alike: `10.0.0.0/8`, `::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads an address, or an address and how many of its bits count (CIDR).
    ///
    /// # Errors
    /// It is neither; the text says so.
    pub fn read(text: &str) -> Result<Self, String> {
        let (address, bits) = text.trim().split_once('/').map_or((text.trim(), None), |(a, b)| (a, Some(b)));
        let wrong = || "a network is like 10.0.0.0/8, 192.168.1.2 or fd00::/8".to_owned();
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| wrong()))?;
        if bits > most { Err(wrong()) } else { Ok(Self { address, bits }) }
    }

    /// All addresses of a kind are in it.
    pub const fn is_everybody(&self) -> bool {
        self.bits == 0
    }

    fn has(self, address: IpAddr) -> bool {
        let differ = match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(a.to_bits() ^ b.to_bits()) << 96,
            (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() ^ b.to_bits(),
            _ => return false,
        };
        self.bits == 0 || differ.leading_zeros() >= u32::from(self.bits)
    }
}

/// What the operator said of the way to this server.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// The address that people open.
    pub public: Option<PublicUrl>,
    /// The proxies whose `X-Forwarded-*` are believed.
    pub trusted: Vec<Network>,
    /// People may sign in over plain http from other machines, with a cookie that anybody on the line can read.
    pub allows_plain_sign_in: bool,
}

impl Outside {
    /// The path below which everything is, without a slash at its end; empty for the root.
    pub fn path(&self) -> &str {
        self.public.as_ref().map_or("", |public| &public.path)
    }

    /// What comes from this address is believed.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.has(address))
    }
}

/// The scheme of an address.
pub const fn scheme(is_https: bool) -> &'static str {
    if is_https { "https" } else { "http" }
}

/// A host and its port, if that says something.
pub fn without_default_port(host: &str, is_https: bool) -> &str {
    host.strip_suffix(if is_https { ":443" } else { ":80" }).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_a_host_a_port_and_a_path() {
        let rows = [
            ("https://ai.example.org", "https://ai.example.org"),
            ("https://AI.Example.org:443/", "https://ai.example.org"),
            ("http://10.0.0.5:8080", "http://10.0.0.5:8080"),
            ("https://example.org:8443/ai/", "https://example.org:8443/ai"),
            ("https://[fd00::1]/a/b", "https://[fd00::1]/a/b"),
        ];
        for (text, base) in rows {
            assert_eq!(PublicUrl::read(text).map(|url| url.base()).as_deref(), Ok(base), "{text}");
        }
        for text in
            ["ai.example.org", "ftp://a", "https://", "https://a/?x", "https://a/#x", "https://u@a", "https://a/v1", ""]
        {
            let why = PublicUrl::read(text).err().unwrap_or_default();
            assert!(why.ends_with("it is like https://ai.example.org or https://example.org/ai/"), "{text}: {why}");
        }
    }

    #[test]
    fn a_network_is_the_addresses_that_begin_alike() {
        let rows = [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("192.168.1.2", "192.168.1.2", true),
            ("192.168.1.2", "192.168.1.3", false),
            ("192.168.1.2", "::ffff:192.168.1.2", true),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("fd00::/8", "fdab::1", true),
            ("fd00::/8", "fe80::1", false),
            ("::1", "::1", true),
        ];
        for (network, address, expected) in rows {
            let network = Network::read(network).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(
                network.has(address.parse().unwrap_or_else(|e| panic!("{address}: {e}"))),
                expected,
                "{network:?} {address}"
            );
        }
        for text in ["", "10.0.0.0/33", "::1/129", "10.0.0.0/", "10.0.0/8", "example.org", "10.0.0.0/-1"] {
            assert!(Network::read(text).is_err(), "{text}");
        }
    }
}
