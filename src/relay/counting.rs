//! Counting prompts with the tokenizer: on the blocking pool, some at a time, and one at a time for each account.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::dialect::request::{Endpoint, InferenceRequest};
use crate::domain::ids::AccountId;
use crate::meter::tokens::{self, PromptCount};

/// Whose turn it is to have a prompt counted. It is work that is done before anything is paid, so it takes half of
/// the processors at most, and an account waits for its own counts only.
#[derive(Debug)]
pub struct Counting {
    all: Arc<Semaphore>,
    accounts: Mutex<HashMap<AccountId, Weak<Semaphore>>>,
}

impl Default for Counting {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { all: Arc::new(Semaphore::new((processors / 2).max(1))), accounts: Mutex::default() }
    }
}

impl Counting {
    /// What `correct` makes of the prompt's count, which stops above `most`. `None` if it came to
    /// nothing.
    pub async fn count<T: Send + 'static>(
        &self,
        account: AccountId,
        (endpoint, body): (Endpoint, Bytes),
        most: u64,
        correct: impl FnOnce(PromptCount) -> T + Send + 'static,
    ) -> Option<T> {
        self.in_turn(account, move || correct(prompt_tokens(endpoint, &body, most))).await
    }

    /// What comes of other work of this kind, on the blocking pool. `None` if it came to nothing.
    pub async fn in_turn<T: Send + 'static>(
        &self,
        account: AccountId,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turn = self.turn(account).await;
        let work = move || {
            // Given back when the work is over, also if nobody waits for it any more.
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await.ok()
    }

    async fn turn(&self, account: AccountId) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let own = self.of(account).acquire_owned().await.ok()?;
        let one = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some((own, one))
    }

    fn of(&self, account: AccountId) -> Arc<Semaphore> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = accounts.get(&account).and_then(Weak::upgrade) {
            return semaphore;
        }
        accounts.retain(|_, semaphore| semaphore.strong_count() > 0);
        let semaphore = Arc::new(Semaphore::new(1));
        accounts.insert(account, Arc::downgrade(&semaphore));
        semaphore
    }
}

/// The tokens of a body's prompt; above `most` it stops.
pub fn prompt_tokens(endpoint: Endpoint, body: &[u8], most: u64) -> PromptCount {
    InferenceRequest::read(endpoint, body).map_or(PromptCount::default(), |r| tokens::prompt_estimate(&r, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_account_counts_one_prompt_at_a_time() {
        let counting = Counting { all: Arc::new(Semaphore::new(8)), accounts: Mutex::default() };
        let (ada, bob) = (AccountId::from_i64(2), AccountId::from_i64(3));
        let first = counting.turn(ada).await;
        assert!(counting.of(ada).try_acquire().is_err(), "a second one waits");
        assert!(counting.turn(bob).await.is_some(), "another account does not");
        drop(first);
        assert!(counting.turn(ada).await.is_some());
        counting.of(bob);
        assert_eq!(
            counting.accounts.lock().unwrap_or_else(PoisonError::into_inner).len(),
            1,
            "what is over is forgotten"
        );
        let body = Bytes::from_static(br#"{"model":"m","prompt":"hello world"}"#);
        let count = counting.count(ada, (Endpoint::Completions, body), u64::MAX, |count| count.tokens + 1).await;
        assert_eq!(count, Some(3));
    }
}
