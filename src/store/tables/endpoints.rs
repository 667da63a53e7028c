//! What providers do at each endpoint, as the last probe found it.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{OptionalExtension, params};

use super::events;
use crate::dialect::request::output_fields::OutputFields;
use crate::domain::endpoint::Endpoint;
use crate::domain::ids::ProviderId;
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

/// What one endpoint did with one model, asked for a stream or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointRow {
    /// The public name of the model.
    pub model: String,
    /// `/v1/chat/completions` …
    pub endpoint: String,
    /// A stream was asked for.
    pub stream: bool,
    /// It gave an answer that can be metered; `None`: not known.
    pub serves: Option<bool>,
    /// It reported prompt and completion tokens.
    pub reports_usage: bool,
    /// It reported how much of the prompt it read from a cache.
    pub reports_cached: bool,
    /// The fields for the output bound that it takes.
    pub takes: OutputFields,
    /// Until the answer was whole, in milliseconds.
    pub total_ms: u64,
    /// Why it does not serve it.
    pub error: Option<String>,
}

/// How a probe went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeRow {
    /// Something answered.
    pub reached: bool,
    /// The quickest answer, in milliseconds.
    pub latency_ms: Option<u64>,
    /// Why nothing answered.
    pub error: Option<String>,
    /// When.
    pub at: Timestamp,
    /// How many requests the server says that it takes at once.
    pub places: Option<u32>,
    /// What the endpoints did; of an earlier probe if this one reached nothing.
    pub endpoints: Vec<EndpointRow>,
}

/// Stores a probe. One that reached nothing says nothing of the endpoints: what was known of them stays.
pub fn store(conn: &Tx, provider: ProviderId, probe: &ProbeRow, actor: &str) -> Result<(), StoreError> {
    let id = provider.to_i64();
    conn.prepare_cached(
        "INSERT INTO provider_probes (provider_id, reached, latency_ms, error, probed_at, places) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (provider_id) DO UPDATE SET \
         reached = ?2, latency_ms = ?3, error = ?4, probed_at = ?5, places = coalesce(?6, places)",
    )?
    .execute(params![id, probe.reached, probe.latency_ms, probe.error, probe.at.millis(), probe.places])?;
    let served = probe.endpoints.iter().filter(|row| row.serves == Some(true)).count();
    let detail = serde_json::json!({"reached": probe.reached, "served": served, "error": probe.error});
    events::record(conn, actor, "provider.probe", &provider.to_string(), &detail, probe.at)?;
    if !probe.reached {
        return Ok(());
    }
    conn.prepare_cached("DELETE FROM provider_endpoints WHERE provider_id = ?1")?.execute([id])?;
    let mut insert = conn.prepare_cached(
        "INSERT INTO provider_endpoints (provider_id, model, endpoint, stream, serves, reports_usage, reports_cached, \
         total_ms, error, probed_at, output_fields) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    for row in &probe.endpoints {
        insert.execute(params![
            id,
            row.model,
            row.endpoint,
            row.stream,
            row.serves,
            row.reports_usage,
            row.reports_cached,
            row.total_ms,
            row.error,
            probe.at.millis(),
            row.takes.text(),
        ])?;
    }
    Ok(())
}

/// Forgets what is known: the provider moved, or offers other models.
pub(super) fn forget(conn: &Tx, provider: ProviderId) -> Result<(), StoreError> {
    for table in ["provider_endpoints", "provider_probes"] {
        conn.prepare_cached(&format!("DELETE FROM {table} WHERE provider_id = ?1"))?.execute([provider.to_i64()])?;
    }
    Ok(())
}

/// The last probe of a provider.
pub fn last_probe(conn: &Read, provider: ProviderId) -> Result<Option<ProbeRow>, StoreError> {
    let probe = conn
        .prepare_cached(
            "SELECT reached, latency_ms, error, probed_at, places FROM provider_probes WHERE provider_id = ?1",
        )?
        .query_row([provider.to_i64()], |row| {
            Ok(ProbeRow {
                reached: row.get(0)?,
                latency_ms: row.get(1)?,
                error: row.get(2)?,
                at: Timestamp::from_millis(row.get(3)?),
                places: row.get(4)?,
                endpoints: Vec::new(),
            })
        })
        .optional()?;
    let Some(mut probe) = probe else { return Ok(None) };
    let mut statement = conn.prepare_cached(
        "SELECT model, endpoint, stream, serves, reports_usage, reports_cached, total_ms, error, output_fields \
         FROM provider_endpoints WHERE provider_id = ?1",
    )?;
    let rows = statement.query_map([provider.to_i64()], |row| {
        Ok(EndpointRow {
            model: row.get(0)?,
            endpoint: row.get(1)?,
            stream: row.get(2)?,
            serves: row.get(3)?,
            reports_usage: row.get(4)?,
            reports_cached: row.get(5)?,
            total_ms: row.get(6)?,
            error: row.get(7)?,
            takes: row.get::<_, Option<String>>(8)?.as_deref().map(OutputFields::from_text).unwrap_or_default(),
        })
    })?;
    probe.endpoints = rows.collect::<rusqlite::Result<_>>()?;
    Ok(Some(probe))
}

/// Where a model can be asked for.
#[derive(Debug, Default)]
pub struct ServedEndpoints {
    /// The endpoints, in the order the documentation lists them.
    pub endpoints: Vec<Endpoint>,
    /// Those of them that nobody serves but by translation.
    pub translated: Vec<Endpoint>,
}

/// The endpoints of every model that has a price and an enabled provider: those that at least one of its
/// providers is not known to refuse, or can answer translated; those that few servers have, only where one is known to.
pub fn served(conn: &Read) -> Result<BTreeMap<String, ServedEndpoints>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT provider_id, model, endpoint, max(serves) FROM provider_endpoints \
         GROUP BY provider_id, model, endpoint HAVING max(serves) = 1 OR max(coalesce(serves, 1)) = 0",
    )?;
    let known = statement
        .query_map([], |row| Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?)))?
        .collect::<rusqlite::Result<HashMap<(i64, String, String), bool>>>()?;
    let mut statement = conn.prepare_cached(
        "SELECT m.model, m.provider_id FROM provider_models m JOIN providers p ON p.id = m.provider_id \
         WHERE p.disabled_at IS NULL AND p.removed_at IS NULL \
         AND EXISTS (SELECT 1 FROM prices WHERE prices.model = m.model AND retired_at IS NULL)",
    )?;
    let mut rows = statement.query([])?;
    let mut served: BTreeMap<String, ServedEndpoints> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (model, provider): (String, i64) = (row.get(0)?, row.get(1)?);
        let serves = |endpoint: &Endpoint| {
            let known = known.get(&(provider, model.clone(), endpoint.path().to_owned()));
            known.copied().unwrap_or(!endpoint.is_rare())
        };
        let own: Vec<Endpoint> = Endpoint::ALL.into_iter().filter(serves).collect();
        let has_chat = own.contains(&Endpoint::ChatCompletions);
        let by_chat = Endpoint::ALL.into_iter().filter(|endpoint| has_chat && endpoint.translation().is_some());
        let all = served.entry(model).or_default();
        all.endpoints.extend(own);
        all.translated.extend(by_chat);
    }
    for ServedEndpoints { endpoints, translated } in served.values_mut() {
        translated.retain(|endpoint| !endpoints.contains(endpoint));
        endpoints.extend(translated.iter());
        for list in [endpoints, translated] {
            list.sort_unstable();
            list.dedup();
        }
    }
    served.retain(|_, served| !served.endpoints.is_empty());
    Ok(served)
}
