//! The log: human on a terminal, JSON otherwise, to standard error, never in the way of a request.

use std::io::{self, IsTerminal};

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

use super::Failed;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Starts the log. Lines still under way are written when the guard is dropped.
pub fn start(format: Format, level: &str) -> Result<WorkerGuard, Failed> {
    let filter = EnvFilter::try_new(level).map_err(|e| Failed::Other(format!("--log: {e}")))?;
    let terminal = io::stderr().is_terminal();
    let json = format == Format::Json || (format == Format::Auto && !terminal);
    // A thread of its own writes: a slow terminal or pipe must not slow a request.
    let (writer, guard) = tracing_appender::non_blocking(io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false);
    let started = if json {
        log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        log.with_ansi(terminal).try_init()
    };
    started.map_err(|e| Failed::Other(e.to_string()))?;
    // A panic is a line of the log like any other error, so that whoever watches the log sees it.
    std::panic::set_hook(Box::new(|info| tracing::error!(panic = %info, "panicked")));
    Ok(guard)
}
