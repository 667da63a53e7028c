//! Accounts as an admin finds and changes them.

use rusqlite::{OptionalExtension, Row, params};

use super::account_row::{Account, COLUMNS, from_row, get};
use super::accounts::{check_email, check_free, check_name, set_may_provide, set_suspended};
use super::events;
use crate::domain::email;
use crate::domain::ids::AccountId;
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

/// Which accounts an admin looks for.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Part of a name or an email, or the beginning of an id, in any case.
    pub text: Option<String>,
    /// Suspended ones, or the others.
    pub suspended: Option<bool>,
}

/// A page of the accounts that match, newest first, those before `before`; and how many match in all.
pub fn search(
    conn: &Read,
    search: &Search,
    before: Option<AccountId>,
    limit: u32,
) -> Result<(Vec<Account>, u64), StoreError> {
    let sql =
        format!("SELECT {COLUMNS} FROM accounts WHERE ?1 IS NULL OR (suspended_at IS NOT NULL) = ?1 ORDER BY id DESC");
    let text = search.text.as_ref().map(|text| email::folded(text));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut found, mut count) = (Vec::new(), 0);
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query([search.suspended])?;
    // Read through rather than left to SQL, which knows upper and lower case of ASCII alone. It takes a few
    // milliseconds for 10,000 accounts, and they are counted anyway.
    while let Some(row) = rows.next()? {
        if text.as_ref().is_some_and(|text| !matches(row, text).unwrap_or(false)) {
            continue;
        }
        count += 1;
        if found.len() < limit && before.is_none_or(|before| row.get(0).is_ok_and(|id: i64| id < before.to_i64())) {
            found.push(from_row(row)?);
        }
    }
    Ok((found, count))
}

fn matches(row: &Row<'_>, text: &str) -> rusqlite::Result<bool> {
    let holds = |column| {
        let value = row.get_ref(column)?.as_str_or_null()?;
        Ok::<_, rusqlite::Error>(value.is_some_and(|value| email::folded(value).contains(text)))
    };
    if holds(1)? || holds(2)? {
        return Ok(true);
    }
    // `acct` alone would be every account's beginning.
    let is_id = text.len() > AccountId::PREFIX.len() && text.starts_with(AccountId::PREFIX);
    Ok(is_id && AccountId::from_i64(row.get(0)?).to_string().starts_with(text))
}

/// What is to change of an account; `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Unique.
    pub name: Option<String>,
    /// Unique where there is one; `Some(None)`: none.
    pub email: Option<Option<String>>,
    /// Its keys are refused.
    pub suspended: Option<bool>,
    /// It may make keys that machines join with.
    pub may_provide: Option<bool>,
}

/// Changes an account.
///
/// # Errors
/// As [`super::accounts::create`]; [`StoreError::NotFound`].
pub fn change(conn: &Tx, id: AccountId, change: &Change, actor: &str, now: Timestamp) -> Result<Account, StoreError> {
    let account = get(conn, id)?;
    let name = change.name.as_ref().unwrap_or(&account.name);
    let sent = change.email.as_ref().map(|email| email.as_deref().map(email::composed));
    let email = sent.as_ref().unwrap_or(&account.email);
    if *name != account.name || *email != account.email {
        check_name(name)?;
        if let Some(email) = email {
            check_email(email)?;
        }
        check_free(conn, name, email.as_deref(), Some(id))?;
        conn.prepare_cached("UPDATE accounts SET name = ?2, email = ?3 WHERE id = ?1")?.execute(params![
            id.to_i64(),
            name,
            email
        ])?;
        let detail = serde_json::json!({
            "name": name, "email": email, "name_before": account.name, "email_before": account.email,
        });
        events::record(conn, actor, "account.change", &id.to_string(), &detail, now)?;
    }
    if let Some(suspended) = change.suspended {
        set_suspended(conn, id, suspended, actor, now)?;
    }
    if let Some(may_provide) = change.may_provide {
        set_may_provide(conn, id, may_provide, actor, now)?;
    }
    get(conn, id)
}

/// All that an account ever earned as a provider.
pub fn earned(conn: &Read, id: AccountId) -> Result<MicroUsd, StoreError> {
    let sql = "SELECT coalesce(sum(earned_micro_usd), 0) FROM usage WHERE provider_account_id = ?1";
    Ok(MicroUsd::new(conn.prepare_cached(sql)?.query_row([id.to_i64()], |row| row.get(0))?))
}

/// When an account's last request was settled.
pub fn last_used(conn: &Read, id: AccountId) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT created_at, id FROM account_usage WHERE account_id = ?1 ORDER BY id DESC LIMIT 1";
    let at = conn.prepare_cached(sql)?.query_row([id.to_i64()], |row| row.get(0)).optional()?;
    Ok(at.map(Timestamp::from_millis))
}
