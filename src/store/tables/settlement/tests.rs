//! What a batch of the writer leaves is what the same leaves one by one: any charges and writes, those that fail too.

use std::sync::{Arc, Mutex, mpsc};

use proptest::prelude::*;
use rusqlite::types::Value;

use super::*;
use crate::domain::endpoint::Endpoint;
use crate::domain::ids::{PriceId, ProviderId, RequestId};
use crate::domain::key_limits::KeyLimits;
use crate::domain::keys::Scopes;
use crate::domain::settle::FeeBps;
use crate::domain::time::Timestamp;
use crate::domain::usage::{MeteredBy, Outcome, Usage};
use crate::domain::withdrawal::Wanted;
use crate::store::keys::{NewKey, Owner};
use crate::store::providers::NewProvider;
use crate::store::{AtDebit, ChargeHold, Store, Writer, key_changes, ledger, refund, withdrawals};

mod cost;
mod one_by_one;

/// The last minute of a day, a week and a month: 2026-05-31, a Sunday.
const NOW: Timestamp = Timestamp::from_millis(1_780_271_940_000);
const NAMES: [&str; 6] = ["ada", "bob", "earner", "owing", "rich", "poor"];
const RESETS: [LimitReset; 4] = [LimitReset::None, LimitReset::Daily, LimitReset::Weekly, LimitReset::Monthly];

/// One job of a batch. Accounts by number: the one behind the last is the operator's, the next nobody's.
#[derive(Debug, Clone)]
enum Op {
    Charge(Asked),
    Credit(usize, i64),
    Withdraw(usize, i64),
    /// Of the row with this number.
    Refund(i64),
    /// The key's window is of another length now, which counts its rows again.
    Reset(i64, usize),
    Suspend(usize, bool),
    /// Writes, looks at balances, and fails.
    Fail(usize),
}

#[derive(Debug, Clone)]
struct Asked {
    by: (usize, usize),
    row: i64,
    cost: i64,
    held: i64,
    fee: u16,
    key: i64,
    limited: bool,
    flagged: bool,
    once: Option<u8>,
    seconds: i64,
    /// A row that no table takes.
    bad: bool,
}

fn op() -> impl Strategy<Value = Op> {
    let who = || 0..NAMES.len();
    // Nobody's account is rare: what fails has all others run again one by one.
    let anybody = || prop_oneof![40 => 0..=NAMES.len(), 1 => Just(NAMES.len() + 1)];
    let cost = prop_oneof![4 => 0..900_i64, 1 => 0..9_000_i64];
    let fee = prop_oneof![Just(0), Just(1), Just(333), Just(10_000)];
    let seconds = prop_oneof![Just(0), Just(59), Just(61), Just(-90_000), Just(90_000), Just(8 * 86_400)];
    let once = prop::option::weighted(0.2, 0..3_u8);
    let rare = || prop::bool::weighted(0.02);
    let charge = ((anybody(), anybody()), 1..200_i64, cost, 0..700_i64, fee, 1..5_i64, any::<bool>(), rare());
    prop_oneof![
        18 => (charge, once, seconds, rare()).prop_map(|((by, row, cost, held, fee, key, limited, flagged), once, seconds, bad)| {
            Op::Charge(Asked { by, row, cost, held, fee, key, limited, flagged, once, seconds, bad })
        }),
        1 => (who(), 1..500_i64).prop_map(|(account, amount)| Op::Credit(account, amount)),
        1 => (who(), 1..500_i64).prop_map(|(account, amount)| Op::Withdraw(account, amount)),
        2 => (1..200_i64).prop_map(Op::Refund),
        1 => (1..5_i64, 0..RESETS.len()).prop_map(|(key, reset)| Op::Reset(key, reset)),
        1 => (who(), any::<bool>()).prop_map(|(account, suspended)| Op::Suspend(account, suspended)),
        1 => who().prop_map(Op::Fail),
    ]
}

/// Makes nearly all of a batch go well, since what fails has all others run again one by one: the rows of its charges
/// begin at `next`, and refunds are of the last ones. Returns where the next begin.
fn tame(ops: &mut [Op], mut next: i64) -> i64 {
    for op in ops {
        match op {
            Op::Charge(asked) => {
                let known = |n: usize| n.min(NAMES.len());
                *asked = Asked { row: next, bad: false, by: (known(asked.by.0), known(asked.by.1)), ..asked.clone() };
                next += 1;
            }
            Op::Refund(row) => *row = next - 1 - *row % 3,
            Op::Fail(account) => *op = Op::Credit(*account, 5),
            _ => {}
        }
    }
    next
}

struct Held(i64);

impl ChargeHold for Held {
    fn debit(&mut self, _: &Charge) -> AtDebit {
        AtDebit { held_by_others: MicroUsd::new(self.0), key_is_limited: false }
    }
}

/// Two databases with the same in them: the same accounts, one of which owes, and one has nearly all that fits.
struct Twins {
    one_by_one: Tx,
    store: Store,
    writer: Writer,
    cast: Arc<Cast>,
    _dir: tempfile::TempDir,
}

/// Who is in both.
struct Cast {
    accounts: Vec<AccountId>,
    provider: ProviderId,
}

type Answers = Vec<Result<Option<Settled>, String>>;

impl Twins {
    fn new() -> Self {
        let dir =
            tempfile::tempdir_in(if std::path::Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "." }).unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (accounts, provider) = store.write_exclusive(set_up).unwrap();
        let one_by_one = Tx::in_memory();
        one_by_one.execute("ATTACH ?1 AS other", [store.path().to_str()]).unwrap();
        let mut copy = String::from("PRAGMA defer_foreign_keys = ON; BEGIN; PRAGMA defer_foreign_keys = ON;");
        for table in tables(&one_by_one) {
            copy += &format!(
                "DELETE FROM {table} WHERE '{table}' IN ('prices', 'usage_indexed'); INSERT INTO {table} SELECT * FROM other.{table};"
            );
        }
        one_by_one.execute_batch(&(copy + "COMMIT; DETACH other")).unwrap();
        let (writer, _thread) = Writer::start(&store).unwrap();
        Self { one_by_one, store, writer, cast: Arc::new(Cast { accounts, provider }), _dir: dir }
    }

    /// Each in a transaction of its own.
    fn alone(&self, ops: &[Op]) -> Answers {
        let one = |op: &Op| {
            let conn = &self.one_by_one;
            conn.execute("BEGIN", []).unwrap();
            let done = match op {
                Op::Charge(asked) => {
                    one_by_one::settle(conn, &self.cast.charge(asked), MicroUsd::new(asked.held)).map(Some)
                }
                other => self.cast.write(conn, other).map(|()| None),
            };
            conn.execute(if done.is_ok() { "COMMIT" } else { "ROLLBACK" }, []).unwrap();
            done.map_err(|e| e.to_string())
        };
        ops.iter().map(one).collect()
    }

    /// All of them in one batch of the writer.
    fn together(&self, ops: &[Op]) -> Answers {
        let (begun, has_begun) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let first = move |_: &Tx| {
            begun.send(()).unwrap();
            // Until the sender is dropped.
            Ok(wait.lock().unwrap().recv().is_ok())
        };
        self.writer.submit_aside(first, drop);
        has_begun.recv().unwrap();
        let queue = |op: &Op| {
            let (answer, answered) = mpsc::channel();
            match op {
                Op::Charge(asked) => {
                    self.writer.settle(self.cast.charge(asked), Held(asked.held), move |_, settled| {
                        answer.send(settled.map(Some).map_err(|e| e.to_string())).unwrap();
                    })
                }
                _ => {
                    let (cast, op) = (Arc::clone(&self.cast), op.clone());
                    let then = move |done: Result<(), StoreError>| {
                        answer.send(done.map(|()| None).map_err(|e| e.to_string())).unwrap();
                    };
                    self.writer.submit(move |conn| cast.write(conn, &op), then);
                }
            }
            answered
        };
        let answers: Vec<_> = ops.iter().map(queue).collect();
        drop(go);
        answers.into_iter().map(|answer| answer.recv().unwrap()).collect()
    }

    /// What is remembered of accounts and keys is what is there.
    fn remembered(&self) -> Result<(), TestCaseError> {
        let read = |conn: &Read| {
            let balances: Vec<_> = self.cast.accounts.iter().map(|id| accounts::balance(conn, *id).ok()).collect();
            let keys: Vec<_> = (1..5).map(|n| keys::get(conn, KeyId::from_i64(n)).unwrap().unwrap().window).collect();
            Ok((balances, keys))
        };
        let there = self.store.read_inline(read).unwrap();
        let cached = self.store.cached(|memory| {
            let balances: Vec<_> = self.cast.accounts.iter().map(|id| memory.balance(*id).ok()).collect();
            let keys: Vec<_> = (1..5).map(|n| memory.key(KeyId::from_i64(n)).unwrap().unwrap().window).collect();
            Ok((balances, keys))
        });
        prop_assert_eq!(cached.unwrap(), there);
        Ok(())
    }
}

impl Cast {
    fn account(&self, n: usize) -> AccountId {
        self.accounts.get(n).copied().unwrap_or(AccountId::from_i64(77))
    }

    fn charge(&self, asked: &Asked) -> Charge {
        let cached_tokens = if asked.bad { 31 } else { 3 };
        Charge {
            request_id: RequestId::from_i64(asked.row),
            account_id: self.account(asked.by.0),
            key_id: KeyId::from_i64(asked.key),
            key_is_limited: asked.limited,
            provider_id: self.provider,
            provider_account_id: self.account(asked.by.1),
            price_id: PriceId::from_i64(1),
            model: "m".into(),
            endpoint: Endpoint::ChatCompletions,
            translated: false,
            own_use: false,
            fee: FeeBps::new(asked.fee).unwrap(),
            usage: Usage { prompt_tokens: 30, cached_tokens, completion_tokens: 10, ..Usage::default() },
            cost: MicroUsd::new(asked.cost),
            outcome: Outcome::Completed,
            metered_by: MeteredBy::Provider,
            flagged: asked.flagged,
            idempotency: asked.once.map(|key| ([key; 32], [7; 32])),
            now: NOW.plus_seconds(asked.seconds),
        }
    }

    /// All that is no charge.
    fn write(&self, conn: &Tx, op: &Op) -> Result<(), StoreError> {
        match *op {
            Op::Charge(_) => Ok(()),
            Op::Credit(n, amount) => {
                ledger::credit(conn, self.account(n), MicroUsd::new(amount), "", "test", NOW).map(drop)
            }
            Op::Withdraw(n, amount) => {
                let wanted = Wanted { account: self.account(n), amount: MicroUsd::new(amount), note: String::new() };
                withdrawals::request(conn, &wanted, wanted.amount, MicroUsd::new(40), "test", NOW).map(drop)
            }
            Op::Refund(row) => {
                refund::refund(conn, RequestId::from_i64(row), "", |_| MicroUsd::new(30), "test", NOW).map(drop)
            }
            Op::Reset(key, reset) => {
                let spend = Some(if reset == 0 { None } else { Some(MicroUsd::new(9_000)) });
                let change = key_changes::Change { reset: Some(RESETS[reset]), spend, ..Default::default() };
                let owner = self.account(usize::try_from(key).unwrap() - 1);
                key_changes::update(conn, owner, KeyId::from_i64(key), &change, "test", NOW).map(drop)
            }
            Op::Suspend(n, suspended) => {
                accounts::set_suspended(conn, self.account(n), suspended, "test", NOW).map(drop)
            }
            Op::Fail(n) => {
                let all = accounts::totals(conn)?;
                ledger::credit(conn, self.account(n), MicroUsd::new(1), "", "test", NOW)?;
                Err(StoreError::Invalid(format!("{all:?}")))
            }
        }
    }
}

/// Six accounts, the first four with keys of windows of all lengths. The operator's is there only once a fee is taken.
fn set_up(conn: &Tx) -> Result<(Vec<AccountId>, ProviderId), StoreError> {
    let mut all = Vec::new();
    for name in NAMES {
        all.push(accounts::create(conn, name, None, "test", NOW)?.id);
    }
    for account in &all[..5] {
        ledger::credit(conn, *account, MicroUsd::new(5_000), "", "test", NOW)?;
    }
    conn.execute("UPDATE accounts SET debt_micro_usd = 1500 WHERE name = 'owing'", [])?;
    conn.execute("UPDATE accounts SET alert_below_micro_usd = 4000 WHERE name <> 'rich'", [])?;
    let most = i64::MAX - 1_000;
    let rich = "UPDATE accounts SET balance_micro_usd = ?1, withdrawable_micro_usd = ?1 WHERE name = 'rich'";
    conn.execute(rich, [most])?;
    for (n, reset) in (1..).zip(RESETS) {
        let limits = KeyLimits { spend: Some(MicroUsd::new(5_000)), reset, ..KeyLimits::default() };
        let owner = Owner::Account(all[usize::try_from(n).unwrap() - 1]);
        let (hash, name, scopes) = (String::new(), String::new(), Scopes::INFERENCE);
        let new = NewKey { id: KeyId::from_i64(n), hash, owner, name, scopes, limits };
        keys::create(conn, &new, "test", NOW)?;
    }
    all.push(accounts::HOUSE);
    let new = NewProvider::of(all[2], "p", "m");
    let provider = providers::create(conn, &new, "test", NOW)?.id;
    Ok((all, provider))
}

fn tables(conn: &Read) -> Vec<String> {
    let mut names = conn.prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1").unwrap();
    names.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

/// All that is in the database. Ids made as it was written are told by their order.
fn dump(conn: &Read) -> Vec<(String, Vec<Value>)> {
    let order = |table: &str, id: &str| format!("(SELECT count(*) FROM {table} x WHERE x.id <= {id})");
    let mut all = Vec::new();
    for table in tables(conn) {
        let columns: Vec<String> = {
            let mut names = conn.prepare(&format!("SELECT name FROM pragma_table_info('{table}')")).unwrap();
            names.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
        };
        let shown = |column: &String| match (table.as_str(), column.as_str()) {
            ("ledger" | "withdrawals" | "alerts", "id") => order(&table, &format!("{table}.id")),
            ("withdrawals", "ledger_id" | "returned_ledger_id") => order("ledger", &format!("withdrawals.{column}")),
            ("events" | "alerts", "detail") => "json_remove(detail, '$.ledger_id', '$.withdrawal_id')".into(),
            (_, name) => name.to_owned(),
        };
        let columns: Vec<String> = columns.iter().map(shown).collect();
        let mut rows = conn.prepare(&format!("SELECT {} FROM {table} ORDER BY 1, 2", columns.join(", "))).unwrap();
        let rows = rows.query_map([], |row| (0..columns.len()).map(|n| row.get(n)).collect()).unwrap();
        all.extend(rows.map(|row| (table.clone(), row.unwrap())));
    }
    all
}

/// As many cases as `PROPTEST_CASES` says; a few otherwise, of many batches each.
fn config() -> ProptestConfig {
    /// What proptest takes where nobody says anything.
    const USUAL: u32 = 256;
    let config = ProptestConfig { failure_persistence: None, max_shrink_iters: 300, ..ProptestConfig::default() };
    if config.cases == USUAL { ProptestConfig { cases: 24, ..config } } else { config }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn together_or_one_by_one_is_the_same(
        batches in prop::collection::vec((prop::bool::weighted(0.7), prop::collection::vec(op(), 1..20)), 1..8),
    ) {
        let (twins, mut next) = (Twins::new(), 1_000);
        for (is_tame, mut ops) in batches {
            if is_tame {
                next = tame(&mut ops, next);
            }
            let alone = twins.alone(&ops);
            prop_assert_eq!(twins.together(&ops), alone, "{:?}", ops);
            let (there, expected) = (twins.store.read_inline(|conn| Ok(dump(conn))).unwrap(), dump(&twins.one_by_one));
            let differ: Vec<_> = there.iter().zip(&expected).filter(|(a, b)| a != b).collect();
            prop_assert!(differ.is_empty() && there.len() == expected.len(), "{:?}: {:?}", ops, differ);
            twins.remembered()?;
        }
    }
}
