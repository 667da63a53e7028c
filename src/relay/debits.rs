//! Debits: credit taken back, but nothing that requests in flight were promised.

use std::sync::Arc;
use std::time::Duration;

use super::Relay;
use super::holds::OpenHold;
use crate::domain::ids::AccountId;
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::store::debit_requests::{self, DebitAnswer, DebitRequest};
use crate::store::{StoreError, Tx, accounts, ledger};

/// How often the server looks whether the command line asks for a debit.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Relay {
    /// Holds what a debit can get until it is committed, like a request does: else a request could be admitted
    /// on that money between the writer's look at the holds and its commit.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn reserve_debit(&self, account: AccountId, amount: MicroUsd) -> Result<OpenHold, StoreError> {
        let opened = self.holds.open(account, None, |held| {
            let balance = self.store.read_one(|conn| accounts::balance(conn, account))?;
            Ok::<_, StoreError>((amount.min(balance.total.less(held.account.total)), ()))
        });
        opened.map(|(hold, ())| hold)
    }

    /// Does the debits that the command line asks for, until it is dropped.
    pub async fn answer_debit_requests(self: Arc<Self>) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        loop {
            every.tick().await;
            let next = self.store.read_later(|conn| debit_requests::next(conn, Timestamp::now())).await;
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
        let mut hold = self.reserve_debit(debit.account, debit.amount)?;
        let write = move |conn: &Tx| {
            let others = hold.settling();
            let done = ledger::debit(conn, &debit, hold.amount(), others, &actor, Timestamp::now())?;
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
