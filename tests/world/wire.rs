//! The wire of a machine that joined, by hand: frames of WebSockets and of HTTP/2, as a machine or a coordinator that
//! means no good would write them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::json;

use super::http::Request;
use super::{Account, MODEL, World, eventually, text};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_HEADERS: u8 = 4;
/// Of SETTINGS: those of the other end are taken on, and count from now on.
pub const ACK: u8 = 1;

/// The longest that is waited for a frame.
const PATIENCE: Duration = Duration::from_secs(20);

/// A binary frame; a client's has a mask, of zeros here. A length is written as short as can be: others are refused.
pub fn frame(is_client: bool, bytes: &[u8]) -> Vec<u8> {
    let size = u16::try_from(bytes.len()).unwrap();
    let masked = if is_client { 0x80 } else { 0 };
    let mut head = vec![0x82];
    if size < 126 {
        head.push(masked | size.to_be_bytes()[1]);
    } else {
        head.extend([masked | 126, size.to_be_bytes()[0], size.to_be_bytes()[1]]);
    }
    head.extend(std::iter::repeat_n(0, if is_client { 4 } else { 0 }));
    [&head[..], bytes].concat()
}

/// A frame of HTTP/2.
pub fn h2(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&size[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// One end of a tunnel, by hand.
pub struct Hand {
    pub socket: TcpStream,
    is_client: bool,
    /// Bytes of frames that are not whole yet, of the WebSocket and of HTTP/2.
    raw: Vec<u8>,
    inner: Vec<u8>,
    skipped_preface: bool,
}

/// A frame of HTTP/2 that came.
#[derive(Debug)]
pub struct Came {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Hand {
    fn new(socket: TcpStream, is_client: bool) -> Self {
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, is_client, raw: Vec::new(), inner: Vec::new(), skipped_preface: false }
    }

    /// Registers as a machine of a model and opens one WebSocket; says nothing yet.
    pub fn machine(world: &World, key: &Account, name: &str, model: &str) -> Self {
        let hello = json!({"protocol": 1, "version": "0", "name": name, "instance": "x", "max_concurrent": 50,
            "models": [{"model": model, "upstream_model": model}]});
        let http = world.server.http();
        let welcome = http.send(&Request::post("/v1/provider/machines").key(&key.key).json(&hello)).expect(201).json();
        let mut socket = TcpStream::connect(http.0).unwrap();
        let (key, session) = (&key.key, text(&welcome, "session"));
        write!(
            socket,
            "GET /v1/provider/tunnel HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
             coordinator-session: {session}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .unwrap();
        let mut hand = Self::new(socket, true);
        let head = hand.read_head();
        assert!(head.contains(" 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        hand
    }

    /// Takes what an agent asks of a coordinator until it opens a WebSocket: the coordinator's end of that.
    pub fn coordinator(listener: &TcpListener) -> Self {
        let welcome = json!({"id": "prov_06a0vjk5rtq3c", "name": "kitchen", "protocol": 1, "version": "0.1.0",
            "session": "ab", "lanes": 1, "held": false, "models": [MODEL]})
        .to_string();
        loop {
            let (mut hand, head) = Self::asked(listener);
            if head.starts_with("POST ") {
                hand.answer("201 Created", &welcome);
                continue;
            }
            let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).expect("a key");
            let accept = coordinator::tunnel::accept(key.trim());
            let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
            write!(hand.socket, "{answer}sec-websocket-accept: {accept}\r\n\r\n").unwrap();
            return hand;
        }
    }

    /// Takes an agent that registers, and refuses it with a code of the error.
    pub fn refuse(listener: &TcpListener, status: &str, code: Option<&str>) {
        let (mut hand, head) = Self::asked(listener);
        assert!(head.starts_with("POST "), "{head}");
        hand.answer(
            status,
            &json!({"error": {"message": "not now", "type": "conflict_error", "code": code}}).to_string(),
        );
    }

    /// What an agent asks next, on a connection of its own, and the head of that; a body is read.
    fn asked(listener: &TcpListener) -> (Self, String) {
        listener.set_nonblocking(true).unwrap();
        let mut came = None;
        eventually("an agent to ask", || {
            came = listener.accept().ok();
            came.is_some()
        });
        let (socket, _) = came.unwrap();
        socket.set_nonblocking(false).unwrap();
        let mut hand = Self::new(socket, false);
        let head = hand.read_head();
        if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
            hand.socket.read_exact(&mut vec![0; length.trim().parse().unwrap()]).unwrap();
        }
        (hand, head)
    }

    fn answer(&mut self, status: &str, body: &str) {
        let _ = write!(self.socket, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    }

    fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && self.socket.read(&mut byte).unwrap_or(0) == 1 {
            head.push(byte[0]);
        }
        String::from_utf8_lossy(&head).into_owned()
    }

    /// Writes bytes as a frame of their own; `false` once the other end is gone.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(&frame(self.is_client, bytes)).is_ok()
    }

    /// Writes a frame of HTTP/2.
    pub fn h2(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.send(&h2(kind, flags, stream, payload))
    }

    /// The next frame of HTTP/2; `None` once the other end has closed.
    pub fn next(&mut self) -> Option<Came> {
        const PREFACE: usize = 24;
        loop {
            if !self.skipped_preface && self.is_client && self.inner.len() >= PREFACE {
                self.inner.drain(..PREFACE);
                self.skipped_preface = true;
            }
            if (self.skipped_preface || !self.is_client) && self.inner.len() >= 9 {
                let size =
                    usize::from(self.inner[0]) << 16 | usize::from(self.inner[1]) << 8 | usize::from(self.inner[2]);
                if self.inner.len() >= 9 + size {
                    let all: Vec<u8> = self.inner.drain(..9 + size).collect();
                    let stream = u32::from_be_bytes([all[5], all[6], all[7], all[8]]);
                    return Some(Came { kind: all[3], stream, payload: all[9..].to_vec() });
                }
            }
            self.read_frame()?;
        }
    }

    /// Reads on until a frame of this kind; `None` if none comes before the end.
    pub fn until(&mut self, kind: u8) -> Option<Came> {
        loop {
            let came = self.next()?;
            if came.kind == kind {
                return Some(came);
            }
        }
    }

    /// The same, among what has come by now.
    pub fn has_come(&mut self, kind: u8) -> Option<Came> {
        self.socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let came = self.until(kind);
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        came
    }

    /// Reads one frame of the WebSocket.
    fn read_frame(&mut self) -> Option<()> {
        let mut part = [0; 16 << 10];
        loop {
            if let Some((code, head, size)) = self.whole_frame() {
                let mut bytes: Vec<u8> = self.raw.drain(..head + size).collect();
                let mask_at = head.saturating_sub(4);
                if !self.is_client {
                    let mask: Vec<u8> = bytes[mask_at..head].to_vec();
                    bytes[head..].iter_mut().enumerate().for_each(|(at, byte)| *byte ^= mask[at % 4]);
                }
                match code {
                    2 => self.inner.extend_from_slice(&bytes[head..]),
                    8 => return None,
                    _ => {}
                }
                return Some(());
            }
            match self.socket.read(&mut part) {
                Ok(size @ 1..) => self.raw.extend_from_slice(&part[..size]),
                _ => return None,
            }
        }
    }

    /// Code, size of the head and of the payload, of the frame that has come whole.
    fn whole_frame(&self) -> Option<(u8, usize, usize)> {
        let mask = if self.is_client { 0 } else { 4 };
        let (head, size) = match self.raw.get(1)? & 0x7f {
            126 => (4, usize::from(u16::from_be_bytes([*self.raw.get(2)?, *self.raw.get(3)?]))),
            127 => (10, usize::try_from(u64::from_be_bytes(self.raw.get(2..10)?.try_into().ok()?)).ok()?),
            size => (2, usize::from(size)),
        };
        (self.raw.len() >= head + mask + size).then_some((self.raw[0] & 0x0f, head + mask, size))
    }
}
