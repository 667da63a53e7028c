//! Looking after streamed answers: cutting off clients that read too slowly, and signs of life for those that
//! wait.
//!
//! `TCP_USER_TIMEOUT` ends a connection on which nothing moves at all. A client that takes a few bytes
//! now and then escapes it, and would keep a provider generating for hours. So a streamed answer whose next
//! part the connection has not asked for within the write timeout is ended too: with the small send buffer
//! of each connection, that is less than about a KiB a second.
//!
//! Proxies give up on a connection on which nothing comes for a minute or so. So a stream that has brought nothing
//! for some seconds brings a sign of life that no client takes for content; never inside an event.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use actix_web::web::Bytes;
use futures_util::Stream;
use rustix::process::{PidfdFlags, PidfdGetfdFlags};

/// The descriptor of a connection, noted when it was accepted.
#[derive(Debug, Clone, Copy)]
pub struct Connection(RawFd);

impl Connection {
    /// Notes the descriptor among what is known of a connection.
    pub fn note(stream: &TcpStream, extensions: &mut Extensions) {
        extensions.insert(Self(stream.as_raw_fd()));
    }
}

/// What a stream says while it has nothing to say.
#[derive(Debug, Clone)]
pub struct SignOfLife {
    /// How long a stream is quiet before it says it.
    pub every: Duration,
    /// A whole event of the dialect, or a comment.
    pub text: Bytes,
    /// The stream begins with it.
    pub at_once: bool,
}

/// What the task that looks after a stream knows of it.
struct Watch {
    /// Since when the connection has not asked for the next part; `None` while it waits for one.
    unasked: Cell<Option<Instant>>,
    /// When the last part was handed out.
    last: Cell<Instant>,
    /// Whom to wake for a sign.
    waiting: RefCell<Option<Waker>>,
    sign_is_due: Cell<bool>,
}

thread_local! {
    /// The streams of this worker. One task looks after all of them: a timer each would be felt.
    static STREAMS: RefCell<Vec<(Weak<Watch>, Option<RawFd>)>> = const { RefCell::new(Vec::new()) };
    static LOOKED_AFTER: Cell<bool> = const { Cell::new(false) };
}

/// A streamed body that is watched.
pub struct Watched<S> {
    stream: Pin<Box<S>>,
    sign: Bytes,
    tail: Tail,
    watch: Rc<Watch>,
}

/// Watches the body of the answer to `request`.
pub fn watch<S: Stream>(stream: S, request: &HttpRequest, patience: Duration, sign: SignOfLife) -> Watched<S> {
    let watch = Rc::new(Watch {
        unasked: Cell::new(None),
        last: Cell::new(Instant::now()),
        waiting: RefCell::new(None),
        sign_is_due: Cell::new(sign.at_once),
    });
    let connection = request.conn_data::<Connection>().map(|Connection(fd)| *fd);
    STREAMS.with_borrow_mut(|streams| streams.push((Rc::downgrade(&watch), connection)));
    if !LOOKED_AFTER.replace(true) {
        actix_web::rt::spawn(look_after(patience, sign.every));
    }
    Watched { stream: Box::pin(stream), sign: sign.text, tail: Tail::default(), watch }
}

impl<S: Stream<Item = Result<Bytes, Infallible>>> Stream for Watched<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.watch.unasked.set(None);
        let part = match self.stream.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(part))) => {
                self.tail.add(&part);
                part
            }
            Poll::Pending if self.watch.sign_is_due.replace(false) && self.tail.is_between_events() => {
                self.sign.clone()
            }
            other => {
                self.watch.wait(cx.waker());
                return other;
            }
        };
        let now = Instant::now();
        self.watch.unasked.set(Some(now));
        self.watch.last.set(now);
        Poll::Ready(Some(Ok(part)))
    }
}

impl Watch {
    fn wait(&self, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *waiting = Some(waker.clone());
        }
    }
}

/// The last bytes of what was handed out: a blank line ends an event.
#[derive(Debug, Default)]
struct Tail {
    bytes: [u8; 4],
    length: usize,
}

impl Tail {
    fn add(&mut self, part: &[u8]) {
        for &byte in part.get(part.len().saturating_sub(4)..).unwrap_or_default() {
            self.bytes.rotate_left(1);
            if let Some(last) = self.bytes.last_mut() {
                *last = byte;
            }
            self.length = (self.length + 1).min(4);
        }
    }

    fn is_between_events(&self) -> bool {
        let bytes = self.bytes.get(4 - self.length..).unwrap_or_default();
        bytes.is_empty() || [&b"\n\n"[..], b"\r\r", b"\r\n\r\n", b"\n\r\n"].iter().any(|end| bytes.ends_with(end))
    }
}

async fn look_after(patience: Duration, every: Duration) {
    loop {
        actix_web::rt::time::sleep((patience / 30).min(every / 10)).await;
        STREAMS.with_borrow_mut(|streams| {
            streams.retain(|(watch, connection)| {
                let Some(watch) = watch.upgrade() else { return false };
                let Some(since) = watch.unasked.get() else {
                    if watch.last.get().elapsed() >= every
                        && !watch.sign_is_due.replace(true)
                        && let Some(waker) = watch.waiting.take()
                    {
                        waker.wake();
                    }
                    return true;
                };
                let too_slow = since.elapsed() >= patience;
                // The body lives, on this thread, and with it its connection: the number is still its own.
                if too_slow
                    && let Some(fd) = *connection
                    && let Err(e) = shut_down(fd)
                {
                    tracing::debug!(error = %e, "a client that reads too slowly could not be cut off");
                }
                !too_slow
            });
        });
    }
}

/// Ends a connection that actix owns, by the number of its descriptor.
fn shut_down(fd: RawFd) -> std::io::Result<()> {
    let this = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    let connection = rustix::process::pidfd_getfd(this, fd, PidfdGetfdFlags::empty())?;
    let connection = socket2::Socket::from(connection);
    // With a reset: what is in the send buffer would take this client hours to read.
    connection.set_linger(Some(Duration::ZERO))?;
    connection.shutdown(std::net::Shutdown::Both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_has_its_place_between_two_events_only() {
        let rows: [(&[&str], bool); 12] = [
            (&[], true),
            (&[""], true),
            (&["data: 1\n\n"], true),
            (&["data: 1\r\n\r\n"], true),
            (&["data: 1\r\r"], true),
            (&["data: 1", "\n", "\n"], true),
            (&[": comment\n\n", "data: {"], false),
            (&["data: 1\n"], false),
            (&["data: 1\r\n\r"], false),
            (&["data: 1\r\n"], false),
            (&["data: 1\r\n\r", "\n"], true),
            (&["\n"], false),
        ];
        for (parts, expected) in rows {
            let mut tail = Tail::default();
            parts.iter().for_each(|part| tail.add(part.as_bytes()));
            assert_eq!(tail.is_between_events(), expected, "{parts:?}");
        }
    }
}
