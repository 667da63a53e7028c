//! The rows that admissions read, remembered for as long as the database stays as it is.
//!
//! An admission looks at a key, a price with its providers, and a balance. Under load many requests come
//! between two commits and find the same. Before each use it is asked whether anybody, this process or
//! another, has committed anything since. As long as nobody has, what was read is what would be read:
//! nothing here can be out of date. Of its own charges the server knows what they changed ([`Changes`]), and what they left
//! there ([`Left`]), and of some other writes that they changed nothing of this: all stays remembered. Of any other commit,
//! its own or not, it knows nothing, and forgets all.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::accounts;
use super::keys::{self, KeyRow};
use super::prices::{self, PriceRow};
use super::providers::{self, Offer};
use super::sqlite::commit_clock::{CommitClock, DatabaseState};
use super::sqlite::snapshot::in_snapshot;
use super::{Read, StoreError};
use crate::domain::charge::Charge;
use crate::domain::endpoint::Endpoint;
use crate::domain::ids::{AccountId, IdMap};
use crate::domain::key_limits::SpendWindow;
use crate::domain::keys::KeyId;
use crate::domain::settle::Balance;

/// The most of a kind that is remembered: it bounds the memory where much is read and nothing written.
const MOST_REMEMBERED: usize = 8_192;

/// A reading connection that all workers share, with what it has read.
#[derive(Debug)]
pub struct AdmissionReader {
    clock: CommitClock,
    memory: Mutex<AdmissionCache>,
    /// Held by the writer from before it commits until it has noted what that left.
    noting: Mutex<()>,
}

/// A commit of this process, until it is noted.
#[derive(Debug)]
pub struct Committing<'a> {
    memory: &'a Mutex<AdmissionCache>,
    _noting: MutexGuard<'a, ()>,
}

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        locked(self.memory).committing = None;
    }
}

/// What was read in one state of the database, and the connection to read more.
#[derive(Debug)]
pub struct AdmissionCache {
    conn: Read,
    /// In which what follows was read.
    state: Option<DatabaseState>,
    /// The state in which this process has the write lock, while it commits.
    committing: Option<DatabaseState>,
    keys: IdMap<KeyId, Arc<KeyRow>>,
    balances: IdMap<AccountId, Balance>,
    /// By model.
    offered: HashMap<String, Vec<OfferedAt>>,
}

/// What is offered of a model at an endpoint, streamed or not.
type OfferedAt = ((Endpoint, bool), Arc<Offered>);

/// A model at an endpoint: what it costs, and who serves it.
#[derive(Debug)]
pub struct Offered {
    /// The version in force.
    pub price: PriceRow,
    /// The enabled providers of the model that are not known to refuse the endpoint, or that can answer it translated.
    /// None of them: the model is served elsewhere.
    pub offers: Vec<Arc<Offer>>,
}

/// What a write may have changed of what is remembered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// Anything.
    Anything,
    /// Nothing of it.
    Nothing,
    /// The balances of these accounts and of the operator's, and the row of this key: its window.
    Charge {
        /// Who paid, and who earned.
        accounts: [AccountId; 2],
        /// The key whose window was charged.
        key: Option<KeyId>,
    },
}

impl Changes {
    /// What the settlement of a charge changes.
    pub(super) const fn of(charge: &Charge) -> Self {
        if charge.flagged {
            // The provider's row.
            return Self::Anything;
        }
        let key = if charge.key_is_limited { Some(charge.key_id) } else { None };
        Self::Charge { accounts: [charge.account_id, charge.provider_account_id], key }
    }
}

/// What charges left where they changed something.
#[derive(Debug, Default)]
pub struct Left {
    /// Of who paid, and who earned.
    pub balances: IdMap<AccountId, Balance>,
    /// Of the keys that were charged.
    pub windows: IdMap<KeyId, SpendWindow>,
}

impl AdmissionReader {
    pub(super) fn new(conn: Read) -> Result<Self, StoreError> {
        let clock = CommitClock::of(conn.engine())?;
        let (keys, balances, offered) = (IdMap::default(), IdMap::default(), HashMap::new());
        let memory = AdmissionCache { conn, state: None, committing: None, keys, balances, offered };
        Ok(Self { clock, memory: Mutex::new(memory), noting: Mutex::new(()) })
    }

    /// The state now, if it is known. Whoever holds the write lock knows that nobody changes it meanwhile.
    pub(super) fn state(&self) -> Option<DatabaseState> {
        self.clock.peek()
    }

    /// A transaction of this process, which got the write lock in `before`, commits now. Until what is returned is dropped,
    /// whoever sees that commit waits for what it left instead of forgetting all. That is soon: a commit is seen when
    /// it is durable. (One look in three met one unnoted, and each had every account and key read again.)
    pub(super) fn commit_begins(&self, before: Option<DatabaseState>) -> Committing<'_> {
        let noting = locked(&self.noting);
        locked(&self.memory).committing = before;
        Committing { memory: &self.memory, _noting: noting }
    }

    /// A commit of this process came right after `before`, and was of these changes: all else stays remembered.
    /// `before` is the state in which the commit's transaction got the write lock. Anything else that was committed
    /// shows as a further commit, and then all is forgotten: whoever holds money looks before it takes the holds' lock,
    /// and under that lock must find no balance from before a charge whose hold was let go.
    /// `wrote`: there was a commit. A transaction that changed no row is none, and what follows is somebody else's.
    /// `left`: what it left there, as far as that is known.
    pub(super) fn committed(
        &self,
        before: Option<DatabaseState>,
        wrote: bool,
        mut changes: impl Iterator<Item = Changes>,
        left: &Left,
    ) {
        let after = self.clock.peek();
        let mut memory = locked(&self.memory);
        // Whoever saw the commit before it was noted has forgotten all already.
        if after.is_some() && memory.state == after {
            return;
        }
        let is_next = before.zip(after).is_some_and(|(before, after)| after.is_one_commit_after(&before));
        if wrote && is_next && memory.state == before && changes.all(|change| memory.note(change, left)) {
            memory.state = after;
        } else {
            memory.forget(None);
        }
    }

    /// The memory, without what is out of date.
    pub(super) fn look(&self) -> Result<MutexGuard<'_, AdmissionCache>, StoreError> {
        loop {
            // Before the lock, which is held as short as can be.
            let now = self.clock.peek();
            let mut memory = locked(&self.memory);
            if now.is_some() && now == memory.state {
                return Ok(memory);
            }
            // Perhaps another has found the change already, or a later one.
            let now = self.clock.now(memory.conn.engine())?;
            if memory.state == Some(now) {
                return Ok(memory);
            }
            if !memory.committing.is_some_and(|before| now.is_in_a_commit_after(&before)) {
                memory.forget(Some(now));
                return Ok(memory);
            }
            // Until it is noted. When that is found, the next one may be on its way already.
            drop(memory);
            drop(locked(&self.noting));
        }
    }

    /// The memory as it was when somebody looked last.
    pub(super) fn look_again(&self) -> MutexGuard<'_, AdmissionCache> {
        locked(&self.memory)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AdmissionCache {
    /// Forgets all. What is read from now on is read in `state`, or in one that is not known.
    fn forget(&mut self, state: Option<DatabaseState>) {
        self.state = state;
        self.keys.clear();
        self.balances.clear();
        self.offered.clear();
    }

    /// Notes what was changed, or forgets it; `false` if that may be anything.
    fn note(&mut self, changes: Changes, left: &Left) -> bool {
        let (accounts, key) = match changes {
            Changes::Anything => return false,
            Changes::Nothing => return true,
            Changes::Charge { accounts: [payer, earner], key } => ([payer, earner, accounts::HOUSE], key),
        };
        for account in accounts {
            match left.balances.get(&account) {
                Some(balance) => remember(&mut self.balances, account, *balance),
                None => drop(self.balances.remove(&account)),
            }
        }
        if let Some(key) = key {
            match (self.keys.get_mut(&key), left.windows.get(&key)) {
                (Some(row), Some(window)) => Arc::make_mut(row).window = *window,
                _ => drop(self.keys.remove(&key)),
            }
        }
        true
    }

    /// The key with this id, if there is one.
    pub fn key(&mut self, id: KeyId) -> Result<Option<Arc<KeyRow>>, StoreError> {
        if let Some(key) = self.keys.get(&id) {
            return Ok(Some(Arc::clone(key)));
        }
        // Misses are not cached: an attacker could fill the cache with made-up ids.
        let key = keys::get(&self.conn, id)?.map(Arc::new);
        if let Some(key) = &key {
            remember(&mut self.keys, id, Arc::clone(key));
        }
        Ok(key)
    }

    /// The balance of an account.
    pub fn balance(&mut self, id: AccountId) -> Result<Balance, StoreError> {
        if let Some(balance) = self.balances.get(&id) {
            return Ok(*balance);
        }
        let balance = accounts::balance(&self.conn, id)?;
        remember(&mut self.balances, id, balance);
        Ok(balance)
    }

    /// The price and the providers of a model at an endpoint; `None` for a model without a price, or that
    /// no enabled provider has.
    pub fn offered(
        &mut self,
        model: &str,
        endpoint: Endpoint,
        stream: bool,
    ) -> Result<Option<Arc<Offered>>, StoreError> {
        let what = (endpoint, stream);
        let known = self.offered.get(model).and_then(|known| known.iter().find(|(of, _)| *of == what));
        if let Some((_, offered)) = known {
            return Ok(Some(Arc::clone(offered)));
        }
        let (price, offers) = in_snapshot(&self.conn, |conn| {
            Ok((prices::in_force(conn, model)?, providers::offers(conn, model, endpoint, stream)?))
        })?;
        let Some(price) = price.filter(|_| !offers.is_empty()) else { return Ok(None) };
        let offers = offers.into_iter().filter(Offer::serves).map(Arc::new).collect();
        let offered = Arc::new(Offered { price, offers });
        let remembered = (what, Arc::clone(&offered));
        match self.offered.get_mut(model) {
            Some(known) => known.push(remembered),
            None => remember(&mut self.offered, model.to_owned(), vec![remembered]),
        }
        Ok(Some(offered))
    }
}

fn remember<K: Hash + Eq, V, S: BuildHasher>(map: &mut HashMap<K, V, S>, key: K, value: V) {
    if map.len() >= MOST_REMEMBERED {
        map.clear();
    }
    map.insert(key, value);
}

#[cfg(test)]
mod tests;
