//! Which account a text means: an id, a name, or an e-mail address in whatever case and composition.

use rusqlite::OptionalExtension;

use super::account_row::{Account, COLUMNS, from_row, get};
use crate::domain::ids::AccountId;
use crate::domain::{email, near_miss};
use crate::store::{Read, StoreError};

/// The account that an id, a name or an e-mail address means. A name, and an address as it was typed when it was
/// given, come first; then any spelling of an address.
///
/// # Errors
/// [`StoreError::NotFound`], naming what is nearly the same; [`StoreError::Conflict`] if several accounts have the
/// address in different spellings, from before they were one.
pub fn find(conn: &Read, text: &str) -> Result<Account, StoreError> {
    if let Some(id) = AccountId::parse(text) {
        return get(conn, id);
    }
    if let Some(account) = exactly(conn, text)? {
        return Ok(account);
    }
    let mut found = with_address(conn, text)?;
    if found.len() > 1 {
        let ids: Vec<String> = found.iter().map(|account| account.id.to_string()).collect();
        return Err(StoreError::Conflict(format!(
            "\"{text}\" is the address of {} accounts: say which by its id: {}",
            ids.len(),
            ids.join(", ")
        )));
    }
    match found.pop() {
        Some(account) => Ok(account),
        None => Err(StoreError::NotFound(match nearest(conn, text)? {
            Some(near) => format!("no account \"{text}\"; nearly the same: \"{near}\""),
            None => format!("no account \"{text}\""),
        })),
    }
}

/// The account with this name, or with this address as it is stored.
pub(super) fn exactly(conn: &Read, text: &str) -> Result<Option<Account>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM accounts WHERE name = ?1 OR email = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row([text], from_row).optional()?)
}

/// SQL knows the case of ASCII alone; what has other letters is rare, and read through.
const BY_ADDRESS: &str = "SELECT id FROM accounts WHERE email COLLATE NOCASE = ?1 \
     UNION ALL SELECT id FROM accounts WHERE email GLOB '*[^ -~]*'";

/// The accounts with this address in any spelling; more than one only if they are from before addresses were compared.
pub(super) fn with_address(conn: &Read, text: &str) -> Result<Vec<Account>, StoreError> {
    let folded = email::folded(text);
    let sql = format!("SELECT {COLUMNS} FROM accounts WHERE id IN ({BY_ADDRESS}) ORDER BY id");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map([&folded], from_row)?;
    let same = |account: &Account| account.email.as_deref().is_some_and(|one| email::folded(one) == folded);
    rows.filter(|row| row.as_ref().map_or(true, same)).map(|row| Ok(row?)).collect()
}

/// The accounts whose name reads as this address: whoever typed the address would find them first.
pub(super) fn named_like(conn: &Read, address: &str) -> Result<Vec<Account>, StoreError> {
    let folded = email::folded(address);
    let sql = format!("SELECT {COLUMNS} FROM accounts WHERE name GLOB '*@*' ORDER BY id");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map([], from_row)?;
    let same = |account: &Account| email::folded(&account.name) == folded;
    rows.filter(|row| row.as_ref().map_or(true, same)).map(|row| Ok(row?)).collect()
}

/// The name or address that was most likely meant.
fn nearest(conn: &Read, text: &str) -> Result<Option<String>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT name, email FROM accounts")?;
    let mut rows = statement.query([])?;
    let mut best: Option<(usize, String)> = None;
    while let Some(row) = rows.next()? {
        for column in [0, 1] {
            let Some(known) = row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from)? else { continue };
            if let Some(slips) = near_miss::slips(text, known)
                && best.as_ref().is_none_or(|(fewest, _)| slips < *fewest)
            {
                best = Some((slips, known.to_owned()));
            }
        }
    }
    Ok(best.map(|(_, known)| known))
}

/// The accounts whose addresses are one, from before that was looked at: a group each, in the order of their ids.
pub fn twins(conn: &Read) -> Result<Vec<Vec<Account>>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM accounts WHERE email IS NOT NULL ORDER BY id");
    let mut by_address = std::collections::BTreeMap::<String, Vec<Account>>::new();
    let mut statement = conn.prepare_cached(&sql)?;
    for row in statement.query_map([], from_row)? {
        let account = row?;
        let address = account.email.as_deref().map(email::folded).unwrap_or_default();
        by_address.entry(address).or_default().push(account);
    }
    Ok(by_address.into_values().filter(|group| group.len() > 1).collect())
}

#[cfg(test)]
mod tests;
