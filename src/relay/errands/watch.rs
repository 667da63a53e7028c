//! Asking servers that do not answer, until they do: so that no caller has to find out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::domain::ids::ProviderId;
use crate::relay::Relay;
use crate::relay::send::target_of;
use crate::store::providers::ProviderRow;
use crate::store::{StoreError, providers};
use crate::upstream::{Client, Failure, Timeouts};

/// How long a server may take to say that it is there.
pub const ASK_TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(10),
    idle: Duration::from_secs(10),
    event: Duration::from_secs(10),
};
/// The most servers that are asked at once.
const MOST_AT_ONCE: usize = 16;
/// When nothing is due, somebody will say so.
const LONG: Duration = Duration::from_secs(3_600);

/// Runs for ever; ends when it is dropped.
pub async fn watch(relay: Arc<Relay>, client: Client) {
    let mut asking = JoinSet::new();
    loop {
        let room = MOST_AT_ONCE.saturating_sub(asking.len());
        let (due, next) = relay.providers.due(room, Instant::now());
        for id in due {
            asking.spawn(ask(Arc::clone(&relay), client.clone(), id));
        }
        let next = next.unwrap_or_else(|| Instant::now() + LONG);
        tokio::select! {
            () = relay.providers.something_due() => {}
            () = tokio::time::sleep_until(next.into()) => {}
            Some(_) = asking.join_next() => {}
        }
    }
}

async fn ask(relay: Arc<Relay>, client: Client, id: ProviderId) {
    let found = relay.store.read_inline(|conn| providers::get(conn, id));
    let row = match found {
        Ok(row) if row.disabled_at.is_none() => row,
        // Nobody is sent there any more.
        Ok(_) | Err(StoreError::NotFound(_)) => return relay.providers.forget_signs(id),
        Err(_) => return relay.providers.asked(id, Err("the store failed".to_owned()), Instant::now()),
    };
    let target = target_of(&row, "", relay.resolve_key);
    let asked = learned(client.is_there(&target).await);
    relay.note_asked(&row, asked, Instant::now());
}

impl Relay {
    /// A provider was asked: it is there, or why not. What changes is told in the log.
    pub(super) fn note_asked(&self, row: &ProviderRow, asked: Result<(), String>, now: Instant) {
        let was_down = self.providers.health(row.id, now).down;
        match (&asked, was_down) {
            (Ok(()), true) => tracing::info!(provider = row.name, "a provider is back"),
            (Err(why), false) => tracing::warn!(provider = row.name, why, "a provider is down"),
            _ => {}
        }
        self.providers.asked(row.id, asked, now);
        // Nobody gives a place back there who would hand it to those who have waited.
        self.queue.hand_out(row.id);
    }
}

/// Whether a server is there, and why not. Many do one thing at a time, and answer when that is done: who took the
/// connection is there.
fn learned(asked: Result<(), Failure>) -> Result<(), String> {
    match asked {
        Ok(()) | Err(Failure::Late(_)) => Ok(()),
        Err(e) => Err(e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_busy_with_something_long_is_there() {
        assert!(learned(Ok(())).is_ok());
        assert!(learned(Err(Failure::Late(Duration::from_secs(10)))).is_ok());
        for e in [Failure::Unreached("x".into()), Failure::NoAnswer("x".into())] {
            assert!(learned(Err(e)).is_err());
        }
    }
}
