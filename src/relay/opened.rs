//! The first bytes of an answer, which show what it is, whatever its head says.

use std::time::Instant;

use bytes::Bytes;

use super::reason;
use crate::domain::json::fields::reason_in;
use crate::meter::Opening;
use crate::upstream::{Failure, UpstreamBody};

/// What of an answer that is none is read for its reason.
const MOST_READ: usize = 64 << 10;

/// Reads until the first bytes tell what the answer is, or it ends.
pub async fn first(body: &mut UpstreamBody, deadline: Instant) -> Result<(Bytes, Option<Opening>), Failure> {
    let mut start = Bytes::new();
    loop {
        let Some(bytes) = body.next(deadline).await? else { return Ok((start, None)) };
        start = if start.is_empty() { bytes } else { [&*start, &*bytes].concat().into() };
        if let Some(kind) = Opening::of(&start) {
            return Ok((start, Some(kind)));
        }
    }
}

/// What of an answer that begins with `start` is read for the reason why it is no stream.
pub async fn read_on(kind: Opening, start: Bytes, body: &mut UpstreamBody, deadline: Instant) -> Vec<u8> {
    let mut start = start.to_vec();
    while kind == Opening::Json
        && start.len() < MOST_READ
        && let Ok(Some(bytes)) = body.next(deadline).await
    {
        start.extend_from_slice(&bytes);
    }
    start.truncate(MOST_READ);
    start
}

/// The error in an answer with status 200 as the caller may see it. No more of it is read than tells the reason.
pub fn reason_to_show(body: &[u8]) -> Option<String> {
    // Who asks takes the key out, here as in all that a server says.
    reason::of_failure(body.get(..MOST_READ.min(body.len())).unwrap_or_default(), None)
}

/// Why an answer that begins with `start` is no stream, for the operator; true if it is an error.
pub fn no_stream(kind: Opening, start: &[u8]) -> (String, bool) {
    match reason_in(start) {
        Some(reason) => (format!("it answered a request for a stream with an error, and status 200: {reason}"), true),
        None => {
            let json =
                "it answered a request for a stream with one JSON object: it, or a proxy before it, does not stream";
            (no_answer(kind, json), false)
        }
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
