//! Bytes held in memory for requests in flight: counted as they come, given back when they are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// A bound on the bytes that all who share it may hold at the same time. A part of it has a bound of its own, counts
/// towards the whole, and never holds more than it leaves free there: however many parts are full, there is room for
/// one that is not.
#[derive(Debug)]
pub struct ByteBudget {
    limit: usize,
    used: AtomicUsize,
    whole: Option<Arc<ByteBudget>>,
}

/// There is no room for more bytes now; there may be soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many bytes are in flight")]
pub struct OverBudget;

impl ByteBudget {
    /// Room for `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0), whole: None })
    }

    /// A part of this budget: room for `limit` bytes, each of which counts here too.
    pub fn part(self: &Arc<Self>, limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0), whole: Some(Arc::clone(self)) })
    }

    /// The most bytes that may be held.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// The bytes that are held now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// A permit for no bytes yet.
    pub fn permit(self: &Arc<Self>) -> BytePermit {
        BytePermit { budget: Arc::clone(self), bytes: 0 }
    }

    fn take(&self, bytes: usize) -> Result<(), OverBudget> {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map_err(|_| OverBudget)?;
        let Some(whole) = &self.whole else { return Ok(()) };
        let taken = whole.take(bytes);
        if taken.is_err() {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        } else if self.used() > whole.limit.saturating_sub(whole.used()) {
            self.give_back(bytes);
            return Err(OverBudget);
        }
        taken
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.give_back(bytes);
        }
    }
}

/// The right to hold some bytes; given back when it is dropped.
#[derive(Debug)]
pub struct BytePermit {
    budget: Arc<ByteBudget>,
    bytes: usize,
}

impl BytePermit {
    /// The bytes it stands for.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The most that it can ever stand for, together with all others of its budget.
    pub fn most(&self) -> usize {
        let whole = self.budget.whole.as_ref();
        whole.map_or(self.budget.limit, |whole| self.budget.limit.min(whole.limit / 2))
    }

    /// Another permit of the same budget, for no bytes yet.
    pub fn beside(&self) -> Self {
        self.budget.permit()
    }

    /// Stands for `more` bytes more: ask before they are stored.
    ///
    /// # Errors
    /// There is no room; it stands for what it did.
    pub fn grow(&mut self, more: usize) -> Result<(), OverBudget> {
        self.budget.take(more)?;
        self.bytes += more;
        Ok(())
    }

    /// Stands for `bytes` at most, and gives the rest back.
    pub fn shrink_to(&mut self, bytes: usize) {
        let rest = self.bytes.saturating_sub(bytes);
        self.budget.give_back(rest);
        self.bytes -= rest;
    }

    /// Ties itself to the bytes that it stands for: given back with their last copy or slice.
    pub fn tie_to(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Tied { bytes, _permit: self })
    }
}

impl Drop for BytePermit {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// Bytes with their permit.
struct Tied {
    bytes: Bytes,
    _permit: BytePermit,
}

impl AsRef<[u8]> for Tied {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_until_the_last_that_holds_them_is_gone() {
        let budget = ByteBudget::new(10);
        let mut one = budget.permit();
        assert_eq!((one.grow(4), one.grow(3), one.bytes(), one.most()), (Ok(()), Ok(()), 7, 10));
        assert_eq!(budget.part(10).permit().most(), 5);
        let mut other = budget.permit();
        assert_eq!((other.grow(4), other.bytes(), budget.used()), (Err(OverBudget), 0, 7));
        assert_eq!(other.grow(usize::MAX), Err(OverBudget));
        one.shrink_to(9);
        assert_eq!(budget.used(), 7);
        one.shrink_to(6);
        assert_eq!(other.grow(4), Ok(()));
        drop(other);
        let body = one.tie_to(Bytes::from_static(b"abcdef"));
        let slice = body.slice(2..3);
        drop(body);
        assert_eq!((budget.used(), &*slice), (6, b"c".as_slice()));
        drop(slice);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_part_has_its_own_bound_and_counts_towards_the_whole() {
        let whole = ByteBudget::new(10);
        let part = whole.part(4);
        let (mut a, mut b) = (whole.permit(), part.permit());
        assert_eq!((b.grow(5), whole.used(), part.used()), (Err(OverBudget), 0, 0));
        assert_eq!((a.grow(6), b.grow(3)), (Ok(()), Err(OverBudget)));
        assert_eq!((b.grow(2), whole.used(), part.used()), (Ok(()), 8, 2));
        drop(b);
        assert_eq!((whole.used(), part.used()), (6, 0));
    }

    #[test]
    fn full_parts_leave_room_for_the_next() {
        let whole = ByteBudget::new(1_024);
        let mut permits = Vec::new();
        for expected in [512, 256, 128, 64] {
            let mut permit = whole.part(1_024).permit();
            while permit.grow(1).is_ok() {}
            assert_eq!(permit.bytes(), expected);
            permits.push(permit);
        }
        assert!(permits.iter_mut().all(|permit| permit.grow(1).is_err()));
        drop(permits);
        assert_eq!(whole.used(), 0);
    }

    #[test]
    fn threads_never_hold_more_than_the_bound() {
        let budget = ByteBudget::new(1_000);
        let grab = || {
            for n in 0..2_000 {
                let mut permit = budget.permit();
                let _ = permit.grow(n % 700);
                assert!(budget.used() <= 1_000);
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(grab))));
        assert_eq!(budget.used(), 0);
    }
}
