//! The body of a provider's answer: read as it comes, or whole, with the times that it may take.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming};
use tokio::time::{Sleep, sleep_until};

use super::connect::with_causes;
use super::failure::Failure;
use super::room::{AnswerRoom, AnswerShare, SMALL};
use super::undo::Undo;

/// A body being read. Dropping it before its end closes the connection, which stops the provider.
#[derive(Debug)]
pub struct UpstreamBody {
    pub(super) incoming: Incoming,
    /// It comes compressed.
    pub(super) undo: Option<Box<Undo>>,
    pub(super) idle: Duration,
    pub(super) event: Duration,
    /// Ends a wait. Kept from one to the next: to set a timer for each is work.
    pub(super) clock: Option<Pin<Box<Sleep>>>,
}

impl UpstreamBody {
    /// How long it may be silent.
    pub const fn idle(&self) -> Duration {
        self.idle
    }

    /// How long it may go without an event, though comments and pings come.
    pub fn event(&self) -> Duration {
        self.event.max(self.idle)
    }

    /// The next bytes; `None` at the end. The caller says what counts as silence: for a stream, bytes
    /// alone are no sign of life.
    ///
    /// # Errors
    /// The connection broke, or nothing came before `deadline`.
    pub async fn next(&mut self, deadline: Instant) -> Result<Option<Bytes>, Failure> {
        loop {
            let Some(undo) = &mut self.undo else { return self.raw(deadline).await };
            if undo.is_done() {
                return Ok(None);
            }
            if undo.is_hungry() {
                let bytes = self.raw(deadline).await?;
                if let Some(undo) = &mut self.undo {
                    undo.feed(bytes);
                }
                continue;
            }
            let bytes = undo.inflate().map_err(Failure::NotInflated)?;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    /// The next bytes as they came.
    async fn raw(&mut self, deadline: Instant) -> Result<Option<Bytes>, Failure> {
        loop {
            match poll_fn(|cx| self.poll_frame(cx, deadline.into())).await? {
                None => return Ok(None),
                Some(Err(e)) => return Err(Failure::BrokeOff(with_causes(&e))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    // Trailers, or nothing.
                    _ => {}
                },
            }
        }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        deadline: tokio::time::Instant,
    ) -> Poll<Result<Option<hyper::Result<Frame<Bytes>>>, Failure>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            return Poll::Ready(Ok(frame));
        }
        let clock = self.clock.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if deadline < clock.deadline() {
            clock.as_mut().reset(deadline);
        }
        // Set for an earlier wait, it may end before this one is over.
        while clock.as_mut().poll(cx).is_ready() {
            if tokio::time::Instant::now() >= deadline {
                return Poll::Ready(Err(Failure::Silent(self.idle)));
            }
            clock.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    /// The whole of it, at most `most` bytes. What is long counts towards the room for answers, and is not read
    /// on until there is some.
    ///
    /// # Errors
    /// The connection broke, nothing came for the idle time, it did not end in the time that an event has,
    /// it is larger, or there is no room for it.
    pub async fn whole(mut self, most: usize, share: AnswerShare<'_>) -> Result<Bytes, Failure> {
        let announced = self.announced().unwrap_or_default();
        let mut room = AnswerRoom::new(share);
        let (longest, began) = (self.event(), Instant::now());
        let endless = |e| match e {
            Failure::Silent(_) if began.elapsed() >= longest => Failure::Endless(longest),
            e => e,
        };
        // Nearly always there is no second part, and then no copy.
        let (mut first, mut all) = (Bytes::new(), Vec::new());
        while let Some(part) = self.next((Instant::now() + self.idle).min(began + longest)).await.map_err(endless)? {
            let (before, size) = (first.len().max(all.len()), first.len().max(all.len()) + part.len());
            if size.max(announced) > most {
                return Err(Failure::TooLarge(most));
            }
            if size.max(announced) > SMALL {
                Box::pin(room.hold(size.max(announced))).await?;
            }
            if before == 0 {
                first = part;
                continue;
            }
            if all.is_empty() {
                // Memory that nothing is written to costs nothing; to grow would be to copy.
                let rest = if size <= SMALL { size * 2 } else { most };
                all.reserve_exact(if announced >= size { announced } else { rest });
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            if all.capacity() < size {
                all.reserve_exact(most - all.len());
            }
            all.extend_from_slice(&part);
        }
        Ok(room.tie_to(if all.is_empty() { first } else { all.into() }))
    }

    /// How long it will be, if that was said, and is what is handed out.
    fn announced(&self) -> Option<usize> {
        let exact = hyper::body::Body::size_hint(&self.incoming).exact().filter(|_| self.undo.is_none());
        exact.and_then(|bytes| usize::try_from(bytes).ok())
    }

    /// Its first `most` bytes, as many as come within `time`. The rest is not read: an error may be endless.
    pub async fn start(mut self, most: usize, time: Duration) -> Bytes {
        let deadline = Instant::now() + time;
        let mut start = Vec::new();
        while start.len() < most
            && let Ok(Some(part)) = self.next(deadline).await
        {
            start.extend_from_slice(part.get(..part.len().min(most - start.len())).unwrap_or_default());
        }
        start.into()
    }
}
