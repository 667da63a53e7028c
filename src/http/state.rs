//! What every handler can reach.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::Verifier;
use crate::http::admin::session::Door;
use crate::relay::Relay;

/// The server's world: shared by all workers.
#[derive(Debug, Clone)]
pub struct World {
    /// The story and what it runs on.
    pub relay: Arc<Relay>,
    /// Who presents a key.
    pub verifier: Arc<Verifier>,
    /// Who signs in to the admin page.
    pub door: Arc<Door>,
    /// How requests are read and answered.
    pub settings: Arc<Settings>,
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
    /// How long a provider may take.
    pub timeouts: crate::upstream::Timeouts,
}
