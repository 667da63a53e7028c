//! Machines that join: they register, and connect (`tunnel` says how); how they do, for their owner and for admins.

mod raw;
mod register;
mod connect;
pub mod own;
pub mod view;

pub use connect::connect;
pub use register::register;
