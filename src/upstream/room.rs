//! Room in memory for answers: what is long of them is counted, and waits until there is room.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::failure::Failure;
use crate::domain::byte_budget::{ByteBudget, BytePermit};

/// Finds what a long answer counts towards; asked only for one that is long.
pub type AnswerShare<'a> = &'a (dyn Fn() -> Arc<ByteBudget> + Sync);

/// An answer up to this size is no matter for memory, in bytes.
pub const SMALL: usize = 64 << 10;
/// How long an answer waits for room. The server's work is done: a refusal would waste it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the room is checked.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The room that one answer takes.
#[allow(missing_debug_implementations, reason = "it asks a function")]
pub struct AnswerRoom<'a> {
    share: AnswerShare<'a>,
    patience: Duration,
    permit: Option<BytePermit>,
}

impl<'a> AnswerRoom<'a> {
    /// None yet.
    pub fn new(share: AnswerShare<'a>) -> Self {
        Self { share, patience: PATIENCE, permit: None }
    }

    /// Waits until there is room for `bytes` in all. What is small needs none: there are never enough answers on their
    /// way for that to matter, and large ones must not keep it out.
    ///
    /// # Errors
    /// There was none for too long.
    pub async fn hold(&mut self, bytes: usize) -> Result<(), Failure> {
        if bytes <= SMALL {
            return Ok(());
        }
        let permit = self.permit.get_or_insert_with(|| (self.share)().permit());
        let more = bytes.saturating_sub(permit.bytes());
        let until = Instant::now() + self.patience;
        while permit.grow(more).is_err() {
            if Instant::now() >= until {
                return Err(Failure::NoRoom);
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// The room is taken until this is gone; `None`: there is none to take.
    pub fn kept(self) -> Option<BytePermit> {
        self.permit
    }

    /// The room is taken until the last slice of `bytes` is gone.
    pub fn tie_to(self, bytes: Bytes) -> Bytes {
        match self.permit {
            Some(permit) => permit.tie_to(bytes),
            None => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_long_waits_for_room_and_what_is_small_needs_none() {
        let budget = ByteBudget::new(4 * SMALL);
        let share = || Arc::clone(&budget);
        let mut one = AnswerRoom::new(&share);
        assert!(one.hold(SMALL).await.is_ok());
        assert_eq!(budget.used(), 0);
        assert!(one.hold(3 * SMALL).await.is_ok());
        let (mut two, mut small) = (AnswerRoom::new(&share), AnswerRoom::new(&share));
        assert!(small.hold(SMALL).await.is_ok());
        two.patience = Duration::ZERO;
        assert!(matches!(two.hold(2 * SMALL).await, Err(Failure::NoRoom)));
        let body = one.tie_to(Bytes::from(vec![0; 3 * SMALL]));
        let slice = body.slice(..1);
        drop(body);
        assert!(matches!(two.hold(2 * SMALL).await, Err(Failure::NoRoom)), "a slice keeps it all");
        two.patience = Duration::from_secs(600);
        let freed = async {
            sleep(LOOK_AGAIN * 2).await;
            drop(slice);
        };
        let (held, ()) = tokio::join!(two.hold(2 * SMALL), freed);
        assert!(held.is_ok());
        assert_eq!(budget.used(), 2 * SMALL);
        drop(two);
        assert_eq!(budget.used(), 0);
    }
}
