//! Keys as their owners see them.

use std::collections::HashMap;

use rusqlite::params;
use serde::Serialize;
use utoipa::ToSchema;

use super::keys::{self, KeyRow, Owner};
use crate::domain::ids::AccountId;
use crate::domain::keys::KeyId;
use crate::domain::money::{MicroUsd, Usd};
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError};

/// A key as its owner sees it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Key)]
pub struct KeyView {
    /// `key_…`
    pub id: KeyId,
    /// The owning account; null for an admin's key.
    pub account_id: Option<AccountId>,
    /// For people.
    pub name: String,
    /// `inference`, `manage`, `provide`, `admin`.
    pub scopes: Vec<&'static str>,
    /// The most it may be charged in a window.
    pub limit_micro_usd: Option<MicroUsd>,
    /// The same, for people.
    pub limit_usd: Option<Usd>,
    /// `none`, `daily`, `weekly`, `monthly`.
    pub limit_reset: &'static str,
    /// When the window that is running ends, and with it what is spent of the limit; null: never.
    pub limit_resets_at: Option<Timestamp>,
    /// What it was charged in its window; without a limit, ever.
    pub spent_micro_usd: MicroUsd,
    /// What it may still be charged in its window.
    pub remaining_micro_usd: Option<MicroUsd>,
    /// Requests a minute.
    pub rpm_limit: Option<u32>,
    /// Requests at once.
    pub max_concurrent: Option<u32>,
    /// The models it may use; null means all.
    pub allowed_models: Option<Vec<String>>,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// When it was last charged; as far as usage rows tell.
    pub last_used_at: Option<Timestamp>,
    /// Since when it is refused.
    pub revoked_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many machines may join with it.
    pub max_machines: Option<u32>,
    /// A machine that is new gets no requests until an admin enables it.
    pub holds_machines: bool,
}

/// What the usage rows tell of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUsage {
    /// Charged ever.
    pub charged: MicroUsd,
    /// Last.
    pub at: Timestamp,
}

impl KeyView {
    /// A key at the time `now`.
    pub fn new(key: KeyRow, used: Option<KeyUsage>, now: Timestamp) -> Self {
        let ever = used.map_or(MicroUsd::ZERO, |used| used.charged);
        let spent = key.limits.spend.map_or(ever, |_| key.spent(now));
        Self {
            id: key.id,
            account_id: match key.owner {
                Owner::Account(id) => Some(id),
                Owner::Admin(_) => None,
            },
            name: key.name,
            scopes: key.scopes.names(),
            limit_micro_usd: key.limits.spend,
            limit_usd: key.limits.spend.map(Usd),
            limit_reset: key.limits.reset.as_str(),
            limit_resets_at: key.limits.spend.and_then(|_| key.limits.reset.window_end(now)),
            spent_micro_usd: spent,
            remaining_micro_usd: key.limits.spend.map(|limit| limit.minus_floor_zero(spent)),
            rpm_limit: key.limits.rpm,
            max_concurrent: key.limits.max_concurrent,
            allowed_models: key.limits.allowed_models,
            expires_at: key.limits.expires_at,
            last_used_at: used.map(|used| used.at),
            revoked_at: key.revoked_at,
            created_at: key.created_at,
            max_machines: key.limits.max_machines,
            holds_machines: key.limits.holds_machines,
        }
    }
}

impl From<KeyRow> for KeyView {
    /// Without what the usage rows tell.
    fn from(key: KeyRow) -> Self {
        Self::new(key, None, Timestamp::now())
    }
}

/// The keys of an account, newest first, with what they spent. Reads all usage rows of the account.
pub fn list(conn: &Read, account: AccountId, now: Timestamp) -> Result<Vec<KeyView>, StoreError> {
    let used = used(conn, account, None)?;
    let rows = keys::list(conn, account)?.into_iter();
    Ok(rows
        .map(|key| {
            let used = used.get(&key.id).copied();
            KeyView::new(key, used, now)
        })
        .collect())
}

/// One key, with what it spent. Reads the usage rows of its account.
pub fn view(conn: &Read, account: AccountId, key: KeyRow, now: Timestamp) -> Result<KeyView, StoreError> {
    let used = used(conn, account, Some(key.id))?.remove(&key.id);
    Ok(KeyView::new(key, used, now))
}

fn used(conn: &Read, account: AccountId, key: Option<KeyId>) -> Result<HashMap<KeyId, KeyUsage>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT key_id, sum(charged_micro_usd), max(created_at) FROM account_usage \
         WHERE account_id = ?1 AND (?2 IS NULL OR key_id = ?2) GROUP BY key_id",
    )?;
    let rows = statement.query_map(params![account.to_i64(), key.map(KeyId::to_i64)], |row| {
        let used = KeyUsage { charged: MicroUsd::new(row.get(1)?), at: Timestamp::from_millis(row.get(2)?) };
        Ok((KeyId::from_i64(row.get(0)?), used))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
