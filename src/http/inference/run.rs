//! The endpoints that run a model.

use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use actix_web::body::SizedStream;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{Error, HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::stream;
use memchr::memmem::Finder;
use tokio::time::error::Elapsed;

use super::stream::{Late, Progress, Story, events, note_model};
use crate::dialect::request::{Endpoint, InferenceRequest};
use crate::domain::ids::RequestId;
use crate::http::shared::auth::{self, Need};
use crate::http::shared::body;
use crate::http::shared::error::{self, ApiError};
use crate::http::shared::idempotency;
use crate::http::shared::log::{self, Arrived, GoneGuard, LoggedElsewhere};
use crate::http::shared::stall::{self, SignOfLife};
use crate::http::state::AppState;
use crate::relay::{Caller, InferenceCall, InferenceReply, RateLimitStatus, ReplyBody, SoFar};
use crate::upstream::Client;

/// Request headers that go to a provider. Everything else, credentials and conversation ids included,
/// stays here. So does the content type: the body was read as JSON in UTF-8, and a server that was told
/// another character set would read another request in it.
const PASSED_ON: [&str; 4] = ["accept", "user-agent", "anthropic-version", "anthropic-beta"];

/// What is passed on of headers, in bytes, and of a query. Servers refuse longer ones in ways that look like
/// their own failures.
const LONGEST_PASSED_ON: usize = 4 << 10;
const LONGEST_QUERY: usize = 2 << 10;

/// Answers a request to `endpoint`. As a service and not as a handler, of which actix keeps another copy of the request:
/// nobody could take anything out of it while it waits.
///
/// # Errors
/// None: what is wrong is in the response.
pub async fn run(endpoint: Endpoint, mut request: ServiceRequest) -> Result<ServiceResponse, Error> {
    let arrived = log::arrived(request.request());
    let payload = request.extract::<Payload>().await?;
    let data = request.app_data::<Data<AppState>>().cloned().zip(request.app_data::<Data<Client>>().cloned());
    let guard = GoneGuard::new(request);
    let (request, answered) = match data {
        Some((state, client)) => answer(endpoint, payload, &state, client, &arrived, guard).await,
        None => (guard.answered(), Err(ApiError::internal())),
    };
    let answer = answered.unwrap_or_else(|e| e.response(endpoint.dialect().errors.envelope, Some(arrived.id)));
    Ok(ServiceResponse::new(request, answer))
}

async fn answer(
    endpoint: Endpoint,
    payload: Payload,
    state: &Data<AppState>,
    client: Data<Client>,
    arrived: &Arrived,
    mut guard: GoneGuard,
) -> (HttpRequest, Result<HttpResponse, ApiError>) {
    // Boxed: it is larger than what waits later on.
    let begun = match Box::pin(read(endpoint, guard.request(), payload, state, *arrived)).await {
        Ok((caller, call)) => Begun::new(state, client, caller, call),
        Err(e) => return (guard.answered(), Err(e)),
    };
    let Begun { mut story, text, rate_limit, so_far } = begun;
    let until_it_waits = poll_fn(|cx| {
        let polled = story.as_mut().poll(cx);
        if polled.is_pending() && so_far.waits.load(Ordering::Relaxed) {
            guard.lighten();
        }
        polled
    });
    let answered = match timeout(state.settings.sign_of_life, until_it_waits, may_stream(&text)).await {
        Ok(answered) => answered,
        Err(_) if InferenceRequest::read(endpoint, &text).is_ok_and(|asked| asked.stream) => {
            let request = guard.request().clone();
            let late = Late { guard, text };
            let mut head = HttpResponse::Ok();
            terms_headers(&mut head, so_far.output_capped.get().copied().unwrap_or(false), rate_limit);
            let late = begin_late(head, endpoint, &request, state, arrived.id, Progress::Waiting(story, late));
            return (request, Ok(late));
        }
        Err(_) => story.await,
    };
    let request = guard.answered();
    let response = answered.map(|reply| {
        let again = matches!(reply.body, ReplyBody::Replay(_));
        let mut response = respond(reply, arrived.id, &request, state);
        if !again {
            response.extensions_mut().insert(LoggedElsewhere);
        }
        response
    });
    if response.is_err() {
        note_model(endpoint, &request, &text);
    }
    (request, response.map_err(ApiError::from))
}

/// A story that is to be told, and what of it is needed beside.
struct Begun {
    story: Story,
    text: Bytes,
    rate_limit: Option<RateLimitStatus>,
    so_far: Arc<SoFar>,
}

impl Begun {
    fn new(state: &AppState, client: Data<Client>, caller: Caller, call: InferenceCall) -> Self {
        let (text, rate_limit, so_far) = (call.body.clone(), call.rate_limit, Arc::clone(&call.so_far));
        let relay = Arc::clone(&state.relay);
        let story: Story = Box::pin(async move { relay.run(&client, &caller, &call).await });
        Self { story, text, rate_limit, so_far }
    }
}

/// Who asks, and what.
async fn read(
    endpoint: Endpoint,
    request: &HttpRequest,
    payload: Payload,
    state: &AppState,
    arrived: Arrived,
) -> Result<(Caller, InferenceCall), ApiError> {
    check_query(request)?;
    let caller = auth::caller(state, request, Need::Inference).await?;
    let rate_limit = state.relay.count_request(&caller)?;
    let body = body::read_prompt(state, request, payload, || state.relay.await_body(&caller)).await?;
    let idempotency = idempotency::inference_key(request, &body)?;
    Ok((caller, InferenceCall { idempotency, rate_limit, ..call(endpoint, request, body, arrived) }))
}

/// A timeout that is not set where nothing would come of it.
async fn timeout<F: Future + Unpin>(limit: Duration, future: F, is_set: bool) -> Result<F::Output, Elapsed> {
    // Boxed: of those who wait most need none.
    if is_set { Box::pin(tokio::time::timeout(limit, future)).await } else { Ok(future.await) }
}

/// A stream is asked for, as far as a look can tell that costs next to nothing: the key may be spelled with escapes.
fn may_stream(body: &[u8]) -> bool {
    static STREAM: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"stream\""));
    static ESCAPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\\u00"));
    STREAM.find(body).is_some() || ESCAPE.find(body).is_some()
}

/// Refuses a query that no server would take.
///
/// # Errors
/// 400.
pub fn check_query(request: &HttpRequest) -> Result<(), ApiError> {
    if request.query_string().len() > LONGEST_QUERY {
        return Err(ApiError::invalid(None, format!("the query string is longer than {LONGEST_QUERY} bytes")));
    }
    Ok(())
}

/// The call that a request makes, before its key and its limits are checked.
pub fn call(endpoint: Endpoint, request: &HttpRequest, body: Bytes, arrived: Arrived) -> InferenceCall {
    let mut room = LONGEST_PASSED_ON;
    let headers = PASSED_ON
        .iter()
        .flat_map(|&name| request.headers().get_all(name).map(move |value| (name, value.as_bytes().to_vec())))
        .filter(|(_, value)| room.checked_sub(value.len()).map(|left| room = left).is_some())
        .collect();
    let query = request.query_string().to_owned();
    let (request_id, began, so_far) = (arrived.id, arrived.at, Arc::default());
    InferenceCall { request_id, endpoint, query, headers, body, idempotency: None, rate_limit: None, began, so_far }
}

fn respond(reply: InferenceReply, request_id: RequestId, request: &HttpRequest, state: &AppState) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    terms_headers(&mut response, reply.output_capped, reply.rate_limit);
    match reply.body {
        ReplyBody::Whole { body, cost, balance, waited, .. } => {
            header(&mut response, "x-cost-micro-usd", &cost.micro().to_string());
            header(&mut response, "x-balance-micro-usd", &balance.micro().to_string());
            header(&mut response, "x-queue-ms", &waited.as_millis().to_string());
            response.content_type("application/json");
            let size = body.iter().map(Bytes::len).sum::<usize>();
            match <[Bytes; 1]>::try_from(body) {
                Ok([body]) => response.body(body),
                Err(pieces) => {
                    let pieces = pieces.into_iter().flat_map(slices);
                    let pieces = stream::iter(pieces.map(Ok::<_, std::convert::Infallible>));
                    response.body(SizedStream::new(u64::try_from(size).unwrap_or(u64::MAX), pieces))
                }
            }
        }
        ReplyBody::Replay(saved) => {
            header(&mut response, "x-cost-micro-usd", &saved.cost.micro().to_string());
            header(&mut response, "x-balance-micro-usd", &saved.balance.micro().to_string());
            // The id of this exchange is another one; the charge, and its row, are those of the first.
            header(&mut response, "x-idempotent-replay-of", &saved.request_id.to_string());
            let media_type = if saved.stream { "text/event-stream" } else { "application/json" };
            response.content_type(media_type).body(saved.body.clone())
        }
        ReplyBody::Stream(answer) => {
            let sign = SignOfLife { at_once: false, ..sign_of(answer.endpoint(), state) };
            stream_response(response, answer.endpoint(), request, state, request_id, Progress::Begun(answer), sign)
        }
    }
}

/// Bytes in small slices: what is handed over for writing is copied.
fn slices(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    const SLICE: usize = 64 << 10;
    std::iter::from_fn(move || {
        let slice = bytes.split_to(bytes.len().min(SLICE));
        (!slice.is_empty()).then_some(slice)
    })
}

/// A stream whose head is sent before it is known whether an answer comes: it has waited long enough for a proxy
/// to give up. What fails from here on is an event.
fn begin_late(
    head: HttpResponseBuilder,
    endpoint: Endpoint,
    request: &HttpRequest,
    state: &AppState,
    request_id: RequestId,
    progress: Progress,
) -> HttpResponse {
    let sign = SignOfLife { at_once: true, ..sign_of(endpoint, state) };
    let mut response = stream_response(head, endpoint, request, state, request_id, progress, sign);
    response.extensions_mut().insert(LoggedElsewhere);
    response
}

fn stream_response(
    mut response: HttpResponseBuilder,
    endpoint: Endpoint,
    request: &HttpRequest,
    state: &AppState,
    request_id: RequestId,
    progress: Progress,
    sign: SignOfLife,
) -> HttpResponse {
    response.insert_header((CACHE_CONTROL, HeaderValue::from_static("no-cache")));
    // nginx in front would otherwise hold events back until its buffer is full.
    header(&mut response, "x-accel-buffering", "no");
    let events = stall::watch(events(progress, endpoint, request_id), request, state.settings.write_timeout, sign);
    response.content_type("text/event-stream").streaming(events)
}

/// What a stream of the dialect says while it waits.
fn sign_of(endpoint: Endpoint, state: &AppState) -> SignOfLife {
    let text = Bytes::from_static(endpoint.dialect().errors.sign_of_life.as_bytes());
    SignOfLife { every: state.settings.sign_of_life, text, at_once: false }
}

fn terms_headers(response: &mut HttpResponseBuilder, output_capped: bool, rate_limit: Option<RateLimitStatus>) {
    if output_capped {
        header(response, "x-max-tokens-limited", "balance");
    }
    if let Some(rate_limit) = rate_limit {
        error::rate_limit_headers(response, rate_limit);
    }
}

/// Adds a header.
pub fn header(response: &mut HttpResponseBuilder, name: &'static str, value: &str) {
    response.insert_header((HeaderName::from_static(name), value));
}
