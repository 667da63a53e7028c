//! Why a server did not answer, and whose fault that is: the server's, the request's, or nobody's.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::Refusal;
use super::queue::Place;
use super::reason::{self, LONGEST_LOGGED, shortened, without_key};
use super::refusal::ServerError;
use super::wait::is_worth_waiting;
use crate::domain::ids::{AccountId, ProviderId, RequestId};
use crate::upstream::{Failure, On, Sign, Target};

/// Why one server did not answer.
#[derive(Debug)]
pub enum AttemptFailure {
    /// The next one may do better.
    Fault(Fault),
    /// It has no room, or loads its model: another time. No failure.
    Busy { status: u16, says: Option<String>, wait: Option<Duration> },
    /// It was too slow for a limit of ours; how fast it is for others is not known. The text names the limit.
    Slow(String),
    /// There was no room for its answer, which is no fault of its own; the next one's would be as large.
    NoRoom,
    /// The request is at fault: the next one would say the same.
    Request(Box<ServerError>),
}

/// What a server did wrong.
#[derive(Debug)]
pub struct Fault {
    pub kind: FaultKind,
    /// For the log: it may hold an address.
    pub why: String,
    /// For the caller.
    pub says: Cow<'static, str>,
}

/// What it was, as far as something follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// No connection was made: the request reached nobody.
    Unreached,
    /// A kept connection broke at once: stale, or the request was too much for the server.
    Stale,
    /// The connection broke before an answer.
    HungUp,
    /// An error of the server's own: 5xx.
    Error(u16),
    /// An answer that is none.
    Unusable,
    /// The provider's settings are wrong (a key, a path, a redirect): nothing that the request could mend.
    Settings(u16),
    /// It does not have the model that it is said to have.
    UnknownModel,
}

impl FaultKind {
    /// May the request have caused it? Two servers that do the same then mean that it did.
    const fn may_be_the_requests(self) -> bool {
        matches!(self, Self::Stale | Self::HungUp | Self::Error(_) | Self::Unusable)
    }

    /// The same, as far as two servers can be compared. Two stale connections say nothing.
    const fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Stale | Self::HungUp, Self::HungUp) | (Self::HungUp, Self::Stale) => true,
            (Self::Error(a), Self::Error(b)) => a == b,
            (Self::Unusable, Self::Unusable) => true,
            _ => false,
        }
    }
}

/// The most servers that get one request.
const MOST_ASKED: usize = 3;
/// What of a request tells it from another, at each end.
const MOST_HASHED: usize = 32 << 10;

/// What came of the servers that were asked for one request.
#[derive(Debug, Default)]
pub struct Attempts {
    asked: usize,
    seen: Vec<(ProviderId, FaultKind)>,
    refusal: Option<Refusal>,
    /// Those that have no room now, and may be waited for.
    pub without_room: Vec<Target>,
}

impl Attempts {
    /// Notes how one failed, and keeps it where it may be asked once more: after the others if a kept connection was
    /// closed, when it has room if that may be before `until`. Of the latter it returns `true`.
    ///
    /// # Errors
    /// That is the end: no other server is to be asked.
    pub fn keep(
        &mut self,
        target: Target,
        failed: AttemptFailure,
        until: Instant,
        others: &mut Vec<Target>,
    ) -> Result<bool, Refusal> {
        let left = until.saturating_duration_since(Instant::now());
        if failed.busy().is_some_and(|wait| is_worth_waiting(wait, left)) {
            self.waits(failed);
            self.without_room.push(target);
            return Ok(true);
        }
        let is_stale = failed.is_stale();
        if let Some(refusal) = self.note(target.provider, failed) {
            return Err(refusal);
        }
        if is_stale {
            others.push(target);
        }
        Ok(false)
    }

    /// Notes how one failed. A refusal if that is the end: no other server is to be asked.
    pub fn note(&mut self, by: ProviderId, failed: AttemptFailure) -> Option<Refusal> {
        match failed {
            AttemptFailure::Request(e) => return Some(Refusal::ByServer(e)),
            AttemptFailure::NoRoom => return Some(Refusal::NoRoom),
            AttemptFailure::Slow(text) => return Some(Refusal::ProviderTimeout(text)),
            AttemptFailure::Busy { status, says, wait } => {
                self.asked += 1;
                if matches!(self.refusal, None | Some(Refusal::ProviderBusy { .. })) {
                    self.refusal = Some(Refusal::ProviderBusy { status, says, wait });
                }
            }
            AttemptFailure::Fault(fault) => {
                self.asked += usize::from(fault.kind != FaultKind::Unreached);
                let alike = |(other, kind): &(ProviderId, FaultKind)| *other != by && kind.is_like(fault.kind);
                let alike = fault.kind.may_be_the_requests() && self.seen.iter().any(alike);
                self.seen.push((by, fault.kind));
                self.refusal = Some(Refusal::ProviderError { says: fault.says, is_final: alike });
                if alike {
                    return self.refusal.take();
                }
            }
        }
        if self.asked >= MOST_ASKED { self.refusal.take() } else { None }
    }

    /// Notes that one has no room now, and is waited for.
    pub fn waits(&mut self, failed: AttemptFailure) {
        if let (AttemptFailure::Busy { status, says, wait }, None) = (failed, &self.refusal) {
            self.refusal = Some(Refusal::ProviderBusy { status, says, wait });
        }
    }

    /// After a kept connection that was closed, others may be too: the next ones are fresh.
    pub fn on(&self) -> On {
        if self.seen.iter().any(|(_, kind)| *kind == FaultKind::Stale) { On::Fresh } else { On::Any }
    }

    /// What the caller gets when there is no other server. `model`: the public name; `otherwise`: if none was asked.
    pub fn end(self, model: &str, otherwise: Option<Refusal>) -> Refusal {
        let nobody_has_it = !self.seen.is_empty() && self.seen.iter().all(|(_, kind)| *kind == FaultKind::UnknownModel);
        match self.refusal {
            Some(Refusal::ProviderError { .. }) if nobody_has_it => Refusal::ModelNotFound(model.to_owned()),
            Some(refusal) => refusal,
            None => otherwise.unwrap_or(Refusal::ProvidersFull(None)),
        }
    }
}

impl AttemptFailure {
    /// Without the provider's key in any text.
    pub fn without(mut self, key: Option<&str>) -> Self {
        match &mut self {
            Self::Fault(fault) => {
                fault.why = shortened(&without_key(&fault.why, key), LONGEST_LOGGED);
                if let Cow::Owned(says) = &mut fault.says {
                    *says = without_key(says, key);
                }
            }
            Self::Busy { says: Some(says), .. } => *says = without_key(says, key),
            _ => {}
        }
        self
    }

    /// It has no room: when it wants to be asked again, if it said so.
    pub const fn busy(&self) -> Option<Option<Duration>> {
        match self {
            Self::Busy { wait, .. } => Some(*wait),
            _ => None,
        }
    }

    /// A kept connection was closed: the server has perhaps not seen the request.
    pub fn is_stale(&self) -> bool {
        matches!(self, Self::Fault(Fault { kind: FaultKind::Stale, .. }))
    }

    /// There is nothing at the path.
    pub const fn is_no_path(&self) -> bool {
        matches!(self, Self::Fault(Fault { kind: FaultKind::Settings(404 | 405 | 410 | 501), .. }))
    }

    /// The server says that it does not take the field.
    pub fn refuses_field(&self, field: &str) -> bool {
        matches!(self, Self::Request(e) if e.reason.refuses_field(field))
    }

    /// Tells the server's place what it says of the server, and the log what happened.
    pub fn tell(&self, place: &Place, request_id: RequestId, print: u64, provider: &str, sent: Instant) {
        match self {
            Self::Fault(Fault { kind: FaultKind::Stale, why, .. }) => {
                tracing::debug!(%request_id, provider, why, "a kept connection was closed");
            }
            Self::Fault(fault) => {
                let why = fault.why.as_str();
                tracing::warn!(%request_id, provider, why, "a provider failed");
                let sign = match fault.kind {
                    FaultKind::Unreached => Sign::Unreached,
                    FaultKind::HungUp => Sign::HungUp,
                    _ => Sign::Failed,
                };
                place.failed(why, sign, print, Instant::now());
            }
            Self::Busy { status, wait, .. } => {
                tracing::info!(%request_id, provider, status, "a provider is busy");
                place.busy(*status, *wait, Instant::now());
            }
            Self::NoRoom => {
                place.answered(sent.elapsed());
                tracing::warn!(%request_id, provider, "no room for a large answer: raise --answer-budget-mib");
            }
            Self::Slow(why) => tracing::warn!(%request_id, provider, why, "a provider was too slow"),
            Self::Request(e) => {
                place.answered(sent.elapsed());
                let (status, why) = (e.status, e.reason.message.as_str());
                tracing::info!(%request_id, provider, status, why, "a provider refused a request");
            }
        }
    }
}

/// Tells requests apart, so that one sent three times is not taken for three.
pub fn print(body: &[u8], account: AccountId) -> u64 {
    let mut hasher = DefaultHasher::new();
    account.to_i64().hash(&mut hasher);
    body.len().hash(&mut hasher);
    body.get(..body.len().min(MOST_HASHED)).hash(&mut hasher);
    body.get(body.len().saturating_sub(MOST_HASHED)..).hash(&mut hasher);
    hasher.finish()
}

/// An answer that is none.
pub fn unusable(why: &str, says: impl Into<Cow<'static, str>>) -> AttemptFailure {
    AttemptFailure::Fault(Fault { kind: FaultKind::Unusable, why: why.to_owned(), says: says.into() })
}

/// An error with status 200: what the caller may see of it, if it says anything.
pub fn error_says(text: Option<String>, upstream_model: &str, model: &str) -> Cow<'static, str> {
    let text = text.filter(|text| !text.is_empty()).map(|text| reason::named(text, upstream_model, model));
    text.map_or(Cow::Borrowed("it answered with an error"), |text| format!("it answered with an error: {text}").into())
}

/// The answer did not begin in time.
pub fn too_late(after: Duration, streamed: bool) -> AttemptFailure {
    let hint = if streamed { "" } else { ", or ask for a stream" };
    AttemptFailure::Slow(format!(
        "the provider did not begin its answer within {} s: raise --first-byte-timeout{hint}",
        after.as_secs()
    ))
}

/// Nothing came for too long in the middle of a whole answer.
pub fn fell_silent(after: Duration) -> AttemptFailure {
    AttemptFailure::Slow(format!(
        "the provider fell silent for {} s in the middle of its answer: raise --idle-timeout, or ask for a stream",
        after.as_secs()
    ))
}

/// A whole answer came, little by little, for too long.
fn is_endless(after: Duration) -> AttemptFailure {
    AttemptFailure::Slow(format!(
        "the provider did not finish its answer within {} s of its beginning: raise --event-timeout, or ask for a stream",
        after.as_secs()
    ))
}

impl From<Failure> for AttemptFailure {
    fn from(e: Failure) -> Self {
        let (kind, says) = match e {
            Failure::Late(after) => return too_late(after, false),
            Failure::Silent(after) => return fell_silent(after),
            Failure::NoRoom => return Self::NoRoom,
            Failure::Endless(after) => return is_endless(after),
            Failure::Settings(_) => (FaultKind::Settings(0), "its settings are wrong"),
            Failure::Unreached(_) => (FaultKind::Unreached, "it cannot be reached"),
            Failure::Stale(_) => (FaultKind::Stale, "it closed the connection"),
            Failure::NoAnswer(_) | Failure::BrokeOff(_) => (FaultKind::HungUp, "it closed the connection"),
            Failure::TooLarge(_) | Failure::NotInflated(_) => (FaultKind::Unusable, "an unusable answer"),
        };
        Self::Fault(Fault { kind, why: e.to_string(), says: says.into() })
    }
}

#[cfg(test)]
mod tests;
