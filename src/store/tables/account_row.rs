//! An account's row.

use rusqlite::{OptionalExtension, Row};
use serde::Serialize;

use crate::domain::ids::AccountId;
use crate::domain::money::MicroUsd;
use crate::domain::settle::Balance;
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError};

/// An account as it stands.
#[derive(Debug, Clone, Serialize)]
pub struct Account {
    /// `acct_…`
    pub id: AccountId,
    /// Unique.
    pub name: String,
    /// Unique where there is one.
    pub email: Option<String>,
    /// Its money.
    #[serde(skip)]
    pub balance: Balance,
    /// What it owes of earnings that were refunded when they had left it.
    #[serde(rename = "debt_micro_usd")]
    pub debt: MicroUsd,
    /// Since when its keys are refused.
    pub suspended_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// It may make keys that machines join with.
    pub may_provide: bool,
}

pub(super) const COLUMNS: &str = "id, name, email, balance_micro_usd, withdrawable_micro_usd, suspended_at, created_at, \
     debt_micro_usd, may_provide";

pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        id: AccountId::from_i64(row.get(0)?),
        name: row.get(1)?,
        email: row.get(2)?,
        balance: Balance { total: MicroUsd::new(row.get(3)?), withdrawable: MicroUsd::new(row.get(4)?) },
        suspended_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_millis),
        created_at: Timestamp::from_millis(row.get(6)?),
        debt: MicroUsd::new(row.get(7)?),
        may_provide: row.get(8)?,
    })
}

/// The account with this id.
pub fn get(conn: &Read, id: AccountId) -> Result<Account, StoreError> {
    conn.prepare_cached(&format!("SELECT {COLUMNS} FROM accounts WHERE id = ?1"))?
        .query_row([id.to_i64()], from_row)
        .optional()?
        .ok_or_else(|| StoreError::NotFound(format!("no account {id}")))
}
