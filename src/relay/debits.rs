//! The debits that the command line asks a running server for.

use std::sync::Arc;
use std::time::Duration;

use super::Relay;
use crate::domain::time::Timestamp;
use crate::store::debit_requests::{self, DebitAnswer, DebitRequest};
use crate::store::{StoreError, Tx};

/// How often the server looks whether the command line asks for a debit.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Relay {
    /// Does the debits that the command line asks for, until it is dropped.
    pub async fn answer_debit_requests(self: Arc<Self>) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        loop {
            every.tick().await;
            let next = self.store.read_blocking(|conn| debit_requests::next(conn, Timestamp::now())).await;
            let done = match next {
                Ok(None) => continue,
                Ok(Some(request)) => self.answer_debit(request).await,
                Err(e) => Err(e),
            };
            if let Err(e) = done {
                tracing::warn!(error = %e, "a debit of the command line");
            }
        }
    }

    async fn answer_debit(&self, request: DebitRequest) -> Result<(), StoreError> {
        let DebitRequest { id, debit, actor } = request;
        let mut held = self.hold_debit(debit)?;
        let write = move |conn: &Tx| {
            let done = held.run(conn, &actor, Timestamp::now())?;
            let done = serde_json::value::to_raw_value(&done).map_err(|e| StoreError::Invalid(e.to_string()))?;
            debit_requests::answer(conn, id, &DebitAnswer::Done(done))
        };
        match self.writer.write(write).await {
            // What it wrote is undone: the answer is a write of its own.
            Err(e @ (StoreError::Invalid(_) | StoreError::InvalidField { .. } | StoreError::Conflict(_))) => {
                let refused = DebitAnswer::Refused(e.to_string());
                self.writer.write(move |conn| debit_requests::answer(conn, id, &refused)).await
            }
            other => other,
        }
    }
}
