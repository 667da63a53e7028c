//! What a browser tells about where a request comes from, and the cookie it carries.

use std::net::Ipv4Addr;

use actix_web::http::header::{COOKIE, HOST, HeaderMap, HeaderName, ORIGIN};

use crate::auth::Token;

/// The cookie over https. The prefix makes browsers insist on `Secure`, `Path=/` and no `Domain`, so no
/// other host, and nobody on the line, can set it.
const NAME: &str = "__Host-coordinator";
/// The cookie over plain http to this very machine, where browsers refuse the prefix.
const NAME_ON_LOOPBACK: &str = "coordinator";

/// Where a request was sent from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// A page of this server.
    Here,
    /// A page of another origin, the same machine's other ports included.
    Elsewhere,
    /// Not said: not a browser of these days.
    Unknown,
}

/// Where the request was sent from: what `Sec-Fetch-Site` and `Origin` say, and the worse of the two.
pub fn sent_from(headers: &HeaderMap) -> From {
    let site = text(headers, HeaderName::from_static("sec-fetch-site"));
    let origin = text(headers, ORIGIN);
    let site_is_here = site.map(|site| site == "same-origin" || site == "none");
    let origin_is_here = origin.map(|origin| {
        let host = origin.split_once("://").map(|(_, host)| host);
        host.is_some() && host == text(headers, HOST)
    });
    match (site_is_here, origin_is_here) {
        (None, None) => From::Unknown,
        (Some(false), _) | (_, Some(false)) => From::Elsewhere,
        _ => From::Here,
    }
}

/// The session's token that the cookie holds. A header with two of the name is none: one of them was put
/// there by somebody else.
pub fn session_token(headers: &HeaderMap) -> Option<&str> {
    let name = cookie_name(headers);
    let mut found = headers
        .get_all(COOKIE)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value);
    let first = found.next();
    first.filter(|_| found.next().is_none())
}

/// The `Set-Cookie` that begins a session.
pub fn cookie(headers: &HeaderMap, token: &Token, seconds: i64) -> String {
    format!("{}={}; Max-Age={seconds}{}", cookie_name(headers), token.expose(), attributes(headers))
}

/// The `Set-Cookie` that ends it.
pub fn no_cookie(headers: &HeaderMap) -> String {
    format!("{}=; Max-Age=0{}", cookie_name(headers), attributes(headers))
}

fn cookie_name(headers: &HeaderMap) -> &'static str {
    if is_plain_loopback(headers) { NAME_ON_LOOPBACK } else { NAME }
}

fn attributes(headers: &HeaderMap) -> &'static str {
    if is_plain_loopback(headers) {
        "; Path=/; HttpOnly; SameSite=Strict"
    } else {
        "; Path=/; Secure; HttpOnly; SameSite=Strict"
    }
}

/// The browser speaks plain http to this very machine. What it believes to speak to is what counts: it
/// decides by that whether it keeps a `Secure` cookie. Behind a proxy, the proxy says `https`.
fn is_plain_loopback(headers: &HeaderMap) -> bool {
    let host = text(headers, HOST).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let loopback = matches!(name, "localhost" | "[::1]") || name.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback());
    loopback && text(headers, HeaderName::from_static("x-forwarded-proto")) != Some("https")
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn only_this_origin_is_here() {
        let host = ("host", "127.0.0.1:8080");
        let rows: [(&[(&str, &str)], From); 9] = [
            (&[host], From::Unknown),
            (&[host, ("sec-fetch-site", "same-origin")], From::Here),
            (&[host, ("sec-fetch-site", "same-site")], From::Elsewhere),
            (&[host, ("sec-fetch-site", "cross-site")], From::Elsewhere),
            (&[host, ("origin", "http://127.0.0.1:8080")], From::Here),
            (&[host, ("origin", "http://127.0.0.1:8081")], From::Elsewhere),
            (&[host, ("origin", "null")], From::Elsewhere),
            (&[host, ("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")], From::Elsewhere),
            (&[("origin", "http://127.0.0.1:8080")], From::Elsewhere),
        ];
        for (pairs, expected) in rows {
            let map = pairs
                .iter()
                .map(|(k, v)| {
                    let (Ok(k), Ok(v)) = (HeaderName::try_from(*k), HeaderValue::from_str(v)) else { panic!("{k}") };
                    (k, v)
                })
                .collect();
            assert_eq!(sent_from(&map), expected, "{pairs:?}");
        }
    }

    #[test]
    fn the_cookie_is_secure_except_on_plain_loopback() {
        let Ok(token) = Token::generate() else { panic!("no entropy") };
        let rows = [
            (headers(&[("host", "127.0.0.1:8080")]), false),
            (headers(&[("host", "localhost")]), false),
            (headers(&[("host", "[::1]:8080")]), false),
            (headers(&[("host", "127.0.0.1:8080"), ("x-forwarded-proto", "https")]), true),
            (headers(&[("host", "inference.example")]), true),
            (headers(&[("host", "10.0.0.1:8080")]), true),
            (headers(&[("host", "127.evil.example")]), true),
            (headers(&[]), true),
        ];
        for (map, secure) in rows {
            let set = cookie(&map, &token, 60);
            assert_eq!(set.starts_with("__Host-coordinator="), secure, "{set}");
            assert_eq!(set.contains("; Secure"), secure, "{set}");
            assert!(set.contains("; HttpOnly; SameSite=Strict") && set.contains("; Path=/"), "{set}");
            assert!(no_cookie(&map).contains("=; Max-Age=0; Path=/"));
        }
    }

    #[test]
    fn the_token_is_read_from_its_cookie_alone() {
        let rows = [
            ("coordinator=abc", Some("abc")),
            ("a=b; coordinator=abc; c=d", Some("abc")),
            ("coordinator=abc; coordinator=def", None),
            ("__Host-coordinator=abc", None),
            ("xcoordinator=abc", None),
            ("", None),
        ];
        for (value, expected) in rows {
            assert_eq!(session_token(&headers(&[("host", "localhost"), ("cookie", value)])), expected, "{value}");
        }
    }
}
