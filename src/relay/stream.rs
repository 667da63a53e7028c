//! Bytes to the client while the meter reads along; the last bytes wait for the commit.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Refusal;
use super::ask::StreamStart;
use super::attempts;
use super::bill::Bill;
use super::reason::{fit_to_show, without_key};
use super::replay::Record;
use super::settle::{Closing, Unsettled, settle};
use super::translated::ClientStream;
use super::wait::Seat;
use crate::dialect::failure::StreamFailure;
use crate::domain::byte_budget::BytePermit;
use crate::domain::endpoint::Endpoint;
use crate::domain::secret::Secret;
use crate::domain::usage::Outcome;
use crate::meter::StreamState;
use crate::upstream::{Sign, UpstreamBody};

/// An answer on its way. Dropped before its end, the client is gone: the provider is stopped, and what
/// was delivered is settled.
#[derive(Debug)]
pub struct ReplyStream {
    endpoint: Endpoint,
    stage: Stage,
}

/// How far an answer is.
#[derive(Debug)]
enum Stage {
    /// UpstreamReply, and nothing of it handed out: a client that leaves now owes nothing.
    First(Box<OpenStream>),
    /// The client has some of it: if it leaves now, it owes what was delivered.
    Passing(Box<OpenStream>),
    /// The provider broke off. The meter knows what the dialect says then.
    BrokeOff(Box<ClientStream>),
    /// Over, or being settled.
    Ended {
        /// What the last bytes take of the room for answers, given back when they are written.
        _room: Option<BytePermit>,
    },
}

/// An answer whose provider still sends.
#[derive(Debug)]
struct OpenStream {
    bill: Bill,
    meter: Box<ClientStream>,
    /// What the client may have now.
    ready: Bytes,
    /// What the meter said last.
    state: StreamState,
    body: UpstreamBody,
    silence: Silence,
    /// A place at the provider, and at the key.
    seat: Seat,
    /// What the held end takes of the room for answers, if it is long.
    room: Option<BytePermit>,
    /// For a repeat, if the client sent an idempotency key.
    record: Option<Record>,
}

/// How long the provider has been waited for. Only waiting counts: while the client does not read, nobody
/// asks the provider for anything.
#[derive(Debug, Default)]
pub struct Silence {
    /// Waited since the last event, finished waits only.
    since_event: Duration,
    /// A wait that goes on. It outlives a future that is dropped while it waits.
    since: Option<Instant>,
}

impl Silence {
    /// The wait begins, or goes on; until when? Any byte is a sign of life for `idle`, an event alone for
    /// `event`: a dying server goes on sending comments.
    fn deadline(&mut self, idle: Duration, event: Duration, now: Instant) -> Instant {
        let since = *self.since.get_or_insert(now);
        since + idle.min(event.saturating_sub(self.since_event))
    }

    /// Bytes came; were there events among them?
    fn broken(&mut self, by_event: bool, now: Instant) {
        let waited = self.since.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.since_event = if by_event { Duration::ZERO } else { self.since_event + waited };
    }
}

/// The held end of nearly every stream is shorter, and not counted, in bytes.
const SMALL_END: usize = 16 << 10;
/// How long usage may come after the last word of an answer, which waits for it.
const AFTER_DONE: Duration = Duration::from_secs(2);

/// A part of a streamed answer.
#[derive(Debug)]
pub enum StreamPart {
    /// For the client, as it is.
    Bytes(Bytes),
    /// The stream ends here, with this.
    Failed(Refusal),
}

impl ReplyStream {
    /// Its beginning, which was read to see that it is one.
    pub(super) fn new(bill: Bill, start: StreamStart, seat: Seat, record: Option<Record>) -> Self {
        let StreamStart { first: ready, state, mut meter, body } = start;
        meter.bound_output(bill.longest_output());
        let endpoint = bill.charge.endpoint;
        let silence = Silence::default();
        let open = OpenStream { bill, meter, ready, state, body, silence, seat, room: None, record };
        Self { endpoint, stage: Stage::First(Box::new(open)) }
    }

    /// The dialect.
    pub const fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The end of a stream that broke off, where the dialect has more to say than an error.
    pub fn broken(&mut self, code: &str, message: &str) -> Option<Bytes> {
        match &mut self.stage {
            Stage::BrokeOff(meter) => meter.broken(code, message),
            Stage::First(_) | Stage::Passing(_) | Stage::Ended { .. } => None,
        }
    }

    /// The next part; `None` at the end.
    pub async fn next(&mut self) -> Option<StreamPart> {
        loop {
            let (Stage::First(open) | Stage::Passing(open)) = &mut self.stage else { return None };
            if let Some(bytes) = open.take_ready() {
                self.stage.delivered();
                return Some(StreamPart::Bytes(bytes));
            }
            match open.state {
                StreamState::More => open.read().await,
                StreamState::Ended | StreamState::Failed(_) => return Box::pin(self.close()).await,
            }
        }
    }

    /// The provider is done, or broke off.
    async fn close(&mut self) -> Option<StreamPart> {
        let stage = std::mem::replace(&mut self.stage, Stage::ENDED);
        let (Stage::First(open) | Stage::Passing(open)) = stage else { return None };
        if open.state == StreamState::Failed(StreamFailure::TooMuchToKeep) {
            // The client was told. It has what there is, and could have asked for less.
            open.leave();
            return None;
        }
        if let StreamState::Failed(failure) = &open.state {
            let failure = failure.clone();
            let (refusal, meter) = open.fail(&failure).await;
            self.stage = Stage::BrokeOff(meter);
            return Some(StreamPart::Failed(refusal));
        }
        let (closing, room) = open.end().await;
        self.stage = Stage::Ended { _room: room };
        match closing {
            Ok(Closing { pieces: [last], .. }) => (!last.is_empty()).then_some(StreamPart::Bytes(last)),
            Err(refusal) => Some(StreamPart::Failed(refusal)),
        }
    }
}

impl Stage {
    const ENDED: Self = Self::Ended { _room: None };

    /// Something was handed out.
    fn delivered(&mut self) {
        if let Self::First(_) = self
            && let Self::First(open) = std::mem::replace(self, Self::ENDED)
        {
            *self = Self::Passing(open);
        }
    }
}

impl OpenStream {
    /// What the client may have now, if anything.
    fn take_ready(&mut self) -> Option<Bytes> {
        let ready = std::mem::take(&mut self.ready);
        if ready.is_empty() {
            return None;
        }
        if let Some(record) = &mut self.record {
            record.add(&ready);
        }
        Some(ready)
    }

    /// Reads on. If the future is dropped while it waits, nothing is lost.
    async fn read(&mut self) {
        let (meter, body) = (&mut self.meter, &mut self.body);
        let (idle, event) = if meter.is_done() { (AFTER_DONE, AFTER_DONE) } else { (body.idle(), body.event()) };
        let deadline = self.silence.deadline(idle, event, Instant::now());
        self.state = match body.next(deadline).await {
            Ok(Some(bytes)) => {
                let pushed = meter.push(bytes);
                self.silence.broken(pushed.data_events > 0, Instant::now());
                self.ready = pushed.forward;
                pushed.state
            }
            Ok(None) => meter.end_of_input(),
            Err(_) if meter.is_done() => meter.end_of_input(),
            Err(e) => {
                tracing::warn!(why = e.to_string(), "a stream broke off");
                StreamState::Failed(StreamFailure::Truncated)
            }
        };
        self.hold_room();
    }

    /// What is held back for the charge is counted where it is long. Where there is no room for it, it goes out before
    /// the rest, as what is beyond any bound does; but never the last of an answer.
    fn hold_room(&mut self) {
        let (bill, meter) = (&self.bill, &mut self.meter);
        if meter.held_bytes() <= SMALL_END || self.state != StreamState::More || meter.is_done() {
            return;
        }
        let share = || bill.relay.answers.share(bill.charge.account_id, true).permit();
        let room = self.room.get_or_insert_with(share);
        if room.grow(meter.held_bytes().saturating_sub(room.bytes())).is_err() {
            let (released, mut ended) = (meter.release_held(), Bytes::new());
            if meter.held_bytes() > SMALL_END {
                (ended, self.state) = meter.keep_no_more();
            }
            self.ready = [&*self.ready, &*released, &*ended].concat().into();
        }
    }

    /// Nobody reads on: the provider is stopped, and what was delivered is settled.
    fn leave(self: Box<Self>) {
        let Self { bill, meter, .. } = *self;
        let left = Unsettled::new(bill, meter, Outcome::ClientDisconnected);
        // Counting takes its time (the tokenizer's first use half a second), and the provider is stopped by
        // the task of its connection, on this thread: so it is counted on another one.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(left))),
            Err(_) => drop(left),
        }
    }

    /// Settles; what was held back is then for the client. The provider's work is done: its connection and its place
    /// are free before that.
    async fn end(self: Box<Self>) -> (Result<Closing<[Bytes; 1]>, Refusal>, Option<BytePermit>) {
        let Self { bill, meter, body, seat, room, record, .. } = *self;
        drop((body, seat));
        (settle(bill, meter, record).await, room)
    }

    /// The provider failed in the middle: nothing is charged, and the row says so.
    async fn fail(self: Box<Self>, failure: &StreamFailure) -> (Refusal, Box<ClientStream>) {
        let Self { bill, meter, body, seat, .. } = *self;
        drop(body);
        let why = failure.to_string();
        // It did answer: where it is gone altogether, the next one finds nobody.
        seat.place.failed(&why, Sign::Failed, attempts::print(&bill.request, bill.charge.account_id), Instant::now());
        drop(seat);
        tracing::warn!(request_id = %bill.charge.request_id, provider = bill.offer.provider.name, why, "a stream failed");
        let says = failure.says().map_or(Cow::Borrowed("its answer broke off"), |text| {
            let key = bill.offer.provider.api_key.as_ref().and_then(bill.relay.resolve_key);
            let text = without_key(text, key.as_ref().map(Secret::expose));
            attempts::error_says(Some(fit_to_show(&text)), &bill.offer.upstream_model, &bill.offered.price.model)
        });
        let settled = bill.settle(Bill::nothing(), Outcome::ProviderError).await;
        (settled.map_or_else(Refusal::from, |_| Refusal::ProviderFailed(says)), meter)
    }
}

impl Drop for ReplyStream {
    fn drop(&mut self) {
        let open = match std::mem::replace(&mut self.stage, Stage::ENDED) {
            Stage::First(open) => {
                let bill = &open.bill;
                tracing::info!(request_id = %bill.charge.request_id, account = %bill.charge.account_id, outcome = "client_gone", "request");
                return;
            }
            Stage::Passing(open) => open,
            Stage::BrokeOff(_) | Stage::Ended { .. } => return,
        };
        open.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(300);
    const EVENT: Duration = Duration::from_secs(900);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_clients_pause_is_no_silence_of_the_provider() {
        let (mut silence, start) = (Silence::default(), Instant::now());
        assert_eq!(silence.deadline(IDLE, EVENT, start), start + IDLE);
        silence.broken(true, start + seconds(1));
        // The client reads on an hour later.
        let later = start + seconds(3_600);
        assert_eq!(silence.deadline(IDLE, EVENT, later), later + IDLE);
        // A wait that was dropped and taken up again is one wait.
        assert_eq!(silence.deadline(IDLE, EVENT, later + seconds(10)), later + IDLE);
    }

    #[test]
    fn comments_stretch_the_silence_and_no_further() {
        let (mut silence, mut now) = (Silence::default(), Instant::now());
        for _ in 0..4 {
            assert_eq!(silence.deadline(IDLE, EVENT, now), now + IDLE);
            now += seconds(200);
            silence.broken(false, now);
            // Nor does a pause of the client's between two comments count.
            now += seconds(500);
        }
        assert_eq!(silence.deadline(IDLE, EVENT, now), now + seconds(100));
        silence.broken(true, now + seconds(99));
        assert_eq!(silence.deadline(IDLE, EVENT, now), now + IDLE);
    }
}
