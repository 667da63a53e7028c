//! The one way to settle a completed answer, whole or streamed: count what nobody reported, debit, write the receipt
//! into the last bytes, keep them for a repeat.

use super::Refusal;
use super::bill::Bill;
use super::complete::CompleteAnswer;
use super::replay::Record;
use crate::dialect::receipt::Receipt;
use crate::domain::usage::{Metered, Outcome, Usage};
use crate::store::settlement::Settled;

/// The last bytes of an answer, and what it cost.
#[derive(Debug)]
pub struct Closing<P> {
    /// For the client.
    pub pieces: P,
    /// What was used.
    pub usage: Usage,
    /// What was debited, and what is left.
    pub settled: Settled,
}

/// Settles a completed answer, and returns its last bytes when that is durable.
///
/// # Errors
/// It could not be counted or settled: the client must not have its last bytes.
pub async fn settle<A: CompleteAnswer>(
    bill: Bill,
    answer: A,
    record: Option<Record>,
) -> Result<Closing<A::Pieces>, Refusal> {
    let (bill, answer, metered) = meter(bill, answer).await?;
    let settled = bill.settle(metered, Outcome::Completed).await?;
    let receipt = Receipt { usage: metered.usage, cost: settled.charged, metered_by: metered.metered_by };
    let pieces = answer.with_receipt(&receipt);
    if let Some(mut record) = record {
        pieces.as_ref().iter().for_each(|piece| record.add(piece));
        record.finish(settled);
    }
    Ok(Closing { pieces, usage: metered.usage, settled })
}

async fn meter<A: CompleteAnswer>(mut bill: Bill, mut answer: A) -> Result<(Bill, A, Metered), Refusal> {
    let judged = answer.judged();
    if judged.believed.is_whole() {
        let metered = bill.meter(judged, || 0);
        if let Some(turn) = bill.recount_turn() {
            bill.recount(turn, judged.believed, answer.output_counter());
        }
        return Ok((bill, answer, metered));
    }
    // Somebody has to count, and not on this thread.
    let mut unsettled = Unsettled::new(bill, answer, Outcome::Completed);
    let count = move || {
        unsettled.count();
        unsettled
    };
    let counted = tokio::task::spawn_blocking(count).await.ok().and_then(Unsettled::take);
    counted.ok_or_else(|| Refusal::ProviderFailed("an unusable answer".into()))
}

/// An answer whose output may have to be counted before it can be settled. Dropped, it settles what was delivered: so
/// neither a client that leaves while it is counted nor a thread pool that shuts down before its turn loses the row.
#[derive(Debug)]
pub struct Unsettled<A: CompleteAnswer> {
    open: Option<(Bill, A)>,
    /// Known once it was counted.
    metered: Option<Metered>,
    outcome: Outcome,
}

impl<A: CompleteAnswer> Unsettled<A> {
    /// Nothing is counted yet.
    pub const fn new(bill: Bill, answer: A, outcome: Outcome) -> Self {
        Self { open: Some((bill, answer)), metered: None, outcome }
    }

    /// What is billed; counts what nobody reported, once.
    fn count(&mut self) -> Option<Metered> {
        let (bill, answer) = self.open.as_mut()?;
        Some(*self.metered.get_or_insert_with(|| bill.meter(answer.judged(), || answer.count_output())))
    }

    /// To be settled by whoever takes it.
    fn take(mut self) -> Option<(Bill, A, Metered)> {
        let metered = self.count()?;
        let (bill, answer) = self.open.take()?;
        Some((bill, answer, metered))
    }
}

impl<A: CompleteAnswer> Drop for Unsettled<A> {
    fn drop(&mut self) {
        if A::IS_DELIVERED
            && let Some(metered) = self.count()
            && let Some((bill, _)) = self.open.take()
        {
            bill.settle_later(metered, self.outcome);
        }
    }
}
