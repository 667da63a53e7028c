//! A WebSocket as one stream of bytes: binary frames, of any size, one after the other.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_websockets::{ClientBuilder, Config, Limits, Message, ServerBuilder, WebSocketStream};

/// The longest frame, and message, that is read: a few frames of HTTP/2.
const LONGEST: usize = 256 << 10;
/// The longest that is written: a proxy may keep a whole frame before it passes it on.
const LONGEST_WRITTEN: usize = 64 << 10;

/// Nothing has to come more seldom: both ends ask each other.
const SILENCE: Duration = Duration::from_secs(super::PING_EVERY.as_secs() + super::PONG_WITHIN.as_secs());

/// A stream of bytes as seen from outside: ends it at once, and learns that it has ended.
#[derive(Debug, Clone, Default)]
pub struct Cut(Arc<Mutex<CutState>>);

#[derive(Debug, Default)]
struct CutState {
    is_cut: bool,
    /// Who reads or writes.
    waiting: Option<Waker>,
    is_over: bool,
    /// Who waits for the end.
    watching: Option<Waker>,
    /// What was wrong with what came.
    why: Option<String>,
}

impl Cut {
    fn lock(&self) -> MutexGuard<'_, CutState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it.
    pub fn cut(&self) {
        let mut state = self.lock();
        state.is_cut = true;
        if let Some(waiting) = state.waiting.take() {
            waiting.wake();
        }
    }

    /// Waits until nobody reads or writes it any more: what was wrong with it, if anything was. One may wait.
    pub async fn over(&self) -> Option<String> {
        poll_fn(|cx| {
            let mut state = self.lock();
            if state.is_over {
                return Poll::Ready(state.why.take());
            }
            state.watching = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Was it ended? If not, whoever asks is woken when it is: one task reads and writes.
    ///
    /// # Errors
    /// It was.
    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        let mut state = self.lock();
        if !state.waiting.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            state.waiting = Some(cx.waker().clone());
        }
        if state.is_cut { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

/// The stream of bytes in a WebSocket. It ends when nothing has come for so long that the other end cannot be there: not
/// even what it was asked to say, or asks itself.
#[derive(Debug)]
pub struct WebSocketBytes<T> {
    socket: WebSocketStream<T>,
    /// What came and was not read yet.
    rest: Bytes,
    cut: Cut,
    /// When something came last, and what ends the wait for more.
    heard: Instant,
    clock: Pin<Box<Sleep>>,
    /// It was said that this is the end.
    is_closing: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> WebSocketBytes<T> {
    /// The coordinator's end of a connection whose handshake is done.
    pub fn server(io: T, cut: Cut) -> Self {
        let socket = ServerBuilder::new().config(config()).limits(limits()).serve(io);
        Self::over(socket, cut)
    }

    /// The agent's end.
    pub fn client(io: T, cut: Cut) -> Self {
        let socket = ClientBuilder::new().config(config()).limits(limits()).take_over(io);
        Self::over(socket, cut)
    }

    fn over(socket: WebSocketStream<T>, cut: Cut) -> Self {
        let heard = Instant::now();
        let clock = Box::pin(sleep_until(heard + SILENCE));
        Self { socket, rest: Bytes::new(), cut, heard, clock, is_closing: false }
    }

    /// Is it to go on? If so, whoever asks is woken when it is not.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.cut.check(cx)?;
        while self.clock.as_mut().poll(cx).is_ready() {
            if self.heard.elapsed() >= SILENCE {
                let why = format!("nothing came for {} s", SILENCE.as_secs());
                return Err(self.wrong(io::Error::new(io::ErrorKind::TimedOut, why)));
            }
            let until = self.heard + SILENCE;
            self.clock.as_mut().reset(until);
        }
        Ok(())
    }

    /// Waits for room for one frame more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.socket).poll_ready(cx).map_err(broken)
    }

    /// There must be room: [`Self::poll_room`] said so.
    fn write(&mut self, bytes: Bytes) -> Poll<io::Result<usize>> {
        let size = bytes.len();
        Pin::new(&mut self.socket).start_send(Message::binary(bytes)).map_err(broken)?;
        Poll::Ready(Ok(size))
    }
}

impl<T> WebSocketBytes<T> {
    /// Notes what is wrong with what came, for whoever ends this.
    fn wrong(&self, e: io::Error) -> io::Error {
        self.cut.lock().why.get_or_insert_with(|| e.to_string());
        e
    }
}

impl<T> Drop for WebSocketBytes<T> {
    fn drop(&mut self) {
        let mut state = self.cut.lock();
        state.is_over = true;
        if let Some(watching) = state.watching.take() {
            watching.wake();
        }
    }
}

fn config() -> Config {
    Config::default().frame_size(LONGEST_WRITTEN).flush_threshold(LONGEST_WRITTEN)
}

fn limits() -> Limits {
    Limits::default().max_payload_len(Some(LONGEST))
}

fn broken(e: tokio_websockets::Error) -> io::Error {
    match e {
        tokio_websockets::Error::Io(e) => e,
        e => io::Error::new(io::ErrorKind::InvalidData, e),
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketBytes<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(e)) => return Poll::Ready(Err(self.wrong(broken(e)))),
                Some(Ok(message)) if message.is_binary() => {
                    self.rest = message.into_payload().into();
                    self.heard = Instant::now();
                }
                Some(Ok(message)) if message.is_text() => {
                    return Poll::Ready(Err(self.wrong(io::Error::new(io::ErrorKind::InvalidData, "a text frame"))));
                }
                // The other end waits for no answer, and may be gone.
                Some(Ok(message)) if message.is_close() => {
                    drop(Pin::new(&mut self.socket).poll_flush(cx));
                    return Poll::Ready(Ok(()));
                }
                // A ping is answered below. The answer goes out before more is read:
                // whoever pings and reads nothing would have answers without number kept for it.
                Some(Ok(_)) => {
                    let flushed = ready!(Pin::new(&mut self.socket).poll_flush(cx));
                    flushed.map_err(|e| self.wrong(broken(e)))?;
                }
            }
        }
        let size = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest.split_to(size));
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocketBytes<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(cx))?;
        let bytes = Bytes::copy_from_slice(buf.get(..buf.len().min(LONGEST_WRITTEN)).unwrap_or_default());
        self.write(bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.socket).poll_flush(cx).map_err(broken)
    }

    /// Says that this is the end, and does not wait for the other one to say so too: that may never come.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_closing {
            ready!(self.poll_room(cx))?;
            self.is_closing = true;
            // It may be the other one's turn to end, which is as good.
            drop(Pin::new(&mut self.socket).start_send(Message::close(None, "")));
        }
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(self.socket.get_mut()).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// One frame of all parts: a header of HTTP/2 beside its payload need no frame each.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(cx))?;
        let whole: usize = parts.iter().map(|part| part.len()).sum();
        let mut bytes = Vec::with_capacity(whole.min(LONGEST_WRITTEN));
        for part in parts {
            let size = part.len().min(LONGEST_WRITTEN - bytes.len());
            bytes.extend_from_slice(part.get(..size).unwrap_or_default());
        }
        self.write(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    type Written<'a> = BoxFuture<'a, io::Result<()>>;

    #[tokio::test]
    async fn bytes_come_as_they_were_written_however_the_frames_are_cut() {
        let (near, far) = duplex(1_000);
        let (mut server, mut client) =
            (WebSocketBytes::server(near, Cut::default()), WebSocketBytes::client(far, Cut::default()));
        let sent: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            for part in sent.chunks(70_001) {
                client.write_all(part).await.unwrap();
            }
            client.flush().await.unwrap();
            let mut answer = [0; 5];
            client.read_exact(&mut answer).await.unwrap();
            client.shutdown().await.unwrap();
            answer
        });
        let mut came = vec![0; expected.len()];
        server.read_exact(&mut came).await.unwrap();
        assert!(came == expected);
        server.write_all(b"hello").await.unwrap();
        server.flush().await.unwrap();
        assert_eq!(server.read(&mut came).await.unwrap(), 0, "the end");
        assert_eq!(&writing.await.unwrap(), b"hello");
    }

    #[tokio::test]
    async fn who_pings_and_reads_nothing_is_read_no_further() {
        let (near, mut far) = duplex(1_000);
        let mut server = WebSocketBytes::server(near, Cut::default());
        let reading = tokio::spawn(async move { server.read(&mut [0; 10]).await });
        let mut sent = 0;
        // Each read and each write lets the other side go on until nothing can.
        while tokio::time::timeout(Duration::from_millis(100), far.write_all(b"\x89\x80\0\0\0\0")).await.is_ok() {
            sent += 1;
            assert!(sent < 100_000, "the answers to them are kept without number");
        }
        assert!(sent > 100, "{sent}");
        reading.abort();
    }

    #[tokio::test]
    async fn garbage_text_and_frames_without_end_are_errors_and_a_cut_ends_a_wait() {
        // Not masked, as a client's frames are; a reserved bit; text; 2^62 bytes to come.
        let rows: [&[u8]; 4] =
            [b"\x82\x03abc", b"\xf2\x83\0\0\0\0abc", b"\x81\x83\0\0\0\0abc", b"\x82\xff\x40\0\0\0\0\0\0\0\0\0\0\0"];
        for row in rows {
            let (near, mut far) = duplex(1_000);
            let mut server = WebSocketBytes::server(near, Cut::default());
            far.write_all(row).await.unwrap();
            assert!(server.read(&mut [0; 10]).await.is_err(), "{row:?}");
        }
        let (near, _far) = duplex(1_000);
        let cut = Cut::default();
        let mut server = WebSocketBytes::server(near, cut.clone());
        let waiting = tokio::spawn(async move { server.read(&mut [0; 10]).await.is_err() });
        tokio::task::yield_now().await;
        cut.cut();
        assert!(waiting.await.unwrap());
        assert_eq!(cut.over().await, None);
    }

    #[tokio::test]
    async fn a_cut_ends_writes_that_nobody_takes() {
        let waits: [fn(&mut WebSocketBytes<DuplexStream>) -> Written<'_>; 3] = [
            |server| Box::pin(async { server.write_all(&[0; 1_000_000]).await }),
            |server| Box::pin(async { server.flush().await }),
            |server| Box::pin(async { server.shutdown().await }),
        ];
        for wait in waits {
            let (near, _far) = duplex(1_000);
            let cut = Cut::default();
            let mut server = WebSocketBytes::server(near, cut.clone());
            // More than what lies between takes.
            let full = server.write_all(&[0; 1_000_000]);
            assert!(tokio::time::timeout(Duration::from_millis(20), full).await.is_err());
            let waiting = tokio::spawn(async move { wait(&mut server).await.is_err() });
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(!waiting.is_finished());
            cut.cut();
            assert!(tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap());
        }
    }
}
