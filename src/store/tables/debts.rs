//! Debts: earnings that were refunded when they had been spent or paid out already. The operator paid the payer
//! back; whatever the account earns next pays the operator back.

use super::accounts;
use super::ledger::{self, Movement};
use crate::domain::ids::AccountId;
use crate::domain::money::MicroUsd;
use crate::domain::settle::Balance;
use crate::domain::time::Timestamp;
use crate::store::{StoreError, Tx};

/// Who pays off, in the ledger, when nobody asked for it.
pub(super) const ACTOR: &str = "coordinator";

/// Pays off what an account owes, out of `most` of withdrawable money that it has just got, so none of it is
/// promised to requests. Returns how much that was.
pub(super) fn pay_off(
    conn: &Tx,
    account_id: AccountId,
    most: MicroUsd,
    actor: &str,
    now: Timestamp,
) -> Result<MicroUsd, StoreError> {
    let before = accounts::balance(conn, account_id)?;
    let paid = accounts::debt(conn, account_id)?.min(most).min(before.withdrawable);
    if paid == MicroUsd::ZERO {
        return Ok(MicroUsd::ZERO);
    }
    let too_large = || StoreError::Invalid("the amount is too large".into());
    let kind = "refund_reversal";
    let after = Balance {
        total: before.total.minus_floor_zero(paid),
        withdrawable: before.withdrawable.minus_floor_zero(paid),
    };
    let note = "pays off what a refund could not take back";
    let movement = Movement { account_id, kind, before, after, request_id: None, actor, note };
    ledger::write_owing(conn, &movement, MicroUsd::ZERO.checked_sub(paid).ok_or_else(too_large)?, now)?;
    accounts::ensure_house(conn, now)?;
    let before = accounts::balance(conn, accounts::HOUSE)?;
    let after = before.add_earnings(paid).ok_or_else(too_large)?;
    let note = format!("{account_id} pays off what a refund could not take back");
    let account_id = accounts::HOUSE;
    let movement = Movement { account_id, kind, before, after, request_id: None, actor, note: &note };
    ledger::write(conn, &movement, now)?;
    Ok(paid)
}
