//! What needs attention while the server runs: alerts. Some are written by whoever causes them, in the transaction that
//! does; what nobody writes down (a provider that is gone, a disk that fills) is looked for here. From the outbox they
//! go out by signed webhook and by e-mail, each at least once, with an id, in the order of writing.
//!
//! Nothing here holds a lock or a place that a request waits for: a receiver that hangs delays other alerts of its
//! channel, and nothing else.
//!
//! | file | what it is |
//! |---|---|
//! | `look` | what nobody writes down, looked for |
//! | `deliver`, `undelivered` | from the outbox to a receiver, and what follows a failure |
//! | `webhook`, `mail`, `words` | one alert as a signed request, as a mail, in words |
//! | `by_byte` | the line to a mail server before TLS |

mod by_byte;
mod deliver;
mod look;
mod mail;
mod undelivered;
mod webhook;
mod words;

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::domain::time::Timestamp;
use crate::store::backups::Backups;
use crate::store::{Store, Writer};
use crate::upstream::Providers;
pub use deliver::{Courier, Tried};
pub use look::ends_soon;
pub use mail::check_mailbox;
pub use webhook::{check_secret, new_secret};

/// From when until when the certificate that is shown is valid, if one is.
pub type CertificateTimes = Arc<dyn Fn() -> Option<(Timestamp, Timestamp)> + Send + Sync>;

/// What is watched, and with what.
pub struct UnderWatch {
    /// For reading.
    pub store: Store,
    /// For writing.
    pub writer: Writer,
    /// How the providers do.
    pub providers: Arc<Providers>,
    /// Backups on a schedule, if there are any.
    pub backups: Option<Arc<Backups>>,
    /// The certificate, if there is one.
    pub certificate: CertificateTimes,
    /// Who delivers.
    pub courier: Courier,
}

/// Looks and delivers for ever; ends when it is dropped.
pub async fn run(watched: UnderWatch) {
    let watched = Arc::new(watched);
    let mut tasks = JoinSet::new();
    for channel in crate::store::alerts::Channel::ALL {
        tasks.spawn(deliver::run(Arc::clone(&watched), channel));
    }
    tasks.spawn(look::run(Arc::clone(&watched)));
    while tasks.join_next().await.is_some() {}
}
