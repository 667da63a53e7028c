//! The conformance probe: one short request to each endpoint of a provider, to see what it serves and
//! what it reports.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::places::places;
use super::trial;
use crate::dialect::request::output_fields::OutputFields;
use crate::dialect::request::{Endpoint, InferenceRequest};
use crate::domain::byte_budget::ByteBudget;
use crate::domain::ids::ProviderId;
use crate::domain::secret::ResolveSecret;
use crate::domain::time::{Timestamp, millis};
use crate::domain::usage::Reported;
use crate::meter::StreamState;
use crate::relay::Relay;
use crate::relay::ask::{self, Form, StreamStart, UpstreamReply};
use crate::relay::attempts::{AttemptFailure, FaultKind};
use crate::relay::send::target_of;
use crate::store::endpoints::{EndpointRow, ProbeRow};
use crate::store::providers::ProviderRow;
use crate::store::{StoreError, endpoints, providers};
use crate::upstream::{Client, On, Target, Timeouts};

/// A probe should say quickly that nothing is there, yet wait for a model that is being loaded.
pub const PROBE_TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(60),
    idle: Duration::from_secs(30),
    event: Duration::from_secs(30),
};

/// Whoever adds a provider should not have to wait for one that hangs.
const SHORT: Duration = Duration::from_secs(10);
/// For the probe of a provider that was just added.
pub const QUICK_PROBE_TIMEOUTS: Timeouts = Timeouts { connect: SHORT, first_byte: SHORT, idle: SHORT, event: SHORT };

/// Why an endpoint gave nothing that can be metered.
struct Unserved {
    why: String,
    /// It will not do so another time either. Otherwise it was busy, or broken for now.
    for_good: bool,
    /// Nothing answers there at all.
    gone: bool,
    /// It took the request for wrong.
    refused: bool,
}

/// Tries every endpoint of `provider` with each of its models, streaming and not. Stops at once if nothing
/// answers.
pub async fn probe(
    client: &Client,
    provider: &ProviderRow,
    models: &[(String, String)],
    resolve_key: ResolveSecret,
) -> ProbeRow {
    let mut probe = ProbeRow {
        reached: false,
        latency_ms: None,
        error: None,
        at: Timestamp::now(),
        places: None,
        endpoints: Vec::new(),
    };
    for (model, upstream_model) in models {
        let mut target = target_of(provider, upstream_model, resolve_key);
        for (endpoint, stream) in ways() {
            let mut began = Instant::now();
            let mut result = one(client, &target, endpoint, stream).await;
            if !stream && !OutputFields::candidates(endpoint).is_empty() && tells(&result) {
                target.takes = trial::output_fields(client, &target, endpoint).await;
                if result.is_err() && !target.takes.is_empty() {
                    began = Instant::now();
                    result = one(client, &target, endpoint, stream).await;
                }
            }
            let total_ms = millis(began.elapsed());
            if let Err(Unserved { why, gone: true, .. }) = result {
                probe.reached = false;
                probe.error = Some(why);
                return probe;
            }
            probe.reached = true;
            if result.is_ok() {
                probe.latency_ms = Some(probe.latency_ms.map_or(total_ms, |least| least.min(total_ms)));
            }
            let row = row(model, endpoint, stream, total_ms, result);
            let has_trials = !OutputFields::candidates(endpoint).is_empty();
            let takes = if has_trials { target.takes.clone() } else { OutputFields::default() };
            probe.endpoints.push(EndpointRow { takes, ..row });
        }
    }
    if probe.reached {
        probe.places = places(client, &target_of(provider, "", resolve_key)).await;
    }
    if probe.endpoints.iter().all(|row| row.serves != Some(true)) {
        probe.error = probe.endpoints.iter().find_map(|row| row.error.clone());
    }
    probe
}

impl Relay {
    /// Tries what a provider answers to, and stores it. One that was down and answers is up again; one that does not
    /// is asked once more, and is down if that is in vain.
    ///
    /// # Errors
    /// The provider is gone, or the store fails. A provider that does not answer is no error.
    pub async fn probe(&self, client: &Client, provider: ProviderId, actor: String) -> Result<ProbeRow, StoreError> {
        let (row, models) = self.store.read_inline(|conn| {
            let row = providers::get(conn, provider)?;
            Ok((row, providers::models(conn, provider)?))
        })?;
        let found = probe(client, &row, &models, self.resolve_key).await;
        let stored = found.clone();
        self.writer.write(move |conn| endpoints::store(conn, provider, &stored, &actor)).await?;
        let now = Instant::now();
        self.providers.forget_paths(provider);
        match &found.error {
            Some(why) if !found.reached => self.providers.doubt(provider, why, now),
            _ => self.note_asked(&row, Ok(()), now),
        }
        Ok(found)
    }
}

/// The server answered, or refused what it was asked: further questions say more.
const fn tells(result: &Result<Reported, Unserved>) -> bool {
    matches!(result, Ok(_) | Err(Unserved { refused: true, .. }))
}

/// Every endpoint, and every way to ask it.
fn ways() -> impl Iterator<Item = (Endpoint, bool)> {
    let streams = |endpoint: Endpoint| [false, true].into_iter().filter(move |stream| !stream || endpoint.streams());
    Endpoint::ALL.into_iter().flat_map(move |endpoint| streams(endpoint).map(move |stream| (endpoint, stream)))
}

fn row(
    model: &str,
    endpoint: Endpoint,
    stream: bool,
    total_ms: u64,
    result: Result<Reported, Unserved>,
) -> EndpointRow {
    EndpointRow {
        model: model.to_owned(),
        endpoint: endpoint.path().to_owned(),
        stream,
        serves: match &result {
            Ok(_) => Some(true),
            Err(e) => e.for_good.then_some(false),
        },
        reports_usage: result.as_ref().is_ok_and(Reported::is_whole),
        reports_cached: result.as_ref().is_ok_and(|r| r.cached_tokens.is_some()),
        takes: OutputFields::default(),
        total_ms,
        error: result.err().map(|e| e.why),
    }
}

async fn one(client: &Client, target: &Target, endpoint: Endpoint, stream: bool) -> Result<Reported, Unserved> {
    let unusable = |why: String| Unserved { why, for_good: true, gone: false, refused: false };
    let broke_off = |why: String| Unserved { why, for_good: false, gone: false, refused: false };
    let probe = &endpoint.dialect().probe;
    let body = (probe.body)(&target.upstream_model, stream).to_string();
    let request = InferenceRequest::read(endpoint, body.as_bytes()).map_err(|e| unusable(e.to_string()))?;
    let sent = request.for_upstream(&target.upstream_model, probe.output_bound, &target.allow, &target.takes);
    let sent = vec![Bytes::from(sent.into_owned())];
    let form = Form::probe(&request);
    // Few probes run at once.
    let share = || ByteBudget::new(ask::LARGEST_WHOLE);
    match ask::attempt(client, &form, target, sent, On::Fresh, &share).await? {
        UpstreamReply::Whole(answer) => Ok(answer.judged().believed),
        UpstreamReply::Stream(StreamStart { mut state, mut meter, mut body, .. }) => loop {
            match state {
                StreamState::Ended => return Ok(meter.judged().believed),
                StreamState::Failed(e) => return Err(broke_off(e.to_string())),
                StreamState::More => {}
            }
            let deadline = Instant::now() + body.idle();
            state = match body.next(deadline).await.map_err(|e| broke_off(e.to_string()))? {
                Some(bytes) => meter.push(bytes).state,
                None => meter.end_of_input(),
            };
        },
    }
}

impl From<AttemptFailure> for Unserved {
    fn from(e: AttemptFailure) -> Self {
        match e {
            // An answer that is no answer of this dialect, an endpoint or a model that is not there. Other errors
            // (wrong key, overloaded, still loading) say nothing of what it can do.
            AttemptFailure::Fault(fault) => {
                let for_good = matches!(
                    fault.kind,
                    FaultKind::Unusable | FaultKind::UnknownModel | FaultKind::Settings(404 | 405 | 410 | 501)
                );
                Self { why: fault.why, for_good, gone: fault.kind == FaultKind::Unreached, refused: false }
            }
            AttemptFailure::Busy { says, .. } => {
                let why = says.map_or_else(|| "it is busy".to_owned(), |says| format!("it is busy: {says}"));
                Self { why, for_good: false, gone: false, refused: false }
            }
            AttemptFailure::NoRoom => {
                Self { why: "its answer is too large".to_owned(), for_good: true, gone: false, refused: false }
            }
            AttemptFailure::Slow(why) => Self { why, for_good: false, gone: true, refused: false },
            AttemptFailure::Request(e) => {
                Self { why: format!("{}: {}", e.status, e.reason.message), for_good: true, gone: false, refused: true }
            }
        }
    }
}
