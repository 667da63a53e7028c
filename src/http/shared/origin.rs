//! Web origins, as an operator names them and browsers write them.

use std::net::Ipv6Addr;

/// Reads an origin as a person writes one: capitals and a slash at its end do no harm. `*` stands for all, `null` for
/// pages that have none of their own (files, sandboxes).
///
/// # Errors
/// Why no browser would ever send it: such a name would keep out the page it was meant for.
pub fn read(text: &str) -> Result<String, String> {
    let origin = text.trim().to_ascii_lowercase();
    let origin = origin.strip_suffix('/').unwrap_or(&origin);
    if !matches!(origin, "*" | "null") {
        check(origin)
            .map_err(|why| format!("{why}; an origin is like https://app.example or http://127.0.0.1:3000"))?;
    }
    Ok(origin.to_owned())
}

fn check(origin: &str) -> Result<(), &'static str> {
    let (scheme, rest) = origin.split_once("://").ok_or("it has no scheme and \"://\"")?;
    let is_scheme = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(is_scheme) {
        return Err("its scheme is none");
    }
    if rest.contains(['/', '?', '#', '@']) {
        return Err("it has more than a scheme, a host and a port");
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    if !is_host(host) {
        return Err("its host is none: no patterns, and names beyond ASCII in their xn-- form");
    }
    let Some(port) = port else { return Ok(()) };
    match (scheme, port.parse::<u16>()) {
        (_, Err(_) | Ok(0)) => Err("its port is none"),
        ("http", Ok(80)) | ("https", Ok(443)) => Err("browsers leave the usual port out"),
        (_, Ok(_)) if port.starts_with(['0', '+']) => Err("its port is none"),
        (_, Ok(_)) => Ok(()),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    host.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        let good = [
            ("https://app.example", "https://app.example"),
            (" https://App.Example/ ", "https://app.example"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("http://[::1]", "http://[::1]"),
            ("http://localhost", "http://localhost"),
            ("https://xn--bcher-kva.example:8443", "https://xn--bcher-kva.example:8443"),
            ("app://obsidian.md", "app://obsidian.md"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
            ("https://a.example:80", "https://a.example:80"),
            ("*", "*"),
            ("NULL", "null"),
        ];
        for (text, expected) in good {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
        assert!(read("https://a.example/x").is_err_and(|why| why.starts_with("it has more than")));
        let bad = [
            "",
            "app.example",
            "https//app.example",
            "https:/app.example",
            "https://",
            "://app.example",
            "1s://a.example",
            "ht tp://a.example",
            "https://app.example/path",
            "https://app.example?x",
            "https://app.example#x",
            "https://me@app.example",
            "https://*.example",
            "https://app..example",
            "https://.example",
            "https://a.example.",
            "https://app.example:",
            "https://app.example:0",
            "https://app.example:65536",
            "https://app.example:https",
            "https://app.example:443",
            "http://app.example:80",
            "https://app.example:08443",
            "https://app.example:+8443",
            "https://b\u{fc}cher.example",
            "https://app example",
            "http://[::1",
            "http://[::g]",
            "https://a.example//",
            "https://a.example;https://b.example",
        ];
        for text in bad {
            let why = read(text).err().unwrap_or_default();
            assert!(why.ends_with("an origin is like https://app.example or http://127.0.0.1:3000"), "{text}: {why}");
        }
    }
}
