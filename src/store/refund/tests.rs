//! Refunds by hand, and at random between charges and withdrawals: the books agree after each.

use proptest::prelude::*;

use super::*;
use crate::domain::ids::{PriceId, ProviderId};
use crate::domain::keys::{KeyId, Scopes};
use crate::domain::price::Price;
use crate::domain::request::Endpoint;
use crate::domain::settle::FeeBps;
use crate::domain::usage::{MeteredBy, Outcome, Usage};
use crate::store::keys::{Limits, NewKey, Owner};
use crate::store::providers::NewProvider;
use crate::store::usage::{Settlement, settle};
use crate::store::{audit, keys, prices, providers, withdrawals};

/// A payer with $0.01 and a provider, which pays for requests itself too.
struct Books {
    conn: Connection,
    payer: AccountId,
    provider: AccountId,
    keys: [KeyId; 2],
    provider_id: ProviderId,
    price: PriceId,
    rows: Vec<RequestId>,
}

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn micro(n: i64) -> MicroUsd {
    MicroUsd::new(n)
}

impl Books {
    fn new() -> Result<Self, StoreError> {
        let conn = Connection::open_in_memory()?;
        conn.execute_batch(include_str!("../../../schema.sql"))?;
        let payer = accounts::create(&conn, "payer", None, "test", NOW)?.id;
        let provider = accounts::create(&conn, "provider", None, "test", NOW)?.id;
        ledger::credit(&conn, payer, micro(10_000), "", "test", NOW)?;
        let new = NewProvider {
            name: "p".into(),
            account_id: provider,
            url: "http://127.0.0.1/v1".into(),
            api_key: None,
            max_concurrent: None,
            models: vec![("m".into(), "m".into())],
        };
        let provider_id = providers::create(&conn, &new, "test", NOW)?.id;
        let new = prices::NewPrice {
            model: "m".into(),
            display_name: None,
            price: Price { input: micro(1_000_000), output: micro(1_000_000), cache_read: None },
            context_length: None,
            max_output: None,
            keep: true,
        };
        let price = prices::set(&conn, &new, "test", NOW)?.id;
        let key = |id: i64, account| {
            let (owner, hash) = (Owner::Account(account), String::new());
            let (name, scopes, limits) = (String::new(), Scopes::INFERENCE, Limits::default());
            let new = NewKey { id: KeyId::from_i64(id), hash, owner, name, scopes, limits };
            keys::create(&conn, &new, "test", NOW).map(|row| row.id)
        };
        let keys = [key(1, payer)?, key(2, provider)?];
        Ok(Self { conn, payer, provider, keys, provider_id, price, rows: Vec::new() })
    }

    /// A request that costs `cost`, paid by the payer or by the provider itself.
    fn charge(&mut self, cost: u32, by_provider: bool, fee: u16) -> Result<RequestId, StoreError> {
        let (account_id, key) = if by_provider { (self.provider, 1) } else { (self.payer, 0) };
        let settlement = Settlement {
            request_id: RequestId::generate(NOW),
            account_id,
            key_id: self.keys[key],
            key_is_limited: false,
            provider_id: self.provider_id,
            provider_account_id: self.provider,
            price_id: self.price,
            model: "m".into(),
            endpoint: Endpoint::ChatCompletions,
            usage: Usage { prompt_tokens: u64::from(cost), cached_tokens: 0, completion_tokens: 0 },
            cost: micro(i64::from(cost)),
            outcome: Outcome::Completed,
            metered_by: MeteredBy::Provider,
            flagged: false,
            idempotency: None,
            now: NOW,
        };
        settle(&self.conn, &settlement, MicroUsd::ZERO, FeeBps::new(fee).unwrap_or_default())?;
        self.rows.push(settlement.request_id);
        Ok(settlement.request_id)
    }

    /// An account takes out what it has earned, up to `most`.
    fn withdraw(&self, account: AccountId, most: i64) -> Result<(), StoreError> {
        let amount = accounts::balance(&self.conn, account)?.withdrawable.min(micro(most));
        if amount == MicroUsd::ZERO {
            return Ok(());
        }
        let wanted = withdrawals::Wanted { account, amount, note: String::new() };
        withdrawals::request(&self.conn, &wanted, amount, MicroUsd::ZERO, "test", NOW).map(drop)
    }

    fn refund(&self, request: RequestId, promised: i64) -> Result<Refunded, StoreError> {
        refund(&self.conn, request, "a test", |_| micro(promised), "test", NOW)
    }

    fn balance(&self, account: AccountId) -> (i64, i64) {
        let balance = accounts::balance(&self.conn, account).unwrap_or_default();
        (balance.total.micro(), balance.withdrawable.micro())
    }

    fn audited(&self) -> Vec<String> {
        match audit::audit(&self.conn) {
            Ok(report) => report.problems,
            Err(e) => vec![e.to_string()],
        }
    }
}

#[test]
fn a_refund_gives_back_what_each_had() -> Result<(), StoreError> {
    // withdrawn by the provider, promised of its balance → left of: payer, provider, house
    let rows = [(0, 0, 10_000, 0, 0), (900, 0, 10_000, 0, 0), (400, 0, 10_000, 0, 0), (0, 300, 10_000, 300, 0)];
    for (withdrawn, promised, payer, provider, house) in rows {
        let mut books = Books::new()?;
        let request = books.charge(1_000, false, 1_000)?;
        assert_eq!((books.balance(books.provider), books.balance(accounts::HOUSE)), ((900, 900), (100, 100)));
        books.withdraw(books.provider, withdrawn)?;
        let done = books.refund(request, promised)?;
        assert_eq!((done.refunded_micro_usd, done.balance_micro_usd), (micro(1_000), micro(payer)));
        assert_eq!(books.balance(books.payer), (payer, 0));
        assert_eq!(books.balance(books.provider), (provider, provider), "{withdrawn} {promised}");
        let left_in_house = if promised > 0 { promised.min(100) } else { house };
        assert_eq!(books.balance(accounts::HOUSE).0, left_in_house, "{withdrawn} {promised}");
        assert_eq!(books.audited(), Vec::<String>::new());
        assert!(matches!(books.refund(request, 0), Err(StoreError::Conflict(_))), "twice");
    }
    Ok(())
}

#[test]
fn what_is_missing_is_brought_in_on_the_ledger() -> Result<(), StoreError> {
    let mut books = Books::new()?;
    let request = books.charge(1_000, false, 0)?;
    books.withdraw(books.provider, 700)?;
    books.refund(request, 0)?;
    let kinds: Vec<_> = ledger::list(&books.conn, accounts::HOUSE, None, 10)?
        .into_iter()
        .map(|entry| (entry.kind, entry.amount_micro_usd.micro()))
        .collect();
    assert_eq!(kinds, [("refund_reversal".to_owned(), -700), ("adjustment".to_owned(), 700)]);
    assert_eq!(books.audited(), Vec::<String>::new());
    Ok(())
}

#[test]
fn there_must_be_a_charge() -> Result<(), StoreError> {
    let mut books = Books::new()?;
    assert!(matches!(books.refund(RequestId::from_i64(5), 0), Err(StoreError::NotFound(_))));
    let free = books.charge(0, false, 0)?;
    assert!(matches!(books.refund(free, 0), Err(StoreError::Conflict(_))));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_books_agree_whatever_is_refunded(
        steps in prop::collection::vec((0..5_u8, 0..3_000_u32, any::<prop::sample::Index>(), 0..2_000_i64), 1..40),
        fee in prop::sample::select(vec![0, 250, 10_000_u16]),
    ) {
        let run = || -> Result<(), String> {
            let text = |e: StoreError| e.to_string();
            let mut books = Books::new().map_err(text)?;
            for (kind, amount, which, promised) in &steps {
                match kind {
                    0 | 1 => books.charge(*amount, *kind == 1, fee).map(drop).map_err(text)?,
                    2 => books.withdraw(books.provider, i64::from(*amount)).map_err(text)?,
                    _ if books.rows.is_empty() => {}
                    _ => match books.refund(books.rows[which.index(books.rows.len())], *promised) {
                        Ok(_) | Err(StoreError::Conflict(_)) => {}
                        Err(e) => return Err(text(e)),
                    },
                }
                let problems = books.audited();
                if !problems.is_empty() {
                    return Err(problems.join("; "));
                }
            }
            Ok(())
        };
        prop_assert_eq!(run(), Ok(()));
    }
}
