//! What is left of a request after its connection was upgraded, as a socket: reads come from its body, writes are the
//! body of the answer.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use actix_web::web::{Bytes, BytesMut, Payload};
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What may wait to be written, in bytes; actix takes half as much at a time.
const MOST_WAITING: usize = 64 << 10;

/// Between the two halves.
#[derive(Debug, Default)]
struct Waiting {
    bytes: BytesMut,
    /// Nothing more is written.
    is_over: bool,
    /// Nobody takes it any more.
    is_gone: bool,
    /// Who has more to write.
    writer: Option<Waker>,
    /// Who takes it.
    taker: Option<Waker>,
}

/// The upgraded connection. It stays on its worker's thread.
pub struct Raw {
    payload: Payload,
    rest: Bytes,
    waiting: Rc<RefCell<Waiting>>,
}

/// The answer's body.
pub struct Written(Rc<RefCell<Waiting>>);

/// The connection behind a request's body, and the body of its answer.
pub fn pair(payload: Payload) -> (Raw, Written) {
    let waiting = Rc::<RefCell<Waiting>>::default();
    (Raw { payload, rest: Bytes::new(), waiting: Rc::clone(&waiting) }, Written(waiting))
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl AsyncRead for Raw {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.payload).poll_next(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(bytes)) => self.rest = bytes,
                // Why is not known here: its end is missing.
                Some(Err(_)) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, "the connection broke")));
                }
            }
        }
        let size = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest.split_to(size));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Raw {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_gone || waiting.is_over {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = MOST_WAITING.saturating_sub(waiting.bytes.len());
        if room == 0 {
            waiting.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = bytes.get(..bytes.len().min(room)).unwrap_or_default();
        waiting.bytes.extend_from_slice(taken);
        wake(&mut waiting.taker);
        Poll::Ready(Ok(taken.len()))
    }

    /// What was written is on its way: whoever takes it does so as fast as the socket does.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut waiting = self.waiting.borrow_mut();
        waiting.is_over = true;
        wake(&mut waiting.taker);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.is_over {
            // It is ended at once: for what waits nobody may be there who reads it.
            waiting.bytes.clear();
            waiting.is_over = true;
        }
        wake(&mut waiting.taker);
    }
}

impl Stream for Written {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut waiting = self.0.borrow_mut();
        if !waiting.bytes.is_empty() {
            wake(&mut waiting.writer);
            return Poll::Ready(Some(Ok(waiting.bytes.split().freeze())));
        }
        if waiting.is_over {
            return Poll::Ready(None);
        }
        waiting.taker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let mut waiting = self.0.borrow_mut();
        waiting.is_gone = true;
        wake(&mut waiting.writer);
    }
}
