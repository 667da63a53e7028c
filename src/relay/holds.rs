//! Holds: what requests in flight may still cost. In memory; a crash releases them all, and nothing
//! was debited for them.
//!
//! A hold lives through three moments. It is *open* while the request runs: the money is promised. When
//! its debit runs in the writer's transaction it is *settling*: the next debit in the same transaction
//! sees the new balance, so this hold must not count against it any more; but an admission reads the
//! last committed balance, so there it still does. After the commit it is dropped, and released.

use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::ids::{AccountId, IdMap};
use crate::domain::keys::KeyId;
use crate::domain::money::MicroUsd;

/// All holds of this server.
#[derive(Debug, Default)]
pub struct Holds(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    accounts: IdMap<AccountId, Held>,
    keys: IdMap<KeyId, Held>,
}

/// What an account or a key has on hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// By all its requests.
    pub total: MicroUsd,
    /// By those whose debit has not run yet.
    unsettled: MicroUsd,
    /// How many requests are in flight.
    pub requests: u32,
}

/// What is held as an admission is decided.
#[derive(Debug, Clone, Copy)]
pub struct HeldNow {
    /// By the account.
    pub account: Held,
    /// By the key.
    pub key: Held,
}

impl Holds {
    /// Decides an admission under the lock, and opens the hold it asks for. `decide` must read the
    /// balance itself: only so is no debit missed that was committed and released a moment ago. Without a
    /// `key` it counts against no key's limits.
    ///
    /// # Errors
    /// What `decide` returns.
    pub fn open<T, E>(
        self: &Arc<Self>,
        account: AccountId,
        key: Option<KeyId>,
        decide: impl FnOnce(HeldNow) -> Result<(MicroUsd, T), E>,
    ) -> Result<(OpenHold, T), E> {
        let mut sums = self.lock();
        let now = HeldNow {
            account: get(&sums.accounts, account),
            key: key.map(|key| get(&sums.keys, key)).unwrap_or_default(),
        };
        let (amount, result) = decide(now)?;
        sums.each(account, key, |held| {
            held.total = plus(held.total, amount);
            held.unsettled = plus(held.unsettled, amount);
            held.requests += 1;
        });
        Ok((OpenHold { holds: Arc::clone(self), account, key, amount, settling: false }, result))
    }

    /// Adds to a hold what `decide` finds under the lock.
    ///
    /// # Errors
    /// What `decide` returns.
    pub fn grow<E>(&self, hold: &mut OpenHold, decide: impl FnOnce(HeldNow) -> Result<MicroUsd, E>) -> Result<(), E> {
        let mut sums = self.lock();
        let now = HeldNow {
            account: get(&sums.accounts, hold.account),
            key: hold.key.map(|key| get(&sums.keys, key)).unwrap_or_default(),
        };
        let amount = decide(now)?;
        hold.amount = plus(hold.amount, amount);
        sums.each(hold.account, hold.key, |held| {
            held.total = plus(held.total, amount);
            held.unsettled = plus(held.unsettled, amount);
        });
        Ok(())
    }

    /// What an account has on hold.
    pub fn of_account(&self, account: AccountId) -> Held {
        get(&self.lock().accounts, account)
    }

    /// What all accounts have on hold together.
    pub fn total(&self) -> MicroUsd {
        self.lock().accounts.values().fold(MicroUsd::ZERO, |sum, held| plus(sum, held.total))
    }

    /// How many holds there are, of all accounts.
    pub fn count(&self) -> u32 {
        self.lock().accounts.values().fold(0, |sum, held| sum.saturating_add(held.requests))
    }

    /// What a key has on hold.
    pub fn of_key(&self, key: KeyId) -> Held {
        get(&self.lock().keys, key)
    }

    /// Nothing is held: no request is in flight, and every debit is durable.
    pub fn is_empty(&self) -> bool {
        self.lock().accounts.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sums {
    fn each(&mut self, account: AccountId, key: Option<KeyId>, mut change: impl FnMut(&mut Held)) {
        change(self.accounts.entry(account).or_default());
        if let Some(key) = key {
            change(self.keys.entry(key).or_default());
        }
    }
}

fn get<K: Hash + Eq>(map: &IdMap<K, Held>, key: K) -> Held {
    map.get(&key).copied().unwrap_or_default()
}

/// Balances are far below this; a sum that reaches it holds everything, which refuses and never gives.
fn plus(a: MicroUsd, b: MicroUsd) -> MicroUsd {
    a.checked_add(b).unwrap_or(MicroUsd::new(i64::MAX))
}

/// Money promised to one request, or to one withdrawal. Dropped, it is released.
#[derive(Debug)]
pub struct OpenHold {
    holds: Arc<Holds>,
    account: AccountId,
    key: Option<KeyId>,
    amount: MicroUsd,
    settling: bool,
}

impl OpenHold {
    /// How much.
    pub const fn amount(&self) -> MicroUsd {
        self.amount
    }

    /// The debit runs now: returns what other requests of the account hold. May be called again if the
    /// debit runs again.
    pub fn settling(&mut self) -> MicroUsd {
        let mut sums = self.holds.lock();
        if !self.settling {
            self.settling = true;
            sums.each(self.account, self.key, |held| held.unsettled = held.unsettled.minus_floor_zero(self.amount));
        }
        get(&sums.accounts, self.account).unsettled
    }
}

impl Drop for OpenHold {
    fn drop(&mut self) {
        let mut sums = self.holds.lock();
        sums.each(self.account, self.key, |held| {
            held.total = held.total.minus_floor_zero(self.amount);
            if !self.settling {
                held.unsettled = held.unsettled.minus_floor_zero(self.amount);
            }
            held.requests = held.requests.saturating_sub(1);
        });
        // Accounts that have nothing in flight take no memory.
        if get(&sums.accounts, self.account).requests == 0 {
            sums.accounts.remove(&self.account);
        }
        if let Some(key) = self.key
            && get(&sums.keys, key).requests == 0
        {
            sums.keys.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: AccountId = AccountId::from_i64(7);
    const KEY: KeyId = KeyId::from_i64(8);

    fn open(holds: &Arc<Holds>, micro: i64) -> OpenHold {
        let opened: Result<_, ()> = holds.open(ACCOUNT, Some(KEY), |_| Ok((MicroUsd::new(micro), ())));
        match opened {
            Ok((hold, ())) => hold,
            Err(()) => panic!(),
        }
    }

    #[test]
    fn a_hold_counts_until_it_is_dropped() {
        let holds = Arc::new(Holds::default());
        let (a, b) = (open(&holds, 30), open(&holds, 12));
        assert_eq!((holds.of_account(ACCOUNT).total, holds.of_key(KEY).requests), (MicroUsd::new(42), 2));
        drop(a);
        assert_eq!(holds.of_account(ACCOUNT).total, MicroUsd::new(12));
        drop(b);
        assert_eq!(holds.of_account(ACCOUNT), Held::default());
        assert!(holds.is_empty() && holds.lock().keys.is_empty());
    }

    #[test]
    fn a_hold_that_grew_is_released_whole() {
        let holds = Arc::new(Holds::default());
        let mut a = open(&holds, 30);
        let grown: Result<(), ()> = holds.grow(&mut a, |now| {
            assert_eq!((now.account.total, now.key.total), (MicroUsd::new(30), MicroUsd::new(30)));
            Ok(MicroUsd::new(12))
        });
        assert_eq!(
            (grown, a.amount(), holds.of_account(ACCOUNT).total),
            (Ok(()), MicroUsd::new(42), MicroUsd::new(42))
        );
        assert_eq!(a.settling(), MicroUsd::ZERO);
        drop(a);
        assert!(holds.is_empty() && holds.lock().keys.is_empty());
    }

    #[test]
    fn a_settling_hold_counts_for_admission_but_not_for_the_next_debit() {
        let holds = Arc::new(Holds::default());
        let (mut a, mut b) = (open(&holds, 30), open(&holds, 12));
        assert_eq!(a.settling(), MicroUsd::new(12));
        assert_eq!(a.settling(), MicroUsd::new(12), "a debit may run twice");
        assert_eq!(b.settling(), MicroUsd::ZERO);
        assert_eq!(holds.of_account(ACCOUNT).total, MicroUsd::new(42));
        drop((a, b));
        assert_eq!(holds.of_account(ACCOUNT), Held::default());
        // What settled and was let go is not taken off twice.
        let (mut a, mut b, c) = (open(&holds, 30), open(&holds, 12), open(&holds, 5));
        a.settling();
        drop(a);
        assert_eq!(b.settling(), MicroUsd::new(5));
        drop((b, c));
    }

    #[test]
    fn a_hold_without_a_key_counts_for_the_account_alone() {
        let holds = Arc::new(Holds::default());
        let opened: Result<_, ()> = holds.open(ACCOUNT, None, |_| Ok((MicroUsd::new(5), ())));
        assert_eq!(holds.of_account(ACCOUNT).total, MicroUsd::new(5));
        assert!(holds.lock().keys.is_empty());
        drop(opened);
        assert!(holds.lock().accounts.is_empty());
    }

    #[test]
    fn a_refused_admission_holds_nothing() {
        let holds = Arc::new(Holds::default());
        let refused: Result<(OpenHold, ()), &str> = holds.open(ACCOUNT, Some(KEY), |_| Err("no"));
        assert!(refused.is_err() && holds.is_empty());
    }
}
