//! Random operations and crashes against the real store and a small model, by seed.
//!
//! The model is in `books`: balances in a map, and what each operation does to them, in its own words. This file
//! does the same to the store, tears the last commit now and then, and compares: what is there, what callers are told,
//! and what admissions remember. Some of it is done by the server's writer, in batches; some by another connection,
//! as the command line does; and while the writer works, another connection changes the keys.
//! `MODEL_RUNS` and `MODEL_SEED` set how many runs and where they begin; a failure names its seed.
//! `MODEL_PLANT` plants a fault: `double-charge` settles twice, `lost-commit` tears a commit that was answered.

mod books;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use books::{Bill, Model};
use coordinator::domain::charge::Charge;
use coordinator::domain::endpoint::Endpoint;
use coordinator::domain::ids::{AccountId, PriceId, ProviderId, RequestId, WithdrawalId};
use coordinator::domain::key_limits::KeyLimits;
use coordinator::domain::keys::{KeyId, Scopes};
use coordinator::domain::money::MicroUsd;
use coordinator::domain::settle::{FeeBps, Terms};
use coordinator::domain::time::Timestamp;
use coordinator::domain::usage::{Metered, MeteredBy, Outcome, Usage};
use coordinator::domain::withdrawal::{Decision, Wanted};
use coordinator::store::idempotency::{self, SavedAnswer};
use coordinator::store::key_changes::Change;
use coordinator::store::providers::NewProvider;
use coordinator::store::settlement::{self, Settled};
use coordinator::store::usage as rows;
use coordinator::store::withdrawals;
use coordinator::store::{
    AdmissionCache, AtDebit, ChargeHold, Read, Store, StoreError, Tx, Writer, accounts, audit, key_changes, keys,
    ledger, providers, refund,
};

#[derive(Debug, Clone)]
enum Step {
    Credit {
        account: i64,
        amount: i64,
    },
    CreditOnce {
        key: u64,
        account: i64,
        amount: i64,
    },
    Settle(Bill),
    Debit {
        account: i64,
        amount: i64,
        held: i64,
    },
    Withdraw {
        account: i64,
        amount: i64,
    },
    /// The n-th withdrawal is paid or rejected.
    Decide {
        which: usize,
        paid: bool,
    },
    /// The n-th charge.
    Refund {
        which: usize,
        held: i64,
    },
    /// Writes, and then fails: nothing of it may stay.
    Fail(Bill),
}

impl Step {
    /// `None` if it fails; what a payer is told of its balance.
    fn on_model(&self, model: &mut Model) -> Answer {
        let done = match self {
            Self::Settle(bill) => return Some(Some(model.settle(bill))),
            Self::Credit { account, amount } => model.credit(*account, *amount),
            Self::CreditOnce { key, account, amount } => model.credit_once(*key, *account, *amount),
            Self::Debit { account, amount, held } => model.debit(*account, *amount, *held),
            Self::Withdraw { account, amount } => model.withdraw(*account, *amount),
            Self::Decide { which, paid } => model.decide(*which, *paid),
            Self::Refund { which, held } => model.refund(*which, *held),
            Self::Fail(_) => false,
        };
        done.then_some(None)
    }
}

/// What a step answers, if it does not fail; of a charge, what the payer has then.
type Answer = Option<Option<i64>>;

// The store.

fn now() -> Timestamp {
    Timestamp::now()
}

fn charge(conn: &Read, bill: &Bill) -> Result<Charge, StoreError> {
    let count = |n: i64| u64::try_from(n).unwrap_or_default();
    let cost = (bill.prompt * 100_000 + bill.output * 780_000 + 999_999) / 1_000_000;
    let terms = Terms {
        fee: FeeBps::new(u16::try_from(bill.fee_bps).unwrap_or_default()).unwrap_or_default(),
        own_use_free: bill.own_use_free,
    };
    let usage = Usage { prompt_tokens: count(bill.prompt), completion_tokens: count(bill.output), ..Usage::default() };
    let provider = providers::find(conn, &format!("of-{}", bill.provider))?;
    let charge = Charge {
        request_id: RequestId::generate(now()),
        account_id: AccountId::from_i64(bill.payer),
        key_id: KeyId::from_i64(bill.key),
        key_is_limited: bill.is_limited(),
        provider_id: provider.id,
        provider_account_id: AccountId::from_i64(bill.provider),
        price_id: PriceId::from_i64(2),
        model: "qwen3.5-27b-claude-opus-8bit".into(),
        endpoint: Endpoint::ChatCompletions,
        translated: false,
        own_use: terms.is_free(AccountId::from_i64(bill.payer), AccountId::from_i64(bill.provider)),
        fee: terms.fee,
        usage: Usage::default(),
        cost: MicroUsd::ZERO,
        outcome: Outcome::Completed,
        metered_by: MeteredBy::Provider,
        flagged: false,
        idempotency: None,
        now: now(),
    };
    let metered = Metered { usage, metered_by: MeteredBy::Provider, flagged: false };
    let outcome = if bill.failed { Outcome::ProviderError } else { Outcome::Completed };
    Ok(charge.ended(metered, MicroUsd::new(cost), outcome, now()))
}

fn settle(conn: &Tx, bill: &Bill) -> Result<Option<i64>, StoreError> {
    let settled = settlement::settle(conn, &charge(conn, bill)?, MicroUsd::new(bill.held))?;
    Ok(Some(settled.balance.micro()))
}

/// Holds nothing itself.
struct Held(i64);

impl ChargeHold for Held {
    fn debit(&mut self, _: &Charge) -> AtDebit {
        AtDebit { held_by_others: MicroUsd::new(self.0), key_is_limited: false }
    }
}

/// The n-th of all withdrawals, oldest first.
fn nth_withdrawal(conn: &Read, n: usize) -> Result<WithdrawalId, StoreError> {
    let all = withdrawals::list(conn, &withdrawals::WithdrawalFilter::default(), u32::MAX)?;
    all.iter().rev().nth(n).map(|w| w.id).ok_or_else(|| StoreError::NotFound(format!("no withdrawal {n}")))
}

/// The n-th of all usage rows, oldest first.
fn nth_request(conn: &Read, n: usize) -> Result<RequestId, StoreError> {
    let mut all = Vec::new();
    for account in accounts::list(conn, u32::MAX)? {
        all.extend(
            rows::list(conn, account.id, &rows::UsageFilter::default(), u32::MAX)?.iter().map(|row| row.request_id),
        );
    }
    all.sort();
    all.get(n).copied().ok_or_else(|| StoreError::NotFound(format!("no request {n}")))
}

fn on_store(conn: &Tx, step: &Step) -> Result<Option<i64>, StoreError> {
    let credit = |account: i64, amount: i64| {
        ledger::credit(conn, AccountId::from_i64(account), MicroUsd::new(amount), "", "model", now())
    };
    let done = match step {
        Step::Credit { account, amount } => credit(*account, *amount).map(drop),
        Step::CreditOnce { key, account, amount } => {
            let mut body_hash = [0; 32];
            body_hash[..8].copy_from_slice(&account.to_be_bytes());
            body_hash[8..16].copy_from_slice(&amount.to_be_bytes());
            let key = idempotency::Key { actor: "model".into(), key: format!("k{key}"), body_hash };
            idempotency::once(conn, &key, now(), || {
                credit(*account, *amount).map(|_| SavedAnswer { status: 200, body: "{}".into() })
            })
            .map(drop)
        }
        Step::Settle(bill) => {
            if std::env::var("MODEL_PLANT").is_ok_and(|p| p == "double-charge") && bill.output % 97 == 0 {
                settle(conn, bill)?;
            }
            return settle(conn, bill);
        }
        Step::Debit { account, amount, held } => {
            let (account, amount) = (AccountId::from_i64(*account), MicroUsd::new(*amount));
            let debit = ledger::Debit { account, amount, note: String::new() };
            ledger::debit(conn, &debit, amount, MicroUsd::new(*held), "model", now()).map(drop)
        }
        Step::Withdraw { account, amount } => {
            let (account, amount) = (AccountId::from_i64(*account), MicroUsd::new(*amount));
            let wanted = Wanted { account, amount, note: String::new() };
            withdrawals::request(conn, &wanted, amount, MicroUsd::ZERO, "model", now()).map(drop)
        }
        Step::Decide { which, paid } => {
            let id = nth_withdrawal(conn, *which)?;
            let decision = if *paid { Decision::Paid(None) } else { Decision::Rejected(None) };
            withdrawals::decide(conn, id, &decision, "model", now()).map(drop)
        }
        Step::Refund { which, held } => {
            let id = nth_request(conn, *which)?;
            refund::refund(conn, id, "", |_| MicroUsd::new(*held), "model", now()).map(drop)
        }
        Step::Fail(bill) => {
            settle(conn, bill)?;
            Err(StoreError::Invalid("fails after it wrote".into()))
        }
    };
    done.map(|()| None)
}

/// SplitMix64: a seed gives the same run on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: i64) -> i64 {
        i64::try_from(self.roll() % u64::try_from(end.max(1)).unwrap_or(1)).unwrap_or(0)
    }
}

/// (total, withdrawable) of accounts.
type Balances = BTreeMap<i64, (i64, i64)>;

/// The store under test, in a directory that a crash replaces.
struct World {
    dir: PathBuf,
    base: PathBuf,
    crashes: u32,
    store: Store,
    writer: Option<Writer>,
    thread: Option<std::thread::JoinHandle<()>>,
    accounts: Vec<i64>,
    keys: Vec<i64>,
}

impl World {
    fn new(base: &Path) -> Self {
        let dir = base.join("0");
        let store = Store::open(&dir).unwrap();
        let (mut accounts, mut keys) = (Vec::new(), Vec::new());
        for n in 0..4 {
            let (account, key) = store.write_exclusive(|conn| open_account(conn, n)).unwrap();
            accounts.push(account);
            keys.push(key);
        }
        let (writer, thread) = Writer::start(&store).unwrap();
        Self {
            dir,
            base: base.to_owned(),
            crashes: 0,
            store,
            writer: Some(writer),
            thread: Some(thread),
            accounts,
            keys,
        }
    }

    /// Does the steps by a connection of its own, as the command line does.
    fn apply_beside(&self, steps: &[Step]) -> Vec<Answer> {
        steps.iter().map(|step| self.store.write_exclusive(|conn| on_store(conn, step)).ok()).collect()
    }

    /// Sends the steps to the writer together, so that they share commits, and waits for the answers.
    fn apply(&self, steps: &[Step]) -> Vec<Answer> {
        let writer = self.writer.as_ref().unwrap();
        let answers = Arc::new(Mutex::new(vec![None; steps.len()]));
        for (place, step) in steps.iter().enumerate() {
            let (answers, step) = (Arc::clone(&answers), step.clone());
            let answer = move |answer| answers.lock().unwrap()[place] = Some(answer);
            match step {
                Step::Settle(bill) if std::env::var_os("MODEL_PLANT").is_none() => {
                    let charge = self.store.read_inline(|conn| charge(conn, &bill)).unwrap();
                    let told = |settled: Result<Settled, _>| settled.ok().map(|settled| Some(settled.balance.micro()));
                    writer.settle(charge, Held(bill.held), move |_, settled| answer(told(settled)));
                }
                step => writer.submit(move |conn| on_store(conn, &step), move |done| answer(done.ok())),
            }
        }
        // One more job behind them: when it is answered, so are they.
        let (done, wait) = std::sync::mpsc::channel();
        writer.submit_aside(|_| Ok(()), move |_| done.send(()).unwrap());
        wait.recv().unwrap();
        let answers = answers.lock().unwrap();
        answers.iter().map(|a| a.expect("answered")).collect()
    }

    /// Names each key anew, in a commit each, by a connection of its own.
    fn name_keys(&self, name: &str) {
        for (account, key) in self.accounts.iter().zip(&self.keys) {
            let change = Change { name: Some(name.to_owned()), ..Change::default() };
            let (account, key) = (AccountId::from_i64(*account), KeyId::from_i64(*key));
            self.store
                .write_exclusive(|conn| key_changes::update(conn, account, key, &change, "model", now()))
                .unwrap();
        }
    }

    /// What admissions find: the money of accounts, what keys were charged and what they are called.
    fn remembered(&self) -> (Balances, BTreeMap<i64, (i64, String)>) {
        let look = |memory: &mut AdmissionCache| {
            let mut money = BTreeMap::new();
            for account in std::iter::once(1).chain(self.accounts.iter().copied()) {
                // The house may not be there yet.
                if let Ok(balance) = memory.balance(AccountId::from_i64(account)) {
                    money.insert(account, (balance.total.micro(), balance.withdrawable.micro()));
                }
            }
            let mut keys = BTreeMap::new();
            for key in &self.keys {
                let row = memory.key(KeyId::from_i64(*key))?.expect("a key");
                keys.insert(*key, (row.window.spent.micro(), row.name.clone()));
            }
            Ok((money, keys))
        };
        self.store.cached(look).unwrap()
    }

    fn wal(&self) -> u64 {
        fs::metadata(self.dir.join("coordinator.db-wal")).map_or(0, |m| m.len())
    }

    /// The machine stops with only the first `kept` bytes of the log written, and starts again.
    fn crash(&mut self, kept: u64) {
        self.crashes += 1;
        let dir = self.base.join(self.crashes.to_string());
        fs::create_dir(&dir).unwrap();
        fs::copy(self.dir.join("coordinator.db"), dir.join("coordinator.db")).unwrap();
        let wal = fs::read(self.dir.join("coordinator.db-wal")).unwrap_or_default();
        let kept = usize::try_from(kept).unwrap().min(wal.len());
        fs::write(dir.join("coordinator.db-wal"), &wal[..kept]).unwrap();
        drop(self.writer.take());
        self.thread.take().unwrap().join().unwrap();
        self.store = Store::open(&dir).unwrap();
        let (writer, thread) = Writer::start(&self.store).unwrap();
        (self.writer, self.thread, self.dir) = (Some(writer), Some(thread), dir);
    }

    fn money(&self) -> Balances {
        let accounts = self.store.read_inline(|conn| accounts::list(conn, 100)).unwrap();
        let pair = |a: accounts::Account| (a.id.to_i64(), (a.balance.total.micro(), a.balance.withdrawable.micro()));
        accounts.into_iter().map(pair).collect()
    }

    fn debts(&self) -> BTreeMap<i64, i64> {
        let accounts = self.store.read_inline(|conn| accounts::list(conn, 100)).unwrap();
        accounts.into_iter().map(|a| (a.id.to_i64(), a.debt.micro())).filter(|(_, debt)| *debt > 0).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.writer.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn open_account(conn: &Tx, n: u32) -> Result<(i64, i64), StoreError> {
    let id = accounts::create(conn, &format!("account-{n}"), None, "model", now())?.id;
    let key = keys::NewKey {
        id: KeyId::from_i64(i64::from(n) + 1),
        hash: "x".into(),
        owner: keys::Owner::Account(id),
        name: String::new(),
        scopes: Scopes::parse("inference").unwrap_or_default(),
        limits: KeyLimits { spend: (n % 2 == 1).then_some(MicroUsd::new(1_000_000)), ..KeyLimits::default() },
    };
    let key = keys::create(conn, &key, "model", now())?;
    let provider = NewProvider {
        name: format!("of-{}", id.to_i64()),
        account_id: id,
        url: "http://127.0.0.1:9/v1".into(),
        api_key: None,
        max_concurrent: None,
        ca_pem: None,
        allow: coordinator::dialect::request::hosted::Allow::default(),
        manners: Default::default(),
        models: Vec::new(),
    };
    let _: ProviderId = providers::create(conn, &provider, "model", now())?.id;
    Ok((id.to_i64(), key.id.to_i64()))
}

fn random_step(dice: &mut Dice, world: &World, model: &Model, alone: bool, charges: bool) -> Step {
    let pick = |dice: &mut Dice| usize::try_from(dice.below(4)).unwrap();
    let account = world.accounts[pick(dice)];
    let amount = match dice.below(10) {
        0 => 0,
        1 => -5,
        // An empty account would take it, and the sums of the audit could not hold it.
        2 if alone && world.money()[&account].0 > 0 => i64::MAX,
        _ => 1 + dice.below(300_000),
    };
    let one_of = |dice: &mut Dice, rows: usize| usize::try_from(dice.below(i64::try_from(rows).unwrap() + 1)).unwrap();
    match if charges { 3 } else { dice.below(18) } {
        0 | 1 => Step::Credit { account, amount },
        10 => Step::Debit { account, amount: amount.min(100_000), held: dice.below(2) * dice.below(100_000) },
        11 | 12 => Step::Withdraw { account, amount: amount.min(1 + dice.below(100_000)) },
        13 | 14 => {
            let which = one_of(dice, model.withdrawals.len());
            Step::Decide { which, paid: dice.below(2) == 0 }
        }
        15..=17 => {
            let which = one_of(dice, model.charges.len());
            Step::Refund { which, held: dice.below(2) * dice.below(100_000) }
        }
        2 => Step::CreditOnce { key: dice.roll() % 6, account, amount: 1 + dice.below(3) },
        n => {
            let payer = pick(dice);
            let bill = Bill {
                payer: world.accounts[payer],
                provider: account,
                key: world.keys[payer],
                prompt: dice.below(200_000),
                output: dice.below(100_000),
                held: dice.below(2) * dice.below(200_000),
                fee_bps: [0, 0, 250, 10_000][pick(dice)],
                failed: dice.below(8) == 0,
                own_use_free: dice.below(2) == 0,
            };
            if n == 9 { Step::Fail(bill) } else { Step::Settle(bill) }
        }
    }
}

fn run(seed: u64, operations: u32) {
    let dir = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "." }).unwrap();
    let mut dice = Dice(seed);
    let mut world = World::new(dir.path());
    let mut model = Model { money: world.money(), ..Model::default() };
    let (mut left, mut name) = (operations, String::new());
    while left > 0 {
        let together = u32::try_from(1 + dice.below(8)).unwrap().min(left);
        left -= together;
        // What fails has the others of its batch done one by one, and other writes stand between them.
        let charges = dice.below(2) == 0;
        let steps: Vec<Step> =
            (0..together).map(|_| random_step(&mut dice, &world, &model, together == 1, charges)).collect();
        let (before, log_before) = (model.clone(), world.wal());
        let expected: Vec<Answer> = steps.iter().map(|step| step.on_model(&mut model)).collect();
        let (beside, naming) =
            [(true, false), (false, true), (false, true), (false, false)][usize::try_from(dice.below(4)).unwrap()];
        if naming {
            name = left.to_string();
        }
        let answers = std::thread::scope(|scope| {
            if naming {
                scope.spawn(|| world.name_keys(&name));
            }
            if beside { world.apply_beside(&steps) } else { world.apply(&steps) }
        });
        assert_eq!(answers, expected, "seed {seed}: answers to {steps:?}");
        assert_eq!(world.money(), model.money, "seed {seed}: after {steps:?}");
        let spent = |key: &i64| (*key, (model.spent.get(key).copied().unwrap_or(0), name.clone()));
        let remembered = (model.money.clone(), world.keys.iter().map(spent).collect());
        assert_eq!(world.remembered(), remembered, "seed {seed}: remembered after {steps:?}");
        let owing = |(account, debt): (&i64, &i64)| (*debt > 0).then_some((*account, *debt));
        assert_eq!(world.debts(), model.debts.iter().filter_map(owing).collect(), "seed {seed}: after {steps:?}");
        let log = world.wal();
        if dice.below(8) == 0 && steps.len() == 1 && !naming && log > log_before {
            let lost = dice.below(2) == 0;
            let torn = log_before + u64::try_from(dice.below(i64::try_from(log - log_before).unwrap())).unwrap();
            world.crash(if lost { torn } else { log });
            // A torn commit is one that nobody was answered: it is gone as a whole. Any other is there.
            if lost && !std::env::var("MODEL_PLANT").is_ok_and(|p| p == "lost-commit") {
                model = before;
            }
            assert_eq!(world.money(), model.money, "seed {seed}: crash {lost} after {steps:?}");
        }
    }
    let report = world.store.read_inline(audit::audit).unwrap();
    assert!(report.ok, "seed {seed}: {:?}", report.problems);
    assert_eq!(report.usage_rows, u64::try_from(model.charges.len()).unwrap(), "seed {seed}: usage rows");
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn the_store_agrees_with_the_model() {
    let first = number("MODEL_SEED", 1);
    for seed in first..first + number("MODEL_RUNS", 20) {
        run(seed, 100);
    }
}
