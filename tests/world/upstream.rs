//! A scripted inference server: one thread a connection, each request answered as the story says.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::answer::{Answer, End, Step};
use super::http::{find, reset};

/// A request as it reached the upstream.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The connection it came on, counted from 0.
    pub connection: usize,
    /// How many inference requests came before it.
    pub place: usize,
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// When it was read whole.
    pub at: SystemTime,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

type Script = dyn Fn(&Seen) -> Answer + Send + Sync;
type Looks = dyn Fn(&Seen) -> Option<Answer> + Send + Sync;

#[derive(Default)]
struct Connection {
    closed_by_peer: Option<Instant>,
    ended: bool,
}

struct Shared {
    script: Mutex<Arc<Script>>,
    /// What is told to whoever only looks (`GET`).
    looks: Mutex<Arc<Looks>>,
    seen: Mutex<Vec<Seen>>,
    connections: Mutex<Vec<Connection>>,
    stop: AtomicBool,
}

/// The server. It stops when dropped.
pub struct Upstream {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Upstream {
    pub fn start(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script)
    }

    /// The same, at an address that was known before.
    pub fn start_at(at: SocketAddr, script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(at).unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(script)),
            looks: Mutex::new(Arc::new(|_| None)),
            seen: Mutex::default(),
            connections: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &accepting));
        Self { addr, shared }
    }

    /// The base URL for `provider add`.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// Answers differently from now on.
    pub fn script(&self, script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) {
        *lock(&self.shared.script) = Arc::new(script);
    }

    /// Answers those who only look (`GET`) with more than an empty list.
    pub fn tell(&self, looks: impl Fn(&Seen) -> Option<Answer> + Send + Sync + 'static) {
        *lock(&self.shared.looks) = Arc::new(looks);
    }

    /// The inference requests so far (`POST`), oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        lock(&self.shared.seen).iter().filter(|s| s.method == "POST").cloned().collect()
    }

    pub fn last(&self) -> Seen {
        self.requests().pop().expect("the upstream saw no request")
    }

    /// Waits until that many inference requests came.
    pub fn wait_for(&self, requests: usize) {
        super::eventually(&format!("{requests} requests upstream"), || self.requests().len() >= requests);
    }

    /// Waits until the peer closed the connection of `seen`; how long it took from now.
    pub fn wait_closed(&self, seen: &Seen) -> Duration {
        let began = Instant::now();
        super::eventually("the upstream connection to close", || self.closed(seen.connection).is_some());
        began.elapsed()
    }

    /// When the peer closed a connection.
    pub fn closed(&self, connection: usize) -> Option<Instant> {
        lock(&self.shared.connections)[connection].closed_by_peer
    }

    /// How many connections were ever opened.
    pub fn connections(&self) -> usize {
        lock(&self.shared.connections).len()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.addr);
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for socket in listener.incoming() {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let Ok(socket) = socket else { continue };
        let mut connections = lock(&shared.connections);
        let number = connections.len();
        connections.push(Connection::default());
        let shared = Arc::clone(shared);
        std::thread::spawn(move || Serving { socket, shared, number, unread: Vec::new() }.run());
    }
}

/// One connection being served.
struct Serving {
    socket: TcpStream,
    shared: Arc<Shared>,
    number: usize,
    unread: Vec<u8>,
}

/// How long the socket is looked at before the stop flag is.
const GLANCE: Duration = Duration::from_millis(4);

impl Serving {
    fn run(mut self) {
        self.socket.set_nodelay(true).unwrap();
        self.socket.set_read_timeout(Some(GLANCE)).unwrap();
        let mut drop_next = false;
        while let Some(seen) = self.read_request() {
            if drop_next {
                break;
            }
            let answer = if seen.method == "GET" {
                let looks = Arc::clone(&lock(&self.shared.looks));
                let nothing = || Answer::json(200, &serde_json::json!({"object":"list","data":[]}));
                looks(&seen).unwrap_or_else(nothing)
            } else {
                let script = Arc::clone(&lock(&self.shared.script));
                script(&seen)
            };
            match self.play(answer) {
                Some(End::KeepAlive) => {}
                Some(End::DropNextRequest) => drop_next = true,
                Some(End::Fin) => {
                    // A close with unread bytes would be a RST.
                    let _ = self.socket.shutdown(Shutdown::Write);
                    break;
                }
                Some(End::Reset) => {
                    reset(&self.socket);
                    break;
                }
                None => break,
            }
        }
        lock(&self.shared.connections)[self.number].ended = true;
    }

    /// Plays the steps; `None` once the peer is gone or the server stops.
    fn play(&mut self, answer: Answer) -> Option<End> {
        for step in answer.steps {
            match step {
                Step::Send(bytes) => {
                    if self.socket.write_all(&bytes).is_err() {
                        self.peer_closed();
                        return None;
                    }
                }
                Step::Pause(pause) => {
                    let until = Instant::now() + pause;
                    self.watch(|| Instant::now() >= until)?;
                }
                Step::Gate(gate) => self.watch(|| gate.is_open())?,
                Step::Silence => self.watch(|| false)?,
            }
        }
        Some(answer.end)
    }

    /// Waits for `done` with an eye on the peer.
    fn watch(&self, done: impl Fn() -> bool) -> Option<()> {
        let mut byte = [0];
        while !done() {
            if self.shared.stop.load(Ordering::Relaxed) {
                return None;
            }
            match self.socket.peek(&mut byte) {
                Ok(0) => {
                    self.peer_closed();
                    return None;
                }
                Ok(_) => std::thread::sleep(GLANCE),
                Err(e) if would_block(&e) => {}
                Err(_) => {
                    self.peer_closed();
                    return None;
                }
            }
        }
        Some(())
    }

    fn peer_closed(&self) {
        lock(&self.shared.connections)[self.number].closed_by_peer.get_or_insert_with(Instant::now);
    }

    fn read_request(&mut self) -> Option<Seen> {
        let end = loop {
            match find(&self.unread, b"\r\n\r\n") {
                Some(end) => break end,
                None => self.read_more()?,
            }
        };
        let head = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let mut first = lines.next().unwrap_or_default().split(' ');
        let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
        let headers: Vec<(String, String)> = lines
            .filter_map(|l| l.split_once(':'))
            .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
            .collect();
        let length = headers.iter().find(|(n, _)| n == "content-length").and_then(|(_, v)| v.parse().ok()).unwrap_or(0);
        let chunked = headers.iter().any(|(n, _)| n == "transfer-encoding");
        assert!(!chunked, "the scripted upstream wants a content-length");
        while self.unread.len() < end + 4 + length {
            self.read_more()?;
        }
        let at = SystemTime::now();
        let body = self.unread[end + 4..end + 4 + length].to_vec();
        self.unread.drain(..end + 4 + length);
        let mut seen = lock(&self.shared.seen);
        let place = seen.iter().filter(|s| s.method == "POST").count();
        let request =
            Seen { connection: self.number, place, method: method.into(), target: target.into(), headers, body, at };
        seen.push(request.clone());
        Some(request)
    }

    fn read_more(&mut self) -> Option<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    self.unread.extend_from_slice(&buffer[..n]);
                    return Some(());
                }
                Err(e) if would_block(&e) => {
                    if self.shared.stop.load(Ordering::Relaxed) {
                        return None;
                    }
                }
                Err(_) => break,
            }
        }
        self.peer_closed();
        None
    }
}

fn would_block(e: &std::io::Error) -> bool {
    matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut | std::io::ErrorKind::Interrupted)
}
