//! Settlements: what charges move, worked out in memory and written once.
//!
//! A batch of the writer settles tens of charges of few accounts and keys. So the rows of these are read once a batch, and
//! written once; each charge finds what the one before it left, as if that was written. Whoever else looks at these
//! rows in the same transaction, or changes them, has them written first ([`Settlements::close`]). The rows of
//! usage are written as they come: the failure of one is its own.

use super::accounts::{self, Money};
use super::{alerts, debts, keys, providers, request_keys, usage, usage_index};
use crate::domain::charge::Charge;
use crate::domain::ids::{AccountId, IdMap, RequestId};
use crate::domain::key_limits::SpendWindow;
use crate::domain::keys::{KeyId, LimitReset};
use crate::domain::money::MicroUsd;
use crate::domain::settle::{Balance, FeeCarry, Split};
use crate::store::{Read, StoreError, Tx};

/// What a settlement took, and what it left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// What the payer paid.
    pub charged: MicroUsd,
    /// The payer's balance afterwards.
    pub balance: MicroUsd,
}

/// Settles one request by itself: debits the payer, credits the provider (and the operator's account, if there is a fee)
/// and writes the usage row. `held_by_others` is what other requests of the payer hold, read now.
///
/// What comes back to the payer itself is no earning: it is not withdrawable, and pays off no debt.
///
/// # Errors
/// SQLite fails, or an account is gone; then the transaction, or the savepoint, must be rolled back.
pub fn settle(conn: &Tx, s: &Charge, held_by_others: MicroUsd) -> Result<Settled, StoreError> {
    let mut alone = Settlements::default();
    let settled = alone.settle(conn, s, held_by_others)?;
    alone.write(conn)?;
    Ok(settled)
}

/// The settlements of one transaction. What is in here and was not [written](Self::write) is not in the database.
#[derive(Debug, Default)]
pub struct Settlements {
    accounts: IdMap<AccountId, Known<Money>>,
    /// Of keys that have a spend limit.
    keys: IdMap<KeyId, Known<(LimitReset, SpendWindow)>>,
    /// Up to here a row enters the index of accounts by itself.
    indexing_to: Option<RequestId>,
}

/// What is in a row, or will be.
#[derive(Debug, Clone, Copy)]
struct Known<T> {
    now: T,
    is_changed: bool,
}

impl<T> Known<T> {
    const fn read(now: T) -> Self {
        Self { now, is_changed: false }
    }

    fn set(&mut self, now: T) {
        *self = Self { now, is_changed: true };
    }
}

impl Settlements {
    /// Settles a request as [`settle`] does, but that [`Self::write`] has yet to write what accounts and keys have.
    ///
    /// # Errors
    /// As [`settle`]; then all that is in here is wrong, too.
    pub fn settle(&mut self, conn: &Tx, s: &Charge, held_by_others: MicroUsd) -> Result<Settled, StoreError> {
        let Money { balance: payer, alert_below, .. } = self.account(conn, s.account_id)?.now;
        let carried =
            if s.fee.is_zero() { FeeCarry::default() } else { self.account(conn, s.provider_account_id)?.now.carry };
        let split = Split::of(s.cost, payer.total, held_by_others, s.fee, carried);
        let spent = payer.spend(split.charged);
        let spent = spent.ok_or_else(|| StoreError::Invalid("charged above the balance".into()))?;
        if split.charged != MicroUsd::ZERO {
            let payer = self.account(conn, s.account_id)?;
            payer.set(Money { balance: spent.left, ..payer.now });
            let carry = (!s.fee.is_zero()).then_some(split.carry);
            self.earn(conn, s, s.provider_account_id, split.earned, carry)?;
            if split.fee != MicroUsd::ZERO {
                if !self.accounts.contains_key(&accounts::HOUSE) {
                    accounts::ensure_house(conn, s.now)?;
                }
                self.earn(conn, s, accounts::HOUSE, split.fee, None)?;
            }
        }
        usage::insert(conn, s, &split, spent.from_earned)?;
        if s.request_id <= self.indexing_to(conn)? {
            usage_index::add(conn, &[(s.account_id, s.request_id)])?;
        }
        if s.key_is_limited {
            self.count(conn, s, split.charged)?;
        }
        if let Some((key, body)) = &s.idempotency {
            request_keys::remember(conn, s.account_id, (key, body), s.request_id, s.now)?;
        }
        if s.flagged {
            providers::flag(conn, s.provider_id)?;
        }
        // The payer may have earned it, too.
        let balance = self.account(conn, s.account_id)?.now.balance;
        alerts::settled(conn, s, split.shortfall, (payer.total, balance.total), alert_below)?;
        Ok(Settled { charged: split.charged, balance: balance.total })
    }

    /// Writes what changed.
    ///
    /// # Errors
    /// SQLite fails, or an account is gone; then the transaction must be rolled back.
    pub fn write(&mut self, conn: &Tx) -> Result<(), StoreError> {
        for (id, account) in &mut self.accounts {
            if std::mem::take(&mut account.is_changed) {
                accounts::set_money(conn, *id, &account.now)?;
            }
        }
        for (id, key) in &mut self.keys {
            if std::mem::take(&mut key.is_changed) {
                keys::set_window(conn, *id, key.now.1)?;
            }
        }
        Ok(())
    }

    /// Writes what changed, and forgets all: somebody else looks at these rows now, and may change them.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn close(&mut self, conn: &Tx) -> Result<(), StoreError> {
        self.write(conn)?;
        self.accounts.clear();
        self.keys.clear();
        self.indexing_to = None;
        Ok(())
    }

    /// What an account has, if that is known here.
    pub fn balance(&self, account: AccountId) -> Option<Balance> {
        self.accounts.get(&account).map(|account| account.now.balance)
    }

    /// What a key was charged, if that is known here.
    pub fn window(&self, key: KeyId) -> Option<SpendWindow> {
        self.keys.get(&key).map(|key| key.now.1)
    }

    fn account(&mut self, conn: &Read, id: AccountId) -> Result<&mut Known<Money>, StoreError> {
        use std::collections::hash_map::Entry;
        match self.accounts.entry(id) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(Known::read(accounts::money(conn, id)?))),
        }
    }

    fn indexing_to(&mut self, conn: &Read) -> Result<RequestId, StoreError> {
        match self.indexing_to {
            Some(known) => Ok(known),
            None => Ok(*self.indexing_to.insert(usage_index::indexing_to(conn)?)),
        }
    }

    /// Gives an account its part of a charge. What comes back to the payer itself is no earning. Who owes something
    /// pays it off with what it earns.
    fn earn(
        &mut self,
        conn: &Tx,
        s: &Charge,
        id: AccountId,
        amount: MicroUsd,
        carry: Option<FeeCarry>,
    ) -> Result<(), StoreError> {
        let account = self.account(conn, id)?;
        let Money { balance, owes, .. } = account.now;
        let is_own = id == s.account_id;
        let balance = if is_own { balance.add_credit(amount) } else { balance.add_earnings(amount) };
        let balance = balance.ok_or_else(|| StoreError::Invalid("the amount is too large".into()))?;
        account.set(Money { balance, carry: carry.unwrap_or(account.now.carry), ..account.now });
        if owes && !is_own {
            self.close(conn)?;
            debts::pay_off(conn, id, amount, debts::ACTOR, s.now)?;
        }
        Ok(())
    }

    /// Adds a charge to its key's window.
    fn count(&mut self, conn: &Read, s: &Charge, charged: MicroUsd) -> Result<(), StoreError> {
        if !self.keys.contains_key(&s.key_id)
            && let Some(window) = keys::window(conn, s.key_id)?
        {
            self.keys.insert(s.key_id, Known::read(window));
        }
        if let Some(key) = self.keys.get_mut(&s.key_id) {
            let (reset, window) = key.now;
            let window = window.charge(charged, reset.window_start(s.now));
            key.set((reset, window.ok_or_else(|| StoreError::Invalid("the amount is too large".into()))?));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
