//! The act of talking to a provider: choose one, send, stream back. With `join`, the only room that names
//! the HTTP client.
//!
//! | file | what it is |
//! |---|---|
//! | `providers`, `places` | which there are, how well and how busy; what servers say of their places |
//! | `target`, `url`, `address` | where may be sent |
//! | `client`, `outgoing`, `body`, `undo`, `room`, `wait`, `failure` | one request, its answer, and what went wrong |
//! | `connect`, `pool`, `guard`, `tls` | connections |
//! | `joined` | machines that joined |
//! | `fetch`, `local` | what is asked that is no provider: an authority, a webhook, our own socket |

mod address;
mod body;
mod client;
mod connect;
mod failure;
mod fetch;
mod guard;
mod joined;
mod local;
mod outgoing;
mod places;
mod pool;
mod providers;
mod room;
mod target;
mod tls;
mod undo;
mod url;
mod wait;

pub use body::UpstreamBody;
pub use client::{Client, Timeouts, UpstreamResponse};
pub use connect::{Connector, Resolver, look_up, tcp, with_causes};
pub use failure::Failure;
pub use fetch::{check_address, fetch};
pub use joined::{Attached, Ended, Expected, Machine, Machines, Occupied};
pub use local::{Unanswered, ask_local};
pub use places::{LONGEST_PLACES, PLACES_WAYS, PlacesWay};
pub use pool::{On, Pool, is_stale, mark_used};
pub use providers::{ProviderFailure, ProviderStatus, Providers, Sign, Slot, Troubled};
pub use room::{AnswerRoom, AnswerShare};
pub use target::{Server, Target};
pub use tls::{check_ca_pem, config as tls_config, words as tls_words};
pub use url::{check_base_url, check_hook_url};
