//! Refunds: one charge reversed, once. The payer gets all of it back at once. The provider gives its earning back
//! out of what is withdrawable, then out of its pending withdrawals; what has left the account it owes, and pays
//! off with what it earns next (`store::debts`). The house gives back its fee, and advances what is owed.

use rusqlite::{OptionalExtension, Row};
use serde::Serialize;
use utoipa::ToSchema;

use super::ledger::{self, Movement};
use super::{accounts, debts, events, withdrawals};
use crate::domain::ids::{AccountId, LedgerId, RequestId};
use crate::domain::money::MicroUsd;
use crate::domain::settle::Balance;
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

/// A charge that was given back.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Refunded {
    /// The charge.
    pub request_id: RequestId,
    /// Who got it back.
    pub account_id: AccountId,
    /// All of it: the sum of the next two.
    pub refunded_micro_usd: MicroUsd,
    /// What the provider's account gave: withdrawable money, and what was in pending withdrawals.
    pub from_provider_micro_usd: MicroUsd,
    /// What the operator's account gave: its fee, and what the provider no longer had.
    pub from_house_micro_usd: MicroUsd,
    /// The part of what the provider gave that was in pending withdrawals: they are that much smaller now.
    pub from_withdrawals_micro_usd: MicroUsd,
    /// The part of what the operator's account gave that the provider owes it now: its next earnings pay it off.
    pub debt_micro_usd: MicroUsd,
    /// The payer's balance right after.
    pub balance_micro_usd: MicroUsd,
    /// The payer's entry.
    pub ledger_id: LedgerId,
}

/// The money of a usage row.
struct Charge {
    payer: AccountId,
    provider: AccountId,
    charged: MicroUsd,
    from_earned: MicroUsd,
    earned: MicroUsd,
}

/// What the provider of a refunded charge gave.
#[derive(Debug, Clone, Copy)]
struct Recovered {
    /// All of it.
    total: MicroUsd,
    /// The part that was in pending withdrawals.
    from_withdrawals: MicroUsd,
    /// What it owes.
    debt: MicroUsd,
}

/// Who refunds, and why.
struct Refunding<'a> {
    conn: &'a Tx,
    request: RequestId,
    actor: &'a str,
    now: Timestamp,
}

/// Reverses the charge of `request`. `promised` is what requests in flight hold of an account, read now: a
/// refund takes nothing of that.
///
/// The key's spend window is not restored: a cap that a refund could lift would not be one.
///
/// # Errors
/// [`StoreError::NotFound`] for an unknown request, [`StoreError::Conflict`] if it was refunded or nothing was
/// charged.
pub fn refund(
    conn: &Tx,
    request: RequestId,
    reason: &str,
    promised: impl Fn(AccountId) -> MicroUsd,
    actor: &str,
    now: Timestamp,
) -> Result<Refunded, StoreError> {
    let charge = charge(conn, request)?;
    if is_refunded(conn, request)? {
        return Err(StoreError::Conflict(format!("{request} was refunded already")));
    }
    if charge.charged == MicroUsd::ZERO {
        return Err(StoreError::Conflict(format!("nothing was charged for {request}")));
    }
    let refunding = Refunding { conn, request, actor, now };
    // In this order, each balance read when its turn comes: the three may be one account.
    let ledger_id = refunding.pay_back(&charge, reason)?;
    let recovered = refunding.take_from_provider(&charge, promised(charge.provider))?;
    let rest = charge.charged.minus_floor_zero(recovered.total);
    let lost = refunding.take_from_house(rest, recovered.debt, promised(accounts::HOUSE))?;
    // Earnings that came back are earnings: who owes some pays them off. (Its own provider has given them again.)
    if charge.payer != charge.provider {
        debts::pay_off(conn, charge.payer, charge.from_earned, actor, now)?;
    }
    let detail = serde_json::json!({
        "account": charge.payer, "refunded_micro_usd": charge.charged, "from_provider_micro_usd": recovered.total,
        "from_withdrawals_micro_usd": recovered.from_withdrawals, "from_house_micro_usd": rest,
        "debt_micro_usd": recovered.debt, "created_micro_usd": lost, "reason": reason,
    });
    events::record(conn, actor, "charge.refund", &request.to_string(), &detail, now)?;
    Ok(Refunded {
        request_id: request,
        account_id: charge.payer,
        refunded_micro_usd: charge.charged,
        from_provider_micro_usd: recovered.total,
        from_house_micro_usd: rest,
        from_withdrawals_micro_usd: recovered.from_withdrawals,
        debt_micro_usd: recovered.debt,
        // Read again: the payer may be the provider, or the operator's account, or have paid something off.
        balance_micro_usd: accounts::balance(conn, charge.payer)?.total,
        ledger_id,
    })
}

/// When a charge was refunded.
pub fn refunded_at(conn: &Read, request: RequestId) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT created_at FROM ledger WHERE request_id = ?1 AND kind = 'refund'";
    let at = conn.prepare_cached(sql)?.query_row([request.to_i64()], |row| row.get(0)).optional()?;
    Ok(at.map(Timestamp::from_millis))
}

fn is_refunded(conn: &Read, request: RequestId) -> Result<bool, StoreError> {
    Ok(refunded_at(conn, request)?.is_some())
}

fn charge(conn: &Read, request: RequestId) -> Result<Charge, StoreError> {
    let read = |row: &Row<'_>| {
        Ok(Charge {
            payer: AccountId::from_i64(row.get(0)?),
            provider: AccountId::from_i64(row.get(1)?),
            charged: MicroUsd::new(row.get(2)?),
            from_earned: MicroUsd::new(row.get(3)?),
            earned: MicroUsd::new(row.get(4)?),
        })
    };
    conn.prepare_cached(
        "SELECT account_id, provider_account_id, charged_micro_usd, charged_withdrawable_micro_usd, earned_micro_usd \
         FROM usage WHERE id = ?1",
    )?
    .query_row([request.to_i64()], read)
    .optional()?
    .ok_or_else(|| StoreError::NotFound(format!("no request {request}")))
}

impl Refunding<'_> {
    /// Credits the payer, as the money was: what came out of its earnings can be withdrawn again.
    fn pay_back(&self, charge: &Charge, reason: &str) -> Result<LedgerId, StoreError> {
        let before = accounts::balance(self.conn, charge.payer)?;
        let credit = charge.charged.minus_floor_zero(charge.from_earned);
        let after = before.add_earnings(charge.from_earned).and_then(|b| b.add_credit(credit)).ok_or_else(too_large)?;
        self.write(charge.payer, "refund", before, after, reason)
    }

    /// Takes the earning back: first what is withdrawable and not promised, then what is in pending withdrawals.
    /// What there is less of, the account owes; the operator's account never owes itself.
    fn take_from_provider(&self, charge: &Charge, promised: MicroUsd) -> Result<Recovered, StoreError> {
        let (conn, account, earned) = (self.conn, charge.provider, charge.earned);
        let is_own = account == charge.payer;
        let at_first = accounts::balance(conn, account)?;
        // What the payer paid to itself it has just got back, as the credit it was.
        let most = if is_own { at_first.total } else { at_first.withdrawable };
        let free = earned.min(most).min(at_first.total.minus_floor_zero(promised));
        let from_withdrawals =
            withdrawals::take_back(conn, account, earned.minus_floor_zero(free), self.request, self.actor, self.now)?;
        let total = free.checked_add(from_withdrawals).ok_or_else(too_large)?;
        let debt = if account == accounts::HOUSE { MicroUsd::ZERO } else { earned.minus_floor_zero(total) };
        if total != MicroUsd::ZERO || debt != MicroUsd::ZERO {
            let before = accounts::balance(conn, account)?;
            let after = if is_own {
                before.spend(total).ok_or_else(too_large)?.left
            } else {
                Balance {
                    total: before.total.minus_floor_zero(total),
                    withdrawable: before.withdrawable.minus_floor_zero(total),
                }
            };
            let note = if debt == MicroUsd::ZERO {
                "an earning was taken back".to_owned()
            } else {
                format!("an earning was taken back; {debt} of it is owed")
            };
            self.write_owing(account, before, after, debt, &note)?;
        }
        Ok(Recovered { total, from_withdrawals, debt })
    }

    /// The operator's account gives `rest`, of which the provider owes it `owed`. What that account does not have the
    /// operator brings in: an adjustment, so that it is on the ledger. Returns how much that was.
    fn take_from_house(&self, rest: MicroUsd, owed: MicroUsd, promised: MicroUsd) -> Result<MicroUsd, StoreError> {
        if rest == MicroUsd::ZERO {
            return Ok(MicroUsd::ZERO);
        }
        accounts::ensure_house(self.conn, self.now)?;
        let before = accounts::balance(self.conn, accounts::HOUSE)?;
        let missing = rest.minus_floor_zero(before.total.minus_floor_zero(promised));
        let covered = before.add_credit(missing).ok_or_else(too_large)?;
        if missing != MicroUsd::ZERO {
            let note = format!("brought in by the operator to refund {}", self.request);
            self.write(accounts::HOUSE, "adjustment", before, covered, &note)?;
        }
        let after = covered.spend(rest).ok_or_else(too_large)?.left;
        let note = if owed == MicroUsd::ZERO {
            "the fee was given back".to_owned()
        } else {
            format!("a refund of which the provider owes {owed}")
        };
        self.write(accounts::HOUSE, "refund_reversal", covered, after, &note)?;
        Ok(missing)
    }

    fn write(
        &self,
        account_id: AccountId,
        kind: &str,
        before: Balance,
        after: Balance,
        note: &str,
    ) -> Result<LedgerId, StoreError> {
        let request_id = Some(self.request);
        let movement = Movement { account_id, kind, before, after, request_id, actor: self.actor, note };
        ledger::write(self.conn, &movement, self.now)
    }

    fn write_owing(
        &self,
        account_id: AccountId,
        before: Balance,
        after: Balance,
        debt: MicroUsd,
        note: &str,
    ) -> Result<LedgerId, StoreError> {
        let (kind, request_id) = ("refund_reversal", Some(self.request));
        let movement = Movement { account_id, kind, before, after, request_id, actor: self.actor, note };
        ledger::write_owing(self.conn, &movement, debt, self.now)
    }
}

fn too_large() -> StoreError {
    StoreError::Invalid("the amount is too large".into())
}

#[cfg(test)]
mod tests;
