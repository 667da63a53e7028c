//! Which base URLs a provider may have, and which addresses are posted to.

use std::net::{IpAddr, Ipv4Addr};

use http::Uri;
use http::uri::Authority;

use super::address::is_out_of_bounds;
use super::fetch::check_address;

/// Checks a provider's base URL and gives it its stored form: no trailing slash, `/v1` if it has no path.
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
    check_authority(authority)?;
    let base = base_path(uri.path()).map_err(|meant| {
        format!("{} is Ollama's own API; its OpenAI-compatible one is at {scheme}://{authority}{meant}", uri.path())
    })?;
    Ok(format!("{scheme}://{authority}{base}"))
}

/// Checks the URL of a webhook: any path and query, but the same addresses as a provider's.
///
/// # Errors
/// It is none; the text says why.
pub fn check_hook_url(text: &str) -> Result<String, String> {
    let text = text.trim();
    let uri = check_address(text)?;
    if text.contains('#') {
        return Err("a URL that is posted to has no fragment".into());
    }
    check_authority(uri.authority().ok_or("it names no host")?)?;
    Ok(uri.to_string())
}

/// Checks the host and the port of a URL.
fn check_authority(authority: &Authority) -> Result<(), String> {
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
    Ok(())
}

/// What people paste instead of a base URL, longest first.
const ENDPOINTS: [&str; 12] = [
    "/chat/completions",
    "/completions",
    "/responses/compact",
    "/responses/input_tokens",
    "/responses",
    "/messages/count_tokens",
    "/messages",
    "/embeddings",
    "/models",
    "/v1/chat",
    "/rerank",
    "/tokenize",
];
/// Ollama's own API, which is none of the dialects here.
const OLLAMA: [&str; 9] = ["", "/chat", "/generate", "/tags", "/embed", "/embeddings", "/show", "/ps", "/version"];

/// The path of a base URL, of what was pasted: an endpoint is cut off, slashes are made single, and `/v1` is the
/// path of an address alone.
///
/// # Errors
/// It is Ollama's own API; the path that is meant.
fn base_path(pasted: &str) -> Result<String, String> {
    let parts: Vec<&str> = pasted.split('/').filter(|part| !part.is_empty()).collect();
    let mut path: String = parts.iter().map(|part| format!("/{part}")).collect();
    // An address of one model, `…/v1/models/ID`.
    if let Some(at) = path.rfind("/v1/models/") {
        path.truncate(at + "/v1".len());
    }
    if let Some((before, own)) = path.rsplit_once("/api")
        && OLLAMA.contains(&own)
    {
        return Err(format!("{before}/v1"));
    }
    if let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| path.ends_with(*endpoint)) {
        let kept = if *endpoint == "/v1/chat" { "/v1".len() } else { 0 };
        path.truncate(path.len() - endpoint.len() + kept);
    }
    while path.ends_with("/v1/v1") {
        path.truncate(path.len() - "/v1".len());
    }
    Ok(if path.is_empty() { "/v1".to_owned() } else { path })
}

/// The C library reads `2852039166`, `0xa9fea9fe` and `169.254.43518` as addresses too, and they would pass
/// for names here.
fn is_odd_number(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let is_hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X")).is_some();
    let is_number = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
    (is_hex || is_number) && host.parse::<Ipv4Addr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_has_any_path_and_no_address_of_nobody() {
        for good in ["https://hooks.example/a?b=c", "http://127.0.0.1:8025", "http://[::1]:9/x", " https://a/ "] {
            assert!(check_hook_url(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "hooks.example",
            "ftp://a/",
            "https://u:p@a/",
            "http://169.254.169.254/latest",
            "http://0xa9fea9fe/",
            "http://2852039166/",
            "http://[fe80::1]/",
            "http://0.0.0.0/",
            "http://a:0/",
            "http://a:99999/",
            "http://a/#x",
            "http://a/\r\nx: y",
            "http://a b/",
        ] {
            assert!(check_hook_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pasted_endpoint_is_cut_down_to_its_base() {
        let rows = [
            ("/v1/chat/completions", "/v1"),
            ("/v1/chat/completions/", "/v1"),
            ("//v1//models//", "/v1"),
            ("/v1/models/qwen/qwen-7b", "/v1"),
            ("/v1/responses", "/v1"),
            ("/v1/messages", "/v1"),
            ("/v1/messages/count_tokens", "/v1"),
            ("/v1/embeddings", "/v1"),
            ("/v1/completions", "/v1"),
            ("/v1/chat", "/v1"),
            ("/v1/v1", "/v1"),
            ("/chat/completions", "/v1"),
            ("/models", "/v1"),
            ("/", "/v1"),
            ("///", "/v1"),
            ("/openai/v1/chat/completions", "/openai/v1"),
            ("/api/v1/chat/completions", "/api/v1"),
            ("/api/v1", "/api/v1"),
            ("/api/paas/v4/chat/completions", "/api/paas/v4"),
            ("/api/chat/completions", "/api"),
            ("/v1beta/openai/", "/v1beta/openai"),
        ];
        for (pasted, base) in rows {
            assert_eq!(check_base_url(&format!("http://h:1{pasted}")), Ok(format!("http://h:1{base}")), "{pasted}");
        }
        for pasted in ["/api", "/api/", "/api/chat", "/api/generate", "/api/tags", "/api/embeddings"] {
            let said = check_base_url(&format!("http://h:11434{pasted}")).err().unwrap_or_default();
            assert!(said.ends_with("is at http://h:11434/v1"), "{pasted}: {said}");
        }
    }

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
            "http://u@h:8080/v1",
            "http://h/v1?x=1",
            "http://h:99999/v1",
            "http://h:/v1",
            "http://0.0.0.0/v1",
            "http://[::]/v1",
            "http://169.254.169.254/v1",
            "http://[::ffff:169.254.169.254]/v1",
            "http://[fe80::1]/v1",
            "http://[2002:a9fe:a9fe::1]/v1",
            "http://[64:ff9b::a9fe:a9fe]/v1",
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
