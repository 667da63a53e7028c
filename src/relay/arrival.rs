//! Before a body is read: what can be refused without it, and what bytes count towards.

use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use super::{Caller, RateLimitStatus, Refusal, Relay};
use crate::dialect::request::InferenceRequest;
use crate::domain::byte_budget::{ByteBudget, BytePermit};
use crate::domain::ids::{AccountId, IdMap};
use crate::domain::keys::KeyId;
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::store::{StoreError, prices};

/// What the bodies in flight may take, together and by account.
#[derive(Debug)]
pub struct Arrivals {
    bodies: Shares,
    /// How many bodies of a key are waited for.
    waiting: Mutex<IdMap<KeyId, u32>>,
}

/// Those who cannot pay take no more than this part of the budget, together.
const UNPAID_PART: usize = 4;
/// Beyond this many accounts, those without a body in flight are forgotten.
const MOST_SHARES: usize = 1_000;

/// A body that is waited for. It counts as a request of its key until it is dropped.
#[derive(Debug)]
pub struct Upload<'a> {
    arrivals: &'a Arrivals,
    key: KeyId,
    /// What the body's bytes count towards.
    pub share: Arc<ByteBudget>,
}

/// A budget of bytes, and what each account has of it.
#[derive(Debug)]
pub struct Shares {
    /// Of all together.
    all: Arc<ByteBudget>,
    /// Of those who cannot pay: only a free model can serve them.
    unpaid: Arc<ByteBudget>,
    /// Of each account that has bytes in flight.
    of: Mutex<IdMap<AccountId, Weak<ByteBudget>>>,
}

impl Shares {
    /// Nobody has any yet.
    pub fn new(all: Arc<ByteBudget>) -> Self {
        let unpaid = all.part(all.limit() / UNPAID_PART);
        Self { all, unpaid, of: Mutex::default() }
    }

    /// What an account's bytes count towards.
    pub fn share(&self, account: AccountId, pays: bool) -> Arc<ByteBudget> {
        let mut shares = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(&account).and_then(Weak::upgrade) {
            return share;
        }
        if shares.len() >= MOST_SHARES {
            shares.retain(|_, share| share.strong_count() > 0);
        }
        let of = if pays { &self.all } else { &self.unpaid };
        // No bound of its own but that it leaves as much free as it takes.
        let share = of.part(of.limit());
        shares.insert(account, Arc::downgrade(&share));
        share
    }
}

impl Arrivals {
    /// Nobody has come yet.
    pub fn new(bodies: Arc<ByteBudget>) -> Self {
        Self { bodies: Shares::new(bodies), waiting: Mutex::default() }
    }

    /// What all bodies count towards.
    pub const fn budget(&self) -> &Arc<ByteBudget> {
        &self.bodies.all
    }

    fn wait_for(&self, key: KeyId, most: impl FnOnce(u32) -> bool) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let now = waiting.get(&key).copied().unwrap_or_default();
        let may = most(now);
        if may {
            waiting.insert(key, now.saturating_add(1));
        }
        may
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        let mut waiting = self.arrivals.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        take_one(&mut waiting, self.key);
    }
}

fn take_one<K: Hash + Eq>(counts: &mut IdMap<K, u32>, key: K) {
    let left = counts.get(&key).copied().unwrap_or_default().saturating_sub(1);
    if left == 0 {
        counts.remove(&key);
    } else {
        counts.insert(key, left);
    }
}

/// What a request takes in memory while it waits, in bytes, beside what was counted already.
const fn waiting_size(body: usize) -> usize {
    /// Its connection, its head, and what was made of it.
    const BESIDE_BODY: usize = 16 << 10;
    /// A longer body did not come at once, so its account's share has it. A shorter one may have been there before it
    /// was asked for, and counts towards the whole budget alone: actix reads 128 KiB ahead, and then 8 more at most.
    const AT_ONCE: usize = 136 << 10;
    if body <= AT_ONCE { BESIDE_BODY + body } else { BESIDE_BODY }
}

impl Relay {
    /// Counts a request in the minute of its key. Whatever becomes of it, it was one.
    ///
    /// # Errors
    /// The minute's requests are used up.
    pub fn count_request(&self, caller: &Caller) -> Result<Option<RateLimitStatus>, Refusal> {
        let counted = caller.key.limits.rpm.map(|rpm| self.rates.count(caller.key.id, rpm, Instant::now()));
        counted.transpose().map_err(Refusal::TooManyRequests)
    }

    /// Lets a body be waited for that is to be paid for. Money is checked only for being nothing at all: what
    /// the request costs is known only with it.
    ///
    /// # Errors
    /// No work is taken now, the key has as many requests as it may, or nothing could be paid for and no model
    /// is free.
    pub fn await_body(&self, caller: &Caller) -> Result<Upload<'_>, Refusal> {
        self.open_for_work()?;
        let lacks = self.lacks(caller)?;
        let pays = lacks.is_none();
        if let Some(refusal) = lacks
            && !self.store.read_statement(prices::any_free)?
        {
            return Err(refusal);
        }
        let running = self.holds.of_key(caller.key.id).requests;
        let most = caller.key.limits.max_concurrent.map(|most| most.saturating_add(self.may_wait()));
        self.upload(caller, pays, |waiting| most.is_none_or(|most| running.saturating_add(waiting) < most))
    }

    /// How many requests of a key may wait until others of it are done.
    fn may_wait(&self) -> u32 {
        let limits = self.queue.limits();
        let longest = if limits.timeout.is_zero() { 0 } else { limits.longest_of_one() };
        u32::try_from(longest).unwrap_or(u32::MAX)
    }

    /// Lets a body be waited for that costs nothing.
    ///
    /// # Errors
    /// The key has as many of them as it may; the store cannot be read.
    pub fn await_free_body(&self, caller: &Caller) -> Result<Upload<'_>, Refusal> {
        let most = caller.key.limits.max_concurrent;
        let pays = self.lacks(caller)?.is_none();
        self.upload(caller, pays, |waiting| most.is_none_or(|most| waiting < most))
    }

    /// What a request takes while it waits for its turn, out of its account's share: one account has as many keys as it
    /// likes, each with a line of its own. `None`: the share is taken.
    pub(super) fn room_to_wait(
        &self,
        caller: &Caller,
        request: &InferenceRequest<'_>,
    ) -> Result<Option<BytePermit>, Refusal> {
        let pays = self.lacks(caller)?.is_none();
        let mut room = self.arrivals.bodies.share(caller.account, pays).permit();
        Ok(room.grow(waiting_size(request.size())).is_ok().then_some(room))
    }

    /// Room for a body that is made of the caller's, of nothing yet, out of its account's share.
    pub(super) fn room_to_translate(&self, caller: &Caller) -> Result<BytePermit, Refusal> {
        let pays = self.lacks(caller)?.is_none();
        Ok(self.arrivals.bodies.share(caller.account, pays).permit())
    }

    fn upload(&self, caller: &Caller, pays: bool, most: impl FnOnce(u32) -> bool) -> Result<Upload<'_>, Refusal> {
        let key = caller.key.id;
        if !self.arrivals.wait_for(key, most) {
            return Err(Refusal::TooManyAtOnce);
        }
        let share = self.arrivals.bodies.share(caller.account, pays);
        Ok(Upload { arrivals: &self.arrivals, key, share })
    }

    /// Why the caller could not pay for anything.
    fn lacks(&self, caller: &Caller) -> Result<Option<Refusal>, StoreError> {
        let balance = self.store.cached(|memory| memory.balance(caller.account))?;
        let spent = caller.key.spent(Timestamp::now());
        Ok(match caller.key.limits.spend {
            _ if balance.total == MicroUsd::ZERO => Some(Refusal::InsufficientFunds),
            Some(limit) if limit.minus_floor_zero(spent) == MicroUsd::ZERO => {
                Some(Refusal::SpendLimitReached(caller.key.limits.reset.window_end(Timestamp::now())))
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_and_those_who_cannot_pay_have_a_part_of_the_budget() {
        let arrivals = Shares::new(ByteBudget::new(800));
        let account = AccountId::from_i64;
        let paid = arrivals.share(account(1), true);
        assert!(Arc::ptr_eq(&paid, &arrivals.share(account(1), true)), "one share for an account");
        let take = |share: &Arc<ByteBudget>, bytes| {
            let mut permit = share.permit();
            permit.grow(bytes).map(|()| permit)
        };
        assert!(take(&paid, 401).is_err());
        let held = take(&paid, 400);
        // Whoever comes finds room, however many came before.
        let other = arrivals.share(account(2), true);
        assert!(take(&other, 201).is_err());
        let second = take(&other, 200);
        let third = take(&arrivals.share(account(6), true), 100);
        assert!(held.is_ok() && second.is_ok() && third.is_ok());
        assert!(take(&paid, 1).is_err() && take(&arrivals.share(account(7), true), 50).is_ok());
        drop((held, second, third));
        // A fourth of 800 for all of them, half of that for one, half of the rest for the next.
        let (a, b, c) =
            (arrivals.share(account(3), false), arrivals.share(account(4), false), arrivals.share(account(5), false));
        assert!(take(&a, 101).is_err());
        let both = (take(&a, 100), take(&b, 50));
        assert!(both.0.is_ok() && both.1.is_ok() && take(&c, 26).is_err() && take(&c, 25).is_ok());
        drop(both);
        assert!(take(&c, 100).is_ok());
    }

    #[test]
    fn the_bodies_a_key_waits_for_are_counted() {
        let arrivals = Arrivals::new(ByteBudget::new(800));
        let key = KeyId::from_i64(1);
        let open = || {
            let share = arrivals.bodies.share(AccountId::from_i64(1), true);
            arrivals.wait_for(key, |waiting| waiting < 2).then(|| Upload { arrivals: &arrivals, key, share })
        };
        let (one, two) = (open(), open());
        assert!(one.is_some() && two.is_some() && open().is_none());
        drop(one);
        assert!(open().is_some());
        drop(two);
        assert!(arrivals.waiting.lock().is_ok_and(|waiting| waiting.is_empty()));
    }
}
