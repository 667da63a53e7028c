//! Sending: the next provider, only before the first byte.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::admit::Admission;
use super::attempts::{self, AttemptFailure, Attempts, unusable};
use super::opened;
use super::queue::Placed;
use super::reason;
use super::sorting;
use super::wait::{Seat, Turn};
use super::{Caller, InferenceCall, Refusal, Relay, ResolveKey};
use crate::dialect::request::InferenceRequest;
use crate::dialect::request::output_fields::OutputFields;
use crate::domain::secret::Secret;
use crate::meter::{BadAnswer, Opening, StreamMeter, StreamState, WholeAnswer};
use crate::store::providers::{Offer, ProviderRow};
use crate::upstream::{AnswerShare, Client, Failure, On, Target, UpstreamBody};

/// A provider's answer that can be passed on.
#[derive(Debug)]
pub enum UpstreamReply {
    /// It is all there.
    Whole(WholeAnswer),
    /// Its first events are there.
    Stream(StreamStart),
}

/// The beginning of a stream, as far as it had to be read.
#[derive(Debug)]
pub struct StreamStart {
    /// What may go to the client already.
    pub first: Bytes,
    /// What the meter made of it.
    pub state: StreamState,
    /// It has inspected it.
    pub meter: Box<StreamMeter>,
    /// The rest.
    pub body: UpstreamBody,
}

/// An answer, who gives it, and since when.
#[derive(Debug)]
pub struct Dispatch {
    pub(super) reply: UpstreamReply,
    pub(super) offer: Arc<Offer>,
    pub(super) seat: Seat,
    /// For a place, of all that it took.
    pub(super) waited: Duration,
    pub(super) sent: Instant,
    pub(super) first_byte: Instant,
}

/// A larger answer that is not streamed is cut off: it has to be held in memory.
pub const LARGEST_WHOLE: usize = 64 << 20;

impl Relay {
    /// Asks the servers in order until one begins to answer: each once, three in all, and no other once two have
    /// failed alike. Only one whose kept connection was closed has another turn, after the others, and one that has no
    /// room is waited for.
    pub(super) async fn send(
        self: &Arc<Self>,
        client: &Client,
        caller: &Caller,
        call: &InferenceCall,
        request: &InferenceRequest<'_>,
        admission: &Admission,
        turn: Turn,
    ) -> Result<Dispatch, Refusal> {
        let (mut tried, mut lacks_endpoint) = (Attempts::default(), false);
        let share = || self.answers.share(caller.account, true);
        let Turn { mut placed, passes, until, mut waited, conversation } = turn;
        let mut stood = None;
        let refusal = loop {
            let Placed { place, target, mut others, ticket } = placed;
            stood = ticket.or(stood);
            let sent = Instant::now();
            let (model, output) = (target.upstream_model.as_str(), admission.bounds.completion_tokens);
            let body = request.pieces_for_upstream(&call.body, model, output, &target.allow, &target.takes);
            let along = (call.query.as_str(), call.headers.as_slice());
            match attempt(client, request, &target, along, body, tried.on(), &share).await {
                Ok(reply) => {
                    let first_byte = Instant::now();
                    place.answered(first_byte.duration_since(sent));
                    if let Some(conversation) = conversation {
                        self.affinity.note(conversation, target.provider);
                    }
                    let mut offers = admission.offered.offers.iter();
                    let offer = offers.find(|offer| offer.provider.id == target.provider);
                    let offer = offer.ok_or(Refusal::ProvidersFull(None))?;
                    let seat = Seat { place, _passes: passes };
                    return Ok(Dispatch { reply, offer: Arc::clone(offer), seat, sent, first_byte, waited });
                }
                // The next one may have it.
                Err(failed) if request.endpoint.is_rare() && failed.is_no_path() => lacks_endpoint = true,
                Err(failed) => {
                    let print = attempts::print(&call.body, caller.account);
                    failed.tell(&place, call.request_id, print, &target.name, sent);
                    if let Some(takes) = other_field(request, &target, &failed) {
                        placed = Placed { place, target: Target { takes, ..target }, others, ticket };
                        continue;
                    }
                    let provider = target.provider;
                    if tried.keep(target, failed, until, &mut others)? && ticket.is_some() {
                        self.queue.refund(provider, caller.account, admission.work());
                    }
                }
            }
            drop(place);
            match self.next_place(caller, request, admission, others, &mut tried.without_room, (until, stood)).await {
                Ok((next, took)) => (placed, waited) = (next, waited + took),
                Err(Some(Refusal::Draining)) => return Err(Refusal::Draining),
                Err(refusal) => break refusal,
            }
        };
        match tried.end(&request.model, refusal) {
            Refusal::ProvidersFull(_) if lacks_endpoint => Err(self.not_served(request)?),
            refusal => Err(refusal),
        }
    }

    /// Who can be asked, in which order.
    pub(super) fn ranked(&self, admission: &Admission) -> Result<Vec<Target>, Refusal> {
        let targets = admission.offered.offers.iter().map(|offer| self.target(offer)).collect();
        self.providers.rank(targets, Instant::now()).map_err(Refusal::ProvidersDown)
    }

    /// Where an offer is sent, with its key.
    pub(super) fn target(&self, offer: &Offer) -> Target {
        let target = target_of(&offer.provider, &offer.upstream_model, self.resolve_key);
        Target { takes: offer.takes.clone(), ..target }
    }
}

/// Where a model of a provider is sent, with its key.
pub(super) fn target_of(provider: &ProviderRow, upstream_model: &str, resolve_key: ResolveKey) -> Target {
    Target {
        provider: provider.id,
        name: provider.name.clone(),
        url: provider.url.clone(),
        api_key: provider.api_key.as_ref().and_then(resolve_key),
        upstream_model: upstream_model.to_owned(),
        max_concurrent: provider.max_concurrent,
        ca_pem: provider.ca_pem.clone(),
        allow: provider.allow.clone(),
        takes: OutputFields::default(),
    }
}

/// A server of which nothing is known refused the field for the output bound that we wrote and the client did not:
/// the one to use in its place.
fn other_field(request: &InferenceRequest<'_>, target: &Target, failed: &AttemptFailure) -> Option<OutputFields> {
    let [ours, other] = OutputFields::candidates(request.endpoint) else { return None };
    let was_ours = target.takes.is_empty() && !request.sets_bound_in(ours);
    (was_ours && failed.refuses_field(ours)).then(|| OutputFields::instead(ours, other))
}

/// Asks one provider.
pub(super) async fn attempt(
    client: &Client,
    request: &InferenceRequest<'_>,
    target: &Target,
    along: (&str, &[(&'static str, Vec<u8>)]),
    body: Vec<Bytes>,
    on: On,
    share: AnswerShare<'_>,
) -> Result<UpstreamReply, AttemptFailure> {
    let asked = ask(client, request, target, along, body, on, share).await;
    asked.map_err(|failed| failed.without(target.api_key.as_ref().map(Secret::expose)))
}

async fn ask(
    client: &Client,
    request: &InferenceRequest<'_>,
    target: &Target,
    (query, headers): (&str, &[(&'static str, Vec<u8>)]),
    body: Vec<Bytes>,
    on: On,
    share: AnswerShare<'_>,
) -> Result<UpstreamReply, AttemptFailure> {
    let sent = Instant::now();
    let late = |e| match e {
        Failure::Late(after) => attempts::too_late(after, request.stream),
        e => e.into(),
    };
    let answer = match request.endpoint.upstream_path() {
        path if query.is_empty() => client.post(target, path, headers, body, on),
        path => client.post(target, &format!("{path}?{query}"), headers, body, on),
    };
    let answer = answer.await.map_err(late)?;
    match answer.status {
        200..=299 if answer.unknown_coding.is_some() => {
            let coding = answer.unknown_coding.unwrap_or_default();
            Err(unusable(&format!("it encoded its answer, unasked, as {coding}"), "an unusable answer"))
        }
        200..=299 if request.stream => begin_stream(answer.body, request, target, (sent, client.first_byte())).await,
        200..=299 => read_whole(answer.body, request, target, share).await,
        _ => Err(Box::pin(sorting::read_error(answer, target, &request.model)).await),
    }
}

async fn read_whole(
    body: UpstreamBody,
    request: &InferenceRequest<'_>,
    target: &Target,
    share: AnswerShare<'_>,
) -> Result<UpstreamReply, AttemptFailure> {
    let body = body.whole(LARGEST_WHOLE, share).await?;
    if let Some(kind) = Opening::of(&body).filter(|kind| *kind != Opening::Json) {
        return Err(unusable(&opened::no_answer(kind, ""), "an unusable answer"));
    }
    match WholeAnswer::read(request.endpoint, body.clone()) {
        Ok(answer) => Ok(UpstreamReply::Whole(answer.named(&request.model))),
        Err(e @ BadAnswer::Error(_)) => {
            let text = opened::reason_to_show(&body);
            Err(unusable(&e.to_string(), attempts::error_says(text, &target.upstream_model, &request.model)))
        }
        Err(e) => Err(unusable(&e.to_string(), "an unusable answer")),
    }
}

/// Reads until there is something to pass on: up to then the next provider can still take over. Some
/// servers send their head at once and think afterwards, so the first event has the first byte's time.
async fn begin_stream(
    mut body: UpstreamBody,
    request: &InferenceRequest<'_>,
    target: &Target,
    (sent, limit): (Instant, Duration),
) -> Result<UpstreamReply, AttemptFailure> {
    let deadline = sent + limit;
    let late = |e| match e {
        Failure::Silent(_) => attempts::too_late(limit, true),
        e => e.into(),
    };
    let error_says = |text| attempts::error_says(text, &target.upstream_model, &request.model);
    let (start, kind) = opened::first(&mut body, deadline).await.map_err(late)?;
    if let Some(kind) = kind.filter(|kind| *kind != Opening::Events) {
        let start = Box::pin(opened::read_on(kind, start, &mut body, deadline)).await;
        let says = match opened::no_stream(kind, &start) {
            (why, true) => (why, error_says(opened::reason_to_show(&start))),
            (why, false) => (why, "it did not stream".into()),
        };
        return Err(unusable(&says.0, says.1));
    }
    let mut start = Some(start).filter(|start| !start.is_empty());
    let mut meter = Box::new(StreamMeter::new(request.endpoint, request.include_usage).named(&request.model));
    loop {
        let next = match start.take() {
            Some(start) => Some(start),
            None => body.next(deadline).await.map_err(late)?,
        };
        let (first, events, state) = match next {
            Some(bytes) => {
                let pushed = meter.push(bytes);
                (pushed.forward, pushed.data_events, pushed.state)
            }
            None => (Bytes::new(), 0, meter.end_of_input()),
        };
        match state {
            // Only comments so far are no answer.
            StreamState::More if events == 0 || first.is_empty() => {}
            StreamState::Failed(e) if !meter.output_started() => {
                let says = match e.says() {
                    Some(text) => error_says(Some(reason::fit_to_show(text))),
                    None => "it failed before its answer began".into(),
                };
                return Err(unusable(&e.to_string(), says));
            }
            state => return Ok(UpstreamReply::Stream(StreamStart { first, state, meter, body })),
        }
    }
}
