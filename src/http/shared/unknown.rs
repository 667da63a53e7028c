//! Requests that no route takes: what is said of an unknown path and of a wrong method.

use actix_web::http::Method;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};

use crate::dialect::Envelope;
use crate::http::shared::error::{ApiError, envelope_of};
use crate::http::shared::log;
use crate::http::shared::seen::Seen;

/// The most of a method and of a path that is said back, in bytes.
const LONGEST_METHOD: usize = 20;
const LONGEST_PATH: usize = 200;
/// A longer path is not searched for what it may mean.
const LONGEST_SEARCHED: usize = 2_000;

/// The paths that SDKs append to a base URL, behind `/v1`; those that end like another one come first.
const MODEL_PATHS: [&str; 8] = [
    "messages/count_tokens",
    "chat/completions",
    "completions",
    "embeddings",
    "responses/compact",
    "responses",
    "messages",
    "models",
];

/// Ollama's own API, and what comes nearest to it here.
const OLLAMA: [(&str, &str); 7] = [
    ("chat", "chat/completions"),
    ("generate", "completions"),
    ("tags", "models"),
    ("show", "models"),
    ("ps", "models"),
    ("embed", "embeddings"),
    ("embeddings", "embeddings"),
];

/// 404 for an unknown path. Where it looks like one of ours (`paths`) with a wrong base URL, the right one is said.
pub fn unknown_path(request: &HttpRequest, paths: impl Iterator<Item = &'static str>) -> HttpResponse {
    let path = request.path();
    let asked =
        format!("{} {} is not implemented", cut(request.method().as_str(), LONGEST_METHOD), cut(path, LONGEST_PATH));
    let meant = meant(path, paths);
    let (text, envelope) = match &meant {
        Some(meant) => (format!("{asked}; {}", meant.advice(&Seen::of(request).base())), envelope_of(&meant.path)),
        None => (asked, envelope_of(path)),
    };
    ApiError::not_found(text).response(envelope, Some(log::arrived(request).id))
}

/// 405 for a wrong method on a known path, 204 for `OPTIONS`; both name the right ones.
pub fn wrong_method(request: &HttpRequest, allow: &str) -> HttpResponse {
    let mut response = if request.method() == Method::OPTIONS {
        HttpResponse::NoContent().finish()
    } else {
        let (method, path) = (cut(request.method().as_str(), LONGEST_METHOD), cut(request.path(), LONGEST_PATH));
        let e = ApiError::wrong_method(format!("{method} {path} is not implemented; the path takes {allow}"));
        e.response(envelope_of(request.path()), Some(log::arrived(request).id))
    };
    if let Ok(value) = HeaderValue::try_from(allow) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}

/// The methods of a path, as `Allow` has them, from those of its routes (`get`, `post` …).
pub fn allow<'a>(methods: impl Iterator<Item = &'a str> + Clone) -> String {
    let has = |name: &str| methods.clone().any(|method| method == name);
    let known = [("get", "GET"), ("post", "POST"), ("put", "PUT"), ("patch", "PATCH"), ("delete", "DELETE")];
    let mut names: Vec<&str> = known.into_iter().filter(|(name, _)| has(name)).map(|(_, method)| method).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    names.join(", ")
}

/// Two paths with parameters in braces, whatever those are called.
fn is_same_path(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b || (a.starts_with('{') && b.starts_with('{')) => {}
            _ => return false,
        }
    }
}

/// A path of ours that another path probably stands for.
#[derive(Debug, PartialEq, Eq)]
struct Meant {
    /// As the table of routes has it.
    path: String,
    /// SDKs append it to a base URL.
    is_of_models: bool,
}

impl Meant {
    fn advice(&self, origin: &str) -> String {
        let path = &self.path;
        match (self.is_of_models, envelope_of(path)) {
            (false, _) => format!("it is {origin}{path}"),
            // Anthropic's SDKs append the `/v1` too.
            (true, Envelope::Anthropic) => format!("it is {path} here: the base URL is {origin} (without /v1)"),
            (true, Envelope::OpenAi) => format!("it is {path} here: the base URL is {origin}/v1"),
        }
    }
}

/// What a path probably stands for: one of ours with `/v1` missing or doubled, with slashes too many, below
/// another server's prefix, or of Ollama's own API.
fn meant(path: &str, mut paths: impl Iterator<Item = &'static str>) -> Option<Meant> {
    if path.len() > LONGEST_SEARCHED {
        return None;
    }
    let path = path.to_ascii_lowercase();
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let of_models = |tail: &str| Some(Meant { path: ["/v1/", tail].concat(), is_of_models: true });
    if let [.., "api", last] = segments.as_slice()
        && let Some((_, tail)) = OLLAMA.iter().find(|(name, _)| name == last)
    {
        return of_models(tail);
    }
    let ends_with = |tail: &&&str| segments.ends_with(&tail.split('/').collect::<Vec<_>>());
    if let Some(tail) = MODEL_PATHS.iter().find(ends_with) {
        return of_models(tail);
    }
    let rest = segments.iter().position(|segment| *segment != "v1").and_then(|at| segments.get(at..))?;
    paths.find_map(|known| {
        // The routes know better what to say of their own path.
        if is_same_path(known, &path) {
            return None;
        }
        let own = known.strip_prefix("/v1").unwrap_or(known).trim_start_matches('/');
        fits(own, rest).then(|| Meant { path: known.to_owned(), is_of_models: false })
    })
}

/// The segments are those of a path with parameters in braces.
fn fits(pattern: &str, segments: &[&str]) -> bool {
    let mut rest = segments.iter();
    pattern.split('/').all(|part| rest.next().is_some_and(|segment| part.starts_with('{') || part == *segment))
        && rest.next().is_none()
}

/// The beginning of a text that a client sent.
fn cut(text: &str, most: usize) -> String {
    let printable: String = text.chars().filter(|c| !c.is_control()).collect();
    crate::http::shared::error::shortened(&printable, most).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some of ours.
    fn paths() -> impl Iterator<Item = &'static str> {
        crate::http::ROUTES.iter().map(|route| route.path)
    }

    #[test]
    fn a_wrong_base_url_is_known_by_the_end_of_the_path() {
        let chat = Some("/v1/chat/completions");
        let rows = [
            ("/chat/completions", chat),
            ("/v1/v1/chat/completions", chat),
            ("/v1/v1/v1/chat/completions", chat),
            ("//v1/chat/completions", chat),
            ("/v1//chat/completions", chat),
            ("/v1/chat/completions/", chat),
            ("/V1/Chat/Completions", chat),
            ("/api/v1/chat/completions", chat),
            ("/api/chat/completions", chat),
            ("/openai/deployments/gpt-4o/chat/completions", chat),
            ("/v1beta/openai/chat/completions", chat),
            ("/v1/chat/completions/chat/completions", chat),
            ("/api/chat", chat),
            ("/v1/api/chat/", chat),
            ("/api/generate", Some("/v1/completions")),
            ("/v1/engines/davinci/completions", Some("/v1/completions")),
            ("/api/tags", Some("/v1/models")),
            ("/models", Some("/v1/models")),
            ("/v1/models/", Some("/v1/models")),
            ("/api/embed", Some("/v1/embeddings")),
            ("/v1/v1/messages", Some("/v1/messages")),
            ("/messages/count_tokens", Some("/v1/messages/count_tokens")),
            ("/v1/messages/", Some("/v1/messages")),
            ("/responses", Some("/v1/responses")),
            ("/payments/balance", Some("/v1/payments/balance")),
            ("/v1/v1/key", Some("/v1/key")),
            ("/keys/key_1/rotate/", Some("/v1/keys/{key_id}/rotate")),
            ("/health/", Some("/health")),
            ("/v1/health", Some("/health")),
            ("/", None),
            ("/v1", None),
            ("/v1/nothing", None),
            ("/v1/images/generations", None),
            ("/v1/chat/completions/extra", None),
            ("/v1/files/f_1", None),
        ];
        for (path, expected) in rows {
            assert_eq!(meant(path, paths()).map(|m| m.path).as_deref(), expected, "{path}");
        }
        assert_eq!(meant(&format!("/{}/chat/completions", "a".repeat(LONGEST_SEARCHED)), paths()), None);
    }

    #[test]
    fn what_is_said_back_is_bounded() {
        let said = cut(&"é".repeat(500), LONGEST_PATH);
        assert!(said.ends_with("é… (1000 bytes)") && said.len() <= LONGEST_PATH + "… (1000 bytes)".len(), "{said}");
        assert_eq!(cut("/a\u{1b}[1m", LONGEST_PATH), "/a[1m");
    }

    #[test]
    fn a_path_names_its_methods() {
        let rows: [(&[&str], &str); 4] = [
            (&["get"], "GET, HEAD, OPTIONS"),
            (&["post"], "POST, OPTIONS"),
            (&["get", "patch", "delete"], "GET, PATCH, DELETE, HEAD, OPTIONS"),
            (&["delete", "put"], "PUT, DELETE, OPTIONS"),
        ];
        for (methods, expected) in rows {
            assert_eq!(allow(methods.iter().copied()), expected, "{methods:?}");
        }
    }
}
