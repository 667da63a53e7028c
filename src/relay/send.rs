//! Sending: the next provider, only before the first byte.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::admit::Admitted;
use super::{Asked, Refusal, Relay};
use crate::domain::request::InferenceRequest;
use crate::meter::{State, StreamMeter, WholeAnswer};
use crate::store::providers::Offer;
use crate::upstream::{Answer, Body, Client, Failure, Slot, Target, Unavailable};

/// A provider's answer that can be passed on.
#[derive(Debug)]
pub enum Begun {
    /// It is all there.
    Whole(WholeAnswer),
    /// Its first events are there.
    Stream {
        /// What may go to the client already.
        first: Bytes,
        /// What the meter made of them.
        state: State,
        /// It has looked at them.
        meter: Box<StreamMeter>,
        /// The rest.
        body: Body,
    },
}

/// An answer, who gives it, and since when.
#[derive(Debug)]
pub struct Sent {
    pub(super) begun: Begun,
    pub(super) offer: Arc<Offer>,
    pub(super) slot: Slot,
    pub(super) sent: Instant,
    pub(super) first_byte: Instant,
}

/// Why one provider did not answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// The next one may do better. The text is for the log: it may hold a provider's address.
    Provider { why: String, says: &'static str, status: Option<u16>, no_answer: bool, timeout: bool },
    /// It has no room; again after so many seconds.
    Busy(Option<u64>),
    /// The request is at fault: the next one would say the same.
    Request { status: u16, message: String },
}

/// A larger answer that is not streamed is cut off: it has to be held in memory.
const LARGEST_WHOLE: usize = 64 << 20;
/// What of a provider's error text is shown.
const LONGEST_MESSAGE: usize = 2_000;

impl Relay {
    /// Tries the providers in order until one begins to answer.
    pub(super) async fn send(
        self: &Arc<Self>,
        client: &Client,
        asked: &Asked,
        request: &InferenceRequest<'_>,
        admitted: &Admitted,
    ) -> Result<Sent, Refusal> {
        let targets = admitted.offered.offers.iter().map(|offer| self.target(offer)).collect();
        let ranked = self.providers.rank(targets, Instant::now()).map_err(|e| match e {
            Unavailable::Full => Refusal::ProvidersFull(None),
            Unavailable::Down(wait) => Refusal::ProvidersDown(wait),
        })?;
        let mut refusal = Refusal::ProvidersFull(None);
        for target in &ranked {
            let Some(slot) = self.providers.take(target) else { continue };
            let sent = Instant::now();
            let body = request.for_upstream(&target.upstream_model, admitted.bounds.completion_tokens);
            let body = match body {
                std::borrow::Cow::Borrowed(_) => asked.body.clone(),
                std::borrow::Cow::Owned(text) => Bytes::from(text),
            };
            match attempt(client, request, target, &asked.query, &asked.headers, body).await {
                Ok(begun) => {
                    let first_byte = Instant::now();
                    slot.answered(first_byte.duration_since(sent));
                    let mut offers = admitted.offered.offers.iter();
                    let Some(offer) = offers.find(|offer| offer.provider.id == target.provider) else { continue };
                    return Ok(Sent { begun, offer: Arc::clone(offer), slot, sent, first_byte });
                }
                Err(Failed::Request { status, message }) => {
                    slot.answered(sent.elapsed());
                    return Err(Refusal::ByProvider { status, message });
                }
                Err(Failed::Busy(seconds)) => {
                    if !matches!(refusal, Refusal::ProviderFailed(_) | Refusal::ProviderTimeout) {
                        refusal = Refusal::ProvidersFull(seconds.map(std::time::Duration::from_secs));
                    }
                }
                Err(Failed::Provider { why, says, no_answer, timeout, .. }) => {
                    tracing::warn!(request_id = %asked.request_id, provider = target.name, why, "a provider failed");
                    slot.failed(&why, no_answer, Instant::now());
                    refusal = if timeout { Refusal::ProviderTimeout } else { Refusal::ProviderFailed(says) };
                }
            }
        }
        Err(refusal)
    }

    /// Where an offer is sent, with its key.
    pub(super) fn target(&self, offer: &Offer) -> Target {
        let provider = &offer.provider;
        Target {
            provider: provider.id,
            name: provider.name.clone(),
            url: provider.url.clone(),
            api_key: provider.api_key.as_ref().and_then(self.resolve_key),
            upstream_model: offer.upstream_model.clone(),
            max_concurrent: provider.max_concurrent,
        }
    }
}

/// Asks one provider.
pub(super) async fn attempt(
    client: &Client,
    request: &InferenceRequest<'_>,
    target: &Target,
    query: &str,
    headers: &[(&'static str, Vec<u8>)],
    body: Bytes,
) -> Result<Begun, Failed> {
    let mut path = request.endpoint.upstream_path().to_owned();
    if !query.is_empty() {
        path = format!("{path}?{query}");
    }
    let sent = Instant::now();
    let answer = client.post(target, &path, headers, body).await?;
    match answer.status {
        200..=299 if answer.is_encoded => Err(failed("it compressed its answer, unasked", "an unusable answer")),
        200..=299 if request.stream => begin_stream(answer, request, sent + client.first_byte()).await,
        200..=299 => read_whole(answer, request).await,
        status => Err(read_error(status, answer).await),
    }
}

async fn read_whole(answer: Answer, request: &InferenceRequest<'_>) -> Result<Begun, Failed> {
    if answer.media_type == "text/event-stream" {
        return Err(failed("it streamed an answer that was not to be streamed", "an unusable answer"));
    }
    let body = answer.body.whole(LARGEST_WHOLE).await?;
    let answer = WholeAnswer::read(request.endpoint, body);
    answer
        .map(|answer| Begun::Whole(answer.named(&request.model)))
        .map_err(|e| failed(&e.to_string(), "an unusable answer"))
}

/// Reads until there is something to pass on: up to then the next provider can still take over. Some
/// servers send their head at once and think afterwards, so the first event has the first byte's time.
async fn begin_stream(answer: Answer, request: &InferenceRequest<'_>, deadline: Instant) -> Result<Begun, Failed> {
    if answer.media_type != "text/event-stream" {
        return Err(failed("it did not stream", "an unusable answer"));
    }
    let mut body = answer.body;
    let mut meter = Box::new(StreamMeter::new(request.endpoint, request.include_usage).named(&request.model));
    loop {
        let (first, events, state) = match body.next(deadline).await? {
            Some(bytes) => {
                let pushed = meter.push(bytes);
                (pushed.forward, pushed.data_events, pushed.state)
            }
            None => (Bytes::new(), 0, meter.end_of_input()),
        };
        match state {
            // Only comments so far are no answer.
            State::More if events == 0 || first.is_empty() => {}
            State::Failed(e) if !meter.output_started() => {
                return Err(failed(&e.to_string(), "it failed before its answer began"));
            }
            state => return Ok(Begun::Stream { first, state, meter, body }),
        }
    }
}

/// Sorts a provider's error: whose fault is it?
async fn read_error(status: u16, answer: Answer) -> Failed {
    let retry_after = answer.retry_after;
    match status {
        408 | 425 | 429 => Failed::Busy(retry_after),
        400 | 413 | 422 => {
            let body = answer.body.whole(LONGEST_MESSAGE * 8).await.unwrap_or_default();
            Failed::Request { status, message: message(&body) }
        }
        300..=399 => failed(&format!("it answered {status}: redirects are not followed"), "an unusable answer"),
        // 401, 403, 404: the settings of the provider are wrong, which no client can mend.
        _ => Failed::Provider {
            why: format!("it answered {status}"),
            says: "it answered with an error",
            status: Some(status),
            no_answer: false,
            timeout: false,
        },
    }
}

/// The message of an error body in any of the shapes that servers use, made safe to show.
fn message(body: &[u8]) -> String {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = [json.pointer("/error/message"), json.get("message"), json.get("detail"), json.get("error")]
        .into_iter()
        .flatten()
        .find_map(serde_json::Value::as_str)
        .unwrap_or("the provider refused the request");
    text.chars().filter(|c| !c.is_control()).take(LONGEST_MESSAGE).collect()
}

fn failed(why: &str, says: &'static str) -> Failed {
    Failed::Provider { why: why.to_owned(), says, status: Some(200), no_answer: false, timeout: false }
}

impl From<Failure> for Failed {
    fn from(e: Failure) -> Self {
        let timeout = matches!(e, Failure::Timeout(_));
        let no_answer = timeout || matches!(e, Failure::NoAnswer(_));
        Self::Provider { why: e.to_string(), says: "it cannot be reached", status: None, no_answer, timeout }
    }
}
