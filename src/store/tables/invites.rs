//! Invite codes: credit for whoever has one, once per account.

use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::ledger::{self, Movement, some_text};
use super::{accounts, events};
use crate::domain::ids::{AccountId, InviteId, LedgerId};
use crate::domain::money::{MicroUsd, Usd};
use crate::domain::note::{self, is_note};
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

/// A code, as admins see it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Invite {
    /// `inv_…`
    pub id: InviteId,
    /// What is redeemed.
    pub code: String,
    /// What each account gets.
    pub amount_micro_usd: MicroUsd,
    /// The same, for people.
    pub amount_usd: Usd,
    /// How many accounts may redeem it.
    pub max_redemptions: u32,
    /// How many have.
    pub redeemed: u32,
    /// From when on it credits nobody.
    pub expires_at: Option<Timestamp>,
    /// What it is for.
    #[serde(serialize_with = "some_text")]
    #[schema(value_type = Option<String>)]
    pub note: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub actor: String,
}

const COLUMNS: &str = "id, code, amount_micro_usd, max_redemptions, redeemed, expires_at, note, created_at, actor";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Invite> {
    let amount = MicroUsd::new(row.get(2)?);
    Ok(Invite {
        id: InviteId::from_i64(row.get(0)?),
        code: row.get(1)?,
        amount_micro_usd: amount,
        amount_usd: Usd(amount),
        max_redemptions: row.get(3)?,
        redeemed: row.get(4)?,
        expires_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_millis),
        note: row.get(6)?,
        created_at: Timestamp::from_millis(row.get(7)?),
        actor: row.get(8)?,
    })
}

/// A code to be made.
#[derive(Debug, Clone)]
pub struct NewInvite {
    /// What is redeemed; in upper case.
    pub code: String,
    /// What each account gets.
    pub amount: MicroUsd,
    /// How many accounts may redeem it.
    pub max_redemptions: u32,
    /// From when on it credits nobody.
    pub expires_at: Option<Timestamp>,
    /// What it is for.
    pub note: String,
}

/// Makes a code.
///
/// # Errors
/// [`StoreError::InvalidField`] for an amount or a number of zero, a time that is past, or a long note.
pub fn create(conn: &Tx, new: &NewInvite, actor: &str, now: Timestamp) -> Result<Invite, StoreError> {
    let invalid = |field, message: &str| Err(StoreError::InvalidField { field, message: message.to_owned() });
    if new.amount <= MicroUsd::ZERO {
        return invalid("amount_usd", "the amount must be more than zero");
    }
    if new.max_redemptions == 0 {
        return invalid("max_redemptions", "max_redemptions must be at least 1");
    }
    if new.expires_at.is_some_and(|at| at <= now) {
        return invalid("expires_at", "expires_at must lie in the future");
    }
    if !is_note(&new.note) {
        return invalid("note", &note::too_long("note"));
    }
    let id = InviteId::generate(now);
    conn.prepare_cached(
        "INSERT INTO invite_codes (id, code, amount_micro_usd, max_redemptions, expires_at, note, actor, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        id.to_i64(),
        new.code,
        new.amount.micro(),
        new.max_redemptions,
        new.expires_at.map(Timestamp::millis),
        new.note,
        actor,
        now.millis(),
    ])?;
    // Not the code itself: whoever may read the events need not be able to redeem it.
    let detail = json!({
        "amount_micro_usd": new.amount, "max_redemptions": new.max_redemptions, "expires_at": new.expires_at,
        "note": new.note,
    });
    events::record(conn, actor, "invite.create", &id.to_string(), &detail, now)?;
    by_code(conn, &new.code)
}

/// The codes before `before` that were not removed, newest first.
pub fn list(conn: &Read, before: Option<InviteId>, limit: u32) -> Result<Vec<Invite>, StoreError> {
    let sql =
        format!("SELECT {COLUMNS} FROM invite_codes WHERE removed_at IS NULL AND id < ?1 ORDER BY id DESC LIMIT ?2");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(params![before.map_or(i64::MAX, InviteId::to_i64), limit], from_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The code with this text; however it is written.
///
/// # Errors
/// [`StoreError::NotFound`], also for one that was removed.
pub fn by_code(conn: &Read, code: &str) -> Result<Invite, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM invite_codes WHERE code = ?1 AND removed_at IS NULL");
    conn.prepare_cached(&sql)?
        .query_row([code.trim().to_ascii_uppercase()], from_row)
        .optional()?
        .ok_or_else(|| StoreError::NotFound("there is no such code".into()))
}

/// Removes a code: nobody can redeem it any more. What it gave stays.
pub fn remove(conn: &Tx, code: &str, actor: &str, now: Timestamp) -> Result<(), StoreError> {
    let id = by_code(conn, code)?.id;
    conn.prepare_cached("UPDATE invite_codes SET removed_at = ?2 WHERE id = ?1")?
        .execute([id.to_i64(), now.millis()])?;
    events::record(conn, actor, "invite.remove", &id.to_string(), &json!({}), now)
}

/// Credit that a code gave.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Redeemed {
    /// How much.
    pub credited_micro_usd: MicroUsd,
    /// The same, for people.
    pub credited_usd: Usd,
    /// The balance right after.
    pub balance_micro_usd: MicroUsd,
    /// The same, for people.
    pub balance_usd: Usd,
    /// `led_…`
    pub ledger_id: LedgerId,
}

/// Credits a code to an account.
///
/// # Errors
/// [`StoreError::NotFound`] for an unknown code; [`StoreError::Conflict`] for one that this account has
/// redeemed, that others have used up, or that has expired.
pub fn redeem(
    conn: &Tx,
    account_id: AccountId,
    code: &str,
    actor: &str,
    now: Timestamp,
) -> Result<Redeemed, StoreError> {
    let invite = by_code(conn, code)?;
    let conflict = |text: &str| Err(StoreError::Conflict(text.to_owned()));
    let has_redeemed = conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM invite_redemptions WHERE invite_id = ?1 AND account_id = ?2)")?
        .query_row([invite.id.to_i64(), account_id.to_i64()], |row| row.get::<_, bool>(0))?;
    if has_redeemed {
        return conflict("this account has redeemed this code already");
    }
    if invite.redeemed >= invite.max_redemptions {
        return conflict("this code is used up");
    }
    if invite.expires_at.is_some_and(|at| at <= now) {
        return conflict("this code has expired");
    }
    let before = accounts::balance(conn, account_id)?;
    let after = before
        .add_credit(invite.amount_micro_usd)
        .ok_or_else(|| StoreError::Invalid("the amount is too large".into()))?;
    let kind = "invite_credit";
    // The note on the code is for admins; the ledger is read by the account.
    let movement = Movement { account_id, kind, before, after, request_id: None, actor, note: "" };
    let ledger_id = ledger::write(conn, &movement, now)?;
    conn.prepare_cached("UPDATE invite_codes SET redeemed = redeemed + 1 WHERE id = ?1")?
        .execute([invite.id.to_i64()])?;
    conn.prepare_cached(
        "INSERT INTO invite_redemptions (invite_id, account_id, ledger_id, created_at) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute([invite.id.to_i64(), account_id.to_i64(), ledger_id.to_i64(), now.millis()])?;
    let detail = json!({"invite_id": invite.id, "amount_micro_usd": invite.amount_micro_usd, "ledger_id": ledger_id});
    events::record(conn, actor, "invite.redeem", &account_id.to_string(), &detail, now)?;
    Ok(Redeemed {
        credited_micro_usd: invite.amount_micro_usd,
        credited_usd: Usd(invite.amount_micro_usd),
        balance_micro_usd: after.total,
        balance_usd: Usd(after.total),
        ledger_id,
    })
}
