//! Machines that joined: providers that are reached through a connection that they made (`tunnel`).
//!
//! A machine is here while it is connected, and nowhere else: its row, its earnings and its history are the store's.
//! Requests from all workers go to the thread that its connections are on.

mod lane;
mod machine;
mod machines;

pub use lane::{Attached, Ended};
pub use machine::{Expected, Machine};
pub use machines::{Machines, Occupied};
