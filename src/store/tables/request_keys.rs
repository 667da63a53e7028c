//! Idempotency keys of inference requests that were charged: written with the charge, so that no crash
//! and no restart lets a repeat be charged again. Neither the key nor the request is here, only hashes.

use rusqlite::{OptionalExtension, params};

use crate::domain::ids::{AccountId, RequestId};
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

/// How long a key is remembered, in seconds: a day.
const KEPT: i64 = 24 * 60 * 60;

/// A charge that was made under a key.
#[derive(Debug, Clone, Copy)]
pub struct Charged {
    /// Of the request that was charged.
    pub body_hash: [u8; 32],
    /// It.
    pub request_id: RequestId,
    /// What it was charged.
    pub charged: MicroUsd,
}

/// The charge made under this key within the last day.
pub fn find(
    conn: &Read,
    account: AccountId,
    key_hash: &[u8; 32],
    now: Timestamp,
) -> Result<Option<Charged>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT body_hash, request_id, charged_micro_usd FROM request_keys JOIN usage ON usage.id = request_id \
         WHERE request_keys.account_id = ?1 AND key_hash = ?2 AND request_keys.created_at >= ?3",
    )?;
    let since = now.plus_seconds(-KEPT).millis();
    let charged = statement.query_row(params![account.to_i64(), key_hash, since], |row| {
        Ok(Charged {
            body_hash: row.get(0)?,
            request_id: RequestId::from_i64(row.get(1)?),
            charged: MicroUsd::new(row.get(2)?),
        })
    });
    Ok(charged.optional()?)
}

/// Remembers that a key was charged, in the transaction of the charge.
pub(super) fn remember(
    conn: &Tx,
    account: AccountId,
    (key_hash, body_hash): (&[u8; 32], &[u8; 32]),
    request_id: RequestId,
    now: Timestamp,
) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM request_keys WHERE created_at < ?1")?
        .execute([now.plus_seconds(-KEPT).millis()])?;
    conn.prepare_cached(
        "INSERT OR REPLACE INTO request_keys (account_id, key_hash, body_hash, request_id, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![account.to_i64(), key_hash, body_hash, request_id.to_i64(), now.millis()])?;
    Ok(())
}
