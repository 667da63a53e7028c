//! All machines that are connected, and those that are about to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, Response, Uri};
use hyper::body::{Body, Incoming};
use tokio::task::JoinSet;

use super::machine::{Expected, Machine};
use crate::domain::ids::{IdMap, ProviderId};
use crate::domain::keys::KeyId;
use crate::tunnel::{BYE, Bye, LOCAL_FAILURE, LONG_PROMPT};
use crate::upstream::connect::with_causes;
use crate::upstream::failure::Failure;
use crate::upstream::outgoing::Outgoing;

/// How long a session that was opened may take to be connected.
const SESSION_LASTS: Duration = Duration::from_secs(60);
/// More of them are not waited for.
const MOST_SESSIONS: usize = 10_000;
/// How long a machine may take to hear why it is sent away.
const BYE_WITHIN: Duration = Duration::from_secs(1);

/// The hash of a session's token.
type Session = [u8; 32];

/// Another process serves under this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "another machine of this name has been connected for {} s: stop it, give this one another --name, or take its \
     place with --replace", .0.as_secs()
)]
pub struct Occupied(Duration);

/// All machines that are connected, shared by all workers.
#[derive(Debug, Default)]
pub struct Machines(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    connected: IdMap<ProviderId, Arc<Machine>>,
    sessions: HashMap<Session, (Instant, Arc<Machine>)>,
}

impl Known {
    fn has_place(&self, provider: ProviderId, instance: &str, replace: bool) -> Result<(), Occupied> {
        match self.connected.get(&provider).filter(|other| other.instance != instance && !replace) {
            Some(other) => Err(Occupied(other.since.elapsed())),
            None => Ok(()),
        }
    }
}

impl Machines {
    /// This process may take the place of the row.
    ///
    /// # Errors
    /// Another process has it.
    pub fn has_place(&self, provider: ProviderId, instance: &str, replace: bool) -> Result<(), Occupied> {
        self.lock().has_place(provider, instance, replace)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A machine may connect with this session.
    ///
    /// # Errors
    /// Another process has its place.
    pub fn expect(&self, session: Session, expected: Expected) -> Result<(), Occupied> {
        let provider = expected.provider;
        let mut known = self.lock();
        known.has_place(provider, &expected.instance, expected.replace)?;
        // One that registers again waits once: however often it does, the sessions of others stay.
        known.sessions.retain(|_, (since, other)| since.elapsed() < SESSION_LASTS && other.provider != provider);
        if known.sessions.len() >= MOST_SESSIONS
            && let Some(oldest) = known.sessions.iter().min_by_key(|(_, (since, _))| *since).map(|(of, _)| *of)
        {
            known.sessions.remove(&oldest);
        }
        known.sessions.insert(session, (Instant::now(), Arc::new(Machine::new(expected))));
        Ok(())
    }

    /// The machine whose session this is, and the number of its connection, if it is still waited for.
    pub(super) fn attach(&self, session: &Session, key: KeyId) -> Option<(Arc<Machine>, usize)> {
        let mut known = self.lock();
        let (since, machine) = known.sessions.get(session)?;
        if machine.key != key || since.elapsed() >= SESSION_LASTS {
            return None;
        }
        let machine = Arc::clone(machine);
        let number = machine.next_lane();
        if number.is_none_or(|number| number + 1 == crate::tunnel::LANES) {
            known.sessions.remove(session);
        }
        Some((machine, number?))
    }

    /// A machine's connection is there: with the first it takes its place, and whoever had it leaves. `true`: it was the
    /// first.
    pub(super) fn seat(&self, machine: &Arc<Machine>) -> bool {
        let Some(before) = self.lock().connected.insert(machine.provider, Arc::clone(machine)) else { return true };
        if Arc::ptr_eq(&before, machine) {
            return false;
        }
        if before.instance == machine.instance {
            // It lost a connection, and what is under way on the others may end.
            before.leave();
        } else {
            tokio::spawn(async move { send_away(&before, "another machine took this one's name", false).await });
        }
        true
    }

    /// A machine's last connection has ended. `true`: it is not there any more.
    pub(super) fn unseat(&self, machine: &Arc<Machine>) -> bool {
        let mut known = self.lock();
        let is_its_own = known.connected.get(&machine.provider).is_some_and(|other| Arc::ptr_eq(other, machine));
        if is_its_own {
            known.connected.remove(&machine.provider);
        }
        is_its_own
    }

    /// The machine that is connected for this row.
    pub fn get(&self, provider: ProviderId) -> Option<Arc<Machine>> {
        self.lock().connected.get(&provider).cloned()
    }

    /// Requests can be sent to the machine of this row: it is connected, and not about to leave.
    pub fn takes(&self, provider: ProviderId) -> bool {
        self.get(provider).is_some_and(|machine| machine.takes())
    }

    /// Tells a machine why it has to leave, and ends its connections, with what is under way on them.
    pub async fn dismiss(&self, machine: &Arc<Machine>, reason: &str) {
        send_away(machine, reason, false).await;
    }

    /// The server is about to stop: tells all machines, and sends them nothing more. What is under way may end.
    pub async fn leave_all(&self) {
        let all: Vec<Arc<Machine>> = self.lock().connected.values().cloned().collect();
        let mut saying = JoinSet::new();
        for machine in all {
            saying.spawn(async move {
                say_bye(&machine, "the coordinator stops", true).await;
                machine.leave();
            });
        }
        while saying.join_next().await.is_some() {}
    }

    /// Sends a request to a machine.
    ///
    /// # Errors
    /// It is not connected, it broke off, or its local server is not there.
    pub async fn send(
        self: Arc<Self>,
        provider: ProviderId,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, Failure> {
        // It is in the address.
        request.headers_mut().remove(HOST);
        let is_long = request.body().size_hint().lower() >= LONG_PROMPT as u64;
        let Some(machine) = self.get(provider) else {
            return Err(Failure::Unreached("it is not connected".to_owned()));
        };
        while let Some((number, mut sender)) = machine.sender(is_long) {
            let mut failed = match sender.try_send_request(request).await {
                Ok(answer) => return local_failure(&answer).map_or(Ok(answer), Err),
                Err(failed) => failed,
            };
            match failed.take_message() {
                // It was not sent: another connection may do.
                Some(unsent) => {
                    machine.closed(number);
                    request = unsent;
                }
                None => return Err(Failure::NoAnswer(with_causes(failed.error()))),
            }
        }
        Err(Failure::Unreached("it is leaving".to_owned()))
    }
}

/// What the agent says of its local server in place of that one's answer.
fn local_failure(answer: &Response<Incoming>) -> Option<Failure> {
    let said = answer.headers().get(LOCAL_FAILURE)?.to_str().unwrap_or_default();
    let (kind, why) = said.split_once(": ").unwrap_or((said, "it does not say why"));
    let why: String = why.chars().take(300).collect();
    Some(match kind {
        "unreached" => Failure::Unreached(format!("its local server: {why}")),
        _ => Failure::NoAnswer(format!("its local server: {why}")),
    })
}

async fn send_away(machine: &Machine, reason: &str, again: bool) {
    machine.unwelcome(reason);
    say_bye(machine, reason, again).await;
    machine.cut();
}

async fn say_bye(machine: &Machine, reason: &str, again: bool) {
    let Some((_, mut sender)) = machine.sender(false) else { return };
    let text = serde_json::to_vec(&Bye { reason: reason.to_owned(), again }).unwrap_or_default();
    let mut request = Request::new(Outgoing::from(vec![Bytes::from(text)]));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("http://machine/");
    if let Ok(uri) = format!("http://machine{BYE}").parse() {
        *request.uri_mut() = uri;
    }
    // Whoever does not listen is cut off without.
    drop(tokio::time::timeout(BYE_WITHIN, sender.send_request(request)).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_registers_in_a_loop_keeps_nobody_out() {
        let machines = Machines::default();
        let expect = |number: u32, provider| {
            let mut session = [0; 32];
            session[..4].copy_from_slice(&number.to_be_bytes());
            let expected = Expected {
                provider: ProviderId::from_i64(provider),
                key: KeyId::from_i64(provider),
                phc: String::new(),
                instance: number.to_string(),
                replace: false,
                max_concurrent: 1,
            };
            assert_eq!(machines.expect(session, expected), Ok(()));
            session
        };
        let other = expect(0, 1);
        let first = expect(1, 2);
        let last = (2..20_000).fold(first, |_, number| expect(number, 2));
        assert_eq!(machines.lock().sessions.len(), 2);
        assert!(machines.attach(&other, KeyId::from_i64(1)).is_some());
        assert!(machines.attach(&first, KeyId::from_i64(2)).is_none(), "its own older session is over");
        assert!(machines.attach(&last, KeyId::from_i64(2)).is_some());
    }
}
