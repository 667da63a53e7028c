//! The log: human on a terminal, JSON otherwise, to standard error, never in the way of a request.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::Failed;
use super::json_line::JsonLine;

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

/// How long a line waits at most to be written.
const EVERY: Duration = Duration::from_millis(50);
/// More than that waiting to be written, and lines are left out rather than memory filled.
const MOST: usize = 8 << 20;

/// Lines that wait to be written. A thread writes them all at once: a system call and a wake-up for each
/// line cost a tenth of the server's speed.
#[derive(Debug, Clone, Default)]
struct Waiting(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    text: Vec<u8>,
    left_out: u64,
}

impl Write for Waiting {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.text.len() + line.len() > MOST {
            lines.left_out += 1;
        } else {
            lines.text.extend_from_slice(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let (text, left_out) = {
            let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            (std::mem::take(&mut lines.text), std::mem::take(&mut lines.left_out))
        };
        let mut stderr = io::stderr().lock();
        stderr.write_all(&text)?;
        if left_out > 0 {
            writeln!(stderr, "{{\"level\":\"WARN\",\"message\":\"{left_out} log lines were left out\"}}")?;
        }
        Ok(())
    }
}

/// Writes what is still waiting when it is dropped.
#[derive(Debug)]
pub struct Guard {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Which lines are written.
///
/// # Errors
/// There is no such level.
pub fn filter(level: &str) -> Result<EnvFilter, Failed> {
    EnvFilter::try_new(level).map_err(|e| Failed::Other(format!("--log: {e}")))
}

/// Starts the log. Lines still under way are written when the guard is dropped.
pub fn start(format: Format, level: &str) -> Result<Guard, Failed> {
    let filter = filter(level)?;
    let terminal = io::stderr().is_terminal();
    let json = format == Format::Json || (format == Format::Auto && !terminal);
    let waiting = Waiting::default();
    let guard = write_every_now_and_then(waiting.clone())?;
    let panics = waiting.clone();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || waiting.clone()).with_target(false);
    let started = if json { log.event_format(JsonLine).try_init() } else { log.with_ansi(terminal).try_init() };
    started.map_err(|e| Failed::Other(e.to_string()))?;
    // A panic is a line of the log like any other error, so that whoever watches the log sees it. It is
    // written at once: the process may be about to end.
    std::panic::set_hook(Box::new(move |info| {
        tracing::error!(panic = %info, "panicked");
        drop(panics.clone().flush());
    }));
    Ok(guard)
}

fn write_every_now_and_then(mut waiting: Waiting) -> Result<Guard, Failed> {
    let (stop, stopped) = mpsc::channel();
    let thread = std::thread::Builder::new().name("log".into()).spawn(move || {
        loop {
            let more = stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout);
            // Nobody is left to tell if standard error is closed.
            drop(waiting.flush());
            if !more {
                break;
            }
        }
    })?;
    Ok(Guard { stop: Some(stop), thread: Some(thread) })
}
