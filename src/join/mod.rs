//! What `coordinator join` runs: the agent beside a local server, which serves for a coordinator through connections
//! that it makes itself. The wire is told in [`crate::tunnel`].
//!
//! | file | what it is |
//! |---|---|
//! | `local` | finding the local server, and which of its models are asked for |
//! | `dial` | a connection to the coordinator: TCP, a proxy, TLS |
//! | `coordinator` | what the coordinator is asked before it asks |
//! | `forward` | one request to the local server, and its answer |
//! | `serve` | one connection, on which the coordinator asks |
//!
//! It keeps nothing on disk. It reaches two addresses, the coordinator's and the local server's, and of the latter the
//! paths that [`crate::tunnel::may_be_asked`]; a credential that comes with a request stays here.

mod coordinator;
mod dial;
mod forward;
mod local;
mod serve;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::domain::secret::Secret;
use crate::tunnel::{Bye, Hello, HelloModel, MOST_AT_ONCE, Welcome};
use coordinator::{Coordinator, NotJoined};
use forward::Forwarder;
use local::ModelServer;

/// How a machine joins.
#[derive(Debug, Clone)]
pub struct Options {
    /// The coordinator, without `/v1`.
    pub url: String,
    /// A key with the scope `provide`.
    pub key: Secret,
    /// The local server's base URL, checked; looked for if it is not given.
    pub to: Option<String>,
    /// What the local server asks for.
    pub local_key: Option<Secret>,
    /// What the machine is called.
    pub name: String,
    /// Public and local name of the models; those that have a price if none are given.
    pub models: Vec<(String, String)>,
    /// The most requests at once; what the local server says, or 4, if it is not given.
    pub max_concurrent: Option<u32>,
    /// Takes the place of another process of this name.
    pub replace: bool,
    /// A proxy that understands CONNECT, `http://[USER:PASSWORD@]HOST:PORT`.
    pub proxy: Option<String>,
    /// The certificates of a private authority that is trusted for the coordinator, PEM, checked.
    pub ca_pem: Option<String>,
    /// How long requests may still run after a signal.
    pub drain: Duration,
}

/// How many requests at once, where nobody says.
const USUAL_AT_ONCE: u32 = 4;
/// The shortest and the longest pause before it is tried again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Connected for so long, it was worth it: the next pause is short again.
const WORTH_IT: Duration = Duration::from_secs(30);

/// Why a machine does not serve any more, or never did.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct JoinFailed(String);

/// How a connection ended.
enum Ended {
    /// We were told to stop.
    Stopped,
    /// The coordinator said why.
    SentAway(Bye),
    /// It broke.
    Broke(String),
}

/// Serves until `stop` is done, or the coordinator does not want it any more; joins again whenever a connection breaks.
/// `joined` is called each time.
///
/// # Errors
/// There is no local server, or the coordinator refuses.
pub async fn join(
    options: Options,
    stop: impl Future<Output = ()>,
    mut joined: impl FnMut(&Welcome, &str),
) -> Result<(), JoinFailed> {
    let coordinator = Coordinator::new(&options).map_err(JoinFailed)?;
    let local = ModelServer::find(&options).await.map_err(JoinFailed)?;
    let forwarder = Arc::new(Forwarder::new(&local, options.local_key.clone()).map_err(JoinFailed)?);
    let (stopping, stopped) = watch::channel(false);
    let serving = async {
        let (mut tries, mut was_in) = (0, false);
        loop {
            let mut since = None;
            let mut note = |welcome: &Welcome| {
                joined(welcome, &local.base);
                (was_in, since) = (true, Some(Instant::now()));
            };
            let tried = once(&options, &coordinator, &local, &forwarder, stopped.clone(), &mut note).await;
            let why = match tried {
                Ok(Ended::Stopped) => return Ok(()),
                Ok(Ended::SentAway(Bye { reason, again: false })) => return Err(JoinFailed(reason)),
                Ok(Ended::SentAway(Bye { reason, .. }) | Ended::Broke(reason)) => reason,
                Err(NotJoined { why, is_final, is_occupied }) if is_final && !(is_occupied && was_in) => {
                    return Err(JoinFailed(why));
                }
                Err(NotJoined { why, .. }) => why,
            };
            tries = if since.is_some_and(|since| since.elapsed() >= WORTH_IT) { 0 } else { tries + 1 };
            let wait = pause(tries);
            tracing::warn!(why, wait_ms = u64::try_from(wait.as_millis()).unwrap_or_default(), "not connected");
            let mut stopped = stopped.clone();
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stopped.wait_for(|stop| *stop) => return Ok(()),
            }
        }
    };
    tokio::pin!(serving, stop);
    tokio::select! {
        ended = &mut serving => return ended,
        () = &mut stop => {}
    }
    tracing::info!("stopping: no new requests, what is under way may finish");
    // Nobody waits for it any more if the connections ended just now.
    stopping.send_replace(true);
    tokio::time::timeout(options.drain, serving).await.unwrap_or(Ok(()))
}

/// A random time, longer from try to try: many machines that lost one coordinator do not come back as one.
fn pause(tries: u32) -> Duration {
    let longest = SHORTEST_PAUSE.saturating_mul(1 << tries.min(7)).min(LONGEST_PAUSE);
    let spread = (longest - SHORTEST_PAUSE).as_millis();
    let random = (u128::from(getrandom::u32().unwrap_or_default()) * spread) >> 32;
    SHORTEST_PAUSE + Duration::from_millis(u64::try_from(random).unwrap_or_default())
}

/// Registers, connects, and serves until the connections end.
async fn once(
    options: &Options,
    coordinator: &Coordinator,
    local: &ModelServer,
    forwarder: &Arc<Forwarder>,
    stopped: watch::Receiver<bool>,
    joined: &mut impl FnMut(&Welcome),
) -> Result<Ended, NotJoined> {
    let hello = hello(options, coordinator, local).await?;
    let welcome = coordinator.register(&hello).await?;
    let mut lanes = JoinSet::new();
    let (bye, told) = watch::channel(None);
    for _ in 0..welcome.lanes.min(MOST_LANES) {
        let io = coordinator.connect(&welcome.session).await?;
        lanes.spawn(serve::lane(io, Arc::clone(forwarder), hello.max_concurrent, bye.clone(), stopped.clone()));
    }
    for why in &welcome.left_out {
        tracing::warn!(why, "a model is not served");
    }
    if welcome.held {
        tracing::warn!(name = welcome.name, "joined, but an admin is to enable this machine before it gets requests");
    }
    joined(&welcome);
    let mut ended = None;
    while let Some(lane) = lanes.join_next().await {
        let why = lane.unwrap_or_else(|e| Some(e.to_string()));
        let first = ended.is_none();
        ended = ended.or(Some(why));
        if first && !*stopped.borrow() && told.borrow().is_none() {
            // One of them broke: the others are of no use. What is under way on them is cut, as that on this one was.
            lanes.abort_all();
        }
    }
    let said: Option<Bye> = told.borrow().clone();
    Ok(match said {
        Some(bye) => Ended::SentAway(bye),
        None if *stopped.borrow() => Ended::Stopped,
        None => Ended::Broke(ended.flatten().unwrap_or_else(|| "the coordinator closed the connection".to_owned())),
    })
}

/// More connections than that no coordinator needs.
const MOST_LANES: usize = 8;

/// What this machine says of itself.
async fn hello(options: &Options, coordinator: &Coordinator, local: &ModelServer) -> Result<Hello, NotJoined> {
    let models = if options.models.is_empty() {
        local.priced(&coordinator.priced().await?).map_err(NotJoined::finally)?
    } else {
        options.models.clone()
    };
    let most = options.max_concurrent.or(local.at_once).unwrap_or(USUAL_AT_ONCE);
    Ok(Hello {
        protocol: Hello::PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        name: options.name.clone(),
        instance: coordinator.instance.clone(),
        replace: options.replace,
        models: models.into_iter().map(|(model, upstream_model)| HelloModel { model, upstream_model }).collect(),
        max_concurrent: most.min(MOST_AT_ONCE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_random_and_within_their_bounds() {
        for tries in [0, 1, 3, 100] {
            let longest = [500, 1_000, 4_000, 30_000][[0, 1, 3, 100].iter().position(|n| *n == tries).unwrap()];
            let pauses: Vec<u128> = (0..200).map(|_| pause(tries).as_millis()).collect();
            assert!(pauses.iter().all(|ms| (500..=longest).contains(ms)), "{tries}: {pauses:?}");
            assert!(tries == 0 || pauses.iter().any(|ms| *ms != pauses[0]));
        }
    }
}
