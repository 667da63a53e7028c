//! The same in other words: each charge by itself, each row changed where it stands.

use rusqlite::{OptionalExtension, params};

use super::*;
use crate::domain::time::Timestamp;

pub(super) fn settle(conn: &Tx, s: &Charge, held_by_others: MicroUsd) -> Result<Settled, StoreError> {
    let payer = accounts::balance(conn, s.account_id)?;
    let carried = if s.fee.is_zero() { 0 } else { fee_carry(conn, s.provider_account_id)? };
    let split =
        Split::of(s.cost, payer.total, held_by_others, s.fee, FeeCarry::new(u16::try_from(carried).unwrap()).unwrap());
    let spent = payer.spend(split.charged).unwrap();
    if split.charged != MicroUsd::ZERO {
        accounts::set_balance(conn, s.account_id, spent.left)?;
        let carry = (!s.fee.is_zero()).then_some(split.carry);
        earn(conn, s, s.provider_account_id, split.earned, carry)?;
        if split.fee != MicroUsd::ZERO {
            accounts::ensure_house(conn, s.now)?;
            earn(conn, s, accounts::HOUSE, split.fee, None)?;
        }
    }
    usage::insert(conn, s, &split, spent.from_earned)?;
    if s.key_is_limited {
        add_spent(conn, s.key_id, split.charged, s.now)?;
    }
    if let Some((key, body)) = &s.idempotency {
        request_keys::remember(conn, s.account_id, (key, body), s.request_id, s.now)?;
    }
    if s.flagged {
        providers::flag(conn, s.provider_id)?;
    }
    let balance = accounts::balance(conn, s.account_id)?.total;
    let threshold = alerts::threshold(conn, s.account_id)?;
    alerts::settled(conn, s, split.shortfall, (payer.total, balance), threshold)?;
    Ok(Settled { charged: split.charged, balance })
}

fn fee_carry(conn: &Read, id: AccountId) -> Result<i64, StoreError> {
    let sql = "SELECT fee_carry FROM accounts WHERE id = ?1";
    let parts = conn.query_row(sql, [id.to_i64()], |row| row.get(0)).optional()?;
    parts.ok_or_else(|| StoreError::NotFound(format!("no account {id}")))
}

fn earn(conn: &Tx, s: &Charge, id: AccountId, amount: MicroUsd, carry: Option<FeeCarry>) -> Result<(), StoreError> {
    let withdrawable = if id == s.account_id { MicroUsd::ZERO } else { amount };
    let fits = accounts::balance(conn, id)?.total.checked_add(amount).is_some();
    if !fits {
        return Err(StoreError::Invalid("the amount is too large".into()));
    }
    conn.execute(
        "UPDATE accounts SET balance_micro_usd = balance_micro_usd + ?2, \
         withdrawable_micro_usd = withdrawable_micro_usd + ?3, fee_carry = coalesce(?4, fee_carry) WHERE id = ?1",
        params![id.to_i64(), amount.micro(), withdrawable.micro(), carry.map(FeeCarry::parts)],
    )?;
    debts::pay_off(conn, id, withdrawable, debts::ACTOR, s.now).map(drop)
}

fn add_spent(conn: &Tx, id: KeyId, charged: MicroUsd, now: Timestamp) -> Result<(), StoreError> {
    let reset: String =
        conn.query_row("SELECT limit_reset FROM keys WHERE id = ?1", [id.to_i64()], |row| row.get(0))?;
    let window = LimitReset::from_text(&reset).unwrap().window_start(now);
    conn.execute(
        "UPDATE keys SET window_spent_micro_usd = CASE WHEN window_started_at >= ?2 \
         THEN window_spent_micro_usd ELSE 0 END + ?3, window_started_at = max(window_started_at, ?2) WHERE id = ?1",
        [id.to_i64(), window.millis(), charged.micro()],
    )?;
    Ok(())
}
