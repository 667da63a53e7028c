//! Another process commits beside a server under load: what it wrote counts for the next request.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use coordinator::domain::ids::AccountId;
use coordinator::domain::keys::KeyId;
use coordinator::domain::money::MicroUsd;
use coordinator::domain::price::Price;
use coordinator::domain::time::Timestamp;
use coordinator::store::key_changes::{self, Change};
use coordinator::store::prices::{self, NewPrice};
use coordinator::store::{Store, StoreError, Tx, accounts, ledger};

use crate::world::answer::honest;
use crate::world::http::Request;
use crate::world::{MODEL, World, chat_body};

const ROUNDS: i64 = 40;

/// A connection of this process, as a command opens one, and the payer that it writes about.
struct Beside {
    store: Store,
    account: AccountId,
    key: KeyId,
}

impl Beside {
    fn of(world: &World) -> Self {
        let store = Store::open_existing(&world.server.data_dir()).unwrap();
        let (account, key) = (AccountId::parse(&world.payer.id).unwrap(), KeyId::parse(&world.payer.key_id).unwrap());
        Self { store, account, key }
    }

    fn commit<T>(&self, write: impl FnOnce(&Tx, Timestamp) -> Result<T, StoreError>) {
        self.store.write_exclusive(|conn| write(conn, Timestamp::now())).unwrap();
    }

    /// A micro-dollar a prompt token, and so many an output token.
    fn price(&self, output: i64) {
        let (input, output) = (MicroUsd::new(1_000_000), MicroUsd::new(output * 1_000_000));
        let price = Price { input, output, cache_read: None, cache_write: None, cache_write_1h: None };
        let (model, keep) = (MODEL.to_owned(), true);
        let (display_name, context_length, max_output, max_running) = (None, None, None, None);
        let new = NewPrice { model, display_name, price, context_length, max_output, max_running, keep };
        self.commit(|conn, now| prices::set(conn, &new, "beside", now));
    }

    fn expires(&self, at: Option<Timestamp>) {
        let change = Change { expires_at: Some(at), ..Change::default() };
        self.commit(|conn, now| key_changes::update(conn, self.account, self.key, &change, "beside", now));
    }

    /// Takes all that the account has.
    fn empty(&self) {
        self.commit(|conn, now| {
            let amount = accounts::balance(conn, self.account)?.total;
            let debit = ledger::Debit { account: self.account, amount, note: String::new() };
            ledger::debit(conn, &debit, amount, MicroUsd::ZERO, "beside", now)
        });
    }

    fn credit(&self, micro: i64) {
        self.commit(|conn, now| ledger::credit(conn, self.account, MicroUsd::new(micro), "", "beside", now));
    }
}

#[test]
fn what_another_process_commits_counts_for_the_next_request_under_load() {
    let world = World::new(honest(30, 10));
    let others: Vec<_> = (0..3).map(|n| world.server.account(&format!("other{n}"))).collect();
    for other in &others {
        world.server.ok(&["credit", &other.id, "1000"]);
    }
    let (beside, stop, served) = (Beside::of(&world), AtomicBool::new(false), AtomicUsize::new(0));
    let load = |key: &str| {
        let request = Request::post("/v1/chat/completions").key(key).json(&chat_body());
        while !stop.load(Ordering::Relaxed) {
            world.server.http().send(&request).expect(200);
            served.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for other in &others {
            scope.spawn(|| load(&other.key));
        }
        // Whatever fails, the others stop, and this thread does not wait for ever.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rounds(&world, &beside)));
        stop.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|failed| std::panic::resume_unwind(failed));
    });
    assert!(served.into_inner() > others.len(), "there was no load");
    assert_eq!(world.server.ok(&["audit"])["ok"], true);
}

fn rounds(world: &World, beside: &Beside) {
    let ask = |status| world.chat(&chat_body()).expect(status);
    for round in 1..=ROUNDS {
        beside.price(round);
        assert_eq!(ask(200).number("x-cost-micro-usd"), 30 + 10 * round, "at the price of round {round}");
        beside.expires(Some(Timestamp::from_millis(1)));
        ask(401);
        beside.expires(None);
        ask(200);
        beside.empty();
        ask(402);
        beside.credit(100_000 + round);
        // The client may be told a moment before: its own charge is all that came since.
        assert_eq!(world.balance(), 100_000 + round);
        ask(200);
    }
}
