//! HTTP ⇄ domain: the only room that names actix.

pub mod demo;
