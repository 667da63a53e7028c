//! The ledger: every movement of money that is not a usage charge.

use rusqlite::{Row, params};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::{accounts, alerts, csv_text, events};
use crate::domain::ids::{AccountId, LedgerId, RequestId};
use crate::domain::money::MicroUsd;
use crate::domain::note::{self, is_note};
use crate::domain::settle::Balance;
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

/// A ledger entry. Amounts are signed.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = LedgerEntry)]
pub struct Entry {
    /// `led_…`
    pub id: LedgerId,
    /// Whose balance moved.
    pub account_id: AccountId,
    /// `top_up`, `adjustment`, `refund`, …
    pub kind: String,
    /// By how much.
    pub amount_micro_usd: MicroUsd,
    /// By how much its withdrawable part moved.
    pub withdrawable_micro_usd: MicroUsd,
    /// The balance right after.
    pub balance_after_micro_usd: MicroUsd,
    /// The charge that was refunded.
    pub request_id: Option<RequestId>,
    /// Who did it.
    pub actor: String,
    /// Why; null if nobody said.
    #[serde(serialize_with = "some_text")]
    #[schema(value_type = Option<String>)]
    pub note: String,
    /// When.
    #[serde(rename = "timestamp")]
    pub created_at: Timestamp,
}

/// A text, or null for an empty one.
pub(super) fn some_text<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    Some(text).filter(|text| !text.is_empty()).serialize(serializer)
}

/// A movement to be written down.
#[derive(Debug, Clone)]
pub(in crate::store) struct Movement<'a> {
    pub account_id: AccountId,
    pub kind: &'a str,
    pub before: Balance,
    pub after: Balance,
    pub request_id: Option<RequestId>,
    pub actor: &'a str,
    pub note: &'a str,
}

/// Moves an account from one balance to another, and says why.
pub(in crate::store) fn write(conn: &Tx, m: &Movement<'_>, now: Timestamp) -> Result<LedgerId, StoreError> {
    write_owing(conn, m, MicroUsd::ZERO, now)
}

/// The same, and what the account owes changes by `debt`, which is negative where it pays something off.
pub(super) fn write_owing(conn: &Tx, m: &Movement<'_>, debt: MicroUsd, now: Timestamp) -> Result<LedgerId, StoreError> {
    let difference = |after: MicroUsd, before| {
        after.checked_sub(before).ok_or_else(|| StoreError::Invalid("the amount is too large".into()))
    };
    if !is_note(m.note) {
        return Err(StoreError::InvalidField { field: "note", message: note::too_long("note") });
    }
    accounts::set_balance(conn, m.account_id, m.after)?;
    if debt != MicroUsd::ZERO {
        conn.prepare_cached("UPDATE accounts SET debt_micro_usd = debt_micro_usd + ?2 WHERE id = ?1")?
            .execute([m.account_id.to_i64(), debt.micro()])?;
    }
    let id = LedgerId::generate(now);
    conn.prepare_cached(
        "INSERT INTO ledger (id, account_id, kind, amount_micro_usd, withdrawable_micro_usd, balance_after_micro_usd, \
         request_id, actor, note, created_at, debt_micro_usd) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        id.to_i64(),
        m.account_id.to_i64(),
        m.kind,
        difference(m.after.total, m.before.total)?.micro(),
        difference(m.after.withdrawable, m.before.withdrawable)?.micro(),
        m.after.total.micro(),
        m.request_id.map(RequestId::to_i64),
        m.actor,
        m.note,
        now.millis(),
        debt.micro(),
    ])?;
    alerts::moved(conn, m.account_id, (m.before.total, m.after.total), now)?;
    Ok(id)
}

/// Credit that was added.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Credited {
    /// To whom.
    pub account_id: AccountId,
    /// How much.
    pub credited_micro_usd: MicroUsd,
    /// The balance right after.
    pub balance_micro_usd: MicroUsd,
    /// `led_…`
    pub ledger_id: LedgerId,
}

/// Adds prepaid credit to an account.
///
/// # Errors
/// [`StoreError::Invalid`] for an amount of zero or one that does not fit the balance, or a long note.
pub fn credit(
    conn: &Tx,
    account: AccountId,
    amount: MicroUsd,
    note: &str,
    actor: &str,
    now: Timestamp,
) -> Result<Credited, StoreError> {
    if amount <= MicroUsd::ZERO {
        return Err(StoreError::Invalid("the amount must be more than zero".into()));
    }
    let before = accounts::balance(conn, account)?;
    let after = before.add_credit(amount).ok_or_else(|| StoreError::Invalid("the amount is too large".into()))?;
    let movement = Movement { account_id: account, kind: "top_up", before, after, request_id: None, actor, note };
    let ledger_id = write(conn, &movement, now)?;
    let detail = serde_json::json!({"amount_micro_usd": amount, "ledger_id": ledger_id, "note": note});
    events::record(conn, actor, "credit.add", &account.to_string(), &detail, now)?;
    Ok(Credited { account_id: account, credited_micro_usd: amount, balance_micro_usd: after.total, ledger_id })
}

/// Credit to be taken back.
#[derive(Debug, Clone)]
pub struct Debit {
    /// From whom.
    pub account: AccountId,
    /// How much.
    pub amount: MicroUsd,
    /// Why.
    pub note: String,
}

/// Credit that was taken back.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Debited {
    /// From whom.
    pub account_id: AccountId,
    /// How much.
    pub debited_micro_usd: MicroUsd,
    /// The balance right after.
    pub balance_micro_usd: MicroUsd,
    /// `led_…`
    pub ledger_id: LedgerId,
}

/// Takes credit back that was added by mistake: what is withdrawable last. At most `reserved` of it, which was on
/// hold for this until now; `held_by_others` is what the account's requests hold, read now.
///
/// # Errors
/// [`StoreError::InvalidField`] for an amount of zero or more than is there and not held, or a long note.
pub fn debit(
    conn: &Tx,
    debit: &Debit,
    reserved: MicroUsd,
    held_by_others: MicroUsd,
    actor: &str,
    now: Timestamp,
) -> Result<Debited, StoreError> {
    let refused = |message: String| StoreError::InvalidField { field: "amount_usd", message };
    let (account_id, amount, note) = (debit.account, debit.amount, &debit.note);
    if amount <= MicroUsd::ZERO {
        return Err(refused("the amount must be more than zero".into()));
    }
    let before = accounts::balance(conn, account_id)?;
    let most = before.total.minus_floor_zero(held_by_others).min(reserved);
    let spent = before.spend(amount).filter(|_| amount <= most);
    let after = spent.ok_or_else(|| refused(format!("at most {most} can be taken back now")))?.left;
    let movement = Movement { account_id, kind: "adjustment", before, after, request_id: None, actor, note };
    let ledger_id = write(conn, &movement, now)?;
    let detail = serde_json::json!({"amount_micro_usd": amount, "ledger_id": ledger_id, "note": note});
    events::record(conn, actor, "credit.debit", &account_id.to_string(), &detail, now)?;
    Ok(Debited { account_id, debited_micro_usd: amount, balance_micro_usd: after.total, ledger_id })
}

/// Which entries. All of an account by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct LedgerFilter {
    /// Older than this one.
    pub before: Option<LedgerId>,
    /// Written at or after.
    pub since: Option<Timestamp>,
    /// Written before.
    pub until: Option<Timestamp>,
}

/// The entries of an account that match, newest first, at most `limit`.
pub fn list(conn: &Read, account: AccountId, filter: LedgerFilter, limit: u32) -> Result<Vec<Entry>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT id, account_id, kind, amount_micro_usd, withdrawable_micro_usd, balance_after_micro_usd, request_id, \
         actor, note, created_at FROM ledger WHERE account_id = ?1 AND id < ?2 AND created_at >= ?3 AND created_at < ?4 \
         ORDER BY id DESC LIMIT ?5",
    )?;
    let before = filter.before.map_or(i64::MAX, LedgerId::to_i64);
    let since = filter.since.map_or(i64::MIN, Timestamp::millis);
    let until = filter.until.map_or(i64::MAX, Timestamp::millis);
    let rows = statement.query_map(params![account.to_i64(), before, since, until, limit], from_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The entries as CSV text, with a header line if they are the `first` ones.
///
/// # Errors
/// Never fails in practice: an entry can always be written.
pub fn to_csv(rows: &[Entry], first: bool) -> Result<Vec<u8>, StoreError> {
    csv_text::of(rows, &COLUMNS, first)
}

const COLUMNS: [&str; 10] = [
    "id",
    "account_id",
    "kind",
    "amount_micro_usd",
    "withdrawable_micro_usd",
    "balance_after_micro_usd",
    "request_id",
    "actor",
    "note",
    "timestamp",
];

fn from_row(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        id: LedgerId::from_i64(row.get(0)?),
        account_id: AccountId::from_i64(row.get(1)?),
        kind: row.get(2)?,
        amount_micro_usd: MicroUsd::new(row.get(3)?),
        withdrawable_micro_usd: MicroUsd::new(row.get(4)?),
        balance_after_micro_usd: MicroUsd::new(row.get(5)?),
        request_id: row.get::<_, Option<i64>>(6)?.map(RequestId::from_i64),
        actor: row.get(7)?,
        note: row.get(8)?,
        created_at: Timestamp::from_millis(row.get(9)?),
    })
}

/// The highest id in use: new ones must lie above it, whatever the clock says.
pub fn last_id(conn: &Read) -> Result<LedgerId, StoreError> {
    let last: Option<i64> = conn.query_row("SELECT max(id) FROM ledger", [], |row| row.get(0))?;
    Ok(LedgerId::from_i64(last.unwrap_or(0)))
}

#[cfg(test)]
mod tests;
