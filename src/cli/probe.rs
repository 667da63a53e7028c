//! `coordinator provider probe`: what a provider answers to, and what it reports.

use std::time::Duration;

use super::Failed;
use super::output::Output;
use super::serve::resolve_key;
use crate::http;
use crate::relay;
use crate::store::{Store, providers};
use crate::upstream::{Client, Target, Timeouts};

/// A probe should say quickly that nothing is there.
const TIMEOUTS: Timeouts =
    Timeouts { connect: Duration::from_secs(5), first_byte: Duration::from_secs(60), idle: Duration::from_secs(30) };

pub fn run(name: &str, store: &Store, out: Output) -> Result<(), Failed> {
    let (row, models) = store.read(|conn| {
        let row = providers::find(conn, name)?;
        let models = providers::models(conn, row.id)?;
        Ok((row, models))
    })?;
    let (_, upstream_model) =
        models.into_iter().next().ok_or_else(|| Failed::Other(format!("provider {name} offers no model")))?;
    let target = Target {
        provider: row.id,
        name: row.name,
        url: row.url,
        api_key: row.api_key.as_ref().map(resolve_key),
        upstream_model,
        max_concurrent: row.max_concurrent,
    };
    let rows = http::block_on(async { relay::probe(&Client::new(TIMEOUTS), &target).await });
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    out.table(&rows, ["ENDPOINT", "STREAM", "SERVES", "USAGE", "CACHED", "MS", "ERROR"], |row| {
        [
            row.endpoint.to_owned(),
            yes(row.stream),
            yes(row.serves),
            yes(row.reports_usage),
            yes(row.reports_cached),
            row.total_ms.to_string(),
            row.error.clone().unwrap_or_default(),
        ]
    })?;
    if rows.iter().any(|row| row.serves) {
        Ok(())
    } else {
        Err(Failed::Other(format!("provider {name} serves nothing")))
    }
}
