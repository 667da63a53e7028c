//! What is remembered is what would be read, whoever commits.

use std::cell::Cell;

use super::*;
use crate::domain::ids::RequestId;
use crate::domain::key_limits::KeyLimits;
use crate::domain::keys::{PlainKey, Scopes};
use crate::domain::money::MicroUsd;
use crate::domain::price::Price;
use crate::domain::settle::FeeBps;
use crate::domain::time::Timestamp;
use crate::domain::usage::{MeteredBy, Outcome, Usage};
use crate::store::keys::{NewKey, Owner};
use crate::store::prices::NewPrice;
use crate::store::providers::NewProvider;
use crate::store::{AtDebit, ChargeHold, Store, Tx, Writer, ledger};

const NOW: Timestamp = Timestamp::from_millis(1_777_000_000_000);
const MODEL: &str = "m";

struct World {
    store: Store,
    account: AccountId,
    key: KeyId,
    _dir: tempfile::TempDir,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("data")).unwrap();
    let id = PlainKey::generate().unwrap().id();
    let account = store
        .write_exclusive(|conn| {
            let account = accounts::create(conn, "a", None, "test", NOW)?.id;
            let (owner, scopes, limits) = (Owner::Account(account), Scopes::INFERENCE, KeyLimits::default());
            let key = NewKey { id, hash: String::new(), owner, name: String::new(), scopes, limits };
            keys::create(conn, &key, "test", NOW)?;
            Ok(account)
        })
        .unwrap();
    World { store, account, key: id, _dir: dir }
}

impl World {
    fn price(&self, micro: i64) {
        let price = Price {
            input: MicroUsd::new(micro),
            output: MicroUsd::ZERO,
            cache_read: None,
            cache_write: None,
            cache_write_1h: None,
        };
        let new = NewPrice {
            model: MODEL.into(),
            display_name: None,
            price,
            context_length: None,
            max_output: None,
            max_running: None,
            keep: true,
        };
        self.store.write_exclusive(|conn| prices::set(conn, &new, "test", NOW)).unwrap();
    }

    fn provider(&self, name: &str) {
        let new = NewProvider::of(self.account, name, MODEL);
        self.store.write_exclusive(|conn| providers::create(conn, &new, "test", NOW)).unwrap();
    }

    fn offered(&self) -> Option<(i64, usize)> {
        let offered = self.store.cached(|memory| memory.offered(MODEL, Endpoint::ChatCompletions, false)).unwrap();
        offered.map(|offered| (offered.price.price.input.micro(), offered.offers.len()))
    }

    fn balance(&self) -> i64 {
        self.store.cached(|memory| memory.balance(self.account)).unwrap().total.micro()
    }

    /// Whether the next look finds the very row of the last one.
    fn key(&self) -> Arc<KeyRow> {
        self.store.cached(|memory| memory.key(self.key)).unwrap().unwrap()
    }
}

#[test]
fn what_another_connection_commits_is_seen_at_once() {
    let world = world();
    assert_eq!(world.balance(), 0);
    for n in 1..=5 {
        world
            .store
            .write_exclusive(|conn| ledger::credit(conn, world.account, MicroUsd::new(7), "", "test", NOW).map(drop))
            .unwrap();
        assert_eq!((world.balance(), world.balance()), (7 * n, 7 * n));
    }
    assert_eq!(world.offered(), None, "no price yet");
    world.price(5);
    assert_eq!(world.offered(), None, "no provider yet");
    world.provider("p");
    assert_eq!(world.offered(), Some((5, 1)));
    world.provider("q");
    world.price(6);
    assert_eq!(world.offered(), Some((6, 2)));
    world.store.write_exclusive(|conn| prices::remove(conn, MODEL, "test", NOW)).unwrap();
    assert_eq!(world.offered(), None);
}

#[test]
fn what_nobody_changed_is_not_read_again() {
    let world = world();
    let (first, again) = (world.key(), world.key());
    assert!(Arc::ptr_eq(&first, &again));
    world.price(5);
    assert!(!Arc::ptr_eq(&first, &world.key()), "after a commit, whatever it was about, all is read again");
}

impl World {
    fn offers(&self) -> Arc<Offered> {
        self.store.cached(|memory| memory.offered(MODEL, Endpoint::ChatCompletions, false)).unwrap().unwrap()
    }

    fn credit(&self, conn: &Tx) -> Result<(), StoreError> {
        ledger::credit(conn, self.account, MicroUsd::new(7), "", "test", NOW).map(drop)
    }

    /// Writes what no admission looks at.
    fn aside(&self, conn: &Tx) -> Result<(), StoreError> {
        let sql = "INSERT INTO admins (name, created_at) SELECT 'a' || count(*), 0 FROM admins";
        Ok(conn.execute(sql, []).map(drop)?)
    }

    /// What is remembered is what a connection of its own reads.
    fn check(&self, what: &str) {
        let (balance, key, price) = self
            .store
            .read_inline(|conn| {
                let price = prices::in_force(conn, MODEL)?;
                Ok((accounts::balance(conn, self.account)?, keys::get(conn, self.key)?.unwrap(), price))
            })
            .unwrap();
        assert_eq!(self.balance(), balance.total.micro(), "{what}");
        assert_eq!(self.key().name, key.name, "{what}");
        assert_eq!(self.offered().map(|(price, _)| price), price.map(|p| p.price.input.micro()), "{what}");
    }
}

/// Writes as the writer does, and says that no more than this was changed.
fn write(world: &World, changes: Changes, write: impl Fn(&Tx) -> Result<(), StoreError>) {
    let reader = world.store.reader();
    let before = Cell::new(None);
    let locked = |conn: &Tx| {
        before.set(reader.state());
        write(conn)
    };
    world.store.write_exclusive(locked).unwrap();
    reader.committed(before.get(), true, std::iter::once(changes), &Left::default());
}

#[test]
fn what_a_commit_of_this_server_did_not_change_is_not_read_again() {
    let world = world();
    world.price(5);
    world.provider("p");
    let charge = |key| Changes::Charge { accounts: [world.account, AccountId::from_i64(99)], key };
    // changes → the key's row stays, the offers stay
    let rows = [(charge(None), true, true), (charge(Some(world.key)), false, true), (Changes::Anything, false, false)];
    let (key, offers) = (world.key(), world.offers());
    write(&world, Changes::Nothing, |conn| world.aside(conn));
    assert!(Arc::ptr_eq(&key, &world.key()) && Arc::ptr_eq(&offers, &world.offers()), "nothing of it was changed");
    for (changes, key_stays, offers_stay) in rows {
        let (key, offers, balance) = (world.key(), world.offers(), world.balance());
        write(&world, changes, |conn| world.credit(conn));
        assert_eq!(world.balance(), balance + 7, "{changes:?}");
        assert_eq!(Arc::ptr_eq(&key, &world.key()), key_stays, "{changes:?}");
        assert_eq!(Arc::ptr_eq(&offers, &world.offers()), offers_stay, "{changes:?}");
    }
}

/// Nothing is held.
struct NoHold;

impl ChargeHold for NoHold {
    fn debit(&mut self, _: &Charge) -> AtDebit {
        AtDebit { held_by_others: MicroUsd::ZERO, key_is_limited: false }
    }
}

#[test]
fn after_a_charge_the_balances_are_remembered_as_it_left_them() {
    let world = world();
    let (writer, _thread) = Writer::start(&world.store).unwrap();
    let add = |conn: &Tx| {
        let payer = accounts::create(conn, "b", None, "test", NOW)?.id;
        ledger::credit(conn, payer, MicroUsd::new(1_000), "", "test", NOW)?;
        Ok(payer)
    };
    let payer = world.store.write_exclusive(add).unwrap();
    world.price(5);
    world.provider("p");
    let (offers, key) = (world.offers(), world.key());
    for n in 1..=3 {
        let charge = Charge {
            request_id: RequestId::generate(NOW),
            account_id: payer,
            key_id: world.key,
            key_is_limited: false,
            provider_id: offers.offers[0].provider.id,
            provider_account_id: world.account,
            price_id: offers.price.id,
            model: MODEL.into(),
            endpoint: Endpoint::ChatCompletions,
            translated: false,
            own_use: false,
            fee: FeeBps::default(),
            usage: Usage::default(),
            cost: MicroUsd::new(10),
            outcome: Outcome::Completed,
            metered_by: MeteredBy::Provider,
            flagged: false,
            idempotency: None,
            now: NOW,
        };
        let (done, answered) = std::sync::mpsc::channel();
        writer.settle(charge, NoHold, move |_, settled| done.send(settled).unwrap());
        assert_eq!(answered.recv().unwrap().unwrap().balance.micro(), 1_000 - 10 * n);
        let of = |account| world.store.read_inline(|conn| accounts::balance(conn, account)).unwrap();
        let remembered =
            world.store.cached(|memory| Ok([payer, world.account].map(|id| memory.balances.get(&id).copied())));
        assert_eq!(remembered.unwrap(), [payer, world.account].map(|id| Some(of(id))), "{n}");
        assert_eq!((of(payer).total.micro(), of(world.account).total.micro()), (1_000 - 10 * n, 10 * n));
        assert!(Arc::ptr_eq(&offers, &world.offers()) && Arc::ptr_eq(&key, &world.key()), "{n}");
    }
}

#[test]
fn writes_aside_make_nobody_read_again_and_one_that_writes_nothing_is_no_commit() {
    let world = Arc::new(world());
    world.price(5);
    world.provider("p");
    let (writer, _thread) = Writer::start(&world.store).unwrap();
    let aside = |write: fn(&World, &Tx) -> Result<(), StoreError>| {
        let (done, answered) = std::sync::mpsc::channel();
        let here = Arc::clone(&world);
        writer.submit_aside(move |conn| write(&here, conn), move |written| done.send(written).unwrap());
        answered.recv().unwrap().unwrap();
    };
    let (mut key, offers) = (world.key(), world.offers());
    for n in 0..20 {
        aside(World::aside);
        assert!(Arc::ptr_eq(&key, &world.key()) && Arc::ptr_eq(&offers, &world.offers()), "{n}");
    }
    for n in 0..20 {
        // It writes nothing, and all stays; what somebody else commits then is not missed.
        aside(|_, _| Ok(()));
        assert!(Arc::ptr_eq(&key, &world.key()), "{n}");
        world.price(n);
        world.check(&format!("{n}"));
        key = world.key();
    }
}

#[test]
fn no_balance_from_before_a_commit_of_this_server_is_found_after_it() {
    let world = world();
    let charge = Changes::Charge { accounts: [world.account; 2], key: None };
    let unchecked = || world.store.cached_unchecked(|memory| memory.balance(world.account)).unwrap().total.micro();
    // Whatever it changed, and whoever else commits before it or behind it, seen or not.
    for (changes, wrote) in
        [(charge, true), (Changes::Anything, true), (Changes::Nothing, true), (Changes::Nothing, false)]
    {
        for others in 0..8 {
            let other = |there: bool| {
                if there {
                    world.store.write_exclusive(|conn| world.credit(conn)).unwrap();
                }
            };
            let balance = world.balance();
            other(others & 1 != 0);
            if others & 4 != 0 {
                world.balance();
            }
            let reader = world.store.reader();
            let before = Cell::new(None);
            let locked = |conn: &Tx| {
                before.set(reader.state());
                match (changes, wrote) {
                    (Changes::Nothing, true) => world.aside(conn),
                    (Changes::Nothing, false) => Ok(()),
                    _ => world.credit(conn),
                }
            };
            world.store.write_exclusive(locked).unwrap();
            other(others & 2 != 0);
            reader.committed(before.get(), wrote, std::iter::once(changes), &Left::default());
            let credits = i64::from(changes != Changes::Nothing) + i64::from(others & 1 != 0);
            // What others committed since the last look need not be seen before the next one.
            let seen = (unchecked() - balance) / 7;
            let last = i64::from(others & 2 != 0);
            assert!(seen >= credits && seen <= credits + last, "{changes:?} {wrote} {others}: {seen}");
            assert_eq!(world.balance() - balance, 7 * (credits + last), "{changes:?} {wrote} {others}");
        }
    }
}

#[test]
fn a_commit_of_somebody_else_beside_ours_is_not_missed() {
    let world = world();
    world.provider("p");
    world.price(5);
    world.check("at first");
    // Before ours, unseen.
    world.price(6);
    let charge = Changes::Charge { accounts: [world.account; 2], key: None };
    write(&world, charge, |conn| world.credit(conn));
    world.check("before ours");
    // Behind ours, before it was noted.
    let reader = world.store.reader();
    let before = reader.state().unwrap();
    world.store.write_exclusive(|conn| world.credit(conn)).unwrap();
    world.price(7);
    reader.committed(Some(before), true, std::iter::once(charge), &Left::default());
    world.check("behind ours");
    // In any order, looked at between or not.
    let mut random = 7_u64;
    for round in 0..400 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match (random >> 33) % 5 {
            0 => world.price(round),
            1 => world.store.write_exclusive(|conn| world.credit(conn)).unwrap(),
            2 => world
                .store
                .write_exclusive(|conn| {
                    let sql = "UPDATE keys SET name = ?1";
                    Ok(conn.execute(sql, [round.to_string()]).map(drop)?)
                })
                .unwrap(),
            3 => write(&world, Changes::Anything, |conn| world.credit(conn)),
            _ => write(&world, charge, |conn| world.credit(conn)),
        }
        if !(random >> 40).is_multiple_of(3) {
            world.check(&format!("round {round}"));
        }
    }
}

#[test]
fn a_key_that_is_not_there_is_looked_for_each_time() {
    let world = world();
    let missing = PlainKey::generate().unwrap().id();
    for _ in 0..2 {
        assert!(world.store.cached(|memory| memory.key(missing)).unwrap().is_none());
    }
    assert!(world.store.cached(|memory| Ok(memory.keys.is_empty())).unwrap());
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut map = HashMap::new();
    for n in 0..3 * MOST_REMEMBERED {
        remember(&mut map, n, n);
        assert_eq!((map.len(), map.get(&n)), (n % MOST_REMEMBERED + 1, Some(&n)));
    }
}

#[test]
fn who_sees_a_commit_of_this_server_before_it_is_noted_waits_for_that() {
    let world = world();
    world.provider("p");
    let charge = Changes::Charge { accounts: [world.account; 2], key: None };
    let (key, reader) = (world.key(), world.store.reader());
    let before = reader.state();
    let committing = reader.commit_begins(before);
    assert!(Arc::ptr_eq(&key, &world.key()), "nothing is waited for that is not committed");
    world.store.write_exclusive(|conn| world.credit(conn)).unwrap();
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| world.key());
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!looking.is_finished());
        reader.committed(before, true, std::iter::once(charge), &Left::default());
        drop(committing);
        assert!(Arc::ptr_eq(&key, &looking.join().unwrap()), "and nothing is forgotten");
    });
    // Whoever sees that somebody else has committed waits for nobody.
    let committing = reader.commit_begins(reader.state());
    world.price(5);
    world.price(6);
    let looked = world.key();
    assert!(!Arc::ptr_eq(&key, &looked));
    drop(committing);
    world.check("afterwards");
}

#[test]
fn however_fast_commits_of_this_server_follow_each_other_nothing_is_forgotten() {
    let world = world();
    let charge = Changes::Charge { accounts: [world.account; 2], key: None };
    let (key, reader) = (world.key(), world.store.reader());
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking: Vec<_> = std::iter::repeat_with(|| {
            scope.spawn(|| {
                let mut last = 0;
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    let balance = world.balance();
                    assert!(balance >= last, "{balance} after {last}");
                    last = balance;
                    assert!(Arc::ptr_eq(&key, &world.key()));
                }
            })
        })
        .take(2)
        .collect();
        for _ in 0..2_000 {
            let (before, committing) = (Cell::new(None), Cell::new(None));
            let locked = |conn: &Tx| {
                before.set(reader.state());
                world.credit(conn)?;
                committing.set(Some(reader.commit_begins(before.get())));
                Ok(())
            };
            world.store.write_exclusive(locked).unwrap();
            reader.committed(before.get(), true, std::iter::once(charge), &Left::default());
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        looking.into_iter().for_each(|looking| looking.join().unwrap());
    });
    assert_eq!(world.balance(), 14_000);
}
