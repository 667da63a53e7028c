//! Refunds: one charge reversed, once. The payer gets all of it back; the provider gives back what it has
//! not spent or withdrawn since, and the house gives back its fee and bears the rest.

use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;
use utoipa::ToSchema;

use super::ledger::{self, Movement};
use super::{StoreError, accounts, events};
use crate::domain::ids::{AccountId, LedgerId, RequestId};
use crate::domain::money::MicroUsd;
use crate::domain::settle::Balance;
use crate::domain::time::Timestamp;

/// A charge that was given back.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Refunded {
    /// The charge.
    pub request_id: RequestId,
    /// Who got it back.
    pub account_id: AccountId,
    /// All of it.
    pub refunded_micro_usd: MicroUsd,
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

/// Who refunds, and why.
struct Refunding<'a> {
    conn: &'a Connection,
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
    conn: &Connection,
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
    let (ledger_id, balance) = refunding.pay_back(&charge, reason)?;
    let recovered = refunding.take_from_provider(&charge, promised(charge.provider))?;
    let rest = charge.charged.less(recovered);
    let lost = refunding.take_from_house(rest, charge.earned.less(recovered), promised(accounts::HOUSE))?;
    let detail = serde_json::json!({
        "account": charge.payer, "refunded_micro_usd": charge.charged, "from_provider_micro_usd": recovered,
        "from_house_micro_usd": rest, "created_micro_usd": lost, "reason": reason,
    });
    events::record(conn, actor, "charge.refund", &request.to_string(), &detail, now)?;
    // The payer may be the provider too.
    let balance = if charge.payer == charge.provider || charge.payer == accounts::HOUSE {
        accounts::balance(conn, charge.payer)?.total
    } else {
        balance
    };
    Ok(Refunded {
        request_id: request,
        account_id: charge.payer,
        refunded_micro_usd: charge.charged,
        balance_micro_usd: balance,
        ledger_id,
    })
}

/// When a charge was refunded.
///
/// # Errors
/// SQLite fails.
pub fn refunded_at(conn: &Connection, request: RequestId) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT created_at FROM ledger WHERE request_id = ?1 AND kind = 'refund'";
    let at = conn.prepare_cached(sql)?.query_row([request.to_i64()], |row| row.get(0)).optional()?;
    Ok(at.map(Timestamp::from_millis))
}

fn is_refunded(conn: &Connection, request: RequestId) -> Result<bool, StoreError> {
    Ok(refunded_at(conn, request)?.is_some())
}

fn charge(conn: &Connection, request: RequestId) -> Result<Charge, StoreError> {
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
    fn pay_back(&self, charge: &Charge, reason: &str) -> Result<(LedgerId, MicroUsd), StoreError> {
        let before = accounts::balance(self.conn, charge.payer)?;
        let credit = charge.charged.less(charge.from_earned);
        let after = before.add_earnings(charge.from_earned).and_then(|b| b.add_credit(credit)).ok_or_else(too_large)?;
        let id = self.write(charge.payer, "refund", before, after, reason)?;
        Ok((id, after.total))
    }

    /// Takes the earning back as far as it is still there: what is withdrawable, and not promised.
    fn take_from_provider(&self, charge: &Charge, promised: MicroUsd) -> Result<MicroUsd, StoreError> {
        let before = accounts::balance(self.conn, charge.provider)?;
        let taken = charge.earned.min(before.withdrawable).min(before.total.less(promised));
        if taken == MicroUsd::ZERO {
            return Ok(MicroUsd::ZERO);
        }
        let after = Balance { total: before.total.less(taken), withdrawable: before.withdrawable.less(taken) };
        self.write(charge.provider, "refund_reversal", before, after, "an earning was taken back")?;
        Ok(taken)
    }

    /// The house gives `rest`, of which the provider should have given `owed`. What the house does not have
    /// the operator brings in: an adjustment, so that the loss is on the ledger. Returns how much that was.
    fn take_from_house(&self, rest: MicroUsd, owed: MicroUsd, promised: MicroUsd) -> Result<MicroUsd, StoreError> {
        if rest == MicroUsd::ZERO {
            return Ok(MicroUsd::ZERO);
        }
        accounts::ensure_house(self.conn, self.now)?;
        let before = accounts::balance(self.conn, accounts::HOUSE)?;
        let missing = rest.less(before.total.less(promised));
        let covered = before.add_credit(missing).ok_or_else(too_large)?;
        if missing != MicroUsd::ZERO {
            let note = format!("brought in by the operator to refund {}", self.request);
            self.write(accounts::HOUSE, "adjustment", before, covered, &note)?;
        }
        let after = covered.spend(rest).ok_or_else(too_large)?.left;
        let note = if owed == MicroUsd::ZERO {
            "the fee was given back".to_owned()
        } else {
            format!("a refund of which the provider no longer had {owed}")
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
}

fn too_large() -> StoreError {
    StoreError::Invalid("the amount is too large".into())
}

#[cfg(test)]
mod tests;
