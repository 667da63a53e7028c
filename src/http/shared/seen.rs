//! What a client believes to speak to, and who it is: what its request says, and what proxies may say of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::http::header::{HOST, HeaderMap, HeaderName};
use actix_web::web::Data;

use crate::http::shared::outside::{Outside, scheme, without_default_port};
use crate::http::shared::socket::Encrypted;
use crate::http::state::AppState;

/// The longest name of a host that is said back: that of a name in DNS, and a port.
const LONGEST_HOST: usize = 260;

/// What a client believes to speak to, as far as that is known.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// It speaks https.
    pub is_https: bool,
    /// Host and port, without a default port; empty if nothing was said.
    pub host: &'a str,
    /// The path below which everything is, without a slash at its end.
    pub path: &'a str,
    /// The request itself came under a name that only this machine has.
    pub is_local: bool,
    /// The operator lets people sign in over plain http from other machines.
    pub allows_plain: bool,
}

impl<'a> Seen<'a> {
    /// What the client that sent `request` sees.
    pub fn of(request: &'a HttpRequest) -> Self {
        let outside = request.app_data::<Data<AppState>>().map(|state| &state.settings.outside);
        let is_encrypted = request.conn_data::<Encrypted>().is_some();
        Self::new(outside, request.peer_addr().map(|peer| peer.ip()), is_encrypted, request.headers())
    }

    /// The address that the operator gave; else what a proxy says that is trusted; else what the request says.
    pub fn new(outside: Option<&'a Outside>, peer: Option<IpAddr>, is_encrypted: bool, headers: &'a HeaderMap) -> Self {
        let asked = text(headers, HOST).unwrap_or_default();
        let is_local = is_loopback(asked);
        let allows_plain = outside.is_some_and(|outside| outside.allows_plain_sign_in);
        if let Some(public) = outside.and_then(|outside| outside.public.as_ref()) {
            return Self { is_https: public.is_https, host: &public.host, path: &public.path, is_local, allows_plain };
        }
        let is_trusted = outside.zip(peer).is_some_and(|(outside, peer)| outside.trusts(peer));
        let told = |name| if is_trusted { last(headers, name) } else { None };
        let is_https = told("x-forwarded-proto").map_or(is_encrypted, |scheme| scheme.eq_ignore_ascii_case("https"));
        let host = without_default_port(told("x-forwarded-host").unwrap_or(asked), is_https);
        Self { is_https, host, path: "", is_local, allows_plain }
    }

    /// Scheme, host and port, as a browser's `Origin` has them; `HOST` stands for a host that cannot be said back.
    pub fn origin(&self) -> String {
        format!("{}://{}", scheme(self.is_https), if is_sayable(self.host) { self.host } else { "HOST" })
    }

    /// What all addresses of this server begin with.
    pub fn base(&self) -> String {
        self.origin() + self.path
    }

    /// An `Origin` is this server's, by its host and port: what scheme a browser spoke only a proxy may know.
    pub fn is_at(&self, origin: &str) -> bool {
        let from = origin.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"));
        from.is_some_and(|(scheme, host)| {
            !host.is_empty() && without_default_port(host, scheme == "https").eq_ignore_ascii_case(self.host)
        })
    }

    /// It is plain http and there may be a session all the same: to this very machine, where a browser keeps a cookie
    /// that is not `Secure`, or because the operator says so.
    pub fn may_be_plain(&self) -> bool {
        !self.is_https && (self.allows_plain || is_loopback(self.host))
    }
}

/// The client's address: that of the connection, or whom the trusted proxies name. Each adds whom it heard at the
/// end, so what stands before the last that is no proxy of ours, the client may have made up.
pub fn client(request: &HttpRequest) -> IpAddr {
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    match request.app_data::<Data<AppState>>() {
        Some(state) => client_of(&state.settings.outside, peer, request.headers()),
        None => peer,
    }
}

fn client_of(outside: &Outside, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let named: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    let mut client = peer;
    for name in named.iter().rev() {
        let Some(before) = address(name.trim()).filter(|_| outside.trusts(client)) else { break };
        client = before;
    }
    client
}

/// An address as proxies name it: some add the port (Azure's), and then to IPv6 its brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().ok().or_else(|| text.parse().ok().map(|with_port: SocketAddr| with_port.ip())).or_else(bare)
}

/// A host's name, with a port or without, is one of this very machine.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "localhost" | "[::1]") || name.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback())
}

/// A text that a client sent looks like a host and a port, and may be said back.
pub fn is_sayable(host: &str) -> bool {
    (1..=LONGEST_HOST).contains(&host.len())
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
}

/// What the nearest proxy said: the last of a header's values.
fn last<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get_all(name).last()?.to_str().ok()?;
    value.rsplit(',').next().map(str::trim).filter(|value| !value.is_empty())
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;
    use crate::http::shared::outside::{Network, PublicUrl};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        pairs.iter().map(|(k, v)| (HeaderName::from_static(k), value(v))).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn trusting(networks: &[&str]) -> Outside {
        let read = |text: &&str| Network::read(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        Outside { trusted: networks.iter().map(read).collect(), ..Outside::default() }
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let outside = trusting(&["10.0.0.0/8"]);
        let sent = headers(&[
            ("host", "127.0.0.1:8080"),
            ("x-forwarded-proto", "http, https"),
            ("x-forwarded-host", "ai.example.org:443"),
        ]);
        let seen = |outside, peer, encrypted, headers| Seen::new(outside, peer, encrypted, headers).base();
        assert_eq!(seen(Some(&outside), Some(ip("10.1.1.1")), false, &sent), "https://ai.example.org");
        assert_eq!(seen(Some(&outside), Some(ip("11.1.1.1")), false, &sent), "http://127.0.0.1:8080");
        assert_eq!(seen(Some(&outside), None, false, &sent), "http://127.0.0.1:8080");
        assert_eq!(seen(None, Some(ip("10.1.1.1")), true, &sent), "https://127.0.0.1:8080");
        let public = PublicUrl::read("https://example.org/ai").ok();
        let told = Outside { public, ..outside.clone() };
        assert_eq!(seen(Some(&told), Some(ip("10.1.1.1")), false, &sent), "https://example.org/ai");
    }

    #[test]
    fn the_client_is_whom_the_last_trusted_proxy_heard() {
        let outside = trusting(&["127.0.0.0/8", "10.0.0.0/8"]);
        let rows = [
            ("9.0.0.9", "1.2.3.4", "9.0.0.9"),
            ("127.0.0.1", "", "127.0.0.1"),
            ("127.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
            ("127.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
            ("127.0.0.1", "6.6.6.6, 10.0.0.2, 10.0.0.3", "6.6.6.6"),
            ("127.0.0.1", "10.0.0.7, 10.0.0.2", "10.0.0.7"),
            ("127.0.0.1", "1.2.3.4, nonsense", "127.0.0.1"),
            ("127.0.0.1", "2001:db8::1", "2001:db8::1"),
            // Else all clients of such a proxy were one, and the first that fails to sign in kept out all others.
            ("127.0.0.1", "6.6.6.6:1, 1.2.3.4:56", "1.2.3.4"),
            ("127.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
            ("127.0.0.1", "[2001:db8::1]", "2001:db8::1"),
        ];
        for (peer, forwarded, expected) in rows {
            let sent = headers(&[("x-forwarded-for", forwarded)]);
            assert_eq!(client_of(&outside, ip(peer), &sent), ip(expected), "{peer} {forwarded}");
        }
    }

    #[test]
    fn what_is_said_back_is_bounded_and_is_a_hosts_name() {
        let base = |host: &str| Seen::new(None, None, false, &headers(&[("host", host)])).base();
        assert_eq!(base("llm.example:8443"), "http://llm.example:8443");
        assert_eq!(base("[::1]:8080"), "http://[::1]:8080");
        for bad in ["", "a b", "a/b", "<script>", "user@host", &"a".repeat(LONGEST_HOST + 1)] {
            assert_eq!(base(bad), "http://HOST", "{bad}");
        }
    }
}
