//! Movements of money that are no request's: the order in which holds and rows move, so that neither a request in flight
//! nor the movement spends what the other was promised.
//!
//! Each is prepared before its write is queued and runs in the writer's job; what it holds is released after its
//! commit, when it is dropped.

use std::sync::Arc;

use super::Relay;
use super::holds::{Holds, OpenHold};
use crate::domain::ids::{AccountId, RequestId};
use crate::domain::keys::KeyId;
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::domain::withdrawal::Wanted;
use crate::store::keys::KeyRow;
use crate::store::ledger::{self, Debit, Debited};
use crate::store::refund::{self, Refunded};
use crate::store::withdrawals::{self, Withdrawal};
use crate::store::{Read, StoreError, Tx, accounts, key_changes};

/// A debit that holds what it can get.
#[derive(Debug)]
pub struct HeldDebit {
    debit: Debit,
    hold: OpenHold,
}

impl HeldDebit {
    /// Takes the credit back, in the writer's job.
    ///
    /// # Errors
    /// [`StoreError::InvalidField`] for an amount of zero or more than is there and not held, or a long note.
    pub fn run(&mut self, conn: &Tx, actor: &str, now: Timestamp) -> Result<Debited, StoreError> {
        let others = self.hold.settling();
        ledger::debit(conn, &self.debit, self.hold.amount(), others, actor, now)
    }
}

/// A withdrawal that holds what it can get.
#[derive(Debug)]
pub struct HeldWithdrawal {
    wanted: Wanted,
    hold: OpenHold,
}

impl HeldWithdrawal {
    /// Asks for the withdrawal, in the writer's job.
    ///
    /// # Errors
    /// [`StoreError::InvalidField`] for an amount of zero or more than can be withdrawn, or a long note.
    pub fn run(&mut self, conn: &Tx, actor: &str, now: Timestamp) -> Result<Withdrawal, StoreError> {
        let others = self.hold.settling();
        withdrawals::request(conn, &self.wanted, self.hold.amount(), others, actor, now)
    }
}

/// A refund, which minds what requests in flight were promised of the earnings that it takes back.
#[derive(Debug)]
pub struct Refund {
    request: RequestId,
    reason: String,
    holds: Arc<Holds>,
}

impl Refund {
    /// Reverses the charge, in the writer's job.
    ///
    /// # Errors
    /// No such charge, or it was refunded already.
    pub fn run(&self, conn: &Tx, actor: &str, now: Timestamp) -> Result<Refunded, StoreError> {
        // Read here, in the writer's job: what was held when the request came may be settled by now. All that
        // is held counts, also what is just being settled: that errs on the side of who holds it.
        let held = |account| self.holds.of_account(account).total;
        refund::refund(conn, self.request, &self.reason, held, actor, now)
    }
}

impl Relay {
    /// Holds what a debit can get until it is committed, like a request does: else a request could be admitted
    /// on that money between the writer's look at the holds and its commit.
    pub fn hold_debit(&self, debit: Debit) -> Result<HeldDebit, StoreError> {
        let hold = self.hold_at_most(debit.account, debit.amount, |conn, held| {
            Ok(accounts::balance(conn, debit.account)?.total.minus_floor_zero(held))
        })?;
        Ok(HeldDebit { debit, hold })
    }

    /// Holds what a withdrawal can get until it is committed, for the same reason.
    pub fn hold_withdrawal(&self, wanted: Wanted) -> Result<HeldWithdrawal, StoreError> {
        let hold = self.hold_at_most(wanted.account, wanted.amount, |conn, held| {
            withdrawals::available(conn, wanted.account, held)
        })?;
        Ok(HeldWithdrawal { wanted, hold })
    }

    /// Holds `amount`, or what of it is `available` beside what is held already.
    fn hold_at_most(
        &self,
        account: AccountId,
        amount: MicroUsd,
        available: impl FnOnce(&Read, MicroUsd) -> Result<MicroUsd, StoreError>,
    ) -> Result<OpenHold, StoreError> {
        let opened = self.holds.open(account, None, |held| {
            let available = self.store.read_inline(|conn| available(conn, held.account.total))?;
            Ok::<_, StoreError>((amount.min(available), ()))
        });
        opened.map(|(hold, ())| hold)
    }

    /// A refund of what `request` was charged.
    pub fn refund(&self, request: RequestId, reason: String) -> Refund {
        Refund { request, reason, holds: Arc::clone(&self.holds) }
    }

    /// Changes a key. A new spend limit is announced before its write is queued: the writer's jobs run in order, so
    /// what is settled before it is counted by that write, and what is settled after it by itself.
    ///
    /// # Errors
    /// No such key of this account, it is revoked, or a field is wrong.
    pub async fn change_key(
        &self,
        account: AccountId,
        id: KeyId,
        change: key_changes::Change,
        actor: String,
        now: Timestamp,
    ) -> Result<KeyRow, StoreError> {
        if change.spend.flatten().is_some() {
            self.store.read_inline(|conn| key_changes::of_account(conn, account, id))?;
            self.newly_limited.insert(id);
        }
        let write = move |conn: &Tx| key_changes::update(conn, account, id, &change, &actor, now);
        self.writer.write(write).await
    }
}
