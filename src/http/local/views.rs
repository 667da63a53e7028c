//! What the socket's routes answer, as the command line reads and prints it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::domain::ids::ProviderId;
use crate::domain::money::MicroUsd;
use crate::domain::time::millis;
use crate::http::admin::provider_view::state;
use crate::http::public::capacity::ModelCapacity;
use crate::store::endpoints::{self, EndpointRow, ProbeRow};
use crate::store::providers::ProviderRow;
use crate::store::{Read, StoreError};
use crate::upstream::ProviderStatus;

/// `GET /status`: what goes on in the server now.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// Of the program that runs.
    pub version: String,
    /// Of its process.
    pub pid: u32,
    /// Since it started.
    pub uptime_seconds: u64,
    /// Where it listens for clients.
    pub listening: SocketAddr,
    /// It is about to stop: no new work is taken.
    pub draining: bool,
    /// Requests and withdrawals that money is on hold for.
    pub holds: u32,
    /// What they hold together.
    pub held_micro_usd: MicroUsd,
    /// Requests that wait for a place.
    pub waiting: u32,
    /// How long the first of them has waited.
    pub longest_wait_ms: Option<u64>,
    /// Writes that wait for their commit.
    pub writer_queue: u64,
    /// How busy each model is, as `GET /v1/models/capacity` says.
    pub models: Vec<ModelCapacity>,
    /// How each provider does.
    pub providers: Vec<ProviderLoad>,
}

/// `GET /providers`: how one does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProviderLoad {
    /// Whose load it is.
    pub id: ProviderId,
    /// Its name.
    pub name: String,
    /// `up`, `down`, `disabled`, `unknown`.
    pub state: String,
    /// Requests under way there.
    pub in_flight: u32,
    /// The most requests at once.
    pub max_concurrent: Option<u32>,
    /// Requests that wait for a place and could have it there.
    pub waiting: u32,
    /// How long the first of them has waited.
    pub longest_wait_ms: Option<u64>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

#[cfg(test)]
impl Status {
    /// One with every field and one of each list.
    pub fn for_tests() -> Self {
        serde_json::from_value(serde_json::json!({
            "version": "0.1.0", "pid": 1, "uptime_seconds": 1, "listening": "127.0.0.1:1", "draining": false, "holds": 0,
            "held_micro_usd": 0, "waiting": 0, "longest_wait_ms": null, "writer_queue": 0,
            "models": [{"id": "m", "places": null, "running": 0, "waiting": 0, "first_byte_ms": null}],
            "providers": [{
                "id": ProviderId::from_i64(1), "name": "p", "state": "up", "in_flight": 0, "max_concurrent": null,
                "waiting": 0, "longest_wait_ms": null, "last_error": null,
            }],
        }))
        .unwrap_or_else(|e| panic!("{e}"))
    }
}

impl ProviderLoad {
    /// # Errors
    /// SQLite fails.
    pub fn read(conn: &Read, row: &ProviderRow, health: ProviderStatus) -> Result<Self, StoreError> {
        let probe = endpoints::last_probe(conn, row.id)?.map(ProbeReport::from);
        Ok(Self {
            id: row.id,
            name: row.name.clone(),
            state: state(row, &health, probe.map(|probe| probe.reached && probe.serves_any())).to_owned(),
            in_flight: health.in_flight,
            max_concurrent: row.max_concurrent,
            waiting: health.waiting,
            longest_wait_ms: health.longest_wait.map(millis),
            last_error: health.last_failure,
        })
    }
}

/// The last bytes of `POST /providers/{id}/probe`; before them come line breaks, for as long as the probe takes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeOutcome {
    /// It was done, and stored.
    Done(ProbeReport),
    /// What was found could not be stored.
    Failed(String),
}

/// What a probe found.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Something answers there.
    pub reached: bool,
    /// Why nothing does, or nothing can be sold.
    pub error: Option<String>,
    /// How many requests it says that it takes at once.
    pub places: Option<u32>,
    /// Each model at each endpoint.
    pub endpoints: Vec<ProbedEndpoint>,
}

/// What a probe found at an endpoint.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProbedEndpoint {
    /// The public name.
    pub model: String,
    /// Its path.
    pub endpoint: String,
    /// It was asked for a stream.
    pub stream: bool,
    /// Null where it could not be told.
    pub serves: Option<bool>,
    /// It reports what it used.
    pub reports_usage: bool,
    /// And how much of that came from a cache.
    pub reports_cached: bool,
    /// How long the answer took.
    pub total_ms: u64,
    /// What was wrong.
    pub error: Option<String>,
}

impl ProbeReport {
    /// At least one endpoint can be sold.
    pub fn serves_any(&self) -> bool {
        self.endpoints.iter().any(|row| row.serves == Some(true))
    }
}

impl From<ProbeRow> for ProbeReport {
    fn from(found: ProbeRow) -> Self {
        let endpoints = found.endpoints.into_iter().map(ProbedEndpoint::from).collect();
        Self { reached: found.reached, error: found.error, places: found.places, endpoints }
    }
}

impl From<EndpointRow> for ProbedEndpoint {
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
