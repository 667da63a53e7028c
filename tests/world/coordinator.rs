//! The built binary on a data directory of its own: commands, a server to start, kill and stop.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::types::Value as Sql;
use serde_json::Value;
use tempfile::TempDir;

use super::http::Http;

/// What a command said.
#[derive(Debug)]
pub struct Cli {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Cli {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The one JSON document of a command that succeeded.
    pub fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// A data directory and, once started, the server on it.
pub struct Coordinator {
    room: TempDir,
    server: Option<Server>,
}

struct Server {
    child: Child,
    addr: SocketAddr,
    /// The line it printed when it was ready.
    ready: Value,
}

impl Coordinator {
    /// An empty data directory; no server yet.
    pub fn new() -> Self {
        Self { room: tempfile::tempdir().unwrap(), server: None }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.room.path().join("data")
    }

    pub fn database(&self) -> PathBuf {
        self.data_dir().join("coordinator.db")
    }

    /// A path beside the data directory, for backups and the like.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    /// The binary with nothing of this process's environment that could configure it.
    pub fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coordinator"));
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            if name_text.starts_with("COORDINATOR_") || name_text == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command with `--json` on this data directory.
    ///
    /// A provider is added without a probe: a scripted upstream would spend its script on it.
    pub fn cli(&self, args: &[&str]) -> Cli {
        let unprobed: &[&str] = if args.starts_with(&["provider", "add"]) { &["--no-probe"] } else { &[] };
        self.cli_plain(&[args, unprobed, &["--json"]].concat())
    }

    /// Runs a command as it is, on this data directory.
    pub fn cli_plain(&self, args: &[&str]) -> Cli {
        let output = Self::command().args(args).env("COORDINATOR_DATA_DIR", self.data_dir()).output().unwrap();
        Cli::of(output)
    }

    /// Runs a command with something on its standard input.
    pub fn cli_with_input(&self, args: &[&str], input: &str) -> Cli {
        let mut command = Self::command();
        command.args(args).env("COORDINATOR_DATA_DIR", self.data_dir());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Cli::of(child.wait_with_output().unwrap())
    }

    /// Runs a command that must succeed and gives its JSON.
    pub fn ok(&self, args: &[&str]) -> Value {
        self.cli(args).json()
    }

    /// Starts the server on a free port and waits until it is ready.
    pub fn start(&mut self, args: &[&str]) {
        self.start_in(args, &[]);
    }

    /// The same, with more in its environment.
    pub fn start_in(&mut self, args: &[&str], environment: &[(&str, &str)]) {
        assert!(self.server.is_none(), "the server runs already");
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut child = Self::command()
            .args(["serve", "--json"])
            .args(["--listen", "127.0.0.1:0"].iter().filter(|_| !args.contains(&"--listen")))
            .args(args)
            .env("COORDINATOR_DATA_DIR", self.data_dir())
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let (found, ready) = mpsc::channel();
        let mut out = File::options().create(true).append(true).open(self.out_path()).unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = writeln!(out, "{line}");
                if let Ok(value) = serde_json::from_str::<Value>(&line)
                    && value.get("listening").is_some()
                {
                    let _ = found.send(value);
                }
            }
        });
        let Ok(ready) = ready.recv_timeout(Duration::from_secs(60)) else {
            let _ = child.kill();
            panic!("the server did not say that it listens: {}{}", self.out(), self.log());
        };
        let addr = ready["listening"].as_str().and_then(|a| a.parse().ok()).expect("an address in `listening`");
        self.server = Some(Server { child, addr, ready });
    }

    fn running(&self) -> &Server {
        self.server.as_ref().expect("the server runs")
    }

    pub fn http(&self) -> Http {
        Http(self.running().addr)
    }

    /// The JSON line it printed when it was ready.
    pub fn ready(&self) -> Value {
        self.running().ready.clone()
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.running().child.id()).unwrap()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.child.kill();
            let _ = server.child.wait();
        }
    }

    /// Sends SIGTERM and returns at once.
    pub fn send_term(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for the server to end by itself.
    pub fn wait_ended(&mut self) -> ExitStatus {
        let mut server = self.server.take().expect("the server runs");
        let mut status = None;
        super::eventually("the server to end", || {
            status = server.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.send_term();
        self.wait_ended()
    }

    fn log_path(&self) -> PathBuf {
        self.beside("stderr.log")
    }

    fn out_path(&self) -> PathBuf {
        self.beside("stdout.log")
    }

    /// What the server wrote on standard error.
    pub fn log(&self) -> String {
        read(&self.log_path())
    }

    /// What it wrote on standard output.
    pub fn out(&self) -> String {
        read(&self.out_path())
    }

    /// The rows of a query.
    pub fn db(&self, sql: &str) -> Vec<Vec<Sql>> {
        query(&self.database(), sql)
    }

    /// The one number of a query.
    pub fn number(&self, sql: &str) -> i64 {
        match self.db(sql).first().and_then(|row| row.first()) {
            Some(Sql::Integer(number)) => *number,
            other => panic!("{sql}: {other:?}"),
        }
    }

    /// Changes the database behind the server's back, as time or a disk would.
    pub fn alter(&self, sql: &str) {
        let db = rusqlite::Connection::open(self.database()).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        db.execute_batch(sql).unwrap();
    }

    /// Re-derives every balance; the answer of `audit`.
    pub fn audit(&self) -> Value {
        let audit = self.ok(&["audit"]);
        assert_eq!((&audit["ok"], &audit["problems"]), (&Value::Bool(true), &serde_json::json!([])), "{audit}");
        audit
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the server's log ---\n{}", tail(&self.log()));
            return;
        }
        let log = self.log();
        assert!(!log.contains("panicked"), "a panic in the log:\n{}", tail(&log));
        if self.database().exists() {
            self.audit();
        }
    }
}

/// The rows of a query on a database file.
pub fn query(file: &Path, sql: &str) -> Vec<Vec<Sql>> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let db = rusqlite::Connection::open_with_flags(file, flags).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db.pragma_update(None, "query_only", true).unwrap();
    let mut statement = db.prepare(sql).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|i| row.get(i)).collect()).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn tail(log: &str) -> &str {
    let from = log.char_indices().rev().nth(8_000).map_or(0, |(i, _)| i);
    &log[from..]
}
