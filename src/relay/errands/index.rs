//! The index of usage rows by account is written behind the rows, while the server runs.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::time::Timestamp;
use crate::relay::Relay;
use crate::store::{StoreError, Tx, usage_index};

/// How often one looks whether a step is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Entries in one write: about a millisecond of the writer's, so that no settlement behind it waits for long.
const AT_ONCE: usize = 512;

impl Relay {
    /// Keeps the index close behind the rows, until it is dropped.
    pub async fn keep_indexing(self: Arc<Self>) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            if let Err(error) = self.index_usage().await {
                // Rows that are not in the index yet are found all the same.
                tracing::warn!(%error, "the index of usage by account");
            }
        }
    }

    /// Takes the steps that are due.
    async fn index_usage(&self) -> Result<(), StoreError> {
        while let Some(to) = self.store.read_blocking(|conn| usage_index::next(conn, Timestamp::now())).await? {
            self.writer.write_aside(move |conn| usage_index::begin(conn, to)).await?;
            let due: Arc<[_]> = self.store.read_blocking(usage_index::due).await?.into();
            for from in (0..due.len()).step_by(AT_ONCE) {
                let due = Arc::clone(&due);
                let add = move |conn: &Tx| usage_index::add(conn, due.iter().skip(from).take(AT_ONCE));
                self.writer.write_aside(add).await?;
            }
            self.writer.write_aside(usage_index::finish).await?;
        }
        Ok(())
    }
}
