//! A connection that bounds what may come before an answer: informational heads and headers without end.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper_util::client::legacy::connect::{Connected, Connection};
use memchr::memmem::Finder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};

/// The most bytes of all heads of one answer together; hyper bounds each one at 64 KiB.
const MOST_BYTES: usize = 256 << 10;
/// The most informational heads (`102`, `103`) before an answer: one every second for the longest wait.
const MOST_HEADS: u32 = 900;
/// How long a head may take from its first byte to its last.
const LONGEST_HEAD: Duration = Duration::from_secs(30);
/// `HTTP/1.1 1`: as much of a head as tells what it is.
const START: usize = 10;
/// Made once: making a searcher costs more than most searches.
static HEAD_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

/// Whether a connection has answered before: then the other end may have closed it meanwhile. Comes with
/// the connection's answers and errors.
#[derive(Debug, Clone, Default)]
pub struct Used(Arc<AtomicBool>);

impl Used {
    /// It has answered.
    pub fn mark(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Had it answered before?
    pub fn before(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection, watched.
#[derive(Debug)]
pub struct Guarded<T> {
    inner: T,
    heads: Heads,
    used: Used,
    /// Ends the wait for the rest of a head.
    clock: Option<Pin<Box<Sleep>>>,
}

impl<T> Guarded<T> {
    /// A fresh connection.
    pub fn new(inner: T) -> Self {
        Self { inner, heads: Heads::default(), used: Used::default(), clock: None }
    }
}

/// Where the heads of an answer are.
#[derive(Debug, Default)]
struct Heads {
    /// A request was written, and the last head of its answer is not whole.
    awaited: bool,
    bytes: usize,
    informational: u32,
    /// When the first byte of this head came.
    begun: Option<Instant>,
    /// The first bytes of this head.
    start: Vec<u8>,
    /// Bytes of this line so far, its end not counted.
    line: usize,
}

impl Heads {
    /// Something is written: unless it is more of the same request, an answer is due.
    fn asked(&mut self) {
        if !self.awaited {
            let mut start = std::mem::take(&mut self.start);
            start.clear();
            *self = Self { awaited: true, start, ..Self::default() };
        }
    }

    /// Looks at bytes that just came.
    fn came(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_whole_at_once(bytes) {
            self.awaited = false;
            return Ok(());
        }
        self.saw(bytes, Instant::now())
    }

    /// Nearly always: the answer's head is there with the first bytes, and no other comes before it.
    fn is_whole_at_once(&self, bytes: &[u8]) -> bool {
        self.bytes == 0
            && bytes.starts_with(b"HTTP/1.")
            && matches!(bytes.get(START - 1), Some(b'2'..=b'5'))
            && HEAD_END.find(bytes).is_some()
    }

    fn saw(&mut self, bytes: &[u8], now: Instant) -> io::Result<()> {
        self.bytes += bytes.len();
        let mut rest = bytes;
        while self.awaited && !rest.is_empty() {
            let begun = *self.begun.get_or_insert(now);
            let end = memchr::memchr(b'\n', rest);
            let (line, after) = rest.split_at(end.map_or(rest.len(), |at| at + 1));
            let wanted = START.saturating_sub(self.start.len());
            self.start.extend(line.iter().filter(|b| !b"\r\n".contains(b)).take(wanted));
            self.line += line.iter().filter(|b| !b"\r\n".contains(b)).count();
            rest = after;
            if end.is_some() && std::mem::take(&mut self.line) == 0 {
                self.line_is_empty();
            } else if !self.start.starts_with(b"HTTP/") && !b"HTTP/".starts_with(&self.start) {
                // No head at all: the parser will say so.
                self.awaited = false;
            }
            if self.awaited && now.saturating_duration_since(begun) > LONGEST_HEAD {
                return Err(too_long());
            }
        }
        if self.awaited && (self.bytes > MOST_BYTES || self.informational > MOST_HEADS) {
            return Err(io::Error::other("there is no end to the heads before its answer"));
        }
        Ok(())
    }

    /// A head is whole, or has not begun.
    fn line_is_empty(&mut self) {
        if self.start.get(START - 1) == Some(&b'1') {
            self.informational += 1;
            self.start.clear();
            self.begun = None;
        } else if !self.start.is_empty() {
            self.awaited = false;
        }
    }
}

fn too_long() -> io::Error {
    io::Error::other(format!("the head of its answer took longer than {} s", LONGEST_HEAD.as_secs()))
}

impl<T> Guarded<T> {
    /// Nothing came. A head that has begun is not waited for for ever.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(begun) = self.heads.begun else { return Poll::Pending };
        let until = tokio::time::Instant::from_std(begun + LONGEST_HEAD);
        let clock = self.clock.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if clock.deadline() != until {
            clock.as_mut().reset(until);
        }
        clock.as_mut().poll(cx).map(|()| Err(too_long()))
    }
}

// Tokio's traits and not hyper's: only they show what was read where it was read to, and a stream whose head comes with
// all that is behind it would be copied to be inspected.
impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if !self.heads.awaited {
            return polled;
        }
        match polled {
            Poll::Ready(Ok(())) => Poll::Ready(self.heads.came(buf.filled().get(before..).unwrap_or_default())),
            Poll::Ready(failed) => Poll::Ready(failed),
            Poll::Pending => self.wait(cx),
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.heads.asked();
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.heads.asked();
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}

impl<T> Connection for Guarded<T> {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.used.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n{\"a\":1}";
    const HINT: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";

    fn asked() -> Heads {
        let mut heads = Heads::default();
        heads.asked();
        heads
    }

    #[test]
    fn an_answer_in_any_pieces_ends_the_wait() {
        for head in [OK, b"HTTP/1.1 200\n\nbody", b"\r\nHTTP/1.0 404 x\r\n\r\n", &[HINT, HINT, OK].concat()] {
            for size in 1..=head.len() {
                let (mut heads, mut at_once) = (asked(), asked());
                for piece in head.chunks(size) {
                    assert!(heads.saw(piece, Instant::now()).is_ok() && at_once.came(piece).is_ok());
                }
                assert!(!heads.awaited && !at_once.awaited, "{size}");
            }
        }
        for (came, ended) in [(OK, true), (&OK[..24], false), (HINT, false), (b"220 smtp\r\n\r\n", true)] {
            let mut heads = asked();
            assert!(heads.came(came).is_ok());
            assert_eq!(heads.awaited, !ended, "{came:?}");
        }
        // A line that looks like an answer's first, in a head that has begun, is none.
        let mut heads = asked();
        assert!(heads.came(b"HTTP/1.1 103 \r\n").is_ok() && heads.came(b"HTTP/1.1 200 OK\r\n\r\n").is_ok());
        assert!(heads.awaited);
        // Nor is a body that was there before the request was all written a head.
        let mut heads = asked();
        assert!(heads.saw(&[b'x'; 1 << 20], Instant::now()).is_ok());
    }

    #[test]
    fn heads_without_end_are_cut_in_number_bytes_and_time() {
        let now = Instant::now();
        let mut heads = asked();
        let passed = (0..10_000).take_while(|_| heads.saw(b"HTTP/1.1 103 \r\n\r\n", now).is_ok()).count();
        assert_eq!(passed, 900);
        let mut heads = asked();
        assert!(heads.saw(b"HTTP/1.1 200 OK\r\n", now).is_ok());
        let passed = (0..20_000).take_while(|_| heads.saw(b"x-y: 0123456789\r\n", now).is_ok()).count();
        assert!((15_000..16_000).contains(&passed), "{passed}");
        let mut heads = asked();
        assert!(heads.saw(b"HTTP/1.1 200 OK\r\nx: ", now).is_ok());
        let passed = (0..100).take_while(|n| heads.saw(b"y", now + Duration::from_secs(*n)).is_ok()).count();
        assert_eq!(passed, 31);
        // A server that says every 10 s that it still works is not slow to say so.
        let mut heads = asked();
        let says = |n: u64| now + Duration::from_secs(10 * n);
        assert!((0..80).all(|n| heads.saw(HINT, says(n)).is_ok()));
        assert!(heads.saw(OK, says(81)).is_ok() && !heads.awaited);
    }

    /// A connection on which nothing comes any more.
    struct Mute;

    impl AsyncRead for Mute {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_head_that_stops_half_way_is_not_waited_for_for_ever() {
        // What came, how long ago; is it over?
        let rows = [(&b""[..], 600, false), (b"HTTP/1.1 2", 29, false), (b"HTTP/1.1 2", 31, true), (HINT, 31, false)];
        for (came, ago, is_over) in rows {
            let Some(then) = Instant::now().checked_sub(Duration::from_secs(ago)) else { continue };
            let mut guarded = Guarded::new(Mute);
            guarded.heads.asked();
            assert!(guarded.heads.saw(came, then).is_ok());
            let mut space = [0; 8];
            let mut part = ReadBuf::new(&mut space);
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let polled = Pin::new(&mut guarded).poll_read(&mut cx, &mut part);
            assert_eq!(matches!(polled, Poll::Ready(Err(_))), is_over, "{came:?} {ago}");
        }
    }
}
