//! Machines that join, and leave.

use std::time::Duration;

use crate::domain::ids::ProviderId;
use crate::relay::Relay;
use crate::store::{StoreError, providers};
use crate::upstream::Machine;

/// How often it is looked whether what is in flight is done.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Relay {
    /// At the start no machine is there: each has to join first.
    ///
    /// # Errors
    /// The store fails.
    pub fn await_machines(&self) -> Result<(), StoreError> {
        let all = self.store.read_inline(providers::list)?;
        for row in all.iter().filter(|row| row.joined_with.is_some()) {
            self.providers.machine_went(row.id, "it has not joined since the server started");
        }
        Ok(())
    }

    /// A machine is there: those that wait for one get their places.
    pub fn machine_came(&self, machine: &Machine) {
        self.providers.machine_came(machine.provider);
        self.queue.hand_out(machine.provider);
    }

    /// A machine is not there any more.
    pub fn machine_went(&self, provider: ProviderId, why: &str) {
        self.providers.machine_went(provider, why);
    }

    /// The server is about to stop: once nothing is in flight any more, all machines are told.
    pub async fn dismiss_machines(&self) {
        while !self.holds.is_empty() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        self.providers.machines().leave_all().await;
    }
}
