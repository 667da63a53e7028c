//! API keys: credentials of accounts and of admins.

use rusqlite::{OptionalExtension, Row, params};

use super::events;
use crate::domain::ids::{AccountId, AdminId};
use crate::domain::key_limits::{KeyLimits, SpendWindow};
use crate::domain::keys::{KeyId, LimitReset, Scopes};
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

/// Whose key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// An account's.
    Account(AccountId),
    /// An admin's.
    Admin(AdminId),
}

/// A key's row. The secret is not in it; `hash` is.
#[derive(Debug, Clone)]
pub struct KeyRow {
    /// `key_…`
    pub id: KeyId,
    /// Whose it is.
    pub owner: Owner,
    /// For people.
    pub name: String,
    /// argon2id, PHC format; after a blank its tag, which keys from before there were tags lack.
    pub hash: String,
    /// What it may do.
    pub scopes: Scopes,
    /// What it may spend, and how fast.
    pub limits: KeyLimits,
    /// What it was charged in the window that began then.
    pub window: SpendWindow,
    /// Since when it is refused.
    pub revoked_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The owning account is suspended.
    pub suspended: bool,
}

/// Why a key does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotInForce {
    /// It was revoked.
    Revoked,
    /// Its time is over.
    Expired,
}

impl KeyRow {
    /// The key works: it is not revoked, and its time not over. Its account may be suspended all the same.
    pub fn in_force(&self, now: Timestamp) -> Result<(), NotInForce> {
        if self.revoked_at.is_some() {
            return Err(NotInForce::Revoked);
        }
        if self.limits.expires_at.is_some_and(|expires| expires <= now) { Err(NotInForce::Expired) } else { Ok(()) }
    }

    /// What its text is verified with. A tag may come beside it, and only rotating changes it.
    pub fn phc(&self) -> &str {
        self.hash.split_once(' ').map_or(&self.hash, |(phc, _)| phc)
    }

    /// What it was charged in the window that `now` lies in. Only kept while it has a spend limit.
    pub fn spent(&self, now: Timestamp) -> MicroUsd {
        self.window.since(self.limits.reset.window_start(now))
    }
}

const COLUMNS: &str = "k.id, k.account_id, k.admin_id, k.name, k.hash, k.scopes, k.limit_micro_usd, k.limit_reset, \
     k.rpm_limit, k.max_concurrent, k.allowed_models, k.expires_at, k.window_started_at, k.window_spent_micro_usd, \
     k.revoked_at, k.created_at, a.suspended_at IS NOT NULL, k.max_machines, k.holds_machines";

fn from_row(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    let time = |i| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(i)?.map(Timestamp::from_millis));
    let owner = match (row.get::<_, Option<i64>>(1)?, row.get::<_, Option<i64>>(2)?) {
        (Some(account), _) => Owner::Account(AccountId::from_i64(account)),
        (None, admin) => Owner::Admin(AdminId::from_i64(admin.unwrap_or_default())),
    };
    let models: Option<String> = row.get(10)?;
    Ok(KeyRow {
        id: KeyId::from_i64(row.get(0)?),
        owner,
        name: row.get(3)?,
        hash: row.get(4)?,
        // A text that is not in the table's CHECK cannot be there; it would grant nothing.
        scopes: Scopes::parse(row.get_ref(5)?.as_str()?).unwrap_or_default(),
        limits: KeyLimits {
            spend: row.get::<_, Option<i64>>(6)?.map(MicroUsd::new),
            reset: LimitReset::from_text(row.get_ref(7)?.as_str()?).unwrap_or_default(),
            rpm: row.get(8)?,
            max_concurrent: row.get(9)?,
            // Unreadable JSON allows no model rather than all.
            allowed_models: models.map(|text| serde_json::from_str(&text).unwrap_or_default()),
            expires_at: time(11)?,
            max_machines: row.get(17)?,
            holds_machines: row.get(18)?,
        },
        window: SpendWindow { started_at: Timestamp::from_millis(row.get(12)?), spent: MicroUsd::new(row.get(13)?) },
        revoked_at: time(14)?,
        created_at: Timestamp::from_millis(row.get(15)?),
        suspended: row.get(16)?,
    })
}

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The id inside its text.
    pub id: KeyId,
    /// argon2id, PHC format.
    pub hash: String,
    /// Whose it will be.
    pub owner: Owner,
    /// For people, at most 200 characters.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// What it may spend.
    pub limits: KeyLimits,
}

/// Stores a new key.
///
/// # Errors
/// [`StoreError::InvalidField`] for a name that is too long; SQLite fails.
pub fn create(conn: &Tx, key: &NewKey, actor: &str, now: Timestamp) -> Result<KeyRow, StoreError> {
    check_name(&key.name)?;
    let (account, admin) = match key.owner {
        Owner::Account(id) => (Some(id.to_i64()), None),
        Owner::Admin(id) => (None, Some(id.to_i64())),
    };
    let limits = &key.limits;
    let models = models_text(limits);
    conn.prepare_cached(
        "INSERT INTO keys (id, account_id, admin_id, name, hash, scopes, limit_micro_usd, limit_reset, rpm_limit, \
         max_concurrent, allowed_models, expires_at, window_started_at, created_at, max_machines, holds_machines) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?13, ?14, ?15)",
    )?
    .execute(params![
        key.id.to_i64(),
        account,
        admin,
        key.name,
        key.hash,
        key.scopes.as_str(),
        limits.spend.map(MicroUsd::micro),
        limits.reset.as_str(),
        limits.rpm,
        limits.max_concurrent,
        models,
        limits.expires_at.map(Timestamp::millis),
        now.millis(),
        limits.max_machines,
        limits.holds_machines,
    ])?;
    let detail = serde_json::json!({"name": key.name, "scopes": key.scopes.as_str()});
    events::record(conn, actor, "key.create", &key.id.to_string(), &detail, now)?;
    get(conn, key.id)?.ok_or_else(|| StoreError::NotFound(format!("no key {}", key.id)))
}

pub(super) fn check_name(name: &str) -> Result<(), StoreError> {
    if name.chars().count() > 200 || name.chars().any(char::is_control) {
        let message = "a key name is at most 200 characters, none of them a control character".into();
        return Err(StoreError::InvalidField { field: "name", message });
    }
    Ok(())
}

/// The allowed models as the table holds them.
pub(super) fn models_text(limits: &KeyLimits) -> Option<String> {
    limits.allowed_models.as_ref().map(|models| serde_json::json!(models).to_string())
}

/// The key with this id, revoked ones too.
pub fn get(conn: &Read, id: KeyId) -> Result<Option<KeyRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM keys k LEFT JOIN accounts a ON a.id = k.account_id WHERE k.id = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row([id.to_i64()], from_row).optional()?)
}

/// The keys of an account, newest first, revoked ones too.
pub fn list(conn: &Read, account: AccountId) -> Result<Vec<KeyRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM keys k JOIN accounts a ON a.id = k.account_id WHERE k.account_id = ?1 \
         ORDER BY k.created_at DESC, k.id"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map([account.to_i64()], from_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// How many machines have come with a key last.
pub fn machines(conn: &Read, id: KeyId) -> Result<u32, StoreError> {
    let sql = "SELECT count(*) FROM providers WHERE joined_with = ?1 AND removed_at IS NULL";
    Ok(conn.prepare_cached(sql)?.query_row([id.to_i64()], |row| row.get(0))?)
}

/// Revokes a key for good. Doing it twice is fine.
pub fn revoke(conn: &Tx, id: KeyId, actor: &str, now: Timestamp) -> Result<KeyRow, StoreError> {
    let missing = || StoreError::NotFound(format!("no key {id}"));
    let key = get(conn, id)?.ok_or_else(missing)?;
    if key.revoked_at.is_none() {
        conn.prepare_cached("UPDATE keys SET revoked_at = ?2 WHERE id = ?1")?.execute([id.to_i64(), now.millis()])?;
        events::record(conn, actor, "key.revoke", &id.to_string(), &serde_json::json!({}), now)?;
    }
    get(conn, id)?.ok_or_else(missing)
}

/// Stores the tag of a key beside its PHC text, unless that has changed meanwhile.
pub fn set_tag(conn: &Tx, id: KeyId, phc: &str, with_tag: &str) -> Result<(), StoreError> {
    let sql = "UPDATE keys SET hash = ?3 WHERE id = ?1 AND hash = ?2";
    conn.prepare_cached(sql)?.execute(params![id.to_i64(), phc, with_tag])?;
    Ok(())
}

/// A key's window as its row now has it, and how long it is: the limit may have been changed while a request ran.
pub(super) fn window(conn: &Read, id: KeyId) -> Result<Option<(LimitReset, SpendWindow)>, StoreError> {
    let sql = "SELECT limit_reset, window_started_at, window_spent_micro_usd FROM keys WHERE id = ?1";
    let read = |row: &Row<'_>| {
        let reset = LimitReset::from_text(row.get_ref(0)?.as_str()?).unwrap_or_default();
        let (started_at, spent) = (Timestamp::from_millis(row.get(1)?), MicroUsd::new(row.get(2)?));
        Ok((reset, SpendWindow { started_at, spent }))
    };
    Ok(conn.prepare_cached(sql)?.query_row([id.to_i64()], read).optional()?)
}

/// Stores a key's window.
pub(super) fn set_window(conn: &Tx, id: KeyId, window: SpendWindow) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE keys SET window_started_at = ?2, window_spent_micro_usd = ?3 WHERE id = ?1")?
        .execute([id.to_i64(), window.started_at.millis(), window.spent.micro()])?;
    Ok(())
}
