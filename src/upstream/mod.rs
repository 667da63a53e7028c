//! The act of talking to a provider: choose one, send, stream back. The only room that names the HTTP
//! client.

mod client;
mod providers;
mod url;

pub use client::{Answer, Body, Client, Failure, Timeouts};
pub use providers::{Health, Providers, Slot, Target, Unavailable};
pub use url::check_base_url;
