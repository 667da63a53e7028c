//! Refunds by hand, and at random between charges and withdrawals: the books agree after each.

use proptest::prelude::*;

use super::*;
use crate::domain::charge::Charge;
use crate::domain::endpoint::Endpoint;
use crate::domain::ids::{PriceId, ProviderId, WithdrawalId};
use crate::domain::key_limits::KeyLimits;
use crate::domain::keys::{KeyId, Scopes};
use crate::domain::price::Price;
use crate::domain::settle::FeeBps;
use crate::domain::usage::{MeteredBy, Outcome, Usage};
use crate::domain::withdrawal::{Decision, Wanted};
use crate::store::keys::{NewKey, Owner};
use crate::store::providers::NewProvider;
use crate::store::settlement::settle;
use crate::store::{audit, keys, prices, providers, withdrawals};

/// A payer with $0.01 and a provider, which pays for requests itself too.
struct Books {
    conn: Tx,
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
        let conn = Tx::in_memory();
        let payer = accounts::create(&conn, "payer", None, "test", NOW)?.id;
        let provider = accounts::create(&conn, "provider", None, "test", NOW)?.id;
        ledger::credit(&conn, payer, micro(10_000), "", "test", NOW)?;
        let new = NewProvider::of(provider, "p", "m");
        let provider_id = providers::create(&conn, &new, "test", NOW)?.id;
        let new = prices::NewPrice {
            model: "m".into(),
            display_name: None,
            price: Price {
                input: micro(1_000_000),
                output: micro(1_000_000),
                cache_read: None,
                cache_write: None,
                cache_write_1h: None,
            },
            context_length: None,
            max_output: None,
            max_running: None,
            keep: true,
        };
        let price = prices::set(&conn, &new, "test", NOW)?.id;
        let key = |id: i64, account| {
            let (owner, hash) = (Owner::Account(account), String::new());
            let (name, scopes, limits) = (String::new(), Scopes::INFERENCE, KeyLimits::default());
            let new = NewKey { id: KeyId::from_i64(id), hash, owner, name, scopes, limits };
            keys::create(&conn, &new, "test", NOW).map(|row| row.id)
        };
        let keys = [key(1, payer)?, key(2, provider)?];
        Ok(Self { conn, payer, provider, keys, provider_id, price, rows: Vec::new() })
    }

    /// A request that costs `cost`, paid by the payer or by the provider itself.
    fn charge(&mut self, cost: u32, by_provider: bool, fee: u16) -> Result<RequestId, StoreError> {
        let (account_id, key) = if by_provider { (self.provider, 1) } else { (self.payer, 0) };
        let charge = Charge {
            request_id: RequestId::generate(NOW),
            account_id,
            key_id: self.keys[key],
            key_is_limited: false,
            provider_id: self.provider_id,
            provider_account_id: self.provider,
            price_id: self.price,
            model: "m".into(),
            endpoint: Endpoint::ChatCompletions,
            translated: false,
            own_use: false,
            fee: FeeBps::new(fee).unwrap_or_default(),
            usage: Usage { prompt_tokens: u64::from(cost), cached_tokens: 0, completion_tokens: 0, ..Usage::default() },
            cost: micro(i64::from(cost)),
            outcome: Outcome::Completed,
            metered_by: MeteredBy::Provider,
            flagged: false,
            idempotency: None,
            now: NOW,
        };
        settle(&self.conn, &charge, MicroUsd::ZERO)?;
        self.rows.push(charge.request_id);
        Ok(charge.request_id)
    }

    /// An account asks for what it has earned, up to `most`.
    fn withdraw(&self, account: AccountId, most: i64) -> Result<Option<WithdrawalId>, StoreError> {
        let amount = accounts::balance(&self.conn, account)?.withdrawable.min(micro(most));
        if amount == MicroUsd::ZERO {
            return Ok(None);
        }
        let wanted = Wanted { account, amount, note: String::new() };
        withdrawals::request(&self.conn, &wanted, amount, MicroUsd::ZERO, "test", NOW).map(|w| Some(w.id))
    }

    fn decide(&self, withdrawal: Option<WithdrawalId>, decision: &Decision) -> Result<(), StoreError> {
        let Some(id) = withdrawal else { return Ok(()) };
        withdrawals::decide(&self.conn, id, decision, "test", NOW).map(drop)
    }

    /// Decides any pending withdrawal.
    fn decide_any(&self, which: usize, decision: &Decision) -> Result<(), StoreError> {
        let pending = withdrawals::WithdrawalFilter { status: Some("pending".into()), ..Default::default() };
        let pending = withdrawals::list(&self.conn, &pending, 100)?;
        self.decide(pending.get(which % pending.len().max(1)).map(|w| w.id), decision)
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

/// What happened to an earning of 900 before its charge of 1,000 was refunded.
#[derive(Debug, Default, Clone, Copy)]
struct Before {
    /// Asked for, and still pending.
    pending: i64,
    /// Paid out.
    paid: i64,
    /// Promised to requests.
    promised: i64,
}

#[test]
fn a_refund_takes_what_is_withdrawable_then_what_is_pending_else_leaves_a_debt() -> Result<(), StoreError> {
    let none = Before::default();
    // before → from the provider, of that from withdrawals, its debt, its balance, pending after
    let rows = [
        (none, 900, 0, 0, 0, 0),
        (Before { pending: 900, ..none }, 900, 900, 0, 0, 0),
        (Before { pending: 400, ..none }, 900, 400, 0, 0, 0),
        (Before { promised: 300, ..none }, 600, 0, 300, 300, 0),
        (Before { promised: 300, pending: 200, ..none }, 600, 200, 300, 300, 0),
        (Before { paid: 900, ..none }, 0, 0, 900, 0, 0),
        (Before { paid: 500, pending: 100, ..none }, 400, 100, 500, 0, 0),
    ];
    for (before, from_provider, from_withdrawals, debt, left, pending) in rows {
        let mut books = Books::new()?;
        let request = books.charge(1_000, false, 1_000)?;
        assert_eq!((books.balance(books.provider), books.balance(accounts::HOUSE)), ((900, 900), (100, 100)));
        let paid = books.withdraw(books.provider, before.paid)?;
        books.decide(paid, &Decision::Paid(None))?;
        books.withdraw(books.provider, before.pending)?;
        let done = books.refund(request, before.promised)?;
        let expected = (1_000, from_provider, 1_000 - from_provider, from_withdrawals, debt, 10_000);
        let said = [
            done.refunded_micro_usd,
            done.from_provider_micro_usd,
            done.from_house_micro_usd,
            done.from_withdrawals_micro_usd,
            done.debt_micro_usd,
            done.balance_micro_usd,
        ]
        .map(MicroUsd::micro);
        assert_eq!(said, <[i64; 6]>::from(expected), "{before:?}");
        assert_eq!(books.balance(books.payer), (10_000, 0), "{before:?}");
        assert_eq!(books.balance(books.provider), (left, left), "{before:?}");
        assert_eq!(accounts::debt(&books.conn, books.provider)?, micro(debt), "{before:?}");
        assert_eq!(withdrawals::pending(&books.conn, Some(books.provider))?.1, micro(pending), "{before:?}");
        assert_eq!(books.audited(), Vec::<String>::new(), "{before:?}");
        assert!(matches!(books.refund(request, 0), Err(StoreError::Conflict(_))), "twice");
    }
    Ok(())
}

#[test]
fn a_withdrawal_that_a_refund_reduced_gives_nothing_of_it_back() -> Result<(), StoreError> {
    // The newest is taken first; 300 of the oldest are left of 500, whether it is rejected or paid.
    for (decision, left) in [(Decision::Rejected(None), 300), (Decision::Paid(None), 0)] {
        let mut books = Books::new()?;
        let request = books.charge(1_000, false, 0)?;
        books.charge(300, false, 0)?;
        let oldest = books.withdraw(books.provider, 500)?;
        let newest = books.withdraw(books.provider, 800)?;
        assert_eq!(books.refund(request, 0)?.from_provider_micro_usd, micro(1_000));
        let [Some(oldest), Some(newest)] = [oldest, newest] else { panic!("not asked for") };
        let newest = withdrawals::get(&books.conn, newest)?;
        assert_eq!((newest.status.as_str(), newest.amount_micro_usd), ("rejected", micro(800)));
        assert!(newest.reason.is_some_and(|reason| reason.contains(&request.to_string())));
        let reduced = withdrawals::get(&books.conn, oldest)?;
        assert_eq!((reduced.amount_micro_usd, reduced.reduced_micro_usd), (micro(300), micro(200)));
        books.decide(Some(oldest), &decision)?;
        assert_eq!(books.balance(books.provider), (left, left));
        assert_eq!(books.balance(books.payer), (9_700, 0));
        assert_eq!(books.audited(), Vec::<String>::new());
    }
    Ok(())
}

#[test]
fn a_debt_is_paid_off_by_the_next_earnings_and_nothing_is_withdrawn_before() -> Result<(), StoreError> {
    let mut books = Books::new()?;
    let request = books.charge(1_000, false, 0)?;
    let paid = books.withdraw(books.provider, 700)?;
    books.decide(paid, &Decision::Paid(None))?;
    // 300 are promised to requests, so all of it is owed.
    assert_eq!(books.refund(request, 300)?.debt_micro_usd, micro(1_000));
    assert_eq!(books.balance(books.provider), (300, 300));
    assert!(books.withdraw(books.provider, 1).is_err(), "it is owed");
    let house = books.balance(accounts::HOUSE).0;
    // earned → debt left, balance left, what the house got back
    for (earned, debt, balance, back) in [(600, 400, 300, 600), (500, 0, 400, 1_000), (50, 0, 450, 1_000)] {
        books.charge(earned, false, 0)?;
        assert_eq!(accounts::debt(&books.conn, books.provider)?, micro(debt), "{earned}");
        assert_eq!(books.balance(books.provider), (balance, balance), "{earned}");
        assert_eq!(books.balance(accounts::HOUSE).0, house + back, "{earned}");
        assert_eq!(books.audited(), Vec::<String>::new());
    }
    books.withdraw(books.provider, 450).map(drop)
}

#[test]
fn a_debt_is_paid_off_by_a_rejected_withdrawal() -> Result<(), StoreError> {
    let mut books = Books::new()?;
    let request = books.charge(1_000, false, 0)?;
    let paid = books.withdraw(books.provider, 1_000)?;
    books.decide(paid, &Decision::Paid(None))?;
    books.charge(400, false, 0)?;
    let pending = books.withdraw(books.provider, 400)?;
    // As if the debt had come while the money was on its way.
    books.conn.execute_batch("UPDATE accounts SET debt_micro_usd = 0")?;
    assert_eq!(books.refund(request, 0)?.from_withdrawals_micro_usd, micro(400));
    assert!(books.decide(pending, &Decision::Rejected(None)).is_err(), "it is decided");
    assert_eq!(accounts::debt(&books.conn, books.provider)?, micro(600));

    books.conn.execute("UPDATE accounts SET debt_micro_usd = 0", [])?;
    books.charge(700, false, 0)?;
    let pending = books.withdraw(books.provider, 700)?;
    books.conn.execute("UPDATE accounts SET debt_micro_usd = 600 WHERE id = ?1", [books.provider.to_i64()])?;
    books.decide(pending, &Decision::Rejected(None))?;
    assert_eq!(books.balance(books.provider), (100, 100));
    assert_eq!(books.audited(), Vec::<String>::new());
    Ok(())
}

#[test]
fn what_an_account_pays_to_itself_is_refunded_without_becoming_withdrawable() -> Result<(), StoreError> {
    let mut books = Books::new()?;
    ledger::credit(&books.conn, books.provider, micro(2_000), "", "test", NOW)?;
    let request = books.charge(1_500, true, 1_000)?;
    assert_eq!(books.balance(books.provider), (1_850, 0), "the fee is gone, the rest came back as it was");
    let done = books.refund(request, 0)?;
    assert_eq!((done.from_provider_micro_usd, done.from_house_micro_usd), (micro(1_350), micro(150)));
    assert_eq!(books.balance(books.provider), (2_000, 0));
    assert_eq!(books.audited(), Vec::<String>::new());
    // What was earned from others and spent here does not become withdrawable again, but by the refund.
    books.charge(1_000, false, 0)?;
    let request = books.charge(2_500, true, 0)?;
    assert_eq!(books.balance(books.provider), (3_000, 500));
    books.refund(request, 0)?;
    assert_eq!(books.balance(books.provider), (3_000, 1_000));
    assert_eq!(books.audited(), Vec::<String>::new());
    Ok(())
}

#[test]
fn what_is_missing_is_brought_in_on_the_ledger() -> Result<(), StoreError> {
    let mut books = Books::new()?;
    let request = books.charge(1_000, false, 0)?;
    let paid = books.withdraw(books.provider, 700)?;
    books.decide(paid, &Decision::Paid(None))?;
    books.refund(request, 0)?;
    let kinds: Vec<_> = ledger::list(&books.conn, accounts::HOUSE, ledger::LedgerFilter::default(), 10)?
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
        steps in prop::collection::vec((0..8_u8, 0..3_000_u32, any::<prop::sample::Index>(), 0..2_000_i64), 1..40),
        fee in prop::sample::select(vec![0, 250, 10_000_u16]),
    ) {
        let run = || -> Result<(), String> {
            let text = |e: StoreError| e.to_string();
            let mut books = Books::new().map_err(text)?;
            for (kind, amount, which, promised) in &steps {
                match kind {
                    0 | 1 => books.charge(*amount, *kind == 1, fee).map(drop).map_err(text)?,
                    // Refused where it is owed.
                    2 => drop(books.withdraw(books.provider, i64::from(*amount))),
                    3 => books.decide_any(which.index(8), &Decision::Paid(None)).map_err(text)?,
                    4 => books.decide_any(which.index(8), &Decision::Rejected(None)).map_err(text)?,
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
