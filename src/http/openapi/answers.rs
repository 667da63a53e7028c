//! What a route may answer: statuses, bodies, headers.

use serde_json::{Map, Value, json};

use super::parameters::reference;
use crate::dialect::Envelope;
use crate::http::shared::error::envelope_of;
use crate::http::shared::route::{Access, Answer, Body, Described, Route};

/// The answers of a route by status.
pub fn of_route(route: &Route) -> Map<String, Value> {
    let mut answers = Map::new();
    let (status, mut answer) = good(route.answer);
    set_headers(&mut answer, route, status);
    answers.insert(status.to_string(), answer);
    let envelope = match envelope_of(route.path) {
        Envelope::OpenAi => "Error",
        Envelope::Anthropic => "AnthropicError",
    };
    for status in errors(route) {
        let mut answer = json!({
            "description": meaning(status),
            "content": {"application/json": {"schema": reference(envelope)}},
        });
        set_headers(&mut answer, route, status);
        answers.insert(status.to_string(), answer);
    }
    answers
}

/// What follows from who may ask, what is read, and what is in the path.
fn errors(route: &Route) -> Vec<u16> {
    let mut errors = route.errors.to_vec();
    errors.extend([405, 500, 503]);
    if route.access != Access::Anybody {
        errors.extend([401, 403, 429]);
    }
    if !matches!(route.body, Body::None) {
        errors.extend([400, 408, 413, 415]);
    }
    if !route.query.is_empty() || route.errors.contains(&422) {
        errors.push(400);
    }
    if route.path.contains('{') {
        errors.push(404);
    }
    errors.sort_unstable();
    errors.dedup();
    errors
}

const fn meaning(status: u16) -> &'static str {
    match status {
        400 => "Something is wrong with the request; param names the field",
        401 => "The key is missing, malformed, unknown, revoked or expired; two keys; or nobody is signed in",
        402 => "The balance, or what the key may spend, does not cover it. Asking again does not help",
        403 => "The wrong scope, a suspended account, a model that the key may not use, or a page of another origin",
        404 => "What was named is not there",
        405 => "The path takes other methods: see Allow",
        408 => "The request came too slowly",
        409 => "It is there already, was decided already, or is in flight",
        413 => "The body is too large, as it came or once it is inflated",
        415 => "The Content-Encoding is not known: gzip, deflate, br and zstd are",
        422 => "The idempotency key was used with another request; or the provider refuses the request",
        426 => "No WebSocket is spoken here",
        429 => "Too much, for now: see Retry-After",
        502 => "Every provider that was asked failed before its answer began",
        503 => "Not now: see Retry-After",
        504 => "A provider took too long",
        529 => "The provider is overloaded, in its own words: see Retry-After",
        _ => "The server is at fault",
    }
}

fn good(answer: Answer) -> (u16, Value) {
    let json_of = |schema: Value| json!({"application/json": {"schema": schema}});
    let many = |described: Described| json!({"type": "array", "items": reference(&described.name())});
    let text = json!({"schema": {"type": "string"}});
    let (status, content) = match answer {
        Answer::One(status, described) => (status, json_of(reference(&described.name()))),
        Answer::Many(described) => (200, json_of(many(described))),
        Answer::Rows(described) => (200, json!({"application/json": {"schema": many(described)}, "text/csv": text})),
        Answer::Empty(status) => return (status, json!({"description": "Done"})),
        Answer::Model => (
            200,
            json!({
                "application/json": {"schema": reference("ModelAnswer")}, "text/event-stream": text,
            }),
        ),
        Answer::Text("application/json") => (200, json_of(json!({"type": "object"}))),
        Answer::Text(kind) => (200, json!({kind: text})),
    };
    (status, json!({"description": "Done", "content": content}))
}

/// Says which headers an answer of that status may have.
fn set_headers(answer: &mut Value, route: &Route, status: u16) {
    let described = headers(route, status)
        .into_iter()
        .map(|(name, says)| (name.to_owned(), json!({"schema": {"type": "string"}, "description": says})));
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("headers".to_owned(), Value::Object(described.collect()));
    }
}

fn headers(route: &Route, status: u16) -> Vec<(&'static str, &'static str)> {
    let runs = matches!(route.answer, Answer::Model);
    let mut headers = vec![("x-request-id", "The request's id; of what was charged, the usage row's request_id")];
    if envelope_of(route.path) == Envelope::Anthropic {
        headers.push(("request-id", "The same, where Anthropic's SDKs look for it"));
    }
    if status < 300 {
        headers.extend_from_slice(match route.answer {
            Answer::Many(_) | Answer::Rows(_) => &[("link", "The next page, if there is one: rel=\"next\"")],
            Answer::One(_, described) if described.name() == "TokenCount" => {
                &[("x-counted-by", "provider, or estimate: our own tokenizer")]
            }
            Answer::Model => &RECEIPT,
            _ => &[],
        });
    }
    if runs && matches!(status, 200 | 429) {
        headers.extend(STANDING);
    }
    if matches!(status, 429 | 503 | 529) || (runs && status == 402) {
        headers.push(("retry-after", "Seconds until asking again may help"));
    }
    if matches!(status, 401 | 402 | 409 | 422 | 502 | 504) {
        headers.push(("x-should-retry", "false: asking again does not help"));
    }
    match status {
        402 if runs => headers.push(("x-ratelimit-reset-spend", "When the key's spend limit begins anew, like 3600s")),
        405 => headers.push(("allow", "The methods that the path takes")),
        426 => headers.push(("upgrade", "HTTP/1.1")),
        _ => {}
    }
    headers
}

const RECEIPT: [(&str, &str); 5] = [
    ("x-cost-micro-usd", "What was debited; not if it streams"),
    ("x-balance-micro-usd", "What is left; not if it streams"),
    ("x-queue-ms", "How long the request waited for a place at a server; not if it streams"),
    ("x-max-tokens-limited", "balance: the output bound was lowered to what the balance affords"),
    ("x-idempotent-replay-of", "This is the answer to that request, again"),
];

/// Only of a key that has a limit of requests a minute.
const STANDING: [(&str, &str); 3] = [
    ("x-ratelimit-limit-requests", "The key's requests a minute"),
    ("x-ratelimit-remaining-requests", "What is left of them"),
    ("x-ratelimit-reset-requests", "When the count begins anew, like 12s"),
];
