//! What clients and servers say to each other: dialects, and one in the words of another. Pure: no I/O, no clock, no
//! async.
//!
//! | room | what it is |
//! |---|---|
//! | [`request`] | what a request asks for, read once |
//! | [`event`] | what one event of a stream means for the bill |
//! | [`failure`] | why a stream is a provider's failure |
//! | [`usage`] | where usage stands, in all dialects, and llama.cpp's `timings` |
//! | [`counts`] | the counts in a usage object, under all their names |
//! | [`receipt`] | the cost, written into an answer |
//! | [`standing`] | what a string in an answer is |
//! | [`marks`] | the keys by which an event is told to matter |
//! | [`translate`] | a client's dialect on a server that speaks chat alone |

pub mod request;
pub mod event;
pub mod failure;
pub mod usage;
pub mod counts;
pub mod receipt;
pub mod standing;
pub mod marks;
pub mod translate;
