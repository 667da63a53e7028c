//! Sending: the next provider, only before the first byte.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admit::Admission;
use super::ask::{Form, UpstreamReply, attempt};
use super::attempts::{self, AttemptFailure, Attempts};
use super::forms::Forms;
use super::queue::Placed;
use super::wait::{Seat, Turn};
use super::{Caller, InferenceCall, Refusal, Relay};
use crate::dialect::request::output_fields::OutputFields;
use crate::dialect::request::{BadRequest, InferenceRequest};
use crate::domain::endpoint::Endpoint;
use crate::domain::secret::ResolveSecret;
use crate::store::Offered;
use crate::store::providers::{Offer, ProviderRow};
use crate::upstream::{AnswerShare, Client, On, Target};

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
    /// It speaks chat alone, and its answer is translated.
    pub(super) translated: bool,
}

impl Relay {
    /// Asks the servers in order until one begins to answer: each once, three in all, and no other once two have
    /// failed alike. One that turns out to speak chat alone is asked again in chat, where the request can be. Only one
    /// whose kept connection was closed has another turn, after the others, and one that has no room is waited for.
    pub(super) async fn send(
        self: &Arc<Self>,
        client: &Client,
        caller: &Caller,
        call: &InferenceCall,
        forms: &Forms<'_>,
        admission: &Admission,
        turn: Turn,
    ) -> Result<Dispatch, Refusal> {
        let (mut tried, mut lacks_endpoint) = (Attempts::default(), false);
        let (request, mut unsayable) = (forms.own, None);
        let share = || self.answers.share(caller.account, true);
        let Turn { mut placed, mut offered, passes, until, mut waited, conversation } = turn;
        let mut stood = None;
        let refusal = loop {
            let Placed { place, target, mut others, ticket } = placed;
            stood = ticket.or(stood);
            let sent = Instant::now();
            match ask_in_form(client, (call, forms, admission, &offered), &target, tried.on(), &share).await {
                Ok(reply) => {
                    let first_byte = Instant::now();
                    place.answered(first_byte.duration_since(sent));
                    if let Some(conversation) = conversation {
                        self.affinity.note(conversation, target.provider);
                    }
                    let offer = offer_of(&offered, &target).map(Arc::clone).ok_or(Refusal::ProvidersFull(None))?;
                    let (seat, translated) = (Seat { place, _passes: passes }, target.translated);
                    return Ok(Dispatch { reply, offer, seat, sent, first_byte, waited, translated });
                }
                Err(NoReply::Unsayable(e)) => unsayable = Some(e),
                Err(NoReply::LacksEndpoint) => lacks_endpoint = true,
                Err(NoReply::HasChat(target)) => others.push(self.noted(*target, request.endpoint)),
                Err(NoReply::Failed(failed, other_field)) => {
                    let print = attempts::print(&call.body, caller.account);
                    failed.tell(&place, call.request_id, print, &target.name, sent);
                    if let Some(takes) = other_field {
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
            let (known, without_room) = ((admission, &mut offered), &mut tried.without_room);
            match self.next_place(caller, forms, known, others, without_room, (until, stood)).await {
                Ok((next, took)) => (placed, waited) = (next, waited + took),
                Err(Some(Refusal::Draining)) => return Err(Refusal::Draining),
                Err(refusal) => break refusal,
            }
        };
        match (tried.end(&request.model, refusal), unsayable) {
            (Refusal::ProvidersFull(None), Some(e)) => Err(e.into()),
            (Refusal::ProvidersFull(_), _) if lacks_endpoint => Err(self.not_served(request)?),
            (refusal, _) => Err(refusal),
        }
    }

    /// A server that turned out to speak chat alone: whoever comes next need not find that out.
    fn noted(&self, target: Target, lacks: Endpoint) -> Target {
        self.providers.note_no_path(target.provider, lacks, Instant::now());
        target
    }

    /// Who can be asked, in which order.
    pub(super) fn ranked(&self, offered: &Offered, forms: &Forms<'_>, now: Instant) -> Result<Vec<Target>, Refusal> {
        let targets = offered.offers.iter().map(|offer| self.target_in_form(offer, forms, now)).collect();
        self.providers.rank(targets, now).map_err(Refusal::ProvidersDown)
    }

    /// Where an offer is sent, with its key.
    pub(super) fn target(&self, offer: &Offer) -> Target {
        let target = target_of(&offer.provider, &offer.upstream_model, self.resolve_key);
        match &offer.chat {
            Some(takes) if offer.refuses => target.in_chat(takes.clone()),
            _ => Target { takes: offer.takes.clone(), ..target },
        }
    }

    /// [`Self::target`], in chat where the server turned out to have nothing else, and this can be asked so.
    pub(super) fn target_in_form(&self, offer: &Offer, forms: &Forms<'_>, now: Instant) -> Target {
        let target = self.target(offer);
        match &offer.chat {
            Some(takes)
                if !target.translated
                    && self.providers.has_no_path(target.provider, forms.own.endpoint, now)
                    && forms.not_for_chat(&target.allow).is_none() =>
            {
                target.in_chat(takes.clone())
            }
            _ => target,
        }
    }
}

/// Why a server did not answer.
#[derive(Debug)]
enum NoReply {
    /// It has no such endpoint, as most. The next one may have it.
    LacksEndpoint,
    /// It turned out not to have the endpoint, and this cannot be asked of its chat.
    Unsayable(BadRequest),
    /// It turned out not to have the endpoint, but its chat can take its place.
    HasChat(Box<Target>),
    /// It was asked. It may have refused a field that we wrote: the one to use in its place.
    Failed(AttemptFailure, Option<OutputFields>),
}

/// Asks one provider in the words that it understands.
async fn ask_in_form(
    client: &Client,
    (call, forms, admission, offered): (&InferenceCall, &Forms<'_>, &Admission, &Offered),
    target: &Target,
    on: On,
    share: AnswerShare<'_>,
) -> Result<UpstreamReply, NoReply> {
    let form = match forms.chat() {
        Some(chat) if target.translated => Form::chat(call, target, chat),
        _ => Form::own(call, forms.own),
    };
    let body = form.body(call, target, admission.bounds.completion_tokens);
    attempt(client, &form, target, body, on, share).await.map_err(|failed| {
        if failed.is_no_path() && forms.own.endpoint.is_rare() {
            return NoReply::LacksEndpoint;
        }
        if failed.is_no_path()
            && !target.translated
            && let Some(takes) = offer_of(offered, target).and_then(|offer| offer.chat.clone())
        {
            let has_chat = || NoReply::HasChat(Box::new(target.clone().in_chat(takes)));
            return forms.not_for_chat(&target.allow).map_or_else(has_chat, NoReply::Unsayable);
        }
        let other = other_field(form.request, target, &failed);
        NoReply::Failed(failed, other)
    })
}

fn offer_of<'a>(offered: &'a Offered, target: &Target) -> Option<&'a Arc<Offer>> {
    offered.offers.iter().find(|offer| offer.provider.id == target.provider)
}

/// A machine that joined has no address: this is what it is told that it is asked at.
const MACHINE_URL: &str = "http://machine/v1";

/// Where a model of a provider is sent, with its key.
pub(super) fn target_of(provider: &ProviderRow, upstream_model: &str, resolve_key: ResolveSecret) -> Target {
    let joined = provider.joined_with.is_some();
    Target {
        provider: provider.id,
        name: provider.name.clone(),
        joined,
        url: if joined { MACHINE_URL.to_owned() } else { provider.url.clone() },
        api_key: provider.api_key.as_ref().and_then(resolve_key),
        upstream_model: upstream_model.to_owned(),
        max_concurrent: provider.max_concurrent,
        ca_pem: provider.ca_pem.clone(),
        allow: provider.allow.clone(),
        takes: OutputFields::default(),
        translated: false,
        manners: provider.manners,
    }
}

/// A server of which nothing is known refused the field for the output bound that we wrote and the client did not:
/// the one to use in its place.
fn other_field(request: &InferenceRequest<'_>, target: &Target, failed: &AttemptFailure) -> Option<OutputFields> {
    let [ours, other] = OutputFields::candidates(request.endpoint) else { return None };
    let was_ours = target.takes.is_empty() && !request.sets_bound_in(ours);
    (was_ours && failed.refuses_field(ours)).then(|| OutputFields::instead(ours, other))
}
