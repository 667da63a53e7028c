//! The act of talking to a provider: choose one, send, stream back. The only room that names the HTTP
//! client.

mod address;
mod client;
mod connect;
mod guard;
mod outgoing;
mod providers;
mod room;
mod tls;
mod undo;
mod url;
mod wait;

pub use client::{Client, Failure, On, Timeouts, UpstreamBody, UpstreamResponse};
pub use providers::{ProviderStatus, Providers, Sign, Slot, Target};
pub use room::AnswerShare;
pub use tls::check_ca_pem;
pub use url::check_base_url;
