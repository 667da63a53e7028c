//! What a browser tells about where a request comes from, and the cookie it carries.

use actix_web::http::header::{COOKIE, HeaderMap, HeaderName, ORIGIN};

use crate::auth::Token;
use crate::http::shared::seen::{Seen, is_loopback, is_sayable};

/// The cookie over https. The prefix makes browsers insist on `Secure`, `Path=/` and no `Domain`, so no
/// other host, and nobody on the line, can set it.
const NAME: &str = "__Host-coordinator";
/// The cookie over https below a path: the host is shared with programs that must not be sent it, and the other
/// prefix would insist on that.
const NAME_BELOW_A_PATH: &str = "__Secure-coordinator";
/// The cookie over plain http, to this very machine or as the operator lets it, where browsers refuse the prefixes.
const NAME_ON_LOOPBACK: &str = "coordinator";

/// Why nobody signs in over plain http from another machine, and what to do.
pub const DROPPED: &str = "over plain http the browser would drop the session's cookie: open this page over https \
     (serve --domain, or a proxy), through an ssh tunnel on 127.0.0.1, or, where everybody on the network may read the \
     password, start the server with --insecure-http-sign-in";

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

/// Where the request was sent from. What a browser itself calls the same origin is: no page can say that in its
/// name, and it holds behind a proxy that passes on no name. Else `Sec-Fetch-Site` and `Origin`, the worse of the two.
pub fn sent_from(headers: &HeaderMap, seen: &Seen<'_>) -> From {
    let site = text(headers, HeaderName::from_static("sec-fetch-site"));
    let origin = text(headers, ORIGIN);
    match (site, origin.map(|origin| seen.is_at(origin))) {
        (None, None) => From::Unknown,
        (Some("same-origin"), _) | (Some("none") | None, Some(true)) | (Some("none"), None) => From::Here,
        _ => From::Elsewhere,
    }
}

/// The session's token that the cookie holds. A header with two of the name is none: one of them was put
/// there by somebody else.
pub fn session_token<'a>(headers: &'a HeaderMap, seen: &Seen<'_>) -> Option<&'a str> {
    let named = |name: &str| {
        let mut found = headers
            .get_all(COOKIE)
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value);
        let first = found.next();
        first.filter(|_| found.next().is_none())
    };
    // Behind a proxy that passes on no name, only the browser knows that it speaks https.
    let plain = || if seen.is_local || seen.may_be_plain() { named(NAME_ON_LOOPBACK) } else { None };
    named(prefixed(seen)).or_else(plain)
}

/// The `Set-Cookie` that begins a session.
pub fn cookie(headers: &HeaderMap, seen: &Seen<'_>, token: &Token, seconds: i64) -> String {
    let plain = is_plain(headers, seen);
    let name = if plain { NAME_ON_LOOPBACK } else { prefixed(seen) };
    format!("{name}={}; Max-Age={seconds}{}", token.expose(), attributes(seen, plain))
}

/// The `Set-Cookie` that ends it.
pub fn no_cookie(headers: &HeaderMap, seen: &Seen<'_>) -> String {
    let plain = is_plain(headers, seen);
    let name = if plain { NAME_ON_LOOPBACK } else { prefixed(seen) };
    format!("{name}=; Max-Age=0{}", attributes(seen, plain))
}

const fn prefixed(seen: &Seen<'_>) -> &'static str {
    if seen.path.is_empty() { NAME } else { NAME_BELOW_A_PATH }
}

fn attributes(seen: &Seen<'_>, plain: bool) -> String {
    format!("; Path={}/{}; HttpOnly; SameSite=Strict", seen.path, if plain { "" } else { "; Secure" })
}

/// The browser speaks plain http, to this very machine or because the operator lets it. What it believes to speak to is what counts: it
/// decides by that whether it keeps a `Secure` cookie. Its page's origin says so best.
fn is_plain(headers: &HeaderMap, seen: &Seen<'_>) -> bool {
    match text(headers, ORIGIN).filter(|_| sent_from(headers, seen) == From::Here) {
        Some(origin) => origin.strip_prefix("http://").is_some_and(|host| seen.allows_plain || is_loopback(host)),
        None => seen.may_be_plain(),
    }
}

/// The browser would drop the session's cookie: its page came over plain http from another machine.
pub fn drops_cookie(headers: &HeaderMap, seen: &Seen<'_>) -> bool {
    let host = text(headers, ORIGIN).and_then(|origin| origin.strip_prefix("http://"));
    !seen.allows_plain && host.is_some_and(|host| !is_loopback(host))
}

/// Why a page may not use a session: the names that were seen, and the line that mends it where it may be wrong.
pub fn stranger(headers: &HeaderMap, seen: &Seen<'_>) -> String {
    let mut says = "pages of other origins may not use a session".to_owned();
    let is_sayable = |origin: &&str| origin.split_once("://").is_some_and(|(_, host)| is_sayable(host));
    let Some(origin) = text(headers, ORIGIN).filter(is_sayable) else { return says };
    says += &format!(": the page is of {origin}, this server is {}", seen.origin());
    if text(headers, HeaderName::from_static("sec-fetch-site")).is_none_or(|site| site == "none") {
        says += &format!(
            ". If that is this server behind a proxy, start it with --public-url {origin}, or let the proxy pass on \
             the name (nginx: proxy_set_header Host $http_host;)"
        );
    }
    says
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn seen(headers: &HeaderMap) -> Seen<'_> {
        Seen::new(None, None, false, headers)
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn only_this_origin_is_here() {
        let host = ("host", "127.0.0.1:8080");
        let rows: [(&[(&str, &str)], From); 11] = [
            (&[host], From::Unknown),
            (&[host, ("sec-fetch-site", "same-origin")], From::Here),
            (&[host, ("sec-fetch-site", "same-site")], From::Elsewhere),
            (&[host, ("sec-fetch-site", "cross-site")], From::Elsewhere),
            (&[host, ("origin", "http://127.0.0.1:8080")], From::Here),
            (&[host, ("origin", "http://127.0.0.1:8081")], From::Elsewhere),
            (&[host, ("origin", "null")], From::Elsewhere),
            // Behind a proxy that passes on no name.
            (&[host, ("sec-fetch-site", "same-origin"), ("origin", "https://ai.example")], From::Here),
            (&[host, ("sec-fetch-site", "none"), ("origin", "https://evil.example")], From::Elsewhere),
            (&[host, ("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1:8080")], From::Elsewhere),
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
            assert_eq!(sent_from(&map, &seen(&map)), expected, "{pairs:?}");
        }
    }

    #[test]
    fn the_cookie_is_secure_except_on_plain_loopback() {
        let Ok(token) = Token::generate() else { panic!("no entropy") };
        let rows = [
            (headers(&[("host", "127.0.0.1:8080")]), false),
            (headers(&[("host", "localhost")]), false),
            (headers(&[("host", "[::1]:8080")]), false),
            (headers(&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")]), false),
            (headers(&[("host", "127.0.0.1:8080"), ("origin", "https://a"), ("sec-fetch-site", "same-origin")]), true),
            (headers(&[("host", "127.0.0.1:8080"), ("origin", "https://evil.example")]), false),
            (headers(&[("host", "inference.example")]), true),
            (headers(&[("host", "10.0.0.1:8080")]), true),
            (headers(&[("host", "127.evil.example")]), true),
            (headers(&[]), true),
        ];
        for (map, secure) in rows {
            let set = cookie(&map, &seen(&map), &token, 60);
            assert_eq!(set.starts_with("__Host-coordinator="), secure, "{set}");
            assert_eq!(set.contains("; Secure"), secure, "{set}");
            assert!(set.contains("; HttpOnly; SameSite=Strict") && set.contains("; Path=/"), "{set}");
            assert!(no_cookie(&map, &seen(&map)).contains("=; Max-Age=0; Path=/"));
        }
    }

    #[test]
    fn the_token_is_read_from_its_cookie_alone() {
        let rows = [
            ("coordinator=abc", Some("abc")),
            ("a=b; coordinator=abc; c=d", Some("abc")),
            ("coordinator=abc; coordinator=def", None),
            ("coordinator=abc; __Host-coordinator=def", Some("def")),
            ("__Secure-coordinator=abc", None),
            ("xcoordinator=abc", None),
            ("", None),
        ];
        for (value, expected) in rows {
            let map = headers(&[("host", "localhost"), ("cookie", value)]);
            assert_eq!(session_token(&map, &seen(&map)), expected, "{value}");
        }
        let map = headers(&[("host", "ai.example"), ("cookie", "coordinator=abc")]);
        assert_eq!(session_token(&map, &seen(&map)), None, "one that anybody on the line could have set");
    }

    #[test]
    fn over_plain_http_from_elsewhere_there_is_a_cookie_only_if_the_operator_says_so() {
        let Ok(token) = Token::generate() else { panic!("no entropy") };
        let map =
            headers(&[("host", "10.0.0.5:8080"), ("origin", "http://10.0.0.5:8080"), ("cookie", "coordinator=a")]);
        let strict = seen(&map);
        assert!(drops_cookie(&map, &strict));
        assert_eq!(session_token(&map, &strict), None);
        let lax = Seen { allows_plain: true, ..strict };
        assert!(!drops_cookie(&map, &lax));
        assert_eq!(session_token(&map, &lax), Some("a"));
        assert!(!cookie(&map, &lax, &token, 60).contains("Secure"));
        for origin in ["https://10.0.0.5:8080", "http://127.0.0.1:8080", "http://localhost"] {
            assert!(!drops_cookie(&headers(&[("host", "x"), ("origin", origin)]), &strict), "{origin}");
        }
    }

    #[test]
    fn below_a_path_the_cookie_is_for_that_path() {
        let Ok(token) = Token::generate() else { panic!("no entropy") };
        let map = headers(&[("host", "127.0.0.1:8080"), ("cookie", "__Host-coordinator=a; __Secure-coordinator=b")]);
        let seen = Seen { path: "/ai", is_https: true, ..seen(&map) };
        let set = cookie(&map, &seen, &token, 60);
        assert!(set.starts_with("__Secure-coordinator=") && set.contains("; Path=/ai/; Secure; HttpOnly"), "{set}");
        assert_eq!(session_token(&map, &seen), Some("b"));
    }
}
