//! Port 80 of a server that speaks https: it sends browsers there, and tells programs to go themselves.

use std::net::TcpListener;
use std::sync::Arc;

use crate::http::shared::error::{ApiError, envelope_of};
use crate::http::shared::seen::is_sayable;
use crate::http::small::{self, response};

/// Answers on `listener` for as long as it is polled. `base` is where https is, without a slash at the end; without
/// one it is the host that was asked for, at the port `https`.
pub async fn redirect(listener: TcpListener, base: Option<String>, https: u16) {
    let base = Arc::new(base);
    let told = move |head: Vec<u8>| {
        let base = Arc::clone(&base);
        async move { answer(&head, base.as_deref(), https) }
    };
    small::serve(listener, told).await;
}

/// What a request is told, from its head.
fn answer(head: &[u8], base: Option<&str>, https: u16) -> String {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (_, target) = (first.next(), first.next().unwrap_or_default());
    let host = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("host"))
        .map(|(_, value)| value.trim())
        .filter(|host| is_sayable(host));
    let base = match (base, host.and_then(without_port)) {
        (Some(base), _) => base.to_owned(),
        (None, Some(host)) if https == 443 => format!("https://{host}"),
        (None, Some(host)) => format!("https://{host}:{https}"),
        (None, None) => return response("400 Bad Request", "", "which host?\n"),
    };
    // A program that follows would send its key in the clear again and again, and nobody would notice.
    if target.starts_with("/v1/") || target == "/v1" {
        let message =
            format!("plain http: the base URL is {base}/v1. A key that was sent here was readable on its way");
        let path = target.split('?').next().unwrap_or_default();
        let body = ApiError::forbidden(message).code("insecure_http").body(envelope_of(path), None);
        return response("403 Forbidden", "content-type: application/json\r\n", &body);
    }
    let is_path = target.starts_with('/') && target.bytes().all(|b| b.is_ascii_graphic());
    let target = if is_path { target } else { "/" };
    response("308 Permanent Redirect", &format!("location: {base}{target}\r\n"), "")
}

/// `[::1]:80` → `[::1]`
fn without_port(host: &str) -> Option<&str> {
    let end = match host.rfind(':') {
        Some(colon) if !host.get(colon..)?.contains(']') => colon,
        _ => host.len(),
    };
    host.get(..end).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_browser_is_sent_on_and_a_program_is_told() {
        let ask = |target: &str, host: &str, base, https| {
            answer(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(), base, https)
        };
        let at = |reply: String| {
            reply.split("location: ").nth(1).and_then(|rest| rest.split("\r\n").next()).map(str::to_owned)
        };
        let rows = [
            ("/admin?a=b", "ai.example.org", None, 443, "https://ai.example.org/admin?a=b"),
            ("/", "ai.example.org:80", None, 8443, "https://ai.example.org:8443/"),
            ("/", "[::1]:80", None, 443, "https://[::1]/"),
            ("/x", "evil.example", Some("https://ai.example.org/ai"), 443, "https://ai.example.org/ai/x"),
            ("http://evil.example/", "ai.example.org", None, 443, "https://ai.example.org/"),
            ("/a\u{7f}b", "ai.example.org", None, 443, "https://ai.example.org/"),
        ];
        for (target, host, base, https, expected) in rows {
            assert_eq!(at(ask(target, host, base, https)).as_deref(), Some(expected), "{target} {host}");
        }
        assert!(ask("/", "a b", None, 443).starts_with("HTTP/1.1 400"));
        let told = ask("/v1/chat/completions", "ai.example.org", None, 443);
        assert!(
            told.starts_with("HTTP/1.1 403") && told.contains("the base URL is https://ai.example.org/v1"),
            "{told}"
        );
        // In the words of whoever asks.
        let body = |target: &str| {
            let told = ask(target, "ai.example.org", None, 443);
            told.split_once("\r\n\r\n")
                .and_then(|(_, body)| serde_json::from_str::<Value>(body).ok())
                .unwrap_or_default()
        };
        let openai = body("/v1/chat/completions");
        assert_eq!((&openai["error"]["code"], openai.get("type")), (&"insecure_http".into(), None), "{openai}");
        for target in ["/v1/messages", "/v1/messages?beta=true", "/v1/messages/count_tokens"] {
            let anthropic = body(target);
            let kinds = (&anthropic["type"], &anthropic["error"]["type"]);
            assert_eq!(kinds, (&"error".into(), &"permission_error".into()), "{target}: {anthropic}");
        }
    }
}
