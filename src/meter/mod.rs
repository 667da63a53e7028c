//! Bytes in → usage out. Pure: no I/O, no clock, no async.
//!
//! | file | what it is |
//! |---|---|
//! | [`tokens`] | a real tokenizer, for what no provider counted |
//! | [`receipt`] | the cost, written into an answer |
//! | [`stream`] | one streamed answer as it passes |
//! | [`whole`] | one answer that came whole |

pub mod stream;
pub mod tokens;
pub mod whole;
pub mod receipt;

pub use receipt::Receipt;
pub use stream::{Failure, Pushed, State, StreamMeter};
pub use whole::{BadAnswer, WholeAnswer};
