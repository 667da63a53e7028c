//! What clients and servers say to each other: dialects, and one in the words of another. Pure: no I/O, no clock, no
//! async.
//!
//! | room | what it is |
//! |---|---|
//! | [`request`] | what a request asks for, read once |
//! | [`translate`] | a client's dialect on a server that speaks chat alone |

pub mod request;
pub mod translate;
