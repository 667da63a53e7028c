//! What settling needs of an answer.

use bytes::Bytes;

use crate::dialect::receipt::Receipt;
use crate::domain::usage::Judged;

/// An answer that is complete but for its receipt.
pub trait CompleteAnswer: Send + 'static {
    /// Its last bytes, in pieces.
    type Pieces: AsRef<[Bytes]>;
    /// The client has had all but its last bytes, and owes it even if it leaves now.
    const IS_DELIVERED: bool;

    /// What the provider said of it.
    fn judged(&self) -> Judged;
    /// The tokenizer's count of its output.
    fn count_output(&mut self) -> u64;
    /// The same count, to be done elsewhere.
    fn output_counter(&mut self) -> Box<dyn FnOnce() -> u64 + Send>;
    /// Its last bytes, with the receipt in them.
    fn with_receipt(self, receipt: &Receipt) -> Self::Pieces;
}
