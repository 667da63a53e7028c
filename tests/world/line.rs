//! What lies between two programs: a line that can fall silent, or a proxy that understands CONNECT.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::http::find;

/// A listener that joins each connection to one of its own. It takes no more when it is dropped.
pub struct Line {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    to: SocketAddr,
    is_proxy: bool,
    silent: AtomicBool,
    over: AtomicBool,
    /// What the proxy was asked.
    heads: Mutex<Vec<String>>,
    /// What whoever connects says, byte for byte, where that is kept.
    said: Option<Mutex<Vec<u8>>>,
}

impl Line {
    /// To that address.
    pub fn to(to: SocketAddr) -> Self {
        Self::start(to, false, None)
    }

    /// To that address, and what passes towards it is kept.
    pub fn overheard(to: SocketAddr) -> Self {
        Self::start(to, false, Some(Mutex::default()))
    }

    /// To that address whatever is asked for, through CONNECT.
    pub fn proxy_to(to: SocketAddr) -> Self {
        Self::start(to, true, None)
    }

    fn start(to: SocketAddr, is_proxy: bool, said: Option<Mutex<Vec<u8>>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (silent, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let shared = Arc::new(Shared { to, is_proxy, silent, over, heads: Mutex::default(), said });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if accepting.over.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || shared.join(near));
            }
        });
        Self { addr, shared }
    }

    /// From now on nothing passes, and nothing is closed; or it does again.
    pub fn silence(&self, silent: bool) {
        self.shared.silent.store(silent, Ordering::SeqCst);
    }

    /// The heads of the requests to the proxy.
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What all who connected said, as the line carried it.
    pub fn said(&self) -> Vec<u8> {
        let said = self.shared.said.as_ref().expect("a line that is overheard");
        said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
    }
}

impl Shared {
    fn join(self: Arc<Self>, mut near: TcpStream) {
        if self.is_proxy {
            let mut head = Vec::new();
            let mut byte = [0];
            while find(&head, b"\r\n\r\n").is_none() {
                match near.read(&mut byte) {
                    Ok(1) => head.push(byte[0]),
                    _ => return,
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            self.heads.lock().unwrap_or_else(PoisonError::into_inner).push(head);
            let _ = near.write_all(b"HTTP/1.1 200 Connection established\r\nvia: story\r\n\r\n");
        }
        let Ok(far) = TcpStream::connect(self.to) else { return };
        for end in [&near, &far] {
            end.set_nodelay(true).unwrap();
            end.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        }
        let (near_too, far_too, shared) = (near.try_clone().unwrap(), far.try_clone().unwrap(), Arc::clone(&self));
        std::thread::spawn(move || shared.pass_on(far_too, near_too, None));
        self.pass_on(near, far, self.said.as_ref());
    }

    /// Bytes of one direction, until either end is gone.
    fn pass_on(&self, mut from: TcpStream, mut to: TcpStream, said: Option<&Mutex<Vec<u8>>>) {
        let mut part = [0; 16 << 10];
        loop {
            if self.silent.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            } else {
                match from.read(&mut part) {
                    Ok(0) => break,
                    Ok(size) => {
                        if let Some(said) = said {
                            said.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&part[..size]);
                        }
                        if to.write_all(&part[..size]).is_err() {
                            break;
                        }
                    }
                    Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                    Err(_) => break,
                }
            }
            if self.over.load(Ordering::SeqCst) {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}
