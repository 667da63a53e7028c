//! How many requests may run at once: of a key, of an account for a model. Who finds it full waits, first come
//! first served.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::domain::ids::AccountId;
use crate::domain::keys::KeyId;

/// Gates by what they are of. One that nobody passes or waits at is forgotten.
#[derive(Debug)]
pub struct Gates<K: Hash + Eq + Clone> {
    gates: Mutex<HashMap<K, Gate<K>>>,
}

#[derive(Debug)]
struct Gate<K: Hash + Eq + Clone> {
    running: u32,
    waiting: VecDeque<Waiting<K>>,
}

#[derive(Debug)]
struct Waiting<K: Hash + Eq + Clone> {
    most: u32,
    tell: oneshot::Sender<Pass<K>>,
}

/// Counts as running until it is dropped; then whoever waits longest may run.
#[derive(Debug)]
pub struct Pass<K: Hash + Eq + Clone> {
    gates: Option<Arc<Gates<K>>>,
    of: K,
}

/// What has a limit of requests running at once.
#[derive(Debug, Default)]
pub struct RunningGates {
    /// A key, by its `max_concurrent`.
    pub keys: Arc<Gates<KeyId>>,
    /// An account with one model, by the price's `max_running`.
    pub models: Arc<Gates<(AccountId, Arc<str>)>>,
}

impl RunningGates {
    /// Nobody waits any more.
    pub fn close(&self) {
        self.keys.close();
        self.models.close();
    }
}

/// Why a request may not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shut {
    /// Too many wait already.
    Full,
    /// It waited as long as anybody may.
    TimedOut,
}

impl<K: Hash + Eq + Clone> Default for Gates<K> {
    fn default() -> Self {
        Self { gates: Mutex::new(HashMap::new()) }
    }
}

impl<K: Hash + Eq + Clone> Gates<K> {
    /// Counts as running if fewer than `most` do, and nobody waits.
    pub fn try_pass(self: &Arc<Self>, of: K, most: u32) -> Option<Pass<K>> {
        let mut gates = self.lock();
        let gate = gates.entry(of.clone()).or_insert_with(Gate::empty);
        let is_open = gate.running < most && gate.waiting.is_empty();
        gate.running += u32::from(is_open);
        is_open.then(|| Pass { gates: Some(Arc::clone(self)), of })
    }

    /// Waits until fewer than `most` run, and counts as running then.
    ///
    /// # Errors
    /// It is not so before `until`, or `longest` wait already.
    pub async fn pass(self: &Arc<Self>, of: K, most: u32, longest: usize, until: Instant) -> Result<Pass<K>, Shut> {
        if let Some(pass) = self.try_pass(of.clone(), most) {
            return Ok(pass);
        }
        let turn = self.join(&of, most, longest).ok_or(Shut::Full)?;
        match tokio::time::timeout_at(until.into(), turn).await {
            Ok(Ok(pass)) => Ok(pass),
            _ => Err(Shut::TimedOut),
        }
    }

    fn join(&self, of: &K, most: u32, longest: usize) -> Option<oneshot::Receiver<Pass<K>>> {
        let mut gates = self.lock();
        let gate = gates.get_mut(of)?;
        if gate.waiting.len() >= longest {
            // Those who left are found when there seems to be no room.
            gate.waiting.retain(|waiting| !waiting.tell.is_closed());
        }
        (gate.waiting.len() < longest).then(|| {
            let (tell, turn) = oneshot::channel();
            gate.waiting.push_back(Waiting { most, tell });
            turn
        })
    }

    /// One less runs: whoever waits may.
    fn end(self: &Arc<Self>, of: &K) {
        let mut ended = 1;
        while let Some(tell) = self.next(of, ended) {
            let pass = Pass { gates: Some(Arc::clone(self)), of: of.clone() };
            // Who left meanwhile never ran.
            ended = tell.send(pass).map_or_else(Pass::unused, |()| 0);
        }
    }

    fn next(&self, of: &K, ended: u32) -> Option<oneshot::Sender<Pass<K>>> {
        let mut gates = self.lock();
        let gate = gates.get_mut(of)?;
        gate.running = gate.running.saturating_sub(ended);
        if gate.waiting.front().is_some_and(|waiting| gate.running < waiting.most) {
            gate.running += 1;
            return gate.waiting.pop_front().map(|waiting| waiting.tell);
        }
        if gate.running == 0 && gate.waiting.is_empty() {
            gates.remove(of);
        }
        None
    }

    /// Nobody waits any more.
    pub fn close(&self) {
        let gone: Vec<_> = self.lock().values_mut().map(|gate| std::mem::take(&mut gate.waiting)).collect();
        drop(gone);
    }

    #[cfg(test)]
    fn running(&self, of: &K) -> u32 {
        self.lock().get(of).map_or(0, |gate| gate.running)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Gate<K>>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone> Gate<K> {
    const fn empty() -> Self {
        Self { running: 0, waiting: VecDeque::new() }
    }
}

impl<K: Hash + Eq + Clone> Pass<K> {
    /// It is not given back by being dropped. Gives how many do not run for it.
    fn unused(mut self) -> u32 {
        self.gates = None;
        1
    }
}

impl<K: Hash + Eq + Clone> Drop for Pass<K> {
    fn drop(&mut self) {
        if let Some(gates) = self.gates.take() {
            gates.end(&self.of);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    fn long() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn so_many_run_and_the_others_wait_their_turn() {
        let gates = Arc::new(Gates::default());
        let first = gates.pass(1, 1, 9, long()).await.unwrap();
        assert!(gates.pass(2, 1, 9, long()).await.is_ok(), "another's gate");
        assert_eq!(gates.pass(1, 1, 9, soon()).await.map(drop), Err(Shut::TimedOut));
        let (second, third) = (gates.join(&1, 1, 9).unwrap(), gates.join(&1, 1, 9).unwrap());
        assert_eq!(gates.pass(1, 1, 2, long()).await.map(drop), Err(Shut::Full));
        assert!(gates.try_pass(1, 2).is_none(), "who comes later does not pass those who wait");
        drop(first);
        let second = second.await.unwrap();
        assert_eq!(gates.running(&1), 1);
        drop(second);
        drop(third.await.unwrap());
        assert_eq!(gates.running(&1), 0);
        assert!(gates.lock().is_empty());
    }

    #[tokio::test]
    async fn who_leaves_takes_no_place_with_it() {
        let gates = Arc::new(Gates::default());
        let first = gates.pass(1, 1, 9, long()).await.unwrap();
        // They left while they waited, or when it was their turn already.
        let left: Vec<_> = (0..1_000).map(|_| gates.join(&1, 1, 10_000).unwrap()).collect();
        let (late, last) = (gates.join(&1, 1, 10_000).unwrap(), gates.join(&1, 1, 10_000).unwrap());
        drop(left);
        drop(first);
        assert_eq!(gates.running(&1), 1);
        drop(late);
        assert_eq!(gates.running(&1), 1);
        drop(last.await.unwrap());
        assert!(gates.lock().is_empty());
    }
}
