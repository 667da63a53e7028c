//! Asking one server, up to the first byte of its answer.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::InferenceCall;
use super::attempts::{self, AttemptFailure, unusable};
use super::forms::InChat;
use super::opened;
use super::reason;
use super::sorting;
use super::translated::{self, ClientAnswer, ClientStream, Translation};
use crate::dialect::request::InferenceRequest;
use crate::domain::secret::Secret;
use crate::meter::{BadAnswer, Opening, StreamMeter, StreamState, WholeAnswer};
use crate::upstream::{AnswerRoom, AnswerShare, Client, Failure, On, Target, UpstreamBody};

/// A provider's answer that can be passed on.
#[derive(Debug)]
pub enum UpstreamReply {
    /// It is all there.
    Whole(ClientAnswer),
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
    pub meter: Box<ClientStream>,
    /// The rest.
    pub body: UpstreamBody,
}

/// A larger answer that is not streamed is cut off: it has to be held in memory.
pub const LARGEST_WHOLE: usize = 64 << 20;

/// What a server is sent.
#[derive(Debug)]
pub struct Form<'a> {
    /// The client's request, or a chat request in its place.
    pub request: &'a InferenceRequest<'a>,
    /// Its text, where it was made.
    made: Option<&'a Bytes>,
    /// The query that goes along.
    query: &'a str,
    /// The headers that go along.
    headers: Cow<'a, [(&'static str, Vec<u8>)]>,
    /// How its answer is told to the client, if that is not in the server's words.
    pub translation: Option<Translation>,
}

impl<'a> Form<'a> {
    /// The client's own words.
    pub fn own(call: &'a InferenceCall, request: &'a InferenceRequest<'a>) -> Self {
        let headers = Cow::Borrowed(call.headers.as_slice());
        Self { request, made: None, query: &call.query, headers, translation: None }
    }

    /// A question of our own, with nothing beside it.
    pub fn probe(request: &'a InferenceRequest<'a>) -> Self {
        Self { request, made: None, query: "", headers: Cow::Borrowed(&[]), translation: None }
    }

    /// Chat. What the client says to servers of its dialect beside its request means nothing there.
    pub fn chat(call: &InferenceCall, target: &Target, InChat { made, request }: &'a InChat<'a>) -> Self {
        let headers = call.headers.iter().filter(|(name, _)| !name.starts_with("anthropic-"));
        let headers = Cow::Owned(headers.cloned().collect());
        let translation =
            Some(Translation::new(call.request_id, &request.model, &made.context, target.manners.think_tags));
        Self { request, made: Some(&made.body), query: "", headers, translation }
    }

    /// What is written to the server, in pieces.
    pub fn body(&self, call: &InferenceCall, target: &Target, output_bound: u64) -> Vec<Bytes> {
        let body = self.made.unwrap_or(&call.body);
        self.request.pieces_for_upstream(body, &target.upstream_model, output_bound, &target.allow, &target.takes)
    }
}

/// Asks one provider.
pub(super) async fn attempt(
    client: &Client,
    form: &Form<'_>,
    target: &Target,
    body: Vec<Bytes>,
    on: On,
    share: AnswerShare<'_>,
) -> Result<UpstreamReply, AttemptFailure> {
    let asked = ask(client, form, target, body, on, share).await;
    asked.map_err(|failed| failed.without(target.api_key.as_ref().map(Secret::expose)))
}

async fn ask(
    client: &Client,
    form: &Form<'_>,
    target: &Target,
    body: Vec<Bytes>,
    on: On,
    share: AnswerShare<'_>,
) -> Result<UpstreamReply, AttemptFailure> {
    let Form { request, query, headers, .. } = form;
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
        200..=299 if request.stream => begin_stream(answer.body, form, target, (sent, client.first_byte())).await,
        200..=299 => read_whole(answer.body, form, target, share).await,
        _ => Err(Box::pin(sorting::read_error(answer, target, &request.model)).await),
    }
}

async fn read_whole(
    body: UpstreamBody,
    Form { request, translation, .. }: &Form<'_>,
    target: &Target,
    share: AnswerShare<'_>,
) -> Result<UpstreamReply, AttemptFailure> {
    let body = body.whole(LARGEST_WHOLE, share).await?;
    if let Some(kind) = Opening::of(&body).filter(|kind| *kind != Opening::Json) {
        return Err(unusable(&opened::no_answer(kind, ""), "an unusable answer"));
    }
    let answer = WholeAnswer::read(request.endpoint, body.clone()).map_err(|e| match e {
        BadAnswer::Error(_) => {
            let text = opened::reason_to_show(&body);
            unusable(&e.to_string(), attempts::error_says(text, &target.upstream_model, &request.model))
        }
        e => unusable(&e.to_string(), "an unusable answer"),
    })?;
    let (mut room, mut translated) = (AnswerRoom::new(share), None);
    if let Some(translation) = translation {
        room.hold(translated::TIMES * body.len()).await?;
        // Before anything is charged.
        let read = translation.whole(&body).map_err(|e| unusable(&e.to_string(), "an unusable answer"))?;
        room.hold(read.takes()).await?;
        translated = Some(read);
    }
    Ok(UpstreamReply::Whole(ClientAnswer::new(answer.named(&request.model), translated, room.kept())))
}

/// Reads until there is something to pass on: up to then the next provider can still take over. Some
/// servers send their head at once and think afterwards, so the first event has the first byte's time.
async fn begin_stream(
    mut body: UpstreamBody,
    Form { request, translation, .. }: &Form<'_>,
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
    let meter = StreamMeter::new(request.endpoint, request.include_usage).named(&request.model);
    let mut meter = Box::new(ClientStream::new(meter, translation.as_ref()));
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
            StreamState::Failed(e) if !meter.output_started() || translation.is_some() => {
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
