//! Pages of other origins. A key in a header is its owner's consent: a page that has one is served, whatever its
//! origin. `serve --cors-origin` narrows that. What the browser adds by itself, a session's cookie, is good for
//! this server's own pages only.

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};

use crate::http::shared::auth;
use crate::http::shared::browser::{self, From};
use crate::http::shared::error::{ApiError, shortened};
use crate::http::shared::seen::Seen;

/// What is done with the `Origin` of a request.
#[derive(Debug)]
pub enum Verdict {
    /// It has none, or this server's own: nothing is said of it.
    Silent,
    /// Its page may read the answer.
    Allowed(HeaderValue),
    /// It is not served.
    Refused(ApiError),
}

/// The longest `Origin` that is said back, and the longest list of headers.
const LONGEST_ORIGIN: usize = 300;
const LONGEST_LIST: usize = 4_096;
/// What a page may send if it does not say what it wants to.
const USUAL_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
const USUAL_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, x-api-key, content-type, accept, idempotency-key, anthropic-version, anthropic-beta, \
     anthropic-dangerous-direct-browser-access",
);
/// What a page may read beside the body.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, request-id, x-cost-micro-usd, x-balance-micro-usd, x-queue-ms, x-max-tokens-limited, x-should-retry, \
     x-idempotent-replay-of, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, \
     x-ratelimit-reset-requests, x-ratelimit-reset-spend, x-counted-by, allow, link, retry-after",
);
/// What the answer to a preflight depends on.
const VARIES: HeaderValue = HeaderValue::from_static(
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network",
);

/// Judges the `Origin` of a request. `origins` are those that the operator named; without any, all are good.
pub fn judge(origins: &[String], headers: &HeaderMap, seen: &Seen<'_>) -> Verdict {
    let Some(origin) = headers.get(ORIGIN) else { return Verdict::Silent };
    if is_own(headers, origin, seen) {
        return Verdict::Silent;
    }
    if !origins.is_empty() && !is_named(origins, origin) {
        let said = String::from_utf8_lossy(origin.as_bytes());
        let said = shortened(&said, LONGEST_ORIGIN);
        return Verdict::Refused(ApiError::forbidden(format!(
            "pages of this origin are not served: see serve --cors-origin (it is {said}, this server {})",
            seen.origin()
        )));
    }
    // A browser sends its cookie unasked. It must not count for a page that is not ours.
    if browser::session_token(headers, seen).is_some() && !auth::has_key(headers) {
        return Verdict::Refused(ApiError::cross_site(headers, seen));
    }
    if origin.len() > LONGEST_ORIGIN { Verdict::Silent } else { Verdict::Allowed(origin.clone()) }
}

/// The answer to a preflight, if the request is one: what was asked for is granted.
pub fn preflight(method: &Method, headers: &HeaderMap, origin: &HeaderValue) -> Option<HttpResponse> {
    if method != Method::OPTIONS {
        return None;
    }
    let wanted = headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    let methods = if is_list(wanted, false) { wanted.clone() } else { USUAL_METHODS };
    let names = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).filter(|names| is_list(names, true));
    let mut response = HttpResponse::NoContent().finish();
    let granted = response.headers_mut();
    granted.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    granted.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.cloned().unwrap_or(USUAL_HEADERS));
    granted.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    // A public page that asks a server of the machine or its network: the key is what protects it.
    for (asked, answer) in [
        ("access-control-request-private-network", "access-control-allow-private-network"),
        ("access-control-request-local-network", "access-control-allow-local-network"),
    ] {
        if headers.get(asked).is_some_and(|value| value == "true") {
            granted.insert(HeaderName::from_static(answer), HeaderValue::from_static("true"));
        }
    }
    allow(granted, origin.clone());
    granted.insert(VARY, VARIES);
    Some(response)
}

/// Lets the page of an origin read an answer. Cookies are never part of it.
pub fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(VARY, HeaderValue::from_static("Origin"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}

/// The operator named it. An origin has no slash at its end and no capitals, but what people type has.
fn is_named(origins: &[String], origin: &HeaderValue) -> bool {
    origins.iter().any(|named| {
        let named = named.trim().trim_end_matches('/');
        named == "*" || named.as_bytes().eq_ignore_ascii_case(origin.as_bytes())
    })
}

/// The page came from this server: the browser says so, or the name it was asked under.
fn is_own(headers: &HeaderMap, origin: &HeaderValue, seen: &Seen<'_>) -> bool {
    browser::sent_from(headers, seen) == From::Here || origin.to_str().is_ok_and(|origin| seen.is_at(origin))
}

/// One token, or a list of them with commas between, that can be said back.
fn is_list(value: &HeaderValue, commas: bool) -> bool {
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    (1..=LONGEST_LIST).contains(&value.len())
        && value.as_bytes().iter().all(|b| is_token(b) || (commas && matches!(b, b',' | b' ' | b'\t')))
}

#[cfg(test)]
#[allow(clippy::type_complexity, reason = "tables of a test")]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        pairs.iter().map(|(name, text)| (HeaderName::from_static(name), value(text))).collect()
    }

    #[test]
    fn a_key_is_served_to_any_page_and_a_cookie_to_none() {
        let cookie = ("cookie", "coordinator=x");
        let (host, key) = (("host", "127.0.0.1:8080"), ("authorization", "Bearer sk-db-x"));
        let named = ["https://App.example/".to_owned(), "null".to_owned()];
        let long = format!("https://{}.example", "a".repeat(LONGEST_ORIGIN));
        // origins named by the operator, headers → allowed, refused
        let rows: [(&[String], &[(&str, &str)], bool, bool); 16] = [
            (&[], &[host], false, false),
            (&[], &[host, ("origin", "http://127.0.0.1:8080"), cookie], false, false),
            (&[], &[host, ("origin", "https://any.example"), key], true, false),
            (&[], &[host, ("origin", "null"), key], true, false),
            (&[], &[host, ("origin", "chrome-extension://abcdef")], true, false),
            (&[], &[host, ("origin", "app://obsidian.md"), ("x-api-key", "k")], true, false),
            (&[], &[host, ("origin", "http://127.0.0.1:8081")], true, false),
            (&[], &[host, ("origin", &long), key], false, false),
            (&[], &[host, ("origin", "https://any.example"), cookie], false, true),
            (&[], &[host, ("origin", "null"), cookie], false, true),
            (&[], &[host, ("origin", "null"), cookie, ("authorization", "Basic x")], false, true),
            (&[], &[host, ("origin", "https://any.example"), cookie, key], true, false),
            (&named, &[host, ("origin", "https://any.example"), key], false, true),
            (&named, &[host, ("origin", "https://app.example"), key], true, false),
            (&named, &[host, ("origin", "null"), key], true, false),
            (&named, &[host, ("origin", "https://app.example"), cookie], false, true),
        ];
        for (origins, pairs, allowed, refused) in rows {
            let map = headers(pairs);
            let verdict = judge(origins, &map, &Seen::new(None, None, false, &map));
            let found = (matches!(verdict, Verdict::Allowed(_)), matches!(verdict, Verdict::Refused(_)));
            assert_eq!(found, (allowed, refused), "{origins:?} {pairs:?}");
        }
        let all = ["*".to_owned()];
        let map = headers(&[host, ("origin", "null")]);
        assert!(matches!(judge(&all, &map, &Seen::new(None, None, false, &map)), Verdict::Allowed(_)));
    }

    #[test]
    fn a_preflight_grants_what_it_asks_for_within_bounds() {
        let origin = HeaderValue::from_static("null");
        let ask = |method: Method, pairs: &[(&'static str, &str)]| preflight(&method, &headers(pairs), &origin);
        let (method, names) = ("access-control-request-method", "access-control-request-headers");
        assert!(ask(Method::GET, &[(method, "GET")]).is_none());
        assert!(ask(Method::OPTIONS, &[]).is_none());
        let long = "x-a,".repeat(LONGEST_LIST);
        let rows: [(&[(&str, &str)], &str, &str); 5] = [
            (&[(method, "PATCH"), (names, "authorization,x-own-header")], "PATCH", "authorization,x-own-header"),
            (&[(method, "POST"), (names, "X-Stainless-OS, content-type")], "POST", "X-Stainless-OS, content-type"),
            (&[(method, "POST")], "POST", "authorization, x-api-key"),
            (&[(method, "POST"), (names, &long)], "POST", "authorization, x-api-key"),
            (&[(method, "a b"), (names, "x<y>")], "GET, HEAD", "authorization, x-api-key"),
        ];
        for (pairs, methods, allowed) in rows {
            let Some(response) = ask(Method::OPTIONS, pairs) else { panic!("{pairs:?}") };
            let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
            assert_eq!(response.status().as_u16(), 204);
            assert!(header("access-control-allow-methods").starts_with(methods), "{pairs:?}");
            assert!(header("access-control-allow-headers").starts_with(allowed), "{pairs:?}");
            assert_eq!(header("access-control-allow-origin"), "null");
            assert!(!response.headers().contains_key("access-control-allow-credentials"));
            assert!(!response.headers().contains_key("access-control-allow-private-network"));
        }
        let private = ask(Method::OPTIONS, &[(method, "POST"), ("access-control-request-private-network", "true")]);
        let header = private.as_ref().and_then(|r| r.headers().get("access-control-allow-private-network"));
        assert_eq!(header, Some(&HeaderValue::from_static("true")));
    }
}
