//! Machines that join: they register, and connect (`tunnel` says how).

mod raw;
mod register;
mod connect;
pub mod own;
pub mod view;

pub use connect::connect;
pub use register::register;
