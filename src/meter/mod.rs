//! Bytes in → usage out. Pure: no I/O, no clock, no async.
//!
//! | file | what it is |
//! |---|---|
//! | [`stream`] | one streamed answer as it passes |
//! | [`state`] | where a stream stands |
//! | [`whole`] | one answer that came whole |
//! | `withheld` | the end of a stream, which waits for the receipt |
//! | `shape` | what the events of a stream have in common, so that most need not be read |
//! | `long` | an event that is too long to be kept |
//! | `skeleton` | what is left of one |
//! | `rename` | the public name of a model, in place of the server's own |
//! | `opening` | what a body shows itself to be by its first bytes |
//! | `source` | what one source of counts said in the course of a stream |
//! | `text` | the output text of an answer, kept for an estimate |
//! | `words` | the most text that a number of tokens can be |
//! | [`vocabulary`] | a byte-pair tokenizer, made at its first use |
//! | [`tokens`] | a real tokenizer, for what no provider counted |
//! | `dense` | the most tokens that the tokenizers in use make of a text |
//! | [`prompt`] | a prompt taken apart: messages, texts, media |
//! | [`media`] | kinds of media, and what each may count as |
//! | [`enlarge`] | what makes pictures and films larger than usual |
//! | [`growth`] | where a prompt has more tokens than its request has bytes |
//! | `walk` | a walk through JSON with its structure in sight |

pub mod stream;
pub mod state;
mod opening;
pub mod whole;
mod withheld;
mod shape;
mod long;
mod skeleton;
mod rename;
mod source;
mod text;
mod dense;
pub mod tokens;
pub mod vocabulary;
pub mod prompt;
pub mod media;
pub mod enlarge;
pub mod growth;
pub mod walk;
mod words;
#[cfg(test)]
mod tests;

pub use opening::Opening;
pub use state::{Pushed, StreamState};
pub use stream::StreamMeter;
pub use text::OutputText;
pub use whole::{BadAnswer, WholeAnswer};
