//! Withdrawals: earnings on their way out.

use rusqlite::{OptionalExtension, Row, params, params_from_iter, types::Value};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::ledger::{self, Movement, some_text};
use super::{accounts, alerts, debts, events};
use crate::domain::alert::AlertKind;
use crate::domain::ids::{AccountId, LedgerId, RequestId, WithdrawalId};
use crate::domain::money::{MicroUsd, Usd};
use crate::domain::note::{self, is_note};
use crate::domain::settle::Balance;
use crate::domain::time::Timestamp;
use crate::domain::withdrawal::{Decision, Wanted};
use crate::store::{Read, StoreError, Tx};

/// A withdrawal, as its account and the admins see it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Withdrawal {
    /// `wd_…`
    pub id: WithdrawalId,
    /// Whose earnings.
    pub account_id: AccountId,
    /// Its name.
    pub account_name: String,
    /// How much is to be paid.
    pub amount_micro_usd: MicroUsd,
    /// The same, for people.
    pub amount_usd: Usd,
    /// What refunds took back of it while it was pending: so much more was asked for.
    pub reduced_micro_usd: MicroUsd,
    /// `pending`, `paid`, `rejected`.
    pub status: String,
    /// What the account said of it.
    #[serde(serialize_with = "some_text")]
    #[schema(value_type = Option<String>)]
    pub note: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was paid or rejected.
    pub decided_at: Option<Timestamp>,
    /// By whom.
    pub decided_by: Option<String>,
    /// Why it was rejected.
    pub reason: Option<String>,
    /// What the admin noted of the payment.
    pub reference: Option<String>,
    /// The entry that took the money.
    pub ledger_id: LedgerId,
    /// The entry that returned it.
    pub returned_ledger_id: Option<LedgerId>,
}

const COLUMNS: &str = "w.id, w.account_id, a.name, w.amount_micro_usd, w.status, w.note, w.created_at, w.decided_at, \
     w.decided_by, w.reason, w.reference, w.ledger_id, w.returned_ledger_id, w.reduced_micro_usd";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Withdrawal> {
    let amount = MicroUsd::new(row.get(3)?);
    Ok(Withdrawal {
        id: WithdrawalId::from_i64(row.get(0)?),
        account_id: AccountId::from_i64(row.get(1)?),
        account_name: row.get(2)?,
        amount_micro_usd: amount,
        amount_usd: Usd(amount),
        reduced_micro_usd: MicroUsd::new(row.get(13)?),
        status: row.get(4)?,
        note: row.get(5)?,
        created_at: Timestamp::from_millis(row.get(6)?),
        decided_at: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_millis),
        decided_by: row.get(8)?,
        reason: row.get(9)?,
        reference: row.get(10)?,
        ledger_id: LedgerId::from_i64(row.get(11)?),
        returned_ledger_id: row.get::<_, Option<i64>>(12)?.map(LedgerId::from_i64),
    })
}

/// What an account can withdraw: its earnings, less what its other requests may still need of them, and less
/// what it owes.
pub fn available(conn: &Read, account: AccountId, held_by_others: MicroUsd) -> Result<MicroUsd, StoreError> {
    let balance = accounts::balance(conn, account)?;
    Ok(balance
        .withdrawable
        .min(balance.total.minus_floor_zero(held_by_others))
        .minus_floor_zero(accounts::debt(conn, account)?))
}

/// Takes the amount out of the balance. At most `reserved` of it, which was on hold for this until now;
/// `held_by_others` is what the account's requests hold, read now.
///
/// # Errors
/// [`StoreError::InvalidField`] if the amount is zero or more than can be withdrawn, or for a long note.
pub fn request(
    conn: &Tx,
    wanted: &Wanted,
    reserved: MicroUsd,
    held_by_others: MicroUsd,
    actor: &str,
    now: Timestamp,
) -> Result<Withdrawal, StoreError> {
    let refused = |message: String| StoreError::InvalidField { field: "amount_usd", message };
    let (account_id, amount) = (wanted.account, wanted.amount);
    if amount <= MicroUsd::ZERO {
        return Err(refused("the amount must be more than zero".into()));
    }
    let before = accounts::balance(conn, account_id)?;
    let most = available(conn, account_id, held_by_others)?.min(reserved);
    let taken = |part: MicroUsd| part.checked_sub(amount).filter(|left| amount <= most && !left.is_negative());
    let (Some(total), Some(withdrawable)) = (taken(before.total), taken(before.withdrawable)) else {
        return Err(refused(format!("at most {most} can be withdrawn now")));
    };
    let after = Balance { total, withdrawable };
    let note = &wanted.note;
    let movement = Movement { account_id, kind: "withdrawal", before, after, request_id: None, actor, note };
    let ledger_id = ledger::write(conn, &movement, now)?;
    let id = WithdrawalId::generate(now);
    conn.prepare_cached(
        "INSERT INTO withdrawals (id, account_id, amount_micro_usd, note, status, ledger_id, created_at) \
         VALUES (?1, ?2, ?3, ?4, 'pending', ?5, ?6)",
    )?
    .execute(params![id.to_i64(), account_id.to_i64(), amount.micro(), note, ledger_id.to_i64(), now.millis()])?;
    let detail = json!({"withdrawal_id": id, "amount_micro_usd": amount, "ledger_id": ledger_id, "note": note});
    events::record(conn, actor, "withdrawal.request", &account_id.to_string(), &detail, now)?;
    let asked = get(conn, id)?;
    let detail = json!({
        "withdrawal_id": id, "account_id": account_id, "account_name": asked.account_name,
        "amount_micro_usd": amount, "amount_usd": amount.to_usd(2),
    });
    alerts::record(conn, AlertKind::WithdrawalRequested, &account_id.to_string(), &detail, now)?;
    Ok(asked)
}

/// The withdrawal with this id.
pub fn get(conn: &Read, id: WithdrawalId) -> Result<Withdrawal, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM withdrawals w JOIN accounts a ON a.id = w.account_id WHERE w.id = ?1");
    conn.prepare_cached(&sql)?
        .query_row([id.to_i64()], from_row)
        .optional()?
        .ok_or_else(|| StoreError::NotFound(format!("no withdrawal {id}")))
}

/// Which withdrawals. All by default.
#[derive(Debug, Clone, Default)]
pub struct WithdrawalFilter {
    /// Of this account.
    pub account: Option<AccountId>,
    /// `pending`, `paid`, `rejected`.
    pub status: Option<String>,
    /// Asked for before this one.
    pub before: Option<WithdrawalId>,
}

/// The withdrawals that match, newest first.
pub fn list(conn: &Read, filter: &WithdrawalFilter, limit: u32) -> Result<Vec<Withdrawal>, StoreError> {
    let mut sql = format!("SELECT {COLUMNS} FROM withdrawals w JOIN accounts a ON a.id = w.account_id WHERE true");
    let mut values = Vec::new();
    let mut and = |condition: &str, value: Option<Value>| {
        if let Some(value) = value {
            sql += condition;
            values.push(value);
        }
    };
    and(" AND w.account_id = ?", filter.account.map(|id| Value::Integer(id.to_i64())));
    and(" AND w.status = ?", filter.status.clone().map(Value::Text));
    and(" AND w.id < ?", filter.before.map(|id| Value::Integer(id.to_i64())));
    sql += " ORDER BY w.id DESC LIMIT ?";
    values.push(Value::Integer(i64::from(limit)));
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), from_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Decides a pending withdrawal, once.
///
/// # Errors
/// [`StoreError::NotFound`], [`StoreError::Conflict`] if it was decided already,
/// [`StoreError::InvalidField`] for a long text.
pub fn decide(
    conn: &Tx,
    id: WithdrawalId,
    decision: &Decision,
    actor: &str,
    now: Timestamp,
) -> Result<Withdrawal, StoreError> {
    let pending = get(conn, id)?;
    if pending.status != "pending" {
        return Err(StoreError::Conflict(format!("{id} is {} already", pending.status)));
    }
    let (field, text) = match decision {
        Decision::Paid(text) => ("reference", text),
        Decision::Rejected(text) => ("reason", text),
    };
    if text.as_ref().is_some_and(|text| !is_note(text)) {
        return Err(StoreError::InvalidField { field, message: note::too_long(field) });
    }
    let (status, reference, reason, returned) = match decision {
        Decision::Paid(reference) => ("paid", reference.as_deref(), None, None),
        Decision::Rejected(reason) => {
            let text = reason.as_deref().unwrap_or_default();
            let returned = give_back(conn, &pending, pending.amount_micro_usd, None, text, actor, now)?;
            debts::pay_off(conn, pending.account_id, pending.amount_micro_usd, actor, now)?;
            ("rejected", None, reason.as_deref(), Some(returned))
        }
    };
    close(conn, &pending, &Closed { status, reference, reason, returned }, actor, now)?;
    get(conn, id)
}

/// How a withdrawal ended.
struct Closed<'a> {
    status: &'a str,
    reference: Option<&'a str>,
    reason: Option<&'a str>,
    returned: Option<LedgerId>,
}

fn close(conn: &Tx, pending: &Withdrawal, closed: &Closed<'_>, actor: &str, now: Timestamp) -> Result<(), StoreError> {
    let &Closed { status, reference, reason, returned } = closed;
    let id = pending.id;
    conn.prepare_cached(
        "UPDATE withdrawals SET status = ?2, decided_at = ?3, decided_by = ?4, reason = ?5, reference = ?6, \
         returned_ledger_id = ?7 WHERE id = ?1",
    )?
    .execute(params![
        id.to_i64(),
        status,
        now.millis(),
        actor,
        reason,
        reference,
        returned.map(LedgerId::to_i64)
    ])?;
    let detail = json!({
        "withdrawal_id": id, "amount_micro_usd": pending.amount_micro_usd, "reference": reference, "reason": reason,
    });
    events::record(conn, actor, &format!("withdrawal.{status}"), &pending.account_id.to_string(), &detail, now)
}

/// Takes up to `most` back out of an account's pending withdrawals, for the refund of `request`: the newest
/// first, because an admin may be paying the oldest just now. It lies in the account's balance afterwards.
/// Returns how much that was.
pub(super) fn take_back(
    conn: &Tx,
    account: AccountId,
    most: MicroUsd,
    request: RequestId,
    actor: &str,
    now: Timestamp,
) -> Result<MicroUsd, StoreError> {
    let mut taken = MicroUsd::ZERO;
    let filter = WithdrawalFilter { account: Some(account), status: Some("pending".into()), before: None };
    let reason = format!("an earning was refunded: {request}");
    while taken < most {
        let Some(pending) = list(conn, &filter, 1)?.pop() else { break };
        let part = pending.amount_micro_usd.min(most.minus_floor_zero(taken));
        let returned = give_back(conn, &pending, part, Some(request), &reason, actor, now)?;
        if part == pending.amount_micro_usd {
            let (reason, returned) = (Some(reason.as_str()), Some(returned));
            close(conn, &pending, &Closed { status: "rejected", reference: None, reason, returned }, actor, now)?;
        } else {
            conn.prepare_cached(
                "UPDATE withdrawals SET amount_micro_usd = amount_micro_usd - ?2, \
                 reduced_micro_usd = reduced_micro_usd + ?2 WHERE id = ?1",
            )?
            .execute([pending.id.to_i64(), part.micro()])?;
            let detail = json!({"withdrawal_id": pending.id, "reduced_micro_usd": part, "request_id": request});
            events::record(conn, actor, "withdrawal.reduced", &account.to_string(), &detail, now)?;
        }
        taken = taken.checked_add(part).unwrap_or(most);
    }
    Ok(taken)
}

/// Brings `amount` of a pending withdrawal back into the balance.
fn give_back(
    conn: &Tx,
    pending: &Withdrawal,
    amount: MicroUsd,
    request_id: Option<RequestId>,
    reason: &str,
    actor: &str,
    now: Timestamp,
) -> Result<LedgerId, StoreError> {
    let account_id = pending.account_id;
    let before = accounts::balance(conn, account_id)?;
    let after = before.add_earnings(amount).ok_or_else(|| StoreError::Invalid("the amount is too large".into()))?;
    let kind = "withdrawal_rejected";
    let movement = Movement { account_id, kind, before, after, request_id, actor, note: reason };
    ledger::write(conn, &movement, now)
}

/// The highest id in use: new ones must lie above it, whatever the clock says.
pub fn last_id(conn: &Read) -> Result<WithdrawalId, StoreError> {
    let last: Option<i64> = conn.query_row("SELECT max(id) FROM withdrawals", [], |row| row.get(0))?;
    Ok(WithdrawalId::from_i64(last.unwrap_or(0)))
}

/// How many are pending, and how much they are together.
pub fn pending(conn: &Read, account: Option<AccountId>) -> Result<(u64, MicroUsd), StoreError> {
    let sql = "SELECT count(*), coalesce(sum(amount_micro_usd), 0) FROM withdrawals \
         WHERE status = 'pending' AND (?1 IS NULL OR account_id = ?1)";
    Ok(conn
        .prepare_cached(sql)?
        .query_row([account.map(AccountId::to_i64)], |row| Ok((row.get(0)?, MicroUsd::new(row.get(1)?))))?)
}
