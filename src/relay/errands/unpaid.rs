//! An account whose money does not pay for a request is told of, once until more comes in.

use std::sync::{Mutex, PoisonError};

use crate::domain::ids::{AccountId, IdMap};
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::relay::{Refusal, Relay};
use crate::store::{Tx, alerts};

/// More accounts are not remembered: it saves a write, no more.
const MOST_REMEMBERED: usize = 1_024;

/// With which balance an account was refused last: nothing new is to be told as long as it has that.
#[derive(Debug, Default)]
pub struct Unpaid(Mutex<IdMap<AccountId, MicroUsd>>);

impl Unpaid {
    fn is_new(&self, account: AccountId, balance: MicroUsd) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_REMEMBERED && !known.contains_key(&account) {
            known.clear();
        }
        known.insert(account, balance) != Some(balance)
    }
}

impl Relay {
    /// A request was refused. Nobody waits for what is written then.
    pub(in crate::relay) fn note_unpaid(&self, account: AccountId, refusal: &Refusal) {
        if !matches!(refusal, Refusal::InsufficientFunds) {
            return;
        }
        let Ok(balance) = self.store.cached(|memory| memory.balance(account)) else { return };
        if self.unpaid.is_new(account, balance.total) {
            let told = move |conn: &Tx| alerts::unpaid(conn, account, Timestamp::now());
            self.writer.submit_aside(told, |told| {
                if let Err(error) = told {
                    tracing::warn!(%error, "that an account cannot pay could not be written down");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_balance_is_news_once() {
        let (unpaid, usd) = (Unpaid::default(), MicroUsd::new);
        let (ada, bob) = (AccountId::from_i64(7), AccountId::from_i64(8));
        let news = [(ada, 5, true), (ada, 5, false), (bob, 5, true), (ada, 4, true), (ada, 4, false), (ada, 5, true)];
        for (account, balance, is_new) in news {
            assert_eq!(unpaid.is_new(account, usd(balance)), is_new, "{account} {balance}");
        }
        for n in 0..3_000 {
            unpaid.is_new(AccountId::from_i64(n), usd(1));
        }
        assert!(unpaid.0.lock().is_ok_and(|known| known.len() <= MOST_REMEMBERED));
    }
}
