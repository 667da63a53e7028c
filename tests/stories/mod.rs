//! The stories, in reading order: the main job first, then what can go wrong with it.

mod first_request;
mod streaming;
mod pricing;
mod metering;
mod outcomes;
mod misbehaving;
mod failover;
mod headers;
mod hangup;
mod affordable;
mod credit;
mod idempotency;
mod caps;
mod withdrawals;
mod refunds;
mod auth;
mod bad_input;
mod bad_framing;
mod floods;
mod surface;
mod usage_page;
mod commands;
mod bad_commands;
mod lifecycle;
mod logs;
mod tidy;
