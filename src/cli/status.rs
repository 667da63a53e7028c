//! `coordinator status`: what goes on in the running server.

use std::path::Path;

use ::http::Method;

use super::Failed;
use super::local::{ask, is_too_long};
use super::output::{Output, columns, or_dash};
use crate::http::local::{ModelCapacity, ProviderLoad, Status, socket_path};

/// The database is not opened: this works whatever state that is in.
pub fn run(dir: &Path, out: Output) -> Result<(), Failed> {
    match ask::<Status>(dir, Method::GET, "/status")? {
        Some(status) => out.print(&status, text),
        None => Err(Failed::Other(nobody(dir))),
    }
}

fn nobody(dir: &Path) -> String {
    let socket = socket_path(dir);
    if is_too_long(&socket) {
        format!("a server here cannot be asked: the path of its socket is too long: {}", socket.display())
    } else {
        format!("no server runs on {}: nobody listens at {}", dir.display(), socket.display())
    }
}

fn text(status: &Status) -> String {
    let head = format!(
        "coordinator {}, process {}, up for {}, listening on {}{}",
        status.version,
        status.pid,
        uptime(status.uptime_seconds),
        status.listening,
        if status.draining { ", STOPPING: no new work is taken" } else { "" },
    );
    let longest = status.longest_wait_ms.map(|ms| format!(", the first for {}", seconds(ms))).unwrap_or_default();
    let facts = format!(
        "on hold: {} by {}\nwaiting: {}{longest}\nwrites that wait for their commit: {}",
        status.held_micro_usd, status.holds, status.waiting, status.writer_queue,
    );
    let models = columns(
        ["MODEL", "RUNNING", "PLACES", "WAITING", "FIRST BYTE MS"],
        status.models.iter().map(model_cells).collect(),
    );
    let providers = columns(
        ["PROVIDER", "STATE", "IN FLIGHT", "AT ONCE", "WAITING", "LONGEST", "LAST ERROR"],
        status.providers.iter().map(provider_cells).collect(),
    );
    format!("{head}\n{facts}\n\n{models}\n\n{providers}")
}

fn model_cells(model: &ModelCapacity) -> [String; 5] {
    [
        model.id.clone(),
        model.running.to_string(),
        or_dash(model.places),
        model.waiting.to_string(),
        or_dash(model.first_byte_ms),
    ]
}

fn provider_cells(provider: &ProviderLoad) -> [String; 7] {
    [
        provider.name.clone(),
        provider.state.clone(),
        provider.in_flight.to_string(),
        or_dash(provider.max_concurrent),
        provider.waiting.to_string(),
        or_dash(provider.longest_wait_ms.map(seconds)),
        or_dash(provider.last_error.as_ref()),
    ]
}

/// `1.2 s`
pub fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}

/// In the two largest units that it has.
fn uptime(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (seconds, text) in [(59, "59 s"), (61, "1 min 1 s"), (7_380, "2 h 3 min"), (90_000, "1 d 1 h")] {
            assert_eq!(uptime(seconds), text);
        }
        assert_eq!((seconds(1_234), seconds(0)), ("1.2 s".into(), "0.0 s".into()));
    }
}
