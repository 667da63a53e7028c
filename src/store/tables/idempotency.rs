//! Idempotency keys of money writes: the answer is stored in the transaction of the write itself, so a
//! crash between the two cannot happen.

use ring::digest;
use rusqlite::{OptionalExtension, params};

use crate::domain::time::Timestamp;
use crate::store::{StoreError, Tx};

/// How long an answer is kept, in seconds: a day.
const KEPT: i64 = 24 * 60 * 60;

/// What a money write was asked under.
#[derive(Debug, Clone)]
pub struct Key {
    /// Who asked: the same key of two actors is two keys.
    pub actor: String,
    /// What they sent, 1 to 255 bytes.
    pub key: String,
    /// A hash over the method, the path and the body.
    pub body_hash: [u8; 32],
}

/// The SHA-256 of `parts` put together: what stands for a request, and for what a client sent as its key.
pub fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    for (byte, from) in hash.iter_mut().zip(context.finish().as_ref()) {
        *byte = *from;
    }
    hash
}

/// An answer given under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedAnswer {
    /// HTTP status.
    pub status: u16,
    /// The body, JSON.
    pub body: String,
}

/// Runs `write` unless this key was answered before: then that answer is given again.
///
/// # Errors
/// [`StoreError::IdempotencyKeyReused`]; what `write` returns.
pub fn once(
    conn: &Tx,
    key: &Key,
    now: Timestamp,
    write: impl FnOnce() -> Result<SavedAnswer, StoreError>,
) -> Result<SavedAnswer, StoreError> {
    forget_old(conn, now)?;
    let before = conn
        .prepare_cached("SELECT body_hash, status, answer FROM idempotency WHERE actor = ?1 AND key = ?2")?
        .query_row([&key.actor, &key.key], |row| {
            Ok((row.get::<_, [u8; 32]>(0)?, SavedAnswer { status: row.get(1)?, body: row.get(2)? }))
        })
        .optional()?;
    if let Some((hash, answer)) = before {
        return if hash == key.body_hash { Ok(answer) } else { Err(StoreError::IdempotencyKeyReused) };
    }
    let answer = write()?;
    conn.prepare_cached(
        "INSERT INTO idempotency (actor, key, body_hash, status, answer, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![key.actor, key.key, key.body_hash.as_slice(), answer.status, answer.body, now.millis()])?;
    Ok(answer)
}

fn forget_old(conn: &Tx, now: Timestamp) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM idempotency WHERE created_at < ?1")?
        .execute([now.plus_seconds(-KEPT).millis()])?;
    Ok(())
}

#[cfg(test)]
mod tests;
