//! `coordinator serve`: wires the rooms together and runs until a signal stops it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args as ClapArgs;
use clap::builder::ArgPredicate;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::backups::{BackupArgs, keep_taking};
use super::descriptors::raise_file_limit;
use super::layers::ConfigArg;
use super::output::Output;
use super::{Failed, demo, logging, reach};
use crate::auth::{AdminAccess, Token};
use crate::demo::Imitate;
use crate::domain::byte_budget::ByteBudget;
use crate::domain::ids;
use crate::domain::secret::Secret;
use crate::domain::settle::{FeeBps, Terms};
use crate::domain::time::Timestamp;
use crate::http::local::{LocalServer, LocalState};
use crate::http::{self, AppState, Settings};
use crate::relay::{self, ASK_TIMEOUTS, QueueLimits, Relay, Rooms};
use crate::store::{Store, Writer, accounts, admins, ledger, restore, usage, withdrawals};
use crate::upstream::{Client, Timeouts};
use crate::watch::{self, Courier};

#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Where to listen; port 0 takes a free one [with --domain: [::]:443]
    #[arg(
        long,
        env = "COORDINATOR_LISTEN",
        default_value = "127.0.0.1:8080",
        default_value_if("domains", ArgPredicate::IsPresent, "[::]:443"),
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    pub reach: reach::Args,
    /// Bring an account, a key and a built-in provider: everything needed to try it
    #[arg(long, env = "COORDINATOR_DEMO")]
    pub demo: bool,
    /// The server whose habits the demo provider takes on
    #[arg(long, env = "COORDINATOR_IMITATE", default_value = "plain", requires = "demo", value_name = "SERVER")]
    imitate: Imitate,
    /// Worker threads [default: two for each core]
    #[arg(long, env = "COORDINATOR_WORKERS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    workers: Option<u16>,
    /// What the operator keeps of each charge, in 1/100 of a percent
    #[arg(long, env = "COORDINATOR_FEE_BPS", default_value = "0", value_name = "BPS", value_parser = fee)]
    fee_bps: FeeBps,
    /// What an account's own provider serves it costs nothing; the row says why
    #[arg(long, env = "COORDINATOR_OWN_USE_FREE")]
    own_use_free: bool,
    /// Count one answer in this many with our own tokenizer, to see whether what providers report is true; 0: none
    #[arg(long, env = "COORDINATOR_RECOUNT_EVERY", default_value = "50", value_name = "N")]
    recount_every: u32,
    /// The largest request body that is read, in MiB
    #[arg(long, env = "COORDINATOR_BODY_LIMIT_MIB", default_value = "32", value_name = "MIB", value_parser = clap::value_parser!(u16).range(1..=1024))]
    body_limit_mib: u16,
    /// What the request bodies in flight may take together, in MiB; more are 503 [default: eight of the largest]
    #[arg(long, env = "COORDINATOR_BODY_BUDGET_MIB", value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    body_budget_mib: Option<u32>,
    /// What whole answers may take together on their way, and the ends of streams that wait for their charge, in MiB
    #[arg(long, env = "COORDINATOR_ANSWER_BUDGET_MIB", default_value = "256", value_name = "MIB", value_parser = clap::value_parser!(u32).range(128..=1_048_576))]
    answer_budget_mib: u32,
    /// How long a request waits for a place when all servers of its model are full; 0: not at all
    #[arg(long, env = "COORDINATOR_QUEUE_TIMEOUT", default_value = "120", value_name = "SECONDS", value_parser = seconds_or_none)]
    queue_timeout: Duration,
    /// How many requests may wait for one model, a quarter of them of one account, no more than are left for others
    #[arg(long, env = "COORDINATOR_QUEUE_LENGTH", default_value = "1000", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    queue_length: u16,
    /// Do not prefer the server that answered a conversation last, whose cache makes the next turn cheaper
    #[arg(long, env = "COORDINATOR_NO_AFFINITY")]
    no_affinity: bool,
    /// How long a request body may take, plus a second for every 16 KiB of it
    #[arg(long, env = "COORDINATOR_BODY_TIMEOUT", default_value = "20", value_name = "SECONDS", value_parser = seconds)]
    body_timeout: Duration,
    /// How long a client may leave unread what it is sent
    #[arg(long, env = "COORDINATOR_WRITE_TIMEOUT", default_value = "30", value_name = "SECONDS", value_parser = seconds)]
    write_timeout: Duration,
    /// How long a streamed answer is quiet before it gives a sign of life
    #[arg(long, env = "COORDINATOR_SIGN_OF_LIFE", default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    sign_of_life: Duration,
    /// How long a client's connection may idle between two requests
    #[arg(long, env = "COORDINATOR_KEEP_ALIVE", default_value = "30", value_name = "SECONDS", value_parser = seconds)]
    keep_alive: Duration,
    /// How long a provider may take to accept a connection
    #[arg(long, env = "COORDINATOR_CONNECT_TIMEOUT", default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    connect_timeout: Duration,
    /// How long a provider may take to begin its answer
    #[arg(long, env = "COORDINATOR_FIRST_BYTE_TIMEOUT", default_value = "900", value_name = "SECONDS", value_parser = seconds)]
    first_byte_timeout: Duration,
    /// How long a provider may be silent in the middle of an answer
    #[arg(long, env = "COORDINATOR_IDLE_TIMEOUT", default_value = "300", value_name = "SECONDS", value_parser = seconds)]
    idle_timeout: Duration,
    /// How long a stream may bring comments and pings, and nothing else; and a whole answer take to come
    #[arg(long, env = "COORDINATOR_EVENT_TIMEOUT", default_value = "900", value_name = "SECONDS", value_parser = seconds)]
    event_timeout: Duration,
    /// How long requests may still run after SIGTERM
    #[arg(long, env = "COORDINATOR_DRAIN_TIMEOUT", default_value = "30", value_name = "SECONDS", value_parser = seconds)]
    drain_timeout: Duration,
    /// Serve pages of this origin only, beside the server's own; may be given often [default: pages of any origin]
    #[arg(long = "cors-origin", env = "COORDINATOR_CORS_ORIGIN", value_delimiter = ',', value_name = "ORIGIN", value_parser = http::read_origin)]
    cors_origins: Vec<String>,
    #[command(flatten)]
    pub backups: BackupArgs,
    /// How log lines look
    #[arg(long, env = "COORDINATOR_LOG_FORMAT", value_enum, default_value = "auto", value_name = "FORMAT")]
    log_format: logging::Format,
    /// Which log lines are written: error, warn, info, debug
    #[arg(long, env = "COORDINATOR_LOG", default_value = "info", value_name = "LEVEL")]
    log: String,
}

fn fee(text: &str) -> Result<FeeBps, String> {
    text.parse().ok().and_then(FeeBps::new).ok_or_else(|| "a fee is 0 to 10000 basis points".to_owned())
}

pub fn seconds(text: &str) -> Result<Duration, String> {
    let parsed = text.parse().ok().filter(|n| (1..=86_400).contains(n));
    parsed.map(Duration::from_secs).ok_or_else(|| "a time is 1 to 86400 seconds".to_owned())
}

fn seconds_or_none(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { seconds(text).map_err(|e| format!("{e}, or 0")) }
}

/// A secret as the operator gave it: itself, or the name of a variable that holds it. None if there is no such
/// variable: whoever needs it goes without, and says so.
pub fn resolve_key(key: &Secret) -> Option<Secret> {
    let Some(variable) = key.expose().strip_prefix("env:") else { return Some(key.clone()) };
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        tracing::warn!(variable, "a secret is to be read from a variable that is not set");
    }
    value.map(Secret::new)
}

impl Args {
    /// Whether a server would start with these, as far as that can be told without starting it.
    ///
    /// # Errors
    /// Flags that do not go together, or files that cannot be used.
    pub fn check(&self) -> Result<(), Failed> {
        logging::filter(&self.log)?;
        rooms(self)?;
        self.reach.check()
    }
}

pub fn run(args: Args, store: Store, out: Output) -> Result<(), Failed> {
    let lock = store.lock()?;
    let log = logging::start(args.log_format, &args.log)?;
    raise_file_limit();
    let served = http::block_on(serve(args, store, out));
    drop(log);
    drop(lock);
    served
}

async fn serve(args: Args, store: Store, out: Output) -> Result<(), Failed> {
    let (started, started_at) = (Instant::now(), Timestamp::now());
    let listener = reach::bind(args.listen)?;
    let address = listener.local_addr()?;
    let https = args.reach.https(store.dir(), address)?;
    prepare(&store, &args)?;
    let backups = args.backups.backups()?;
    let demo = if args.demo { Some(demo::start(&store, args.imitate)?) } else { None };
    let (writer, writing) = Writer::start(&store)?;
    let terms = Terms { fee: args.fee_bps, own_use_free: args.own_use_free };
    let relay = Arc::new(Relay::new(store.clone(), writer.clone(), terms, rooms(&args)?, resolve_key));
    relay.recount_every(args.recount_every);
    relay.await_machines()?;
    let state = AppState::new(Arc::clone(&relay), store.clone(), writer, settings(&args))?;
    let base = args.reach.base(address);
    let state = AppState { backups: backups.clone(), courier: Courier::new(resolve_key, Some(&base)), ..state };
    let setup = first_admin_link(&store, &state.admins, &base)?;
    let watching = args.reach.watched(&state, https.as_ref());
    let local = LocalState { app: state.clone(), listening: address, started, started_at };
    args.reach.metrics(&local, https.as_ref())?;
    let server = http::start(state, listener, args.reach.acceptor(https.as_ref()))?;
    let local = LocalServer::start(store.dir(), local);
    announce(address, &base, demo.as_ref(), setup.as_deref(), out)?;
    let debits = tokio::spawn(Arc::clone(&relay).answer_debit_requests());
    let asking_again = tokio::spawn(relay::watch(Arc::clone(&relay), asking(&relay)));
    let offers = tokio::spawn(relay::follow_offers(Arc::clone(&relay)));
    let indexing = tokio::spawn(Arc::clone(&relay).keep_indexing());
    let alerts = tokio::spawn(watch::run(watching));
    let backing_up = backups.map(|all| tokio::spawn(keep_taking(all, store.clone())));
    let stopped = run_until_stopped(server, &relay).await;
    drop(https);
    debits.abort();
    asking_again.abort();
    offers.abort();
    indexing.abort();
    alerts.abort();
    if let Some(backing_up) = backing_up {
        backing_up.abort();
    }
    stopped?;
    relay.flush().await?;
    if let Some(local) = local {
        local.stop().await;
    }
    drop(relay);
    if let Some(demo) = demo {
        demo.stop().await;
    }
    // The writer ends with its last handle; one that a worker still holds must not keep the process.
    drop(writing);
    Ok(())
}

fn asking(relay: &Relay) -> Client {
    Client::new(ASK_TIMEOUTS).with(relay.providers().machines())
}

/// What the server needs in the database before it starts.
fn prepare(store: &Store, args: &Args) -> Result<(), Failed> {
    if args.fee_bps != FeeBps::default() {
        store.write_exclusive(|conn| accounts::ensure_house(conn, Timestamp::now()))?;
    }
    let last = store.read_inline(|conn| {
        let (usage, ledger) = (usage::last_id(conn)?.to_i64(), ledger::last_id(conn)?.to_i64());
        Ok(usage.max(ledger).max(withdrawals::last_id(conn)?.to_i64()).max(restore::ids_above(conn)?))
    })?;
    ids::stay_above(last);
    Ok(())
}

/// What is in flight may take. No account takes more than half of what is for bodies, so that must do for a body as it
/// came and as it is once inflated; and half of what is for answers does for the largest one.
fn rooms(args: &Args) -> Result<Rooms, Failed> {
    let limit = u32::from(args.body_limit_mib);
    let mib = args.body_budget_mib.unwrap_or(limit * 8);
    if mib < limit * 4 {
        let text = format!("--body-budget-mib must be at least four times --body-limit-mib: {}", limit * 4);
        return Err(Failed::Other(text));
    }
    let budget = |mib| ByteBudget::new(usize::try_from(u64::from(mib) << 20).unwrap_or(usize::MAX));
    let queue = QueueLimits {
        timeout: args.queue_timeout,
        length: usize::from(args.queue_length),
        affinity: !args.no_affinity,
    };
    let longest_body = usize::from(args.body_limit_mib) << 20;
    Ok(Rooms { bodies: budget(mib), answers: budget(args.answer_budget_mib), longest_body, queue })
}

fn settings(args: &Args) -> Settings {
    // Two, because a worker also waits: for the database's page cache, for locks, for a core that others have.
    // Measured on two cores: 10 % more plain and 25 % more streamed answers than with one; three are slower again.
    let workers = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get) * 2;
    Settings {
        body_limit: usize::from(args.body_limit_mib) << 20,
        body_timeout: args.body_timeout,
        write_timeout: args.write_timeout,
        sign_of_life: args.sign_of_life,
        keep_alive: args.keep_alive,
        drain: args.drain_timeout,
        workers: args.workers.map_or_else(workers, usize::from),
        cors_origins: args.cors_origins.clone(),
        outside: args.reach.outside(),
        timeouts: Timeouts {
            connect: args.connect_timeout,
            first_byte: args.first_byte_timeout,
            idle: args.idle_timeout,
            event: args.event_timeout,
        },
    }
}

/// The link that sets up the first admin, once; none if there is an admin.
fn first_admin_link(store: &Store, admins: &AdminAccess, base: &str) -> Result<Option<String>, Failed> {
    if store.read_inline(admins::any)? {
        return Ok(None);
    }
    let token = Token::generate().map_err(|e| Failed::Other(e.to_string()))?;
    admins.setup.allow(&token);
    Ok(Some(format!("{base}/admin#setup={}", token.expose())))
}

fn announce(
    address: SocketAddr,
    base: &str,
    demo: Option<&demo::Demo>,
    setup: Option<&str>,
    out: Output,
) -> Result<(), Failed> {
    let base_url = format!("{base}/v1");
    if out.json {
        let mut line = serde_json::Map::from_iter([("listening".to_owned(), json!(address.to_string()))]);
        if let Some(demo) = demo {
            line.insert("base_url".into(), json!(base_url));
            line.insert("key".into(), json!(demo.key()));
        }
        if let Some(setup) = setup {
            line.insert("setup_url".into(), json!(setup));
        }
        return out.line(&serde_json::Value::from(line).to_string());
    }
    out.line(&format!("listening on {address}: {base}"))?;
    if let Some(demo) = demo {
        out.line(&demo.welcome(&base_url))?;
    }
    if let Some(setup) = setup {
        out.line(&format!(
            "\nThere is no admin yet. This link makes one, once (or: coordinator admin create NAME):\n\n  {setup}\n"
        ))?;
    }
    Ok(())
}

/// Runs until SIGTERM or SIGINT, then lets what is in flight finish.
async fn run_until_stopped(server: http::Server, relay: &Arc<Relay>) -> Result<(), Failed> {
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let handle = server.handle();
    let relay = Arc::clone(relay);
    let stopper = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: no new work, what is in flight may finish");
        relay.drain();
        let leaving = Arc::clone(&relay);
        tokio::spawn(async move { leaving.dismiss_machines().await });
        let stopped = handle.stop(true);
        tokio::select! {
            () = stopped => {}
            // A second signal: at once.
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::select! {
        ended = server => ended.map_err(Failed::from),
        () = stopper => Ok(()),
    }
}
