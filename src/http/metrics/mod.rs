//! `serve --metrics-listen`: what happens, for Prometheus to scrape (its text format, version 0.0.4), on an address of
//! its own. Where OpenTelemetry's conventions for GenAI have a name, it is that. No account and no key is in it.
//!
//! Docs: <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/>.

mod text;

use std::net::TcpListener;
use std::sync::atomic::Ordering::Relaxed;

use self::text::{Kind, Text};
use crate::domain::metrics::{self, Metrics, Series};
use crate::domain::time::Timestamp;
use crate::http::local::{LocalState, ProviderLoad, loads};
use crate::http::small::{self, response};
use crate::store::alerts;

/// When the certificate ends that is shown, if one is.
pub type CertificateEnd = std::sync::Arc<dyn Fn() -> Option<Timestamp> + Send + Sync>;

/// Answers scrapes on `listener` for as long as it is polled.
pub async fn serve(listener: TcpListener, state: LocalState, counted: &'static Metrics, certificate: CertificateEnd) {
    let answer = move |head: Vec<u8>| {
        let (state, certificate) = (state.clone(), std::sync::Arc::clone(&certificate));
        async move {
            let is_ours =
                |path: &[u8]| head.starts_with(b"GET ") && head.get(4..).is_some_and(|rest| rest.starts_with(path));
            if !is_ours(b"/metrics ") && !is_ours(b"/metrics?") {
                return response("404 Not Found", "content-type: text/plain\r\n", "the metrics are at /metrics\n");
            }
            let body = render(&state, counted, certificate()).await;
            response("200 OK", "content-type: text/plain; version=0.0.4; charset=utf-8\r\n", &body)
        }
    };
    small::serve(listener, answer).await;
}

async fn render(state: &LocalState, counted: &Metrics, certificate: Option<Timestamp>) -> String {
    let mut text = Text::default();
    requests(&mut text, &counted.series());
    text.head("coordinator_refused_requests", Kind::Counter, "Requests refused, by HTTP status and code of the error.");
    for refused in counted.refusals() {
        let labels = [("status", refused.status.to_string()), ("reason", refused.reason.to_owned())];
        text.sample("coordinator_refused_requests_total", &labels, refused.count.load(Relaxed));
    }
    text.head("coordinator_commit_jobs", Kind::Histogram, "Writes in one commit.");
    text.histogram("coordinator_commit_jobs", &[], &counted.batch, false);
    text.head("coordinator_commit_duration_seconds", Kind::Histogram, "How long a commit takes, its writes included.");
    text.histogram("coordinator_commit_duration_seconds", &[], &counted.commit, true);
    machinery(&mut text, state);
    let last_backup = match &state.app.backups {
        Some(backups) => backups.standing(Timestamp::now()).await.last_good,
        None => None,
    };
    watched(&mut text, last_backup, certificate);
    if let Ok((waiting, failed)) = state.app.store.read_blocking(alerts::standing).await {
        text.gauge("coordinator_alerts_waiting", "Deliveries of alerts that wait for their receiver.", waiting);
        text.gauge("coordinator_alerts_failed", "Deliveries of alerts that were given up, of those kept.", failed);
    }
    // What cannot be read is left out: the rest may say why.
    if let Ok(loads) = loads(state).await {
        providers(&mut text, &loads);
    }
    text.done()
}

fn requests(text: &mut Text, all: &[std::sync::Arc<Series>]) {
    let labels = |s: &Series| {
        vec![
            ("gen_ai_operation_name", s.operation.to_owned()),
            ("gen_ai_request_model", s.model.clone()),
            ("gen_ai_provider_name", s.provider.clone()),
        ]
    };
    let own = |s: &Series| {
        vec![("model", s.model.clone()), ("provider", s.provider.clone()), ("operation", s.operation.to_owned())]
    };
    text.head(
        "gen_ai_server_request_duration_seconds",
        Kind::Histogram,
        "From a request's arrival until it is settled.",
    );
    for s in all {
        text.histogram("gen_ai_server_request_duration_seconds", &labels(s), &s.duration, true);
    }
    text.head(
        "gen_ai_server_time_to_first_token_seconds",
        Kind::Histogram,
        "Of streams: from arrival to the first byte.",
    );
    for s in all {
        text.histogram("gen_ai_server_time_to_first_token_seconds", &labels(s), &s.first_token, true);
    }
    text.head("gen_ai_server_time_per_output_token_seconds", Kind::Histogram, "Of streams: between two tokens.");
    for s in all {
        text.histogram("gen_ai_server_time_per_output_token_seconds", &labels(s), &s.token_time, true);
    }
    text.head("gen_ai_client_token_usage", Kind::Histogram, "Billable tokens of a request.");
    for s in all {
        for (kind, tokens) in [("input", &s.input_tokens), ("output", &s.output_tokens)] {
            let mut labels = labels(s);
            labels.push(("gen_ai_token_type", kind.to_owned()));
            text.histogram("gen_ai_client_token_usage", &labels, tokens, false);
        }
    }
    text.head("coordinator_settled_requests", Kind::Counter, "Requests settled, by how they ended.");
    for s in all {
        for (outcome, count) in &s.outcomes {
            let mut labels = own(s);
            labels.push(("outcome", outcome.to_string()));
            text.sample("coordinator_settled_requests_total", &labels, count.load(Relaxed));
        }
    }
    for (name, says, value) in SUMS {
        text.head(name, Kind::Counter, says);
        for s in all {
            text.sample(&format!("{name}_total"), &own(s), value(s));
        }
    }
}

type Sum = fn(&Series) -> u64;
/// Counters of each series.
const SUMS: [(&str, &str, Sum); 3] = [
    ("coordinator_charged_micro_usd", "What was debited, in millionths of a US dollar.", |s| s.charged.load(Relaxed)),
    ("coordinator_shortfall_micro_usd", "What balances did not cover, in millionths of a US dollar.", |s| {
        s.shortfall.load(Relaxed)
    }),
    (
        "coordinator_estimated_requests",
        "Requests settled at our own estimate, since nobody reported what was used.",
        |s| s.estimates.load(Relaxed),
    ),
];

fn machinery(text: &mut Text, state: &LocalState) {
    let relay = &state.app.relay;
    let (waiting, longest) = relay.waiting();
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    text.gauge(
        "coordinator_holds_open",
        "Requests and withdrawals that money is on hold for.",
        relay.holds().count().into(),
    );
    let held = u64::try_from(relay.holds().total().micro()).unwrap_or_default();
    text.gauge("coordinator_held_micro_usd", "What they hold together, in millionths of a US dollar.", held);
    text.gauge("coordinator_waiting_requests", "Requests that wait for a place.", waiting.into());
    text.gauge(
        "coordinator_longest_wait_seconds",
        "How long the first of them has waited.",
        longest.map_or(0, |wait| wait.as_secs()),
    );
    text.gauge(
        "coordinator_writer_queue_jobs",
        "Writes that wait for their commit.",
        number(state.app.writer.pending()),
    );
    text.gauge("coordinator_draining", "1 while the server is about to stop.", relay.is_draining().into());
    let database = state.app.store.path();
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    text.gauge("coordinator_wal_bytes", "Size of the database's write-ahead log.", size(log.as_ref()));
    text.gauge("coordinator_database_bytes", "Size of the database.", size(&database));
    if let Ok(disk) = rustix::fs::statvfs(state.app.store.dir()) {
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        text.gauge("coordinator_disk_free_bytes", "What is free where the data lies.", free);
    }
    text.gauge(
        "process_start_time_seconds",
        "When the process started, since the epoch.",
        u64::try_from(state.started_at.seconds()).unwrap_or(0),
    );
    text.head("coordinator_build_info", Kind::Gauge, "The version that runs.");
    text.sample("coordinator_build_info", &[("version", env!("CARGO_PKG_VERSION").to_owned())], 1);
}

fn size(path: &std::path::Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

/// What is known only once it has happened.
fn watched(text: &mut Text, last_backup: Option<Timestamp>, certificate: Option<Timestamp>) {
    let seconds = |at: Timestamp| u64::try_from(at.seconds()).unwrap_or_default();
    if let Some((at, ok)) = metrics::last_audit() {
        text.gauge(
            "coordinator_last_audit_timestamp_seconds",
            "When the books were checked last, since the epoch.",
            seconds(at),
        );
        text.gauge("coordinator_last_audit_ok", "1 if they agreed.", ok.into());
    }
    if let Some(at) = last_backup {
        text.gauge(
            "coordinator_last_backup_timestamp_seconds",
            "When the last good backup was made, since the epoch.",
            seconds(at),
        );
    }
    if let Some(end) = certificate {
        text.gauge(
            "coordinator_certificate_expiry_timestamp_seconds",
            "When the certificate ends, since the epoch.",
            seconds(end),
        );
    }
}

fn providers(text: &mut Text, loads: &[ProviderLoad]) {
    type Value = fn(&ProviderLoad) -> u64;
    let rows: [(&str, &str, Value); 3] = [
        ("coordinator_provider_up", "1 if the provider is up.", |load| u64::from(load.state == "up")),
        ("coordinator_provider_in_flight_requests", "Requests under way there.", |load| load.in_flight.into()),
        ("coordinator_provider_waiting_requests", "Requests that wait and could have a place there.", |load| {
            load.waiting.into()
        }),
    ];
    for (name, says, value) in rows {
        text.head(name, Kind::Gauge, says);
        for load in loads {
            text.sample(name, &[("provider", load.name.clone())], value(load));
        }
    }
}
