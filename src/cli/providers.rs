//! `coordinator provider …`

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use ::http::Method;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::local::ask;
use super::output::{Output, or_dash};
use super::status::seconds;
use super::{ACTOR, Failed};
use crate::dialect::request::hosted::Allow;
use crate::domain::ids::{AccountId, ProviderId};
use crate::domain::model_name::{self, is_model_name};
use crate::domain::provider::Manners;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::http::local::{ProbeReport, ProviderLoad};
use crate::store::endpoints;
use crate::store::providers::{self, NewProvider, ProviderRow};
use crate::store::recounts::{self, Recount};
use crate::store::{Read, Store, StoreError, accounts};
use crate::upstream;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add a provider
    Add(AddArgs),
    /// Invite a machine that the server cannot reach: prints the one line to run there, once
    Invite(super::invite::Args),
    /// All providers, and how they do if a server runs: requests in flight, those that wait, up or down
    List,
    /// Try what a provider answers to, and what it reports; the running server does it, if there is one
    Probe { name: String },
    /// Send requests to a provider again
    Enable { name: String },
    /// Send no more requests to a provider
    Disable { name: String },
    /// Remove a provider; what it earned stays
    Remove { name: String },
}

#[derive(Debug, Args)]
pub struct AddArgs {
    name: String,
    /// Its base URL, up to and with /v1
    #[arg(long, value_name = "BASE_URL", value_parser = upstream::check_base_url)]
    url: String,
    /// Who earns: an account's id, name or email
    #[arg(long)]
    account: String,
    /// A model it offers, and what it calls it if that is another name; may be given often
    #[arg(long = "model", value_name = "PUBLIC[=UPSTREAM]", required = true, value_parser = model)]
    models: Vec<(String, String)>,
    /// The API key that it asks for; env:VAR is read from the server's environment
    #[arg(long, value_name = "KEY|env:VAR", value_parser = secret)]
    api_key: Option<Secret>,
    /// The header that the key goes into: bearer (authorization), or x-api-key as at Anthropic
    #[arg(long, value_name = "HEADER", default_value = "bearer", value_parser = ["bearer", "x-api-key"])]
    auth: String,
    /// It writes its reasoning into its chat answers, between <think> and </think>: in other dialects it is told as reasoning
    #[arg(long)]
    think_tags: bool,
    /// A field or a tool whose work at the provider may be asked for, such as web_search or store; may be given often
    #[arg(long = "allow", value_name = "FIELD", value_parser = allow)]
    allow: Vec<String>,
    /// The most requests that it gets at the same time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_concurrent: Option<u32>,
    /// Trust the certificates of a private authority for it: a PEM file, read once
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Do not try what it answers to; it is then offered for every endpoint
    #[arg(long)]
    no_probe: bool,
}

pub fn model(text: &str) -> Result<(String, String), String> {
    let (public, upstream) = text.split_once('=').unwrap_or((text, text));
    if is_model_name(public) && is_model_name(upstream) {
        Ok((public.to_owned(), upstream.to_owned()))
    } else {
        Err(format!("a model is PUBLIC or PUBLIC=UPSTREAM, each {}", model_name::RULE))
    }
}

fn allow(text: &str) -> Result<String, String> {
    Allow::of(&[text.to_owned()]).map(|allow| allow.text())
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of a clap parser")]
pub fn secret(text: &str) -> Result<Secret, String> {
    Ok(Secret::new(text.to_owned()))
}

/// A provider as it is printed: everything but its key.
#[derive(Serialize)]
struct View {
    id: ProviderId,
    name: String,
    url: String,
    account_id: AccountId,
    models: Vec<Model>,
    max_concurrent: Option<u32>,
    has_api_key: bool,
    auth: &'static str,
    think_tags: bool,
    allow: Vec<String>,
    has_ca: bool,
    enabled: bool,
    flagged: u64,
    /// What its last probe found: `serves`, `serves nothing`, `does not answer`; null if there was none.
    probe: Option<&'static str>,
    /// Why it serves nothing, or does not answer.
    probe_error: Option<String>,
    /// What it reports beside what is counted.
    recounts: Vec<Recount>,
    created_at: Timestamp,
    /// How it does; nothing where no server runs.
    #[serde(flatten)]
    live: Option<Live>,
}

/// What the running server knows of a provider.
#[derive(Serialize)]
struct Live {
    state: String,
    in_flight: u32,
    waiting: u32,
    longest_wait_ms: Option<u64>,
}

#[derive(Serialize)]
struct Model {
    model: String,
    upstream_model: String,
}

fn view(conn: &Read, row: ProviderRow) -> Result<View, StoreError> {
    let models = providers::models(conn, row.id)?;
    let probe = endpoints::last_probe(conn, row.id)?;
    Ok(View {
        probe: probe.as_ref().map(|probe| {
            let serves_any = probe.endpoints.iter().any(|row| row.serves == Some(true));
            found(probe.reached, serves_any)
        }),
        probe_error: probe.and_then(|probe| probe.error),
        id: row.id,
        name: row.name,
        url: row.url,
        account_id: row.account_id,
        models: models.into_iter().map(|(model, upstream_model)| Model { model, upstream_model }).collect(),
        max_concurrent: row.max_concurrent,
        has_api_key: row.api_key.is_some(),
        auth: row.manners.auth.as_str(),
        think_tags: row.manners.think_tags,
        allow: row.allow.names().to_vec(),
        has_ca: row.ca_pem.is_some(),
        enabled: row.disabled_at.is_none(),
        flagged: row.flagged,
        recounts: recounts::of_provider(conn, row.id)?,
        created_at: row.created_at,
        live: None,
    })
}

/// What a probe found, in a word or two.
const fn found(reached: bool, serves_any: bool) -> &'static str {
    match (reached, serves_any) {
        (false, _) => "does not answer",
        (true, false) => "serves nothing",
        (true, true) => "serves",
    }
}

/// More than certificates may take.
const LONGEST_CA: u64 = 1 << 20;

/// The certificates of a private authority. They are kept in the database, not the name of the file: the server may
/// run elsewhere and as somebody else, a backup holds them, and they were checked.
pub fn read_ca(file: &Path) -> Result<String, Failed> {
    let mut text = String::new();
    // What is longer is refused; a device has no end.
    let read = File::open(file).and_then(|file| file.take(LONGEST_CA).read_to_string(&mut text));
    read.map_err(|e| Failed::Other(format!("--ca-file {}: {e}", file.display())))?;
    upstream::check_ca_pem(&text).map_err(|e| Failed::Other(format!("--ca-file {}: {e}", file.display())))
}

pub fn run(command: Command, store: &Store, out: Output) -> Result<(), Failed> {
    let now = Timestamp::now();
    match command {
        Command::Add(args) => {
            let ca_pem = args.ca_file.as_deref().map(read_ca).transpose()?;
            let allow = Allow::of(&args.allow).map_err(Failed::Other)?;
            let auth = args.auth.parse().map_err(Failed::Other)?;
            let added = store.write_exclusive(|conn| {
                let account_id = accounts::find(conn, &args.account)?.id;
                let new = NewProvider {
                    name: args.name,
                    account_id,
                    url: args.url,
                    api_key: args.api_key,
                    max_concurrent: args.max_concurrent,
                    ca_pem,
                    allow,
                    manners: Manners { auth, think_tags: args.think_tags },
                    models: args.models,
                };
                let row = providers::create(conn, &new, ACTOR, now)?;
                view(conn, row)
            })?;
            let probed = if args.no_probe { None } else { Some(super::probe::probe(&added.name, true, store)?) };
            out.print(&added, |view| added_text(view, probed.as_ref()))?;
            match probed {
                Some(probed) if probed.reached && !probed.serves_any() => {
                    let why = probed.error.unwrap_or_else(|| "no endpoint gave an answer".to_owned());
                    Err(Failed::Other(format!("provider {} was added, but it serves nothing: {why}", added.name)))
                }
                _ => Ok(()),
            }
        }
        Command::Invite(args) => super::invite::run(args, store, out),
        Command::List => list(store, out),
        Command::Probe { name } => super::probe::run(&name, store, out),
        Command::Enable { name } => set_disabled(store, &name, false, out),
        Command::Disable { name } => set_disabled(store, &name, true, out),
        Command::Remove { name } => {
            let row =
                store.write_exclusive(|conn| providers::remove(conn, providers::find(conn, &name)?.id, ACTOR, now))?;
            let view = serde_json::json!({"id": row.id, "name": row.name, "removed": true});
            out.print(&view, |_| format!("removed provider {}", row.name))
        }
    }
}

fn added_text(view: &View, probed: Option<&ProbeReport>) -> String {
    let added = format!("added provider {} ({})", view.name, view.id);
    let Some(probed) = probed else { return added };
    let mut serves: Vec<&str> =
        probed.endpoints.iter().filter(|row| row.serves == Some(true)).map(|row| row.endpoint.as_str()).collect();
    serves.dedup();
    match &probed.error {
        Some(why) if !probed.reached => format!("{added}; it does not answer yet: {why}"),
        Some(_) => format!("{added}; IT SERVES NOTHING"),
        None => {
            let places = match (probed.places, view.max_concurrent) {
                (Some(places), None) => {
                    format!("; it says that it takes {places} at once: add it with --max-concurrent {places}")
                }
                _ => String::new(),
            };
            format!("{added}; it serves {}{places}", serves.join(" "))
        }
    }
}

fn list(store: &Store, out: Output) -> Result<(), Failed> {
    let views: Result<Vec<View>, StoreError> =
        store.read_inline(|conn| Ok(providers::list(conn)?.into_iter().map(|row| view(conn, row)).collect()))?;
    let mut views = views?;
    let loads: Result<Option<Vec<ProviderLoad>>, Failed> = ask(store.dir(), Method::GET, "/providers");
    for load in loads.as_ref().ok().into_iter().flatten().flatten() {
        if let Some(view) = views.iter_mut().find(|view| view.id == load.id) {
            view.live = Some(Live {
                state: load.state.clone(),
                in_flight: load.in_flight,
                waiting: load.waiting,
                longest_wait_ms: load.longest_wait_ms,
            });
        }
    }
    match &loads {
        Ok(Some(_)) => out.table(&views, LIVE_HEADING, live_cells)?,
        // What the database knows is worth having also where a server does not answer.
        Ok(None) | Err(_) => out.table(&views, HEADING, cells)?,
    }
    loads.map(drop)
}

const HEADING: [&str; 9] =
    ["ID", "NAME", "URL", "STATE", "PROBE", "AT ONCE", "FLAGGED", "REPORTED / COUNTED", "MODELS"];
const LIVE_HEADING: [&str; 12] = [
    "ID",
    "NAME",
    "URL",
    "STATE",
    "PROBE",
    "AT ONCE",
    "IN FLIGHT",
    "WAITING",
    "LONGEST",
    "FLAGGED",
    "REPORTED / COUNTED",
    "MODELS",
];

fn cells(view: &View) -> [String; 9] {
    let models: Vec<&str> = view.models.iter().map(|m| m.model.as_str()).collect();
    [
        view.id.to_string(),
        view.name.clone(),
        view.url.clone(),
        if view.enabled { "enabled" } else { "disabled" }.to_owned(),
        or_dash(view.probe),
        or_dash(view.max_concurrent),
        view.flagged.to_string(),
        or_dash((!view.recounts.is_empty()).then(|| {
            let of = |one: &Recount| format!("{} {} {}", one.model, one.part, one.text());
            view.recounts.iter().map(of).collect::<Vec<_>>().join(", ")
        })),
        models.join(" "),
    ]
}

fn live_cells(view: &View) -> [String; 12] {
    let [id, name, url, enabled, probe, at_once, flagged, recounts, models] = cells(view);
    // One that was added a moment ago has none yet.
    let live = view.live.as_ref();
    let state = live.map_or(enabled, |live| live.state.clone());
    let in_flight = or_dash(live.map(|live| live.in_flight));
    let waiting = or_dash(live.map(|live| live.waiting));
    let longest = or_dash(live.and_then(|live| live.longest_wait_ms).map(seconds));
    [id, name, url, state, probe, at_once, in_flight, waiting, longest, flagged, recounts, models]
}

fn set_disabled(store: &Store, name: &str, disabled: bool, out: Output) -> Result<(), Failed> {
    let view = store.write_exclusive(|conn| {
        let row = providers::set_disabled(conn, providers::find(conn, name)?.id, disabled, ACTOR, Timestamp::now())?;
        view(conn, row)
    })?;
    out.print(&view, |view| format!("provider {} is {}", view.name, if view.enabled { "enabled" } else { "disabled" }))
}
