//! A machine that joins: its row, which is there before it comes and after it has left.

use rusqlite::{OptionalExtension, params};

use super::rows::{COLUMNS, ProviderRow, check, from_row, get, models, set_models, taken};
use crate::domain::ids::{AccountId, ProviderId};
use crate::domain::keys::KeyId;
use crate::domain::time::Timestamp;
use crate::store::tables::{events, keys, prices};
use crate::store::{Read, StoreError, Tx};

/// The URL of a row that has none.
const NO_URL: &str = "joined";

/// A machine that registers.
#[derive(Debug, Clone)]
pub struct JoiningMachine {
    /// The key that it comes with.
    pub key: KeyId,
    /// Whose key that is, and who earns.
    pub account: AccountId,
    /// What it calls itself.
    pub name: String,
    /// Public name and its own name of each model.
    pub models: Vec<(String, String)>,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Its row.
    pub row: ProviderRow,
    /// The public names of what it serves.
    pub models: Vec<String>,
    /// What it does not serve, and why.
    pub left_out: Vec<String>,
}

/// Finds the row of a machine by what it calls itself, or makes one, and notes which models it serves.
///
/// # Errors
/// [`StoreError::InvalidField`] for a bad name, or models of which none is served here; [`StoreError::Taken`] if
/// another provider has the name; [`StoreError::Conflict`] if the key has all its machines.
pub fn join(conn: &Tx, new: &JoiningMachine, now: Timestamp) -> Result<Joined, StoreError> {
    check(&new.name, None)?;
    let key = keys::get(conn, new.key)?.ok_or_else(|| StoreError::NotFound(format!("no key {}", new.key)))?;
    let (served, left_out) = sort(conn, &new.models, key.limits.allowed_models.as_deref())?;
    if served.is_empty() {
        let message = format!("none of its models is served here: {}", left_out.join("; "));
        return Err(StoreError::InvalidField { field: "models", message });
    }
    let actor = format!("account:{}", new.account);
    let row = match find(conn, new)? {
        Some(row) => row,
        None => create(conn, new, key.limits.max_machines, key.limits.holds_machines, &actor, now)?,
    };
    if row.joined_with != Some(new.key) {
        check_number(conn, new.key, key.limits.max_machines)?;
        conn.prepare_cached("UPDATE providers SET joined_with = ?2 WHERE id = ?1")?
            .execute([row.id.to_i64(), new.key.to_i64()])?;
    }
    let mut after = served.clone();
    after.sort();
    if models(conn, row.id)? != after {
        set_models(conn, row.id, &served)?;
    }
    let models = served.into_iter().map(|(model, _)| model).collect();
    Ok(Joined { row: get(conn, row.id)?, models, left_out })
}

type Models = Vec<(String, String)>;

/// Which of the models can be served: they have a price, and the key is for them.
fn sort(conn: &Read, all: &Models, allowed: Option<&[String]>) -> Result<(Models, Vec<String>), StoreError> {
    let (mut served, mut left_out) = (Models::new(), Vec::new());
    for (model, upstream_model) in all {
        if allowed.is_some_and(|allowed| !allowed.contains(model)) {
            left_out.push(format!("the key is not for {model}"));
        } else if prices::in_force(conn, model)?.is_none() {
            left_out.push(format!("{model} has no price"));
        } else {
            served.push((model.clone(), upstream_model.clone()));
        }
    }
    Ok((served, left_out))
}

/// The row that a machine would have: the one of its account and name, if there is one.
pub fn known(conn: &Read, new: &JoiningMachine) -> Result<Option<ProviderId>, StoreError> {
    Ok(find(conn, new)?.map(|row| row.id))
}

/// The row of an account's machine of this name, whatever the admin calls it.
fn find(conn: &Read, new: &JoiningMachine) -> Result<Option<ProviderRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM providers p JOIN keys k ON k.id = p.joined_with \
         WHERE p.joined_as = ?1 AND k.account_id = ?2 AND p.removed_at IS NULL"
    );
    let found = conn.prepare_cached(&sql)?.query_row(params![new.name, new.account.to_i64()], from_row).optional()?;
    Ok(found)
}

fn create(
    conn: &Tx,
    new: &JoiningMachine,
    most: Option<u32>,
    is_held: bool,
    actor: &str,
    now: Timestamp,
) -> Result<ProviderRow, StoreError> {
    check_number(conn, new.key, most)?;
    let id = ProviderId::generate(now);
    let made = conn
        .prepare_cached(
            "INSERT INTO providers (id, name, account_id, url, created_at, disabled_at, joined_with, joined_as) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?2)",
        )?
        .execute(params![
            id.to_i64(),
            new.name,
            new.account.to_i64(),
            NO_URL,
            now.millis(),
            is_held.then_some(now.millis()),
            new.key.to_i64(),
        ]);
    match made {
        Err(e) if StoreError::is_duplicate(&e) => return Err(taken(&new.name)),
        other => other?,
    };
    let detail = serde_json::json!({"name": new.name, "account": new.account, "key": new.key, "held": is_held});
    events::record(conn, actor, "provider.join", &id.to_string(), &detail, now)?;
    get(conn, id)
}

/// The machines of a key that says nothing of their number: each is a row that stays.
const MOST_MACHINES: u32 = 1_000;

/// Has the key room for one machine more?
fn check_number(conn: &Read, key: KeyId, most: Option<u32>) -> Result<(), StoreError> {
    let most = most.unwrap_or(MOST_MACHINES);
    if keys::machines(conn, key)? < most {
        return Ok(());
    }
    let sql = "SELECT name FROM providers WHERE joined_with = ?1 AND removed_at IS NULL ORDER BY name";
    let mut statement = conn.prepare_cached(sql)?;
    let names: Vec<String> = statement.query_map([key.to_i64()], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Err(StoreError::Conflict(format!(
        "this key is for {most} machines, and has them: {}. Use one of these names, or ask for another key",
        names.join(", ")
    )))
}
