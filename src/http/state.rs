//! What every handler can reach.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::{AdminAccess, Verifier};
use crate::http::shared::outside::Outside;
use crate::relay::Relay;
use crate::store::backups::Backups;
use crate::store::{Store, StoreError, Writer};
use crate::watch::Courier;

/// What all workers share.
#[derive(Debug, Clone)]
pub struct AppState {
    /// The story, and what is in flight.
    pub relay: Arc<Relay>,
    /// For reading.
    pub store: Store,
    /// For writing.
    pub writer: Writer,
    /// Who presents a key.
    pub verifier: Arc<Verifier>,
    /// Who signs in to the admin page.
    pub admins: Arc<AdminAccess>,
    /// How requests are read and answered.
    pub settings: Arc<Settings>,
    /// Backups on a schedule, if there are any.
    pub backups: Option<Arc<Backups>>,
    /// Who brings a test of the alerts to their receivers.
    pub courier: Courier,
}

impl AppState {
    /// Around a relay, and the `store` and `writer` that it uses.
    pub fn new(relay: Arc<Relay>, store: Store, writer: Writer, settings: Settings) -> Result<Self, StoreError> {
        Ok(Self {
            verifier: Arc::new(Verifier::new(store.clone())?),
            admins: Arc::new(AdminAccess::new(store.clone())),
            settings: Arc::new(settings),
            backups: None,
            courier: Courier::new(|secret| Some(secret.clone()), None),
            relay,
            store,
            writer,
        })
    }
}

/// The settings of the HTTP side.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The largest body that is read, in bytes.
    pub body_limit: usize,
    /// How long a body may take, plus a second for every 16 KiB of it.
    pub body_timeout: Duration,
    /// How long a client may leave what it is sent unread.
    pub write_timeout: Duration,
    /// How long a stream is quiet before it gives a sign of life.
    pub sign_of_life: Duration,
    /// How long a connection may idle between two requests.
    pub keep_alive: Duration,
    /// How long requests may still run after SIGTERM.
    pub drain: Duration,
    /// Worker threads.
    pub workers: usize,
    /// Origins whose pages may call the API; none for all.
    pub cors_origins: Vec<String>,
    /// How the server is seen from outside.
    pub outside: Outside,
    /// How long a provider may take.
    pub timeouts: crate::upstream::Timeouts,
}
