//! `coordinator provider probe`: what a provider answers to, and what it reports.
//!
//! Where a server runs, it is the one that probes: it reaches what only it can reach, with the keys of its own
//! environment, and what it finds counts for the requests that come.

use ::http::Method;

use super::local::ask;
use super::output::Output;
use super::serve::resolve_key;
use super::{ACTOR, Failed};
use crate::http;
use crate::http::local::{ProbeOutcome, ProbeReport};
use crate::relay::{self, PROBE_TIMEOUTS, QUICK_PROBE_TIMEOUTS};
use crate::store::{Store, endpoints, providers};
use crate::upstream::Client;

/// Probes a provider and stores what was found. `quick`: whoever asks should not have to wait for one that hangs.
pub fn probe(name: &str, quick: bool, store: &Store) -> Result<ProbeReport, Failed> {
    let (row, models) = store.read_inline(|conn| {
        let row = providers::find(conn, name)?;
        let models = providers::models(conn, row.id)?;
        Ok((row, models))
    })?;
    match ask(store.dir(), Method::POST, &format!("/providers/{}/probe?quick={quick}", row.id))? {
        Some(ProbeOutcome::Done(found)) => return Ok(found),
        Some(ProbeOutcome::Failed(why)) => return Err(Failed::Other(why)),
        None => {}
    }
    if row.joined_with.is_some() {
        return Err(Failed::Other(format!("{name} is a machine that joins a running server, and none runs")));
    }
    let client = Client::new(if quick { QUICK_PROBE_TIMEOUTS } else { PROBE_TIMEOUTS });
    let found = http::block_on(relay::probe(&client, &row, &models, resolve_key));
    store.write_exclusive(|conn| endpoints::store(conn, row.id, &found, ACTOR))?;
    Ok(found.into())
}

pub fn run(name: &str, store: &Store, out: Output) -> Result<(), Failed> {
    let found = probe(name, false, store)?;
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    out.table(&found.endpoints, ["MODEL", "ENDPOINT", "STREAM", "SERVES", "USAGE", "CACHED", "MS", "ERROR"], |row| {
        [
            row.model.clone(),
            row.endpoint.clone(),
            yes(row.stream),
            row.serves.map_or_else(|| "?".to_owned(), yes),
            yes(row.reports_usage),
            yes(row.reports_cached),
            row.total_ms.to_string(),
            row.error.clone().unwrap_or_default(),
        ]
    })?;
    let serves_any = found.serves_any();
    match found.error {
        Some(why) if !found.reached => Err(Failed::Other(format!("provider {name} does not answer: {why}"))),
        _ if serves_any => Ok(()),
        why => {
            let why = why.unwrap_or_else(|| "no endpoint gave an answer".to_owned());
            Err(Failed::Other(format!("provider {name} serves nothing: {why}")))
        }
    }
}
