//! What waits for the writer: charges, which are data, and other writes, which are code.

use super::access::Tx;
use crate::domain::charge::Charge;
use crate::domain::money::MicroUsd;
use crate::store::StoreError;
use crate::store::admission_cache::Changes;
use crate::store::tables::settlement::{self, Settled, Settlements};

/// What is let go when a charge is durable: the money that its request holds, first of all. It is dropped before
/// the caller hears of the commit: a client that asks again at once must find its money available.
pub trait ChargeHold: Send + 'static {
    /// The debit runs now, in the writer's transaction. It may run again: after a full disk, or another job's
    /// failure.
    fn debit(&mut self, charge: &Charge) -> AtDebit;
}

/// What only whoever keeps the holds knows at the moment of a debit.
#[derive(Debug, Clone, Copy)]
pub struct AtDebit {
    /// What the payer's other requests hold: not for this charge to take.
    pub held_by_others: MicroUsd,
    /// The key has a spend limit by now.
    pub key_is_limited: bool,
}

/// One job of the writer.
pub enum Job {
    /// To be settled.
    Charge(Box<dyn Settle>),
    /// To be run.
    Write(Box<dyn Run>),
}

impl Job {
    /// Does it in the open transaction. `Ok(false)`: it failed by itself, and is to be rolled back alone.
    pub fn run(&mut self, conn: &Tx) -> Result<bool, StoreError> {
        match self {
            Self::Charge(job) => {
                let (charge, held_by_others) = job.due();
                let settled = settlement::settle(conn, charge, held_by_others);
                job.done(settled)
            }
            Self::Write(job) => job.run(conn),
        }
    }

    /// The same, together with others in one transaction, of whose charges `all` has what accounts and keys have: that is
    /// to be written behind the last one. `Ok(false)`: all of them are to be rolled back.
    pub fn run_with(&mut self, conn: &Tx, all: &mut Settlements) -> Result<bool, StoreError> {
        match self {
            Self::Charge(job) => {
                let (charge, held_by_others) = job.due();
                let settled = all.settle(conn, charge, held_by_others);
                job.done(settled)
            }
            // It may look at anything.
            Self::Write(job) => Ok(own_failure(all.close(conn))? && job.run(conn)?),
        }
    }

    /// What it changed, if it went well.
    pub fn changes(&self) -> Changes {
        match self {
            Self::Charge(job) => job.changes(),
            Self::Write(job) => job.changes(),
        }
    }

    /// Tells the caller; `failed` overrides what the job itself found.
    pub fn answer(self, failed: Option<StoreError>) {
        match self {
            Self::Charge(job) => job.answer(failed),
            Self::Write(job) => job.answer(failed),
        }
    }
}

/// A charge, with its hold and its caller hidden.
pub trait Settle: Send {
    /// The debit runs now: of what, and what it must leave.
    fn due(&mut self) -> (&Charge, MicroUsd);
    /// As [`Job::changes`].
    fn changes(&self) -> Changes;
    /// What came of it, as [`Job::run`].
    fn done(&mut self, settled: Result<Settled, StoreError>) -> Result<bool, StoreError>;
    /// As [`Job::answer`].
    fn answer(self: Box<Self>, failed: Option<StoreError>);
}

/// A write, with its result type hidden.
pub trait Run: Send {
    /// As [`Job::run`].
    fn run(&mut self, conn: &Tx) -> Result<bool, StoreError>;
    /// As [`Job::changes`].
    fn changes(&self) -> Changes;
    /// As [`Job::answer`].
    fn answer(self: Box<Self>, failed: Option<StoreError>);
}

/// A charge that waits.
pub struct Charging<H, A> {
    charge: Charge,
    hold: H,
    result: Option<Result<Settled, StoreError>>,
    then: A,
}

impl<H, A> Charging<H, A> {
    pub const fn new(charge: Charge, hold: H, then: A) -> Self {
        Self { charge, hold, result: None, then }
    }
}

impl<H, A> Settle for Charging<H, A>
where
    H: ChargeHold,
    A: FnOnce(Charge, Result<Settled, StoreError>) + Send,
{
    fn due(&mut self) -> (&Charge, MicroUsd) {
        let now = self.hold.debit(&self.charge);
        self.charge.key_is_limited |= now.key_is_limited;
        (&self.charge, now.held_by_others)
    }

    fn changes(&self) -> Changes {
        match self.result {
            Some(Ok(_)) => Changes::of(&self.charge),
            _ => Changes::Anything,
        }
    }

    fn done(&mut self, settled: Result<Settled, StoreError>) -> Result<bool, StoreError> {
        keep(&mut self.result, settled)
    }

    fn answer(self: Box<Self>, failed: Option<StoreError>) {
        let Self { charge, hold, result, then } = *self;
        drop(hold);
        then(charge, outcome(result, failed));
    }
}

/// A write that waits.
pub struct Writing<W, T, A> {
    write: W,
    changes: Changes,
    result: Option<Result<T, StoreError>>,
    then: A,
}

impl<W, T, A> Writing<W, T, A> {
    pub const fn new(write: W, changes: Changes, then: A) -> Self {
        Self { write, changes, result: None, then }
    }
}

impl<W, T, A> Run for Writing<W, T, A>
where
    T: Send,
    W: FnMut(&Tx) -> Result<T, StoreError> + Send,
    A: FnOnce(Result<T, StoreError>) + Send,
{
    fn run(&mut self, conn: &Tx) -> Result<bool, StoreError> {
        let result = (self.write)(conn);
        keep(&mut self.result, result)
    }

    fn changes(&self) -> Changes {
        self.changes
    }

    fn answer(self: Box<Self>, failed: Option<StoreError>) {
        let Self { write, result, then, .. } = *self;
        // What the write holds on to is let go before its caller hears of it, as a charge's hold is.
        drop(write);
        then(outcome(result, failed));
    }
}

/// Whether it went well. A full disk is no job's own failure: it stops the batch.
pub fn own_failure<T>(result: Result<T, StoreError>) -> Result<bool, StoreError> {
    match result {
        Err(StoreError::Full) => Err(StoreError::Full),
        other => Ok(other.is_ok()),
    }
}

/// Notes what a job found, as [`own_failure`].
fn keep<T>(place: &mut Option<Result<T, StoreError>>, result: Result<T, StoreError>) -> Result<bool, StoreError> {
    let result = match result {
        Err(StoreError::Full) => return Err(StoreError::Full),
        other => place.insert(other),
    };
    Ok(result.is_ok())
}

fn outcome<T>(result: Option<Result<T, StoreError>>, failed: Option<StoreError>) -> Result<T, StoreError> {
    match failed {
        Some(e) => Err(e),
        None => result.unwrap_or(Err(StoreError::Closed)),
    }
}
