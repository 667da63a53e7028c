//! The endpoints that run a model.

use actix_web::body::SizedStream;
use actix_web::http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::stream;

use super::auth::{self, Need};
use super::body;
use super::error::{self, ApiError, Envelope};
use super::idempotent;
use super::log::{self, Arrived, GoneGuard, LoggedElsewhere};
use super::stall;
use super::world::World;
use crate::domain::ids::RequestId;
use crate::domain::request::{Endpoint, InferenceRequest};
use crate::relay::{Answer, Answered, Asked, Part, StreamAnswer};
use crate::upstream::Client;

/// Request headers that go to a provider. Everything else, credentials and conversation ids included,
/// stays here. So does the content type: the body was read as JSON in UTF-8, and a server that was told
/// another character set would read another request in it.
const PASSED_ON: [&str; 4] = ["accept", "user-agent", "anthropic-version", "anthropic-beta"];

/// Answers a request to `endpoint`.
pub async fn run(
    endpoint: Endpoint,
    request: HttpRequest,
    payload: Payload,
    world: Data<World>,
    client: Data<Client>,
) -> HttpResponse {
    let arrived = log::arrived(&request);
    let guard = GoneGuard::new(&request);
    let answered = answer(endpoint, &request, payload, &world, &client, arrived).await;
    guard.answered();
    answered.unwrap_or_else(|e| e.response(Envelope::of_path(endpoint.path()), Some(arrived.id)))
}

async fn answer(
    endpoint: Endpoint,
    request: &HttpRequest,
    payload: Payload,
    world: &World,
    client: &Client,
    arrived: Arrived,
) -> Result<HttpResponse, ApiError> {
    let caller = auth::caller(world, request, Need::Inference).await?;
    let standing = world.relay.count_request(&caller)?;
    let body = body::read_prompt(world, request, payload, || world.relay.await_body(&caller)).await?;
    let idempotency = idempotent::inference_key(request, &body)?;
    let asked = Asked { idempotency, standing, ..asked(endpoint, request, body, arrived) };
    let text = asked.body.clone();
    let answered = world.relay.run(client, &caller, asked).await.inspect_err(|_| {
        // The line of a refused request should say what was asked for.
        if let Ok(refused) = InferenceRequest::read(endpoint, &text) {
            log::note_model(request, &refused.model);
        }
    })?;
    let again = matches!(answered.answer, Answer::Again(_));
    let mut response = respond(answered, arrived.id, request, world);
    if !again {
        response.extensions_mut().insert(LoggedElsewhere);
    }
    Ok(response)
}

fn asked(endpoint: Endpoint, request: &HttpRequest, body: Bytes, arrived: Arrived) -> Asked {
    let headers = PASSED_ON
        .iter()
        .flat_map(|&name| request.headers().get_all(name).map(move |value| (name, value.as_bytes().to_vec())))
        .collect();
    let query = request.query_string().to_owned();
    let (idempotency, standing) = (None, None);
    Asked { request_id: arrived.id, endpoint, query, headers, body, idempotency, standing, began: arrived.at }
}

/// `POST /v1/messages/count_tokens`: free, and not metered.
pub async fn count_tokens(
    request: HttpRequest,
    payload: Payload,
    world: Data<World>,
    client: Data<Client>,
) -> HttpResponse {
    let arrived = log::arrived(&request);
    let counted = counted(&request, payload, &world, &client, arrived).await;
    let answer = counted.map(|tokens| HttpResponse::Ok().json(serde_json::json!({"input_tokens": tokens})));
    answer.unwrap_or_else(|e| e.response(Envelope::Anthropic, Some(arrived.id)))
}

async fn counted(
    request: &HttpRequest,
    payload: Payload,
    world: &World,
    client: &Client,
    arrived: Arrived,
) -> Result<u64, ApiError> {
    let caller = auth::caller(world, request, Need::Inference).await?;
    let body = body::read_prompt(world, request, payload, || world.relay.await_free_body(&caller)).await?;
    let asked = asked(Endpoint::Messages, request, body, arrived);
    Ok(world.relay.count_tokens(client, &caller, &asked).await?)
}

fn respond(answered: Answered, request_id: RequestId, request: &HttpRequest, world: &World) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    if answered.limited {
        header(&mut response, "x-max-tokens-limited", "balance");
    }
    if let Some(standing) = answered.standing {
        error::standing_headers(&mut response, standing);
    }
    match answered.answer {
        Answer::Whole { body, cost, balance, .. } => {
            header(&mut response, "x-cost-micro-usd", &cost.micro().to_string());
            header(&mut response, "x-balance-micro-usd", &balance.micro().to_string());
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
        Answer::Again(saved) => {
            header(&mut response, "x-cost-micro-usd", &saved.cost.micro().to_string());
            header(&mut response, "x-balance-micro-usd", &saved.balance.micro().to_string());
            // The id of this exchange is another one; the charge, and its row, are those of the first.
            header(&mut response, "x-idempotent-replay-of", &saved.request_id.to_string());
            let media_type = if saved.stream { "text/event-stream" } else { "application/json" };
            response.content_type(media_type).body(saved.body.clone())
        }
        Answer::Stream(answer) => {
            response.insert_header((CACHE_CONTROL, HeaderValue::from_static("no-cache")));
            // nginx in front would otherwise hold events back until its buffer is full.
            header(&mut response, "x-accel-buffering", "no");
            let events = events(answer, request_id);
            let events = stall::watch(events, request, world.settings.write_timeout);
            response.content_type("text/event-stream").streaming(events)
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

fn header(response: &mut HttpResponseBuilder, name: &'static str, value: &str) {
    response.insert_header((HeaderName::from_static(name), value));
}

/// The parts as a body. When the connection drops it, the answer is dropped with it.
fn events(
    answer: Box<StreamAnswer>,
    request_id: RequestId,
) -> impl futures_util::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    stream::unfold(Some(answer), move |answer| async move {
        let mut answer = answer?;
        match answer.next().await? {
            Part::Bytes(bytes) => Some((Ok(bytes), Some(answer))),
            Part::Failed(refusal) => {
                let e = ApiError::from(refusal);
                let broken = answer.broken("server_error", e.message());
                let event = broken.unwrap_or_else(|| error_event(answer.endpoint(), &e, request_id));
                Some((Ok(event), None))
            }
        }
    })
}

/// One event with the envelope, and no `[DONE]`.
fn error_event(endpoint: Endpoint, e: &ApiError, request_id: RequestId) -> Bytes {
    let envelope = Envelope::of_path(endpoint.path());
    let body = e.body(envelope, Some(request_id));
    let name = match envelope {
        Envelope::Anthropic => "event: error\n",
        Envelope::OpenAi => "",
    };
    Bytes::from(format!("{name}data: {body}\n\n"))
}
