//! What of a server's words no caller may see: paths, addresses and secrets of its machine.

/// The text with paths, addresses and secrets taken out.
pub fn without_places(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c: char| c.is_whitespace() || "\"'`()[]{}<>,;=|".contains(c)) {
        let (word, end) = match piece.char_indices().last() {
            Some((at, c)) if c.is_whitespace() || "\"'`()[]{}<>,;=|".contains(c) => piece.split_at(at),
            _ => (piece, ""),
        };
        let bare = word.trim_end_matches(['.', ':', '!', '?']);
        let tail = word.get(bare.len()..).unwrap_or_default();
        match place_of(bare) {
            Some(instead) => {
                clean.push_str(instead);
                clean.push_str(tail);
            }
            None => clean.push_str(word),
        }
        clean.push_str(end);
    }
    clean
}

/// Is a word a path, an address, or a secret?
fn place_of(word: &str) -> Option<&'static str> {
    if is_secret(word) {
        return Some(SECRET);
    }
    if word.contains("://") || is_address(word) || holds_ipv4(word) {
        return Some(ADDRESS);
    }
    // `file:/etc/x`, `at:/opt/x`
    let behind = word.split_once(':').is_some_and(|(_, behind)| behind.starts_with('/') && is_path(behind));
    (behind || is_path(word)).then_some(PATH)
}

const ADDRESS: &str = "(address)";
const PATH: &str = "(path)";
const SECRET: &str = "(secret)";

/// How the keys of services begin.
const KEYS: [&str; 12] = ["sk-", "sk_", "pk-", "rk-", "hf_", "gsk_", "xai-", "nvapi-", "ghp_", "AIza", "AKIA", "eyJ"];
/// A word without a mark between its letters and digits that is longer is no word.
const LONGEST_PLAIN: usize = 32;

fn is_secret(word: &str) -> bool {
    if word.len() >= 8 && KEYS.iter().any(|key| word.starts_with(key)) {
        return true;
    }
    let has = |is: fn(&u8) -> bool| word.as_bytes().iter().any(is);
    word.len() >= LONGEST_PLAIN
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'+')
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_alphabetic)
}

/// Is there an IPv4 address anywhere in the word? `error:10.0.0.7:80`, `gpu/10.0.0.7:80`
fn holds_ipv4(word: &str) -> bool {
    let parts = word.split(|c: char| !c.is_ascii_digit() && c != '.');
    parts.map(|part| part.trim_matches('.')).any(|part| part.parse::<std::net::Ipv4Addr>().is_ok())
}

fn is_path(word: &str) -> bool {
    let word = word.trim_start_matches('@');
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| word.starts_with(prefix));
    if starts(&["./", "../", "~/", "\\\\"]) || (word.len() > 1 && word.starts_with('/')) {
        return true;
    }
    let mut chars = word.chars();
    let drive = chars.next().is_some_and(|c| c.is_ascii_alphabetic()) && chars.next() == Some(':');
    if drive && matches!(chars.next(), Some('\\' | '/')) {
        return true;
    }
    // `models/q4.gguf`, `site-packages/x.py:12`: something with an ending, behind a slash.
    let Some((_, file)) = word.rsplit_once(['/', '\\']) else { return false };
    let Some((stem, ending)) = file.rsplit_once('.') else { return false };
    let ending = ending.split(':').next().unwrap_or_default();
    !stem.is_empty()
        && (1..=12).contains(&ending.len())
        && ending.starts_with(|c: char| c.is_ascii_alphabetic())
        && ending.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn is_address(word: &str) -> bool {
    let word = word.rsplit_once('@').map_or(word, |(_, host)| host);
    let bare = word.trim_matches(['[', ']']);
    if bare.parse::<std::net::IpAddr>().is_ok() && (bare.contains('.') || bare.len() > 2) {
        return true;
    }
    if bare.parse::<std::net::SocketAddr>().is_ok() {
        return true;
    }
    let (host, port) = word.rsplit_once(':').map_or((word, None), |(host, port)| (host, Some(port)));
    let is_host = !host.is_empty()
        && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        && host.chars().any(|c| c.is_ascii_alphabetic());
    let is_port = port.is_some_and(|port| (2..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit()));
    let lower = host.to_ascii_lowercase();
    let inner =
        [".local", ".internal", ".lan", ".localdomain", ".home.arpa", ".cluster.local", ".svc", ".intranet", ".corp"];
    let is_ip = host.parse::<std::net::Ipv4Addr>().is_ok();
    is_ip || (is_host && (is_port || lower == "localhost" || inner.iter().any(|end| lower.ends_with(end))))
}
