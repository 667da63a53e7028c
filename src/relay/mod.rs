//! The story, told once, and the holds in memory. The only room that knows the order:
//! *hold → wait → send → meter → settle → answer*.
//!
//! | file | what it is |
//! |---|---|
//! | `call`, `reply` | what comes into the story, and what leaves it |
//! | `arrival` | who may send a body, and how much memory it may take |
//! | `replay` | idempotency keys: one charge, and the same answer again |
//! | `forms` | the request in the words of those who may be asked: as it came, or as chat |
//! | `admit`, `worst_case` | the price, the ceiling, the hold |
//! | [`holds`] | money promised to requests in flight |
//! | `meanwhile` | what may have changed while a request waited |
//! | `affinity` | which server has seen a conversation |
//! | `wait`, `queue` | waiting for a place at a provider, and the order in which those who wait are served |
//! | `send`, `ask`, `opened` | asking one provider after the other, each up to the first byte |
//! | `attempts`, `sorting`, `reason`, `places` | why one did not answer, whose fault it is, and what a caller may see of it |
//! | `bill` | from the first byte to the row |
//! | `complete`, `settle`, `stream` | the one way to settle an answer; the bytes of a stream on their way |
//! | `translated` | an answer on its way from the meter to the client, in the client's dialect |
//! | `counting`, `corrections` | the tokenizer's counts, and what servers make of them |
//! | `minute` | how often somebody did something in this minute |
//! | `movements`, `debits`, `newly_limited` | money that no request moves, and new spend limits, in their order with the holds |
//! | `refusal` | why a request gets no answer |
//! | `errands` | what the relay does beside the story |

mod call;
mod reply;
mod arrival;
mod replay;
mod forms;
mod admit;
mod affinity;
mod worst_case;
pub mod holds;
mod wait;
mod meanwhile;
mod queue;
mod send;
mod ask;
mod opened;
mod attempts;
mod sorting;
mod reason;
mod places;
mod bill;
mod complete;
mod settle;
mod stream;
mod translated;
mod counting;
mod corrections;
mod minute;
mod movements;
mod debits;
mod newly_limited;
mod refusal;
mod errands;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::dialect::request::InferenceRequest;
use crate::domain::byte_budget::ByteBudget;
use crate::domain::keys::KeyId;
use crate::domain::secret::ResolveSecret;
use crate::domain::settle::Terms;
use crate::domain::time::Timestamp;
use crate::store::{Read, Store, StoreError, Writer, request_keys};
use crate::upstream::{Client, Providers};
use admit::Admission;
use affinity::Affinity;
use arrival::{Arrivals, Shares};
use ask::UpstreamReply;
use corrections::Corrections;
use counting::Counting;
use errands::count::CountLimits;
use errands::recount::Recounts;
use errands::unpaid::Unpaid;
use forms::Forms;
use holds::Holds;
use newly_limited::NewlyLimitedKeys;
use queue::{Queue, RunningGates};
use replay::{Claim, Claimed, Record, Replays};
use settle::settle;
use wait::Turn;

pub use arrival::Upload;
pub use call::{Caller, InferenceCall, SoFar};
pub use errands::capacity::Capacity;
pub use errands::count::CountedTokens;
pub use errands::offers::follow_offers;
pub use errands::probe::{PROBE_TIMEOUTS, QUICK_PROBE_TIMEOUTS, probe};
pub use errands::quote::Quote;
pub use errands::watch::{ASK_TIMEOUTS, watch};
pub use minute::{MinuteCounter, RateLimitStatus};
pub use queue::QueueLimits;
pub use reason::Reason;
pub use refusal::{Refusal, ServerError};
pub use replay::{Idempotency, SavedResponse};
pub use reply::{InferenceReply, ReplyBody};
pub use stream::{ReplyStream, StreamPart};

/// What all requests share.
#[derive(Debug)]
pub struct Relay {
    /// For reading.
    store: Store,
    /// For writing.
    writer: Writer,
    /// Money promised to requests in flight.
    holds: Arc<Holds>,
    /// How the providers do.
    providers: Arc<Providers>,
    /// Keys that got a spend limit while requests may be in flight.
    newly_limited: Arc<NewlyLimitedKeys>,
    /// Which answers are counted again.
    recounts: Recounts,
    /// Who waits for which server.
    queue: Arc<Queue>,
    /// Which server knows which conversation.
    affinity: Affinity,
    /// Requests of which only a limited number may run at once.
    gates: RunningGates,
    arrivals: Arrivals,
    longest_body: usize,
    answers: Shares,
    corrections: Arc<Corrections>,
    counting: Counting,
    counts: CountLimits,
    rates: MinuteCounter<KeyId>,
    /// Who could not pay.
    unpaid: Unpaid,
    replays: Arc<Replays>,
    terms: Terms,
    resolve_key: ResolveSecret,
    draining: AtomicBool,
}

/// The rest of the story.
type Rest<'a> = Pin<Box<dyn Future<Output = Result<InferenceReply, Refusal>> + 'a>>;

/// The room for what is in flight: memory, and places in line.
#[derive(Debug)]
pub struct Rooms {
    /// Of the clients' bodies.
    pub bodies: Arc<ByteBudget>,
    /// Of whole answers, and of the held ends of streams: a budget of its own, so that uploads never take the room of
    /// an answer that a server has worked for.
    pub answers: Arc<ByteBudget>,
    /// The longest body, in bytes, also of one that is made of a client's.
    pub longest_body: usize,
    /// How many may wait for a place, and how long.
    pub queue: QueueLimits,
}

impl Relay {
    /// A relay with nothing in flight. What is in flight may take what `rooms` allow.
    pub fn new(store: Store, writer: Writer, terms: Terms, rooms: Rooms, resolve_key: ResolveSecret) -> Self {
        let providers = Arc::<Providers>::default();
        Self {
            store,
            writer,
            holds: Arc::default(),
            queue: Arc::new(Queue::new(Arc::clone(&providers), rooms.queue)),
            affinity: Affinity::new(),
            gates: RunningGates::default(),
            providers,
            newly_limited: Arc::default(),
            arrivals: Arrivals::new(rooms.bodies),
            longest_body: rooms.longest_body,
            answers: Shares::new(rooms.answers),
            corrections: Arc::default(),
            counting: Counting::default(),
            recounts: Recounts::default(),
            counts: CountLimits::default(),
            rates: MinuteCounter::default(),
            unpaid: Unpaid::default(),
            replays: Arc::default(),
            terms,
            resolve_key,
            draining: AtomicBool::new(false),
        }
    }

    /// Money promised to requests in flight.
    pub const fn holds(&self) -> &Arc<Holds> {
        &self.holds
    }

    /// How the providers do.
    pub const fn providers(&self) -> &Arc<Providers> {
        &self.providers
    }

    /// Counts one answer in this many again from now on; none if it is 0.
    pub fn recount_every(&self, every: u32) {
        self.recounts.set_every(every);
    }

    /// What the bodies of all requests in flight count towards.
    pub const fn body_budget(&self) -> &Arc<ByteBudget> {
        self.arrivals.budget()
    }

    /// Refuses new work from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.queue.close();
        self.gates.close();
        if !self.holds.is_empty() {
            // What does not drain in time is counted; the tokenizer should be there by then.
            drop(std::thread::Builder::new().name("tokenizer".into()).spawn(|| crate::meter::tokens::count("")));
        }
    }

    /// The server is about to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The story of one request.
    ///
    /// # Errors
    /// A refusal, or a failure before the first byte. Nothing is charged then.
    pub async fn run(
        self: &Arc<Self>,
        client: &Client,
        caller: &Caller,
        call: &InferenceCall,
    ) -> Result<InferenceReply, Refusal> {
        let request = InferenceRequest::read(call.endpoint, &call.body)?;
        let claim = match self.claim(caller, call.idempotency)? {
            Some(Claimed::Before(saved)) => return Ok(InferenceReply::replay(saved, call.rate_limit)),
            Some(Claimed::New(claim)) => Some(claim),
            None => None,
        };
        self.open_for_work()?;
        let offered = self.offered(caller, &request, call.began.elapsed() < MOMENT)?;
        let made = self.as_chat(caller, &request, &call.body, &offered).await?;
        let forms = Forms::of(&request, made.as_deref());
        let offered = forms.able(offered)?;
        let admission = Box::pin(self.admit(caller, call, &forms, offered)).await;
        let admission = admission.inspect_err(|refusal| self.note_unpaid(caller.account, refusal))?;
        self.go_on(client, caller, call, &forms, (admission, claim))?.await
    }

    /// What comes after the hold: the answer, if it is the request's turn, or the wait for it. Each in a box of its
    /// own: a request that waits, as thousands may, takes no more room than its wait.
    fn go_on<'a>(
        self: &'a Arc<Self>,
        client: &'a Client,
        caller: &'a Caller,
        call: &'a InferenceCall,
        forms: &'a Forms<'a>,
        (admission, claim): (Admission, Option<Arc<Claim>>),
    ) -> Result<Rest<'a>, Refusal> {
        if let Some(turn) = self.turn_now(caller, forms, &admission)? {
            return Ok(Box::pin(self.answer(client, caller, call, forms, (admission, turn, claim))));
        }
        call.so_far.waits.store(true, Ordering::Relaxed);
        Ok(Box::pin(async move {
            let turn = self.wait(caller, forms, &admission).await?;
            Box::pin(self.answer(client, caller, call, forms, (admission, turn, claim))).await
        }))
    }

    /// The story of a request whose turn it is.
    async fn answer(
        self: &Arc<Self>,
        client: &Client,
        caller: &Caller,
        call: &InferenceCall,
        forms: &Forms<'_>,
        (admission, turn, claim): (Admission, Turn, Option<Arc<Claim>>),
    ) -> Result<InferenceReply, Refusal> {
        let (rate_limit, output_capped) = (call.rate_limit, admission.output_capped);
        let dispatch = self.send(client, caller, call, forms, &admission, turn).await?;
        let waited = dispatch.waited;
        let record = claim.clone().map(|claim| Record::new(claim, call.request_id, forms.own.stream, output_capped));
        let (bill, reply, seat) = self.bill(caller, call, admission, dispatch, forms, claim);
        let body = match reply {
            UpstreamReply::Whole(answer) => {
                // The server is done: the next one need not wait for the disk.
                drop(seat);
                ReplyBody::whole(settle(bill, answer, record).await?, waited)
            }
            UpstreamReply::Stream(start) => ReplyBody::Stream(ReplyStream::new(bill, start, seat, record)),
        };
        Ok(InferenceReply { body, output_capped, rate_limit })
    }

    /// Takes the idempotency key, if there is one, unless the database knows that it was charged before.
    fn claim(&self, caller: &Caller, key: Option<Idempotency>) -> Result<Option<Claimed>, Refusal> {
        let Some(key) = key else { return Ok(None) };
        let claimed = self.replays.claim(caller.account, key)?;
        if let Claimed::New(_) = &claimed {
            let find = |conn: &Read| request_keys::find(conn, caller.account, &key.key_hash, Timestamp::now());
            match self.store.read_statement(find)? {
                Some(before) if before.body_hash != key.body_hash => return Err(Refusal::IdempotencyKeyReused),
                Some(before) => {
                    return Err(Refusal::AlreadyCharged { request_id: before.request_id, charged: before.charged });
                }
                None => {}
            }
        }
        Ok(Some(claimed))
    }

    /// Waits, at most for some seconds, until all that was settled is durable: what clients left
    /// behind a moment ago is still being counted.
    ///
    /// # Errors
    /// The writer is gone.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let deadline = Instant::now() + LONGEST_COUNT;
        while !self.holds.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        // Jobs run in order: when this one is answered, all before it are.
        self.writer.write(|_| Ok(())).await
    }
}

/// A request that came within this time is held to the price in force when its key was verified.
const MOMENT: std::time::Duration = std::time::Duration::from_millis(1);

/// Making the tokenizer and counting the largest body takes less, also on a slow machine.
const LONGEST_COUNT: std::time::Duration = std::time::Duration::from_secs(20);
