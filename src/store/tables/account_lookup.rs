//! Which account a text means: an id, a name or an email.

use rusqlite::OptionalExtension;

use super::account_row::{Account, COLUMNS, from_row, get};
use crate::domain::ids::AccountId;
use crate::store::{Read, StoreError};

/// The account that an id, a name or an email means.
pub fn find(conn: &Read, text: &str) -> Result<Account, StoreError> {
    if let Some(id) = AccountId::parse(text) {
        return get(conn, id);
    }
    find_by_name_or_email(conn, text)?.ok_or_else(|| StoreError::NotFound(format!("no account \"{text}\"")))
}

pub(super) fn find_by_name_or_email(conn: &Read, text: &str) -> Result<Option<Account>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM accounts WHERE name = ?1 OR email = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row([text], from_row).optional()?)
}
