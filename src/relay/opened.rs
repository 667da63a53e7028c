//! The first bytes of an answer, which show what it is, whatever its head says.

use std::time::Instant;

use bytes::Bytes;

use crate::meter::{Opening, reason_in};
use crate::upstream::{Body, Failure};

/// What of an answer that is none is read for its reason.
const MOST_READ: usize = 64 << 10;

/// Reads until the first bytes tell what the answer is, or it ends.
pub async fn first(body: &mut Body, deadline: Instant) -> Result<(Bytes, Option<Opening>), Failure> {
    let mut start = Bytes::new();
    loop {
        let Some(bytes) = body.next(deadline).await? else { return Ok((start, None)) };
        start = if start.is_empty() { bytes } else { [&*start, &*bytes].concat().into() };
        if let Some(kind) = Opening::of(&start) {
            return Ok((start, Some(kind)));
        }
    }
}

/// Why an answer that begins with `start` is no stream, for the operator.
pub async fn no_stream(kind: Opening, start: Bytes, body: &mut Body, deadline: Instant) -> String {
    let mut start = start.to_vec();
    while kind == Opening::Json
        && start.len() < MOST_READ
        && let Ok(Some(bytes)) = body.next(deadline).await
    {
        start.extend_from_slice(&bytes);
    }
    match reason_in(&start) {
        Some(reason) => format!("it answered a request for a stream with an error, and status 200: {reason}"),
        None => no_answer(
            kind,
            "it answered a request for a stream with one JSON object: it, or a proxy before it, does not stream",
        ),
    }
}

/// Why an answer of this kind is none.
pub fn no_answer(kind: Opening, json: &str) -> String {
    match kind {
        Opening::Json => json.to_owned(),
        Opening::Events => "it streamed its answer to a request that did not ask for a stream".to_owned(),
        Opening::Page => "it answered with a web page: is the URL the one of its API?".to_owned(),
        Opening::Other => "its answer is neither JSON nor a stream of events".to_owned(),
    }
}
