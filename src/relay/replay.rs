//! Inference with an idempotency key: at most one charge.
//!
//! Answers are kept in memory only, for a bounded time: prompts and answers stay out of the database.
//! That a key was charged is in the database (see `store::request_keys`), so that after a restart a
//! repeat is refused rather than charged again.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::Refusal;
use crate::domain::ids::{AccountId, RequestId};
use crate::domain::money::MicroUsd;
use crate::store::settlement::Settled;

/// What a client sent as its key, and with what: both hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idempotency {
    /// Of the key's text.
    pub key_hash: [u8; 32],
    /// Of the path, the query and the body.
    pub body_hash: [u8; 32],
}

/// An answer that can be given again.
#[derive(Debug, Clone)]
pub struct SavedResponse {
    /// The request that was charged.
    pub request_id: RequestId,
    /// It was a stream of events.
    pub stream: bool,
    /// Its output bound was lowered.
    pub output_capped: bool,
    /// The whole body, with the receipt.
    pub body: Bytes,
    /// What was debited.
    pub cost: MicroUsd,
    /// What was left then.
    pub balance: MicroUsd,
}

/// A larger answer is not kept.
pub const LARGEST: usize = 1 << 20;
/// All that are kept; the oldest make room.
const LARGEST_SUM: usize = 64 << 20;
/// More than that many, and the oldest make room.
const MOST: usize = 10_000;

/// The answers given under keys, and the keys whose requests run.
#[derive(Debug, Default)]
pub struct Replays(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    entries: HashMap<Name, Entry>,
    /// Those that are done, oldest first.
    order: VecDeque<Name>,
    bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Name {
    account: AccountId,
    key_hash: [u8; 32],
}

#[derive(Debug)]
struct Entry {
    body_hash: [u8; 32],
    /// `None` while the request runs.
    saved: Option<Arc<SavedResponse>>,
}

/// What a key stands for.
#[derive(Debug)]
pub enum Claimed {
    /// Nothing yet: the request may run.
    New(Arc<Claim>),
    /// The same request was answered: with this.
    Before(Arc<SavedResponse>),
}

impl Replays {
    /// Takes a key for a request.
    ///
    /// # Errors
    /// A request with this key runs now, or the key was used with another request.
    pub fn claim(self: &Arc<Self>, account: AccountId, idempotency: Idempotency) -> Result<Claimed, Refusal> {
        let name = Name { account, key_hash: idempotency.key_hash };
        let mut memory = self.lock();
        match memory.entries.get(&name) {
            Some(entry) if entry.body_hash != idempotency.body_hash => Err(Refusal::IdempotencyKeyReused),
            Some(Entry { saved: Some(saved), .. }) => Ok(Claimed::Before(Arc::clone(saved))),
            Some(_) => Err(Refusal::IdempotencyKeyInFlight),
            None => {
                memory.entries.insert(name, Entry { body_hash: idempotency.body_hash, saved: None });
                drop(memory);
                let kept = AtomicBool::new(false);
                Ok(Claimed::New(Arc::new(Claim { replays: Arc::clone(self), name, idempotency, kept })))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn make_room(&mut self) {
        while self.bytes > LARGEST_SUM || self.order.len() > MOST {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(Entry { saved: Some(saved), .. }) = self.entries.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(saved.body.len());
            }
        }
    }
}

/// A key whose request runs. Dropped without an answer, the key is free again; whether it was charged is
/// then the database's to say. Therefore the bill shares it, and keeps it until its commit: freed a moment
/// sooner, a repeat would find neither the answer nor the charge.
#[derive(Debug)]
pub struct Claim {
    replays: Arc<Replays>,
    name: Name,
    idempotency: Idempotency,
    kept: AtomicBool,
}

impl Claim {
    /// The hashes, for the row.
    pub const fn idempotency(&self) -> Idempotency {
        self.idempotency
    }

    /// Keeps the answer for a repeat, unless it is too large.
    pub fn keep(&self, saved: SavedResponse) {
        if saved.body.len() > LARGEST {
            return;
        }
        self.kept.store(true, Ordering::Relaxed);
        let mut memory = self.replays.lock();
        memory.bytes += saved.body.len();
        memory.order.push_back(self.name);
        let entry = Entry { body_hash: self.idempotency.body_hash, saved: Some(Arc::new(saved)) };
        memory.entries.insert(self.name, entry);
        memory.make_room();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed) {
            self.replays.lock().entries.remove(&self.name);
        }
    }
}

/// An answer being written down as it goes to the client.
#[derive(Debug)]
pub struct Record {
    claim: Arc<Claim>,
    request_id: RequestId,
    stream: bool,
    output_capped: bool,
    body: Vec<u8>,
    /// It is more than can be kept.
    is_too_large: bool,
}

impl Record {
    /// Nothing of it yet.
    pub const fn new(claim: Arc<Claim>, request_id: RequestId, stream: bool, output_capped: bool) -> Self {
        Self { claim, request_id, stream, output_capped, body: Vec::new(), is_too_large: false }
    }

    /// The next part. Beyond what can be kept, nothing is written down.
    pub fn add(&mut self, part: &[u8]) {
        self.is_too_large |= self.body.len() + part.len() > LARGEST;
        if self.is_too_large {
            self.body = Vec::new();
        } else {
            self.body.extend_from_slice(part);
        }
    }

    /// It is whole, and cost this.
    pub fn finish(self, settled: Settled) {
        if self.is_too_large {
            return;
        }
        self.claim.keep(SavedResponse {
            request_id: self.request_id,
            stream: self.stream,
            output_capped: self.output_capped,
            body: self.body.into(),
            cost: settled.charged,
            balance: settled.balance,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    const ACCOUNT: AccountId = AccountId::from_i64(7);

    fn idempotency(key: u8, body: u8) -> Idempotency {
        Idempotency { key_hash: [key; 32], body_hash: [body; 32] }
    }

    fn saved(size: usize) -> SavedResponse {
        SavedResponse {
            request_id: RequestId::generate(Timestamp::from_millis(0)),
            stream: false,
            output_capped: false,
            body: vec![b'x'; size].into(),
            cost: MicroUsd::new(1),
            balance: MicroUsd::ZERO,
        }
    }

    fn claim(replays: &Arc<Replays>, key: u8, body: u8) -> Arc<Claim> {
        match replays.claim(ACCOUNT, idempotency(key, body)) {
            Ok(Claimed::New(claim)) => claim,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_runs_once_and_answers_again() {
        let replays = Arc::new(Replays::default());
        let first = claim(&replays, 1, 1);
        assert!(matches!(replays.claim(ACCOUNT, idempotency(1, 1)), Err(Refusal::IdempotencyKeyInFlight)));
        assert!(matches!(replays.claim(ACCOUNT, idempotency(1, 2)), Err(Refusal::IdempotencyKeyReused)));
        assert!(matches!(replays.claim(AccountId::from_i64(8), idempotency(1, 2)), Ok(Claimed::New(_))));
        first.keep(saved(10));
        assert!(matches!(replays.claim(ACCOUNT, idempotency(1, 1)), Ok(Claimed::Before(s)) if s.body.len() == 10));
        assert!(matches!(replays.claim(ACCOUNT, idempotency(1, 2)), Err(Refusal::IdempotencyKeyReused)));
    }

    #[test]
    fn a_request_that_failed_frees_its_key_and_a_huge_answer_is_not_kept() {
        let replays = Arc::new(Replays::default());
        drop(claim(&replays, 1, 1));
        claim(&replays, 1, 1).keep(saved(LARGEST + 1));
        let id = RequestId::generate(Timestamp::from_millis(0));
        let mut record = Record::new(claim(&replays, 1, 1), id, false, false);
        record.add(&[b'x'; 10]);
        record.add(&vec![b'x'; LARGEST]);
        assert_eq!(record.body.capacity(), 0, "nothing of it is copied");
        record.add(b"x");
        record.finish(Settled { charged: MicroUsd::new(1), balance: MicroUsd::ZERO });
        drop(claim(&replays, 1, 1));
        assert!(replays.lock().entries.is_empty());
    }

    #[test]
    fn the_oldest_answers_make_room() {
        let replays = Arc::new(Replays::default());
        for key in 0..70 {
            claim(&replays, key, 1).keep(saved(LARGEST));
        }
        let memory = replays.lock();
        assert_eq!((memory.order.len(), memory.entries.len(), memory.bytes), (64, 64, LARGEST_SUM));
    }
}
