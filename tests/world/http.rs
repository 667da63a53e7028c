//! A blocking HTTP/1.1 client on a bare socket: it sees every byte and when it came, and may misbehave.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// No reply of a healthy server takes longer; a story that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request, as it is written on the wire: nothing is added but `Host` and `Content-Length`.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub fn post(target: &str) -> Self {
        Self::new("POST", target)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: coordinator\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !self.body.is_empty() || self.method == "POST" {
            head += &format!("content-length: {}\r\n", self.body.len());
        }
        let mut bytes = (head + "\r\n").into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Where requests go.
#[derive(Debug, Clone, Copy)]
pub struct Http(pub SocketAddr);

impl Http {
    /// Sends a request on a connection of its own and reads the whole reply.
    pub fn send(self, request: &Request) -> Reply {
        self.open(request).finish()
    }

    pub fn get(self, target: &str, key: &str) -> Reply {
        self.send(&Request::get(target).key(key))
    }

    /// Sends a request and reads nothing yet.
    pub fn open(self, request: &Request) -> Conn {
        let mut conn = self.connect();
        conn.write(&request.bytes());
        conn
    }

    /// Sends these bytes, whatever they are, and reads what comes back.
    pub fn raw(self, bytes: &[u8]) -> Reply {
        let mut conn = self.connect();
        conn.write(bytes);
        conn.finish()
    }

    pub fn connect(self) -> Conn {
        self.try_connect().expect("connect to the coordinator")
    }

    /// Connects to a server that may be about to stop.
    pub fn try_connect(self) -> std::io::Result<Conn> {
        let socket = TcpStream::connect_timeout(&self.0, PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Ok(Conn {
            socket,
            unread: Vec::new(),
            began: Instant::now(),
            head: None,
            framing: Framing::UntilEof,
            state: State::Open,
        })
    }
}

/// Status and headers of a reply.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// 0 where the connection closed without an answer.
    pub status: u16,
    pub headers: Vec<(String, String)>,
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// A piece of a body and when it came, counted from the connection's beginning.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub at: Duration,
    pub bytes: Vec<u8>,
}

/// A reply, as far as it came.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
    pub chunks: Vec<Chunk>,
    /// The body ended as its framing promised.
    pub whole: bool,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// A header that holds a whole number.
    pub fn number(&self, name: &str) -> i64 {
        let text = self.header(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.head));
        text.parse().unwrap_or_else(|_| panic!("{name}: {text}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e} in the body of a {}: {}", self.status, self.text()))
    }

    /// The `data:` payloads of an event stream.
    pub fn events(&self) -> Vec<String> {
        events_of(&self.text())
    }

    /// Checks the envelope of an error and gives its `type`, `code` and `param` (`""` for null).
    pub fn error(&self) -> (String, String, String) {
        let kind = self.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/json"), "{} {kind} {}", self.status, self.text());
        let id = self.header("x-request-id").unwrap_or_default();
        assert!(id.starts_with("req_"), "an error without a request id: {:?}", self.head);
        envelope(&self.json())
    }

    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.head, self.text());
        self
    }
}

/// Checks an error envelope and gives its `type`, `code` and `param` (`""` for null).
pub fn envelope(body: &Value) -> (String, String, String) {
    let error = body.get("error").unwrap_or_else(|| panic!("not an error envelope: {body}"));
    let message = error["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty(), "an error without a message: {body}");
    let text = |field: &str| match &error[field] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => panic!("{field} is {other} in {body}"),
    };
    for field in ["type", "code", "param"] {
        assert!(error.get(field).is_some(), "no {field} in {body}");
    }
    assert!(!text("type").is_empty(), "an error without a type: {body}");
    (text("type"), text("code"), text("param"))
}

/// The `data:` payloads in the text of an event stream, whole events only.
pub fn events_of(text: &str) -> Vec<String> {
    let text = text.replace("\r\n", "\n");
    let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
    whole
        .split("\n\n")
        .filter_map(|event| {
            let data: Vec<&str> = event.lines().filter_map(|l| l.strip_prefix("data:")).map(str::trim_start).collect();
            (!data.is_empty()).then(|| data.join("\n"))
        })
        .collect()
}

#[derive(Debug)]
enum Framing {
    Length(usize),
    Chunked,
    UntilEof,
}

#[derive(Debug, PartialEq)]
enum State {
    Open,
    Whole,
    Cut,
}

/// A connection with a request on it.
#[derive(Debug)]
pub struct Conn {
    socket: TcpStream,
    unread: Vec<u8>,
    began: Instant,
    head: Option<Head>,
    framing: Framing,
    state: State,
}

impl Conn {
    /// Writes as much as the server takes: one that answers early may close before it has read all.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// Reads up to and including the head of the reply.
    pub fn head(&mut self) -> Head {
        if let Some(head) = &self.head {
            return head.clone();
        }
        let end = loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                break end;
            }
            if !self.read_more() {
                self.state = State::Cut;
                return self.head.insert(Head::default()).clone();
            }
        };
        let text = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        self.unread.drain(..end + 4);
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok()).unwrap_or(0);
        let headers = lines
            .filter_map(|l| l.split_once(':'))
            .map(|(n, v)| (n.trim().to_ascii_lowercase(), v.trim().to_owned()))
            .collect();
        let head = Head { status, headers };
        if status == 100 {
            return self.head();
        }
        self.framing = match (head.header("transfer-encoding"), head.header("content-length")) {
            (Some(_), _) => Framing::Chunked,
            (None, Some(length)) => Framing::Length(length.parse().expect("content-length")),
            (None, None) if status == 204 || status == 304 => Framing::Length(0),
            (None, None) => Framing::UntilEof,
        };
        self.head.insert(head).clone()
    }

    /// The next piece of the body, `None` at its end.
    pub fn next_chunk(&mut self) -> Option<Chunk> {
        self.head();
        if self.state != State::Open {
            return None;
        }
        let bytes = match self.framing {
            Framing::Length(left) => self.up_to(left),
            Framing::Chunked => self.one_chunk(),
            Framing::UntilEof => self.up_to(usize::MAX),
        }?;
        Some(Chunk { at: self.began.elapsed(), bytes })
    }

    fn up_to(&mut self, left: usize) -> Option<Vec<u8>> {
        if left == 0 {
            self.state = State::Whole;
            return None;
        }
        if self.unread.is_empty() && !self.read_more() {
            self.state = if matches!(self.framing, Framing::UntilEof) { State::Whole } else { State::Cut };
            return None;
        }
        let bytes: Vec<u8> = self.unread.drain(..left.min(self.unread.len())).collect();
        if let Framing::Length(left) = &mut self.framing {
            *left -= bytes.len();
        }
        Some(bytes)
    }

    fn one_chunk(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(line) = find(&self.unread, b"\r\n") {
                let size = String::from_utf8_lossy(&self.unread[..line]).trim().to_owned();
                let size = usize::from_str_radix(&size, 16).unwrap_or_else(|_| panic!("chunk size {size:?}"));
                if self.unread.len() >= line + 2 + size + 2 {
                    let bytes = self.unread[line + 2..line + 2 + size].to_vec();
                    self.unread.drain(..line + 2 + size + 2);
                    if size == 0 {
                        self.state = State::Whole;
                        return None;
                    }
                    return Some(bytes);
                }
            }
            if !self.read_more() {
                self.state = State::Cut;
                return None;
            }
        }
    }

    /// Reads until the text of the body so far holds `text`; the body so far.
    pub fn read_until(&mut self, text: &str) -> String {
        let mut body = Vec::new();
        while find(&body, text.as_bytes()).is_none() {
            match self.next_chunk() {
                Some(chunk) => body.extend(chunk.bytes),
                None => panic!("the body ended before {text:?}: {}", String::from_utf8_lossy(&body)),
            }
        }
        String::from_utf8_lossy(&body).into_owned()
    }

    /// The next line, whatever it belongs to; `None` at the end.
    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.unread, b"\n") {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            if !self.read_more() {
                let rest = std::mem::take(&mut self.unread);
                return (!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).into_owned());
            }
        }
    }

    /// Reads the rest.
    pub fn finish(mut self) -> Reply {
        let head = self.head();
        let mut chunks = Vec::new();
        while let Some(chunk) = self.next_chunk() {
            chunks.push(chunk);
        }
        let body = chunks.iter().flat_map(|c| c.bytes.clone()).collect();
        Reply { status: head.status, head, body, chunks, whole: self.state == State::Whole }
    }

    /// Reads one reply and leaves the connection ready for the next request.
    pub fn exchange(&mut self) -> Reply {
        let head = self.head();
        let mut chunks = Vec::new();
        while let Some(chunk) = self.next_chunk() {
            chunks.push(chunk);
        }
        let body = chunks.iter().flat_map(|c| c.bytes.clone()).collect();
        let whole = self.state == State::Whole;
        (self.head, self.framing, self.state) = (None, Framing::UntilEof, State::Open);
        Reply { status: head.status, head, body, chunks, whole }
    }

    /// Goes away politely: FIN in both directions, nothing more is read.
    pub fn close(self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Goes away rudely: RST.
    pub fn reset(self) {
        reset(&self.socket);
    }

    /// Sends FIN and goes on reading.
    pub fn half_close(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(0) => false,
            Ok(n) => {
                self.unread.extend_from_slice(&buffer[..n]);
                true
            }
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("no byte in {PATIENCE:?} after {:?}", String::from_utf8_lossy(&self.unread))
            }
            Err(_) => false,
        }
    }
}

/// Makes the close of this socket, and of no other handle to it, a RST.
pub fn reset(socket: &TcpStream) {
    let socket = socket2::SockRef::from(socket);
    let _ = socket.set_linger(Some(Duration::ZERO));
}

/// Where `needle` begins in `bytes`.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|w| w == needle)
}
