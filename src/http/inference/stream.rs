//! A stream's events as the bytes of a body, from before it is known whether there is an answer.

use std::convert::Infallible;
use std::pin::Pin;

use actix_web::HttpRequest;
use actix_web::web::Bytes;
use futures_util::stream;

use crate::dialect::request::{Endpoint, InferenceRequest};
use crate::domain::ids::RequestId;
use crate::http::shared::error::ApiError;
use crate::http::shared::log::{self, GoneGuard};
use crate::relay::{InferenceReply, Refusal, ReplyBody, ReplyStream, StreamPart};

/// The story of one request, on its own legs: it can go on in the body of an answer that has begun.
pub type Story = Pin<Box<dyn Future<Output = Result<InferenceReply, Refusal>>>>;

/// How far a stream is.
pub enum Progress {
    /// No provider has begun to answer yet.
    Waiting(Story, Late),
    /// It passes.
    Begun(ReplyStream),
}

/// What a request whose head is out already needs for its line in the log.
pub struct Late {
    /// Writes the line, also if the client is gone.
    pub guard: GoneGuard,
    /// The body, as it came.
    pub text: Bytes,
}

/// The parts as a body. When the connection drops it, the story or the answer is dropped with it.
pub fn events(
    progress: Progress,
    endpoint: Endpoint,
    request_id: RequestId,
) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    let error = move |e: &ApiError| error_event(endpoint, e, request_id);
    stream::unfold(Some(progress), move |progress| async move {
        let mut answer = match progress? {
            Progress::Begun(answer) => answer,
            Progress::Waiting(story, late) => match story.await.map(|reply| reply.body) {
                Ok(ReplyBody::Stream(answer)) => {
                    late.guard.answered();
                    answer
                }
                Ok(ReplyBody::Replay(saved)) => {
                    late.guard.answered_late(200);
                    return Some((Ok(saved.body.clone()), None));
                }
                Ok(ReplyBody::Whole { .. }) => {
                    late.guard.answered();
                    return Some((Ok(error(&ApiError::internal())), None));
                }
                Err(refusal) => {
                    note_model(endpoint, late.guard.request(), &late.text);
                    let e = ApiError::from(refusal);
                    late.guard.answered_late(e.status().as_u16());
                    return Some((Ok(error(&e)), None));
                }
            },
        };
        match answer.next().await? {
            StreamPart::Bytes(bytes) => Some((Ok(bytes), Some(Progress::Begun(answer)))),
            StreamPart::Failed(refusal) => {
                let e = ApiError::from(refusal);
                let broken = answer.broken("server_error", e.message());
                Some((Ok(broken.unwrap_or_else(|| error(&e))), None))
            }
        }
    })
}

/// One event with the envelope, or what the dialect has in its place, and no `[DONE]`.
fn error_event(endpoint: Endpoint, e: &ApiError, request_id: RequestId) -> Bytes {
    let errors = &endpoint.dialect().errors;
    if let Some(failed) = errors.failed {
        return Bytes::from(failed(&request_id.to_string(), e.message()));
    }
    Bytes::from(format!("{}data: {}\n\n", errors.event_line, e.body(errors.envelope, Some(request_id))))
}

/// The line of a refused request should say what was asked for.
pub fn note_model(endpoint: Endpoint, request: &HttpRequest, text: &[u8]) {
    if let Ok(refused) = InferenceRequest::read(endpoint, text) {
        log::note_model(request, &refused.model);
    }
}
