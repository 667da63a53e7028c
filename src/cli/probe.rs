//! `coordinator provider probe`: what a provider answers to, and what it reports.

use std::time::Duration;

use serde::Serialize;

use super::output::Output;
use super::serve::resolve_key;
use super::{ACTOR, Failed};
use crate::http;
use crate::relay::{self, PROBE_TIMEOUTS};
use crate::store::endpoints::{self, EndpointRow, ProbeRow};
use crate::store::{Store, providers};
use crate::upstream::{Client, Timeouts};

/// A line of the table. `serves` is null where that is not known.
#[derive(Serialize)]
struct View {
    model: String,
    endpoint: String,
    stream: bool,
    serves: Option<bool>,
    reports_usage: bool,
    reports_cached: bool,
    total_ms: u64,
    error: Option<String>,
}

impl From<EndpointRow> for View {
    fn from(row: EndpointRow) -> Self {
        Self {
            model: row.model,
            endpoint: row.endpoint,
            stream: row.stream,
            serves: row.serves,
            reports_usage: row.reports_usage,
            reports_cached: row.reports_cached,
            total_ms: row.total_ms,
            error: row.error,
        }
    }
}

/// Whoever adds a provider should not have to wait for one that hangs.
const SHORT: Duration = Duration::from_secs(10);
/// For the probe of a provider that was just added.
pub const ADD_TIMEOUTS: Timeouts = Timeouts { connect: SHORT, first_byte: SHORT, idle: SHORT, event: SHORT };

/// Probes a provider and stores what was found.
pub fn probe(name: &str, timeouts: Timeouts, store: &Store) -> Result<ProbeRow, Failed> {
    let (row, models) = store.read_inline(|conn| {
        let row = providers::find(conn, name)?;
        let models = providers::models(conn, row.id)?;
        Ok((row, models))
    })?;
    let found = http::block_on(async { relay::probe(&Client::new(timeouts), &row, &models, resolve_key).await });
    store.write_exclusive(|conn| endpoints::store(conn, row.id, &found, ACTOR))?;
    Ok(found)
}

pub fn run(name: &str, store: &Store, out: Output) -> Result<(), Failed> {
    let found = probe(name, PROBE_TIMEOUTS, store)?;
    let rows: Vec<View> = found.endpoints.into_iter().map(View::from).collect();
    let serves_any = rows.iter().any(|row| row.serves == Some(true));
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    out.table(&rows, ["MODEL", "ENDPOINT", "STREAM", "SERVES", "USAGE", "CACHED", "MS", "ERROR"], |row| {
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
    match found.error {
        Some(why) if !found.reached => Err(Failed::Other(format!("provider {name} does not answer: {why}"))),
        _ if serves_any => Ok(()),
        why => {
            let why = why.unwrap_or_else(|| "no endpoint gave an answer".to_owned());
            Err(Failed::Other(format!("provider {name} serves nothing: {why}")))
        }
    }
}
