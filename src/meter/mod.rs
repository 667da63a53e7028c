//! Bytes in → usage out. Pure: no I/O, no clock, no async.
//!
//! | file | what it is |
//! |---|---|
//! | [`stream`] | one streamed answer as it passes |
//! | [`state`] | where a stream stands, and why it failed |
//! | [`whole`] | one answer that came whole |
//! | [`receipt`] | the cost, written into an answer |
//! | `held` | the end of a stream, which waits for the receipt |
//! | `shape` | what the events of a stream have in common, so that most need not be read |
//! | `long` | an event that is too long to be kept |
//! | `skeleton` | what is left of one |
//! | `rename` | the public name of a model, in place of the server's own |
//! | `opening` | what a body shows itself to be by its first bytes |
//! | `event` | what one event of a stream means for the bill |
//! | [`usage`] | where usage stands, in all dialects, and llama.cpp's `timings` |
//! | `counts` | the counts in a usage object, under all their names |
//! | `text` | the output text of an answer, kept for an estimate |
//! | [`vocabulary`] | a byte-pair tokenizer, made at its first use |
//! | [`tokens`] | a real tokenizer, for what no provider counted |
//! | [`prompt`] | a prompt taken apart: messages, texts, media |
//! | [`media`] | kinds of media, and what each may count as |
//! | [`enlarge`] | what makes pictures and films larger than usual |
//! | [`growth`] | where a prompt has more tokens than its request has bytes |
//! | `walk` | a walk through JSON with its structure in sight |

pub mod stream;
pub mod state;
mod opening;
pub mod whole;
pub mod receipt;
mod held;
mod shape;
mod long;
mod skeleton;
mod rename;
mod event;
mod counts;
pub mod usage;
mod text;
mod dense;
pub mod tokens;
pub mod vocabulary;
pub mod prompt;
pub mod media;
pub mod enlarge;
pub mod growth;
mod walk;
mod words;
#[cfg(test)]
mod tests;

pub use opening::Opening;
pub use receipt::Receipt;
pub use state::{Failure, Pushed, State};
pub use stream::StreamMeter;
pub use text::OutputText;
pub use whole::{BadAnswer, WholeAnswer};
