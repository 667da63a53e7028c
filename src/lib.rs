//! The coordinator: one deep story, *hold → send → meter → settle → answer*.
//!
//! The layout shows the story as floors. A file uses only what stands below it, and rooms on one
//! floor do not know each other.
//!
//! | floor | room | what it is |
//! |---|---|---|
//! | 0 | [`domain`] | money, prices, usage, ids, key format, settlement arithmetic |
//! | 1 | [`meter`] | bytes in → usage out |

pub mod domain;
pub mod meter;
