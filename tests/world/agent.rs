//! A machine behind a NAT: `coordinator join` as a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::coordinator::Coordinator;
use super::{Account, MODEL, eventually, text};

/// The agent, and what it says.
pub struct Agent {
    child: Child,
    joined: Receiver<Value>,
    log: Arc<Mutex<String>>,
}

impl Coordinator {
    /// A key of the account that machines may join with.
    pub fn provide_key(&self, owner: &Account, more: &[&str]) -> Account {
        let key = self.ok(&[&["key", "create", &owner.id, "--scope", "provide"], more].concat());
        Account { id: owner.id.clone(), key: text(&key, "key"), key_id: text(&key, "id") }
    }
}

impl Agent {
    /// Starts an agent of [`MODEL`] beside the server at `to`; it has not joined yet.
    pub fn start(server: &Coordinator, key: &Account, name: &str, to: &str, more: &[&str]) -> Self {
        let url = format!("http://{}", server.http().0);
        Self::start_at(&url, key, &[&["--name", name, "--to", to, "--model", MODEL], more].concat(), &[])
    }

    /// Starts one that joins at a URL, with these arguments, and with more in its environment.
    pub fn start_at(url: &str, key: &Account, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Coordinator::command();
        command.args(["join", url, "--json"]).args(args);
        Self::run(command.env("COORDINATOR_KEY", &key.key).envs(environment.iter().copied()))
    }

    /// Starts one that a file of settings tells everything; it has not joined yet.
    pub fn start_from(file: &Path) -> Self {
        Self::run(Coordinator::command().args(["join", "--json", "--config"]).arg(file))
    }

    fn run(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (found, joined) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = found.send(serde_json::from_str(&line).unwrap());
            }
        });
        let log = Arc::<Mutex<String>>::default();
        let (mut stderr, kept) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            let mut part = [0; 4_096];
            while let Ok(size @ 1..) = stderr.read(&mut part) {
                *kept.lock().unwrap() += &String::from_utf8_lossy(&part[..size]);
            }
        });
        Self { child, joined, log }
    }

    /// The same, and waits until it has joined.
    pub fn join(server: &Coordinator, key: &Account, name: &str, to: &str, more: &[&str]) -> Self {
        let agent = Self::start(server, key, name, to, more);
        agent.wait_joined();
        agent
    }

    /// Waits until it has joined (again): what it printed.
    pub fn wait_joined(&self) -> Value {
        let joined = self.joined.recv_timeout(Duration::from_secs(40));
        joined.unwrap_or_else(|e| panic!("the agent did not join: {e}: {}", self.log()))
    }

    /// What it wrote on standard error.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM.
    pub fn send_term(&self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for it to end by itself.
    pub fn wait_ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the agent to end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Waits for it to end by itself, refused: what it said.
    pub fn wait_ended_with(mut self) -> String {
        assert_eq!(self.wait_ended().code(), Some(1));
        eventually("it to say why", || self.log().contains("coordinator:"));
        self.log()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- an agent's log ---\n{}", self.log());
        }
    }
}
