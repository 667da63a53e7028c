//! The conformance probe: one short request to each endpoint of a provider, to see what it serves and
//! what it reports.

use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

use super::send::{self, Begun, Failed};
use crate::domain::request::{Endpoint, InferenceRequest};
use crate::domain::usage::Reported;
use crate::meter::State;
use crate::upstream::{Client, Target};

/// What one endpoint of a provider did.
#[derive(Debug, Clone, Serialize)]
pub struct Probed {
    /// `/v1/chat/completions` …
    pub endpoint: &'static str,
    /// The request asked for a stream.
    pub stream: bool,
    /// It gave an answer that can be metered.
    pub serves: bool,
    /// It reported prompt and completion tokens.
    pub reports_usage: bool,
    /// It reported how much of the prompt it read from a cache.
    pub reports_cached: bool,
    /// Until the answer was whole, in milliseconds.
    pub total_ms: u64,
    /// Why it does not serve it.
    pub error: Option<String>,
}

/// Tries every endpoint of `target`, streaming and not.
pub async fn probe(client: &Client, target: &Target) -> Vec<Probed> {
    let mut rows = Vec::new();
    for endpoint in Endpoint::ALL {
        for stream in [false, true] {
            if stream && !endpoint.generates() {
                continue;
            }
            let began = Instant::now();
            let result = one(client, target, endpoint, stream).await;
            rows.push(Probed {
                endpoint: endpoint.path(),
                stream,
                serves: result.is_ok(),
                reports_usage: result.as_ref().is_ok_and(Reported::is_whole),
                reports_cached: result.as_ref().is_ok_and(|r| r.cached_tokens.is_some()),
                total_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                error: result.err(),
            });
        }
    }
    rows
}

async fn one(client: &Client, target: &Target, endpoint: Endpoint, stream: bool) -> Result<Reported, String> {
    let body = body(endpoint, &target.upstream_model, stream);
    let request = InferenceRequest::read(endpoint, body.as_bytes()).map_err(|e| e.to_string())?;
    let sent = Bytes::from(request.for_upstream(&target.upstream_model, 1).into_owned());
    let begun = send::attempt(client, &request, target, "", &[], sent).await.map_err(|e| match e {
        Failed::Provider { why, .. } => why,
        Failed::Busy(_) => "it is busy".to_owned(),
        Failed::Request { status, message } => format!("{status}: {message}"),
    })?;
    match begun {
        Begun::Whole(answer) => Ok(answer.reported()),
        Begun::Stream { mut state, mut meter, mut body, .. } => loop {
            match state {
                State::Ended => return Ok(meter.reported()),
                State::Failed(e) => return Err(e.to_string()),
                State::More => {}
            }
            let deadline = Instant::now() + body.idle();
            state = match body.next(deadline).await.map_err(|e| e.to_string())? {
                Some(bytes) => meter.push(bytes).state,
                None => meter.end_of_input(),
            };
        },
    }
}

fn body(endpoint: Endpoint, model: &str, stream: bool) -> String {
    let messages = json!([{"role": "user", "content": "Hi"}]);
    match endpoint {
        Endpoint::ChatCompletions => json!({"model": model, "messages": messages, "max_tokens": 1, "stream": stream}),
        Endpoint::Completions => json!({"model": model, "prompt": "Hi", "max_tokens": 1, "stream": stream}),
        Endpoint::Embeddings => json!({"model": model, "input": "Hi"}),
        Endpoint::Responses => json!({"model": model, "input": "Hi", "max_output_tokens": 1, "stream": stream}),
        Endpoint::Messages => json!({"model": model, "messages": messages, "max_tokens": 1, "stream": stream}),
    }
    .to_string()
}
