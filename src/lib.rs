//! The coordinator: one deep story, *hold → send → meter → settle → answer*.
//!
//! The layout shows the story as floors. A file uses only what stands below it, and rooms on one
//! floor do not know each other.
//!
//! | floor | room | what it is |
//! |---|---|---|
//! | 3 | [`http`] | HTTP ⇄ domain; the only room that names actix |
//! | 0 | [`domain`] | money, prices, usage, ids, key format, settlement arithmetic |

pub mod domain;
pub mod http;
