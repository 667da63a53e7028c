//! Changing keys: new settings, a new secret.

use rusqlite::params;
use serde_json::json;

use super::events;
use super::keys::{self, KeyRow, Owner};
use crate::domain::ids::AccountId;
use crate::domain::key_limits::KeyLimits;
use crate::domain::keys::{KeyId, LimitReset, Scopes};
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

/// What is to change. `None` leaves as it is; an inner `None` takes a limit away.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// For people.
    pub name: Option<String>,
    /// What it may do.
    pub scopes: Option<Scopes>,
    /// The most it may be charged in a window.
    pub spend: Option<Option<MicroUsd>>,
    /// How long a window is.
    pub reset: Option<LimitReset>,
    /// Requests a minute.
    pub rpm: Option<Option<u32>>,
    /// Requests at once.
    pub max_concurrent: Option<Option<u32>>,
    /// The models it may use.
    pub allowed_models: Option<Option<Vec<String>>>,
    /// From when on it is refused.
    pub expires_at: Option<Option<Timestamp>>,
}

/// An account's key. Another account's is not found: whose it is, is nobody's business.
pub fn of_account(conn: &Read, account: AccountId, id: KeyId) -> Result<KeyRow, StoreError> {
    keys::get(conn, id)?
        .filter(|key| key.owner == Owner::Account(account))
        .ok_or_else(|| StoreError::NotFound(format!("no key {id}")))
}

fn in_force(conn: &Read, account: AccountId, id: KeyId) -> Result<KeyRow, StoreError> {
    let key = of_account(conn, account, id)?;
    if key.revoked_at.is_some() {
        return Err(StoreError::Conflict(format!("{id} is revoked")));
    }
    Ok(key)
}

/// Changes an account's key.
///
/// # Errors
/// [`StoreError::NotFound`], [`StoreError::Conflict`] if it is revoked, or if what machines may do with it would be
/// another, [`StoreError::InvalidField`] for a bad name.
pub fn update(
    conn: &Tx,
    account: AccountId,
    id: KeyId,
    change: &Change,
    actor: &str,
    now: Timestamp,
) -> Result<KeyRow, StoreError> {
    let key = in_force(conn, account, id)?;
    let name = change.name.as_ref().unwrap_or(&key.name);
    keys::check_name(name)?;
    let scopes = change.scopes.unwrap_or(key.scopes);
    let old = &key.limits;
    // An admin may have made it, for these models: its owner cannot have machines serve others with it.
    let models_change = change.allowed_models.as_ref().is_some_and(|models| *models != old.allowed_models);
    if key.scopes.provide != scopes.provide || (key.scopes.provide && models_change) {
        let message = "what machines may do with a key stays as it was made: revoke it, and make another";
        return Err(StoreError::Conflict(message.to_owned()));
    }
    let limits = KeyLimits {
        spend: change.spend.unwrap_or(old.spend),
        reset: change.reset.unwrap_or(old.reset),
        rpm: change.rpm.unwrap_or(old.rpm),
        max_concurrent: change.max_concurrent.unwrap_or(old.max_concurrent),
        allowed_models: change.allowed_models.clone().unwrap_or_else(|| old.allowed_models.clone()),
        expires_at: change.expires_at.unwrap_or(old.expires_at),
        ..old.clone()
    };
    conn.prepare_cached(
        "UPDATE keys SET name = ?2, scopes = ?3, limit_micro_usd = ?4, limit_reset = ?5, rpm_limit = ?6, \
         max_concurrent = ?7, allowed_models = ?8, expires_at = ?9 WHERE id = ?1",
    )?
    .execute(params![
        id.to_i64(),
        name,
        scopes.as_str(),
        limits.spend.map(MicroUsd::micro),
        limits.reset.as_str(),
        limits.rpm,
        limits.max_concurrent,
        keys::models_text(&limits),
        limits.expires_at.map(Timestamp::millis),
    ])?;
    // A window is only kept while there is a limit; a new one, or one of another length, must know what
    // was spent in it before.
    if limits.spend.is_some() && (old.spend.is_none() || old.reset != limits.reset) {
        recount(conn, account, id, limits.reset.window_start(now))?;
    }
    let detail = json!({
        "name": name, "scopes": scopes.as_str(), "limit_micro_usd": limits.spend, "limit_reset": limits.reset.as_str(),
        "rpm_limit": limits.rpm, "max_concurrent": limits.max_concurrent, "allowed_models": limits.allowed_models,
        "expires_at": limits.expires_at,
    });
    events::record(conn, actor, "key.update", &id.to_string(), &detail, now)?;
    of_account(conn, account, id)
}

/// Sets the key's window to what its usage rows say was charged since `began`.
fn recount(conn: &Tx, account: AccountId, id: KeyId, began: Timestamp) -> Result<(), StoreError> {
    conn.prepare_cached(
        "UPDATE keys SET window_started_at = ?3, window_spent_micro_usd = (SELECT coalesce(sum(charged_micro_usd), 0) \
         FROM account_usage WHERE account_id = ?2 AND key_id = ?1 AND created_at >= ?3) WHERE id = ?1",
    )?
    .execute([id.to_i64(), account.to_i64(), began.millis()])?;
    Ok(())
}

/// Gives an account's key a new secret, by the hash of its new text; the old text is refused from now on.
/// The key keeps its id, and so its limits, what it spent and what it has in flight.
///
/// # Errors
/// [`StoreError::NotFound`], [`StoreError::Conflict`] if it is revoked.
pub fn rotate(
    conn: &Tx,
    account: AccountId,
    id: KeyId,
    hash: &str,
    actor: &str,
    now: Timestamp,
) -> Result<KeyRow, StoreError> {
    in_force(conn, account, id)?;
    conn.prepare_cached("UPDATE keys SET hash = ?2 WHERE id = ?1")?.execute(params![id.to_i64(), hash])?;
    events::record(conn, actor, "key.rotate", &id.to_string(), &json!({}), now)?;
    of_account(conn, account, id)
}
