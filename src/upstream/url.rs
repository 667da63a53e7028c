//! Which base URLs a provider may have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;

/// Checks a provider's base URL and gives it its stored form: no trailing slash, `/v1` if it has no path.
///
/// # Errors
/// What is wrong with it, for people.
pub fn check_base_url(text: &str) -> Result<String, String> {
    let uri: Uri = text.trim().parse().map_err(|e| format!("not a URL: {e}"))?;
    let scheme =
        uri.scheme_str().filter(|s| matches!(*s, "http" | "https")).ok_or("a URL begins with http:// or https://")?;
    let authority = uri.authority().ok_or("a URL names a host")?;
    if authority.as_str().contains('@') {
        return Err("a URL carries no user or password: use --api-key".into());
    }
    // The parser drops a fragment without a word.
    if uri.query().is_some() || text.contains('#') {
        return Err("a base URL has no query and no fragment".into());
    }
    let host = authority.host();
    // `Uri` reads a port as digits, of any number.
    if authority.as_str().len() > host.len() && authority.port_u16().is_none() {
        return Err("a port is a number up to 65535".into());
    }
    if host.is_empty() {
        return Err("a URL names a host".into());
    }
    if authority.as_str() != host && authority.port_u16().is_none_or(|port| port == 0) {
        return Err("a port is 1 to 65535".into());
    }
    if is_odd_number(host) {
        return Err(format!("{host} is no address: write it as four numbers"));
    }
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>()
        && is_out_of_bounds(address)
    {
        return Err(format!("{address} is no address of a provider"));
    }
    let path = match uri.path().trim_end_matches('/') {
        "" => "/v1",
        path => path,
    };
    Ok(format!("{scheme}://{authority}{path}"))
}

/// The C library reads `2852039166`, `0xa9fea9fe` and `169.254.43518` as addresses too, and they would pass
/// for names here.
fn is_odd_number(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let is_hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X")).is_some();
    let is_number = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
    (is_hex || is_number) && host.parse::<Ipv4Addr>().is_err()
}

/// Addresses that no inference server has: "this host", link-local (where clouds keep their metadata),
/// multicast and broadcast. Loopback and private networks are where providers live.
fn is_out_of_bounds(address: IpAddr) -> bool {
    let v4 = |a: Ipv4Addr| a.is_unspecified() || a.is_link_local() || a.is_multicast() || a.is_broadcast();
    let v6 = |a: Ipv6Addr| a.is_unspecified() || a.is_multicast() || (a.segments()[0] & 0xffc0) == 0xfe80;
    match address {
        IpAddr::V4(a) => v4(a),
        // A mapped address is the IPv4 one in other clothes.
        IpAddr::V6(a) => a.to_ipv4_mapped().map_or_else(|| v6(a), v4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_checked_and_tidied() {
        let good = [
            ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
            ("https://api.example.com/v1/", "https://api.example.com/v1"),
            ("http://[::1]:11434/openai/v1", "http://[::1]:11434/openai/v1"),
            ("http://192.168.1.7:1234/", "http://192.168.1.7:1234/v1"),
            ("http://gpu-7:1234/v1", "http://gpu-7:1234/v1"),
        ];
        for (text, stored) in good {
            assert_eq!(check_base_url(text).as_deref(), Ok(stored), "{text}");
        }
        for text in [
            "",
            "localhost:8000",
            "/v1",
            "ftp://x/v1",
            "http://",
            "http:///v1",
            "http://u:p@h/v1",
            "http://h/v1?x=1",
            "http://h:99999/v1",
            "http://h:/v1",
            "http://0.0.0.0/v1",
            "http://[::]/v1",
            "http://169.254.169.254/v1",
            "http://[::ffff:169.254.169.254]/v1",
            "http://[fe80::1]/v1",
            "http://224.0.0.1/v1",
            "http://a b/v1",
            "file:///etc/passwd",
            "http://h/v1#x",
            "http://h:99999/v1",
            "http://h:0/v1",
            "http://h:/v1",
            "http://0/v1",
            "http://2852039166/v1",
            "http://0xa9fea9fe/v1",
            "http://169.254.43518/v1",
            "http://169.254.169.254./v1",
            "http://127.0.0.1.5/v1",
        ] {
            assert!(check_base_url(text).is_err(), "{text}");
        }
    }
}
