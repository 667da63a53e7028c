//! Cutting off clients that read too slowly.
//!
//! `TCP_USER_TIMEOUT` ends a connection on which nothing moves at all. A client that takes a few bytes
//! now and then escapes it, and would keep a provider generating for hours. So a streamed answer whose next
//! part the connection has not asked for within the write timeout is ended too: with the small send buffer
//! of each connection, that is less than about a KiB a second.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
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

/// Since when the connection has not asked for the next part; `None` while it waits for one.
type Waits = Cell<Option<Instant>>;

thread_local! {
    /// The streams of this worker. One task looks after all of them: a timer each would be felt.
    static STREAMS: RefCell<Vec<(Weak<Waits>, RawFd)>> = const { RefCell::new(Vec::new()) };
    static LOOKED_AFTER: Cell<bool> = const { Cell::new(false) };
}

/// A streamed body that is watched.
pub struct Watched<S> {
    stream: Pin<Box<S>>,
    waits: Rc<Waits>,
}

/// Watches the body of the answer to `request`.
pub fn watch<S: Stream>(stream: S, request: &HttpRequest, patience: Duration) -> Watched<S> {
    let waits = Rc::new(Cell::new(None));
    if let Some(Connection(fd)) = request.conn_data::<Connection>() {
        STREAMS.with_borrow_mut(|streams| streams.push((Rc::downgrade(&waits), *fd)));
        if !LOOKED_AFTER.replace(true) {
            actix_web::rt::spawn(look_after(patience));
        }
    }
    Watched { stream: Box::pin(stream), waits }
}

impl<S: Stream> Stream for Watched<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.waits.set(None);
        let next = self.stream.as_mut().poll_next(cx);
        if matches!(next, Poll::Ready(Some(_))) {
            self.waits.set(Some(Instant::now()));
        }
        next
    }
}

async fn look_after(patience: Duration) {
    loop {
        actix_web::rt::time::sleep(patience / 30).await;
        STREAMS.with_borrow_mut(|streams| {
            streams.retain(|(waits, fd)| {
                let Some(waits) = waits.upgrade() else { return false };
                let too_slow = waits.get().is_some_and(|since| since.elapsed() >= patience);
                // The body lives, on this thread, and with it its connection: the number is still its own.
                if too_slow && let Err(e) = shut_down(*fd) {
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
