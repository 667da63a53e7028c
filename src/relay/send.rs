//! Sending: the next provider, only before the first byte.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admit::Admission;
use super::ask::{UpstreamReply, attempt};
use super::attempts::{self, AttemptFailure, Attempts};
use super::queue::Placed;
use super::wait::{Seat, Turn};
use super::{Caller, InferenceCall, Refusal, Relay, ResolveKey};
use crate::dialect::request::InferenceRequest;
use crate::dialect::request::output_fields::OutputFields;
use crate::store::providers::{Offer, ProviderRow};
use crate::upstream::{Client, Target};

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
