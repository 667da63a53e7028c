//! Accounts: who owns money.

use rusqlite::{OptionalExtension, params};

pub use super::account_lookup::{find, twins};
pub use super::account_row::{Account, get};
use super::account_row::{COLUMNS, from_row};
use super::{account_lookup, events};
use crate::domain::email;
use crate::domain::ids::AccountId;
use crate::domain::money::MicroUsd;
use crate::domain::settle::{Balance, FeeCarry};
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

/// The account that gets the fee, and bears what a refund cannot take back.
pub const HOUSE: AccountId = AccountId::from_i64(1);

/// Makes an account with nothing in it.
///
/// # Errors
/// [`StoreError::InvalidField`] for a bad name or email, [`StoreError::Taken`] if somebody has it.
pub fn create(conn: &Tx, name: &str, email: Option<&str>, actor: &str, now: Timestamp) -> Result<Account, StoreError> {
    check_name(name)?;
    if let Some(email) = email {
        check_email(email)?;
    }
    let email = email.map(email::composed);
    check_free(conn, name, email.as_deref(), None)?;
    let id = AccountId::generate(now);
    conn.prepare_cached("INSERT INTO accounts (id, name, email, created_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id.to_i64(), name, email, now.millis()])?;
    events::record(
        conn,
        actor,
        "account.create",
        &id.to_string(),
        &serde_json::json!({"name": name, "email": email}),
        now,
    )?;
    get(conn, id)
}

/// Makes the operator's account (`house`) if it is not there.
pub fn ensure_house(conn: &Tx, now: Timestamp) -> Result<(), StoreError> {
    // Somebody may be called `house` already; nobody can have the second name, which is the house's id.
    conn.prepare_cached(
        "INSERT OR IGNORE INTO accounts (id, name, created_at) \
         VALUES (1, 'house', ?1), (1, 'acct_0000000000001', ?1)",
    )?
    .execute([now.millis()])?;
    Ok(())
}

/// One text must never find two accounts: see [`find`]. `own` is the account that may have it already.
pub(super) fn check_free(
    conn: &Read,
    name: &str,
    email: Option<&str>,
    own: Option<AccountId>,
) -> Result<(), StoreError> {
    for (field, text) in [("name", Some(name)), ("email", email)] {
        let Some(text) = text else { continue };
        let mut having = account_lookup::with_address(conn, text)?;
        having.extend(account_lookup::exactly(conn, text)?);
        if field == "email" {
            having.extend(account_lookup::named_like(conn, text)?);
        }
        let Some(other) = having.into_iter().find(|other| own != Some(other.id)) else { continue };
        let message = match other.email.as_deref() {
            email if *text == other.name || email == Some(text) => format!("there is already an account \"{text}\""),
            Some(email) if email::folded(email) == email::folded(text) => {
                format!("\"{text}\" and \"{email}\" are one address, and that is account \"{}\"", other.name)
            }
            _ => format!("\"{text}\" reads as the name of account \"{}\"", other.name),
        };
        return Err(StoreError::Taken { field, message });
    }
    Ok(())
}

fn invalid(field: &'static str, message: &str) -> StoreError {
    StoreError::InvalidField { field, message: message.to_owned() }
}

pub(super) fn check_name(name: &str) -> Result<(), StoreError> {
    let length = name.chars().count();
    if !(1..=200).contains(&length) || name.trim() != name || name.chars().any(char::is_control) {
        return Err(invalid(
            "name",
            "an account name is 1 to 200 characters, none of them a control character, without blanks around it",
        ));
    }
    if name.starts_with(AccountId::PREFIX) {
        return Err(invalid("name", "an account name cannot begin like an account id"));
    }
    Ok(())
}

pub(super) fn check_email(email: &str) -> Result<(), StoreError> {
    let fine = email.len() <= 320
        && email.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
        && !email.chars().any(|c| c.is_whitespace() || c.is_control());
    if fine { Ok(()) } else { Err(invalid("email", &format!("\"{email}\" is not an email address"))) }
}

/// The money of an account.
pub fn balance(conn: &Read, id: AccountId) -> Result<Balance, StoreError> {
    conn.prepare_cached("SELECT balance_micro_usd, withdrawable_micro_usd FROM accounts WHERE id = ?1")?
        .query_row([id.to_i64()], |row| {
            Ok(Balance { total: MicroUsd::new(row.get(0)?), withdrawable: MicroUsd::new(row.get(1)?) })
        })
        .optional()?
        .ok_or_else(|| StoreError::NotFound(format!("no account {id}")))
}

/// What an account owes of earnings that were refunded when they had left it.
pub fn debt(conn: &Read, id: AccountId) -> Result<MicroUsd, StoreError> {
    let sql = "SELECT debt_micro_usd FROM accounts WHERE id = ?1";
    let debt = conn.prepare_cached(sql)?.query_row([id.to_i64()], |row| row.get(0).map(MicroUsd::new)).optional()?;
    debt.ok_or_else(|| StoreError::NotFound(format!("no account {id}")))
}

/// What settlements look at of an account, and change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Money {
    pub balance: Balance,
    /// What the fee on its earnings carries.
    pub carry: FeeCarry,
    /// What it earns pays off a debt first: see [`super::debts`]. Not changed here.
    pub owes: bool,
    /// Its holder is told when the balance falls below. Not changed here.
    pub alert_below: Option<MicroUsd>,
}

/// The money of an account, for settlements.
pub(super) fn money(conn: &Read, id: AccountId) -> Result<Money, StoreError> {
    let sql = "SELECT balance_micro_usd, withdrawable_micro_usd, fee_carry, debt_micro_usd <> 0, alert_below_micro_usd \
               FROM accounts WHERE id = ?1";
    let read = |row: &rusqlite::Row<'_>| {
        let balance = Balance { total: MicroUsd::new(row.get(0)?), withdrawable: MicroUsd::new(row.get(1)?) };
        let alert_below = row.get::<_, Option<i64>>(4)?.map(MicroUsd::new);
        Ok((balance, row.get::<_, u16>(2)?, row.get(3)?, alert_below))
    };
    let row = conn.prepare_cached(sql)?.query_row([id.to_i64()], read).optional()?;
    let (balance, parts, owes, alert_below) = row.ok_or_else(|| StoreError::NotFound(format!("no account {id}")))?;
    let carry = FeeCarry::new(parts);
    let carry = carry.ok_or_else(|| StoreError::Invalid(format!("{id} carries a fee of {parts} parts")))?;
    Ok(Money { balance, carry, owes, alert_below })
}

/// Stores what settlements worked out.
pub(super) fn set_money(conn: &Tx, id: AccountId, money: &Money) -> Result<(), StoreError> {
    let Money { balance, carry, .. } = money;
    let changed = conn
        .prepare_cached(
            "UPDATE accounts SET balance_micro_usd = ?2, withdrawable_micro_usd = ?3, fee_carry = ?4 WHERE id = ?1",
        )?
        .execute(params![id.to_i64(), balance.total.micro(), balance.withdrawable.micro(), carry.parts()])?;
    if changed == 1 { Ok(()) } else { Err(StoreError::NotFound(format!("no account {id}"))) }
}

/// Stores a balance that somebody worked out.
pub(super) fn set_balance(conn: &Tx, id: AccountId, balance: Balance) -> Result<(), StoreError> {
    let changed = conn
        .prepare_cached("UPDATE accounts SET balance_micro_usd = ?2, withdrawable_micro_usd = ?3 WHERE id = ?1")?
        .execute([id.to_i64(), balance.total.micro(), balance.withdrawable.micro()])?;
    if changed == 1 { Ok(()) } else { Err(StoreError::NotFound(format!("no account {id}"))) }
}

/// All accounts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountTotals {
    /// How many there are.
    pub accounts: u64,
    /// Σ balances.
    pub balance: MicroUsd,
    /// The part of it that was earned.
    pub withdrawable: MicroUsd,
}

/// Counts and sums the accounts.
pub fn totals(conn: &Read) -> Result<AccountTotals, StoreError> {
    let sql = "SELECT count(*), coalesce(sum(balance_micro_usd), 0), coalesce(sum(withdrawable_micro_usd), 0) \
               FROM accounts";
    Ok(conn.prepare_cached(sql)?.query_row([], |row| {
        Ok(AccountTotals {
            accounts: row.get(0)?,
            balance: MicroUsd::new(row.get(1)?),
            withdrawable: MicroUsd::new(row.get(2)?),
        })
    })?)
}

/// The first accounts by name, at most `limit`. For a page of a search see [`super::account_search`].
pub fn list(conn: &Read, limit: u32) -> Result<Vec<Account>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM accounts ORDER BY name LIMIT ?1");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map([limit], from_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Suspends or resumes an account: its keys are refused with 403 meanwhile; its money stays.
pub fn set_suspended(
    conn: &Tx,
    id: AccountId,
    suspended: bool,
    actor: &str,
    now: Timestamp,
) -> Result<Account, StoreError> {
    let account = get(conn, id)?;
    if account.suspended_at.is_some() != suspended {
        conn.prepare_cached("UPDATE accounts SET suspended_at = ?2 WHERE id = ?1")?
            .execute(params![id.to_i64(), suspended.then_some(now.millis())])?;
        let action = if suspended { "account.suspend" } else { "account.resume" };
        events::record(conn, actor, action, &id.to_string(), &serde_json::json!({}), now)?;
    }
    get(conn, id)
}

/// Lets an account make keys that machines join with, or not any more. Those that it has made stay.
pub fn set_may_provide(
    conn: &Tx,
    id: AccountId,
    may_provide: bool,
    actor: &str,
    now: Timestamp,
) -> Result<Account, StoreError> {
    let account = get(conn, id)?;
    if account.may_provide != may_provide {
        conn.prepare_cached("UPDATE accounts SET may_provide = ?2 WHERE id = ?1")?
            .execute(params![id.to_i64(), may_provide])?;
        let action = if may_provide { "account.allow_machines" } else { "account.forbid_machines" };
        events::record(conn, actor, action, &id.to_string(), &serde_json::json!({}), now)?;
    }
    get(conn, id)
}

#[cfg(test)]
mod tests;
