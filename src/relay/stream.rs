//! Bytes to the client while the meter looks on; the last bytes wait for the commit.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Refusal;
use super::bill::Bill;
use super::failed;
use super::reason::{fit_to_show, without_key};
use super::replay::Record;
use crate::domain::byte_budget::BytePermit;
use crate::domain::request::Endpoint;
use crate::domain::secret::Secret;
use crate::domain::usage::{Metered, Outcome};
use crate::meter::{Failure, Receipt, State, StreamMeter};
use crate::upstream::{Body, Sign, Slot};

/// An answer on its way. Dropped before its end, the client is gone: the provider is stopped, and what
/// was delivered is settled.
#[derive(Debug)]
pub struct StreamAnswer {
    pub(super) bill: Option<Bill>,
    pub(super) meter: Option<Box<StreamMeter>>,
    pub(super) first: Bytes,
    /// What the meter said last; `None` once it is over.
    pub(super) state: Option<State>,
    pub(super) body: Option<Body>,
    pub(super) silence: Silence,
    pub(super) endpoint: Endpoint,
    /// Something was handed to the client.
    pub(super) delivered: bool,
    /// A place at the provider, given back at the end.
    pub(super) slot: Option<Slot>,
    /// What the held end takes of the room for answers, if it is long.
    pub(super) room: Option<BytePermit>,
    /// For a repeat, if the client sent an idempotency key.
    pub(super) record: Option<Record>,
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
pub enum Part {
    /// For the client, as it is.
    Bytes(Bytes),
    /// The stream ends here, with this.
    Failed(Refusal),
}

impl StreamAnswer {
    /// The dialect.
    pub const fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The end of a stream that broke off, where the dialect has more to say than an error.
    pub fn broken(&self, code: &str, message: &str) -> Option<Bytes> {
        self.meter.as_ref()?.broken(code, message)
    }

    /// The next part; `None` at the end.
    pub async fn next(&mut self) -> Option<Part> {
        loop {
            if !self.first.is_empty() {
                self.delivered = true;
                if let Some(record) = &mut self.record {
                    record.add(&self.first);
                }
                return Some(Part::Bytes(std::mem::take(&mut self.first)));
            }
            match self.state.take()? {
                State::More => self.read().await,
                State::Ended => return self.end().await,
                State::Failed(e) => return self.fail(&e).await,
            }
        }
    }

    /// Reads on.
    async fn read(&mut self) {
        let (Some(body), Some(meter)) = (self.body.as_mut(), self.meter.as_mut()) else { return };
        let (idle, event) = if meter.is_done() { (AFTER_DONE, AFTER_DONE) } else { (body.idle(), body.event()) };
        let deadline = self.silence.deadline(idle, event, Instant::now());
        // Set back at once: if the future is dropped while it waits, the state must still be there.
        self.state = Some(State::More);
        self.state = Some(match body.next(deadline).await {
            Ok(Some(bytes)) => {
                let pushed = meter.push(bytes);
                self.silence.broken(pushed.data_events > 0, Instant::now());
                self.first = pushed.forward;
                self.hold_room(&pushed.state);
                pushed.state
            }
            Ok(None) => meter.end_of_input(),
            Err(_) if meter.is_done() => meter.end_of_input(),
            Err(e) => {
                self.first = Bytes::new();
                self.broke_off(&e.to_string());
                return;
            }
        });
    }

    /// What is held back for the charge is counted where it is long. Where there is no room for it, it goes out before
    /// the rest, as what is beyond any bound does; but never the last of an answer.
    fn hold_room(&mut self, state: &State) {
        let (Some(bill), Some(meter)) = (&self.bill, &mut self.meter) else { return };
        if meter.held_bytes() <= SMALL_END || *state != State::More || meter.is_done() {
            return;
        }
        let share = || bill.relay.answers.share(bill.account, true).permit();
        let room = self.room.get_or_insert_with(share);
        if room.grow(meter.held_bytes().saturating_sub(room.bytes())).is_err() {
            self.first = [&*self.first, &*meter.release_held()].concat().into();
        }
    }

    fn broke_off(&mut self, why: &str) {
        tracing::warn!(why, "a stream broke off");
        self.state = Some(State::Failed(Failure::Truncated));
    }

    /// Settles, then hands out what was held back.
    async fn end(&mut self) -> Option<Part> {
        self.body = None;
        let (mut bill, mut meter) = (self.bill.take()?, self.meter.take()?);
        let judged = meter.judged();
        let (bill, meter, metered) = if judged.believed.is_whole() {
            let metered = bill.meter(judged, || 0);
            if let Some(turn) = bill.recount_turn() {
                let mut output = meter.take_output();
                bill.recount(turn, judged.believed, move || output.count());
            }
            (bill, meter, metered)
        } else {
            // Somebody has to count, and not on this thread. If the client leaves meanwhile, it is settled
            // all the same.
            let mut ended = Unsettled { bill: Some(bill), meter: Some(meter), outcome: Outcome::Completed };
            let count = move || {
                let metered = ended.count();
                (ended.bill.take(), ended.meter.take(), metered)
            };
            let (bill, meter, metered) = tokio::task::spawn_blocking(count).await.ok()?;
            (bill?, meter?, metered?)
        };
        match bill.settle(metered, Outcome::Completed).await {
            Ok(settled) => {
                let receipt = Receipt { usage: metered.usage, cost: settled.charged, metered_by: metered.metered_by };
                let last = meter.last_bytes(&receipt);
                if let Some(record) = self.record.take() {
                    record.finish(&last, settled);
                }
                (!last.is_empty()).then_some(Part::Bytes(last))
            }
            Err(e) => Some(Part::Failed(e.into())),
        }
    }

    /// The provider failed in the middle: nothing is charged, and the row says so.
    async fn fail(&mut self, failure: &Failure) -> Option<Part> {
        self.body = None;
        let why = failure.to_string();
        if let Some(slot) = self.slot.take() {
            // It did answer: where it is gone altogether, the next one finds nobody.
            let print = self.bill.as_ref().map_or(0, |bill| failed::print(&bill.request, bill.account));
            slot.failed(&why, Sign::Failed, print, Instant::now());
        }
        let bill = self.bill.take()?;
        tracing::warn!(request_id = %bill.request_id, provider = bill.offer.provider.name, why, "a stream failed");
        let says = failure.says().map_or(Cow::Borrowed("its answer broke off"), |text| {
            let key = bill.offer.provider.api_key.as_ref().and_then(bill.relay.resolve_key);
            let text = without_key(text, key.as_ref().map(Secret::expose));
            failed::error_says(Some(fit_to_show(&text)), &bill.offer.upstream_model, &bill.offered.price.model)
        });
        let settled = bill.settle(Bill::nothing(), Outcome::ProviderError).await;
        Some(Part::Failed(match settled {
            Ok(_) => Refusal::ProviderFailed(says),
            Err(e) => e.into(),
        }))
    }
}

impl Drop for StreamAnswer {
    fn drop(&mut self) {
        let (Some(bill), Some(meter)) = (self.bill.take(), self.meter.take()) else { return };
        if !self.delivered {
            tracing::info!(request_id = %bill.request_id, account = %bill.account, outcome = "client_gone", "request");
            return;
        }
        let left = Unsettled { bill: Some(bill), meter: Some(meter), outcome: Outcome::ClientDisconnected };
        // Counting takes its time (the tokenizer's first use half a second), and the provider is stopped by
        // the task of its connection, on this thread: so it is counted on another one.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(left))),
            Err(_) => drop(left),
        }
    }
}

/// A request that has had its output and must be settled. It is when it is dropped, so that a thread pool
/// which shuts down before its turn comes settles it too.
struct Unsettled {
    bill: Option<Bill>,
    meter: Option<Box<StreamMeter>>,
    outcome: Outcome,
}

impl Unsettled {
    /// What is billed; counts what nobody reported.
    fn count(&mut self) -> Option<Metered> {
        let (bill, meter) = (self.bill.as_mut()?, self.meter.as_mut()?);
        let judged = meter.judged();
        Some(bill.meter(judged, || meter.estimate_completion()))
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        if let Some(metered) = self.count()
            && let Some(bill) = self.bill.take()
        {
            bill.settle_later(metered, self.outcome);
        }
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
