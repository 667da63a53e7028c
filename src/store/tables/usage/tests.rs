//! Settled rows read back: which of them, in what order, what they say, and as CSV.

use proptest::prelude::*;

use super::*;
use crate::domain::endpoint::Endpoint;
use crate::domain::ids::{PriceId, ProviderId};
use crate::domain::key_limits::KeyLimits;
use crate::domain::keys::Scopes;
use crate::domain::settle::FeeBps;
use crate::domain::usage::{CacheWrites, Metered, MeteredBy, Usage};
use crate::store::keys::{NewKey, Owner};
use crate::store::providers::NewProvider;
use crate::store::settlement::{Settled, settle};
use crate::store::summary::{self, GroupBy};
use crate::store::tables::{accounts, keys, providers, request_keys, usage_index};
use crate::store::{audit, ledger, refund};

const NOW: Timestamp = Timestamp::from_millis(1_777_558_921_000);

/// Ada has the keys 1 and 2, Bob has 3, the provider's account 4, and the house 5. Each has 10,000 micro-dollars.
struct Books {
    conn: Tx,
    ada: AccountId,
    bob: AccountId,
    earner: AccountId,
    provider: ProviderId,
}

fn key(n: i64) -> KeyId {
    KeyId::from_i64(n)
}

fn row(n: i64) -> RequestId {
    RequestId::from_i64(n)
}

fn second(n: i64) -> Timestamp {
    NOW.plus_seconds(n)
}

impl Books {
    fn new() -> Self {
        let conn = Tx::in_memory();
        let [ada, bob, earner] =
            ["ada", "bob", "earner"].map(|name| accounts::create(&conn, name, None, "test", NOW).unwrap().id);
        accounts::ensure_house(&conn, NOW).unwrap();
        for (n, account) in [(1, ada), (2, ada), (3, bob), (4, earner), (5, accounts::HOUSE)] {
            let (owner, hash, name) = (Owner::Account(account), String::new(), String::new());
            let limits = KeyLimits { spend: Some(MicroUsd::new(5_000)), ..KeyLimits::default() };
            let new = NewKey { id: key(n), hash, owner, name, scopes: Scopes::INFERENCE, limits };
            keys::create(&conn, &new, "test", NOW).unwrap();
        }
        for account in [ada, bob, earner, accounts::HOUSE] {
            ledger::credit(&conn, account, MicroUsd::new(10_000), "", "test", NOW).unwrap();
        }
        let new = NewProvider::of(earner, "p", "m");
        let provider = providers::create(&conn, &new, "test", NOW).unwrap().id;
        Self { conn, ada, bob, earner, provider }
    }

    /// A request of Ada's that costs 1,000 micro-dollars.
    fn request(&self, n: i64) -> Charge {
        Charge {
            request_id: row(n),
            account_id: self.ada,
            key_id: key(1),
            key_is_limited: false,
            provider_id: self.provider,
            provider_account_id: self.earner,
            price_id: PriceId::from_i64(1),
            model: "m".into(),
            endpoint: Endpoint::ChatCompletions,
            translated: false,
            own_use: false,
            fee: FeeBps::new(1_000).unwrap(),
            usage: Usage { prompt_tokens: 30, cached_tokens: 20, completion_tokens: 10, ..Usage::default() },
            cost: MicroUsd::new(1_000),
            outcome: Outcome::Completed,
            metered_by: MeteredBy::Provider,
            flagged: false,
            idempotency: None,
            now: NOW,
        }
    }

    /// Settles it with a fee of a tenth.
    fn settle(&self, charge: &Charge) -> Settled {
        settle(&self.conn, charge, MicroUsd::ZERO).unwrap()
    }
}

#[test]
fn rows_are_filtered_by_each_field_and_paged_newest_first() {
    use Outcome::{ClientDisconnected as Left, Completed as Whole, ProviderError as Broken};
    let books = Books::new();
    // key, model, outcome; the row's number is its second, too
    let settled =
        [(1, "a", Whole), (2, "a", Left), (1, "b", Whole), (3, "a", Whole), (1, "a", Broken), (2, "b", Broken)];
    for (n, (by, model, outcome)) in (1..).zip(settled) {
        let account_id = if by == 3 { books.bob } else { books.ada };
        let (model, now) = (model.to_owned(), second(n));
        books.settle(&Charge { account_id, key_id: key(by), model, outcome, now, ..books.request(n) });
    }
    let all = UsageFilter::default();
    let model = |text: &str| Some(text.to_owned());
    let rows: Vec<(UsageFilter, u32, &[i64])> = vec![
        (all.clone(), 10, &[6, 5, 3, 2, 1]),
        (all.clone(), 2, &[6, 5]),
        (UsageFilter { before: Some(row(5)), ..all.clone() }, 2, &[3, 2]),
        (UsageFilter { before: Some(row(2)), ..all.clone() }, 2, &[1]),
        (UsageFilter { before: Some(row(1)), ..all.clone() }, 2, &[]),
        (UsageFilter { model: model("a"), ..all.clone() }, 10, &[5, 2, 1]),
        (UsageFilter { model: model("A"), ..all.clone() }, 10, &[]),
        (UsageFilter { key: Some(key(1)), ..all.clone() }, 10, &[5, 3, 1]),
        (UsageFilter { key: Some(key(3)), ..all.clone() }, 10, &[]),
        (UsageFilter { since: Some(second(3)), ..all.clone() }, 10, &[6, 5, 3]),
        (UsageFilter { until: Some(second(3)), ..all.clone() }, 10, &[2, 1]),
        (UsageFilter { since: Some(second(2)), until: Some(second(6)), ..all.clone() }, 10, &[5, 3, 2]),
        (UsageFilter { outcome: Some(Whole), ..all.clone() }, 10, &[3, 1]),
        (UsageFilter { outcome: Some(Left), ..all.clone() }, 10, &[2]),
        (UsageFilter { outcome: Some(Broken), ..all.clone() }, 10, &[6, 5]),
        (UsageFilter { outcome: Some(Whole), model: model("a"), key: Some(key(1)), ..all.clone() }, 10, &[1]),
        (UsageFilter { outcome: Some(Broken), model: model("b"), key: Some(key(1)), ..all.clone() }, 10, &[]),
    ];
    for (filter, limit, expected) in rows {
        let found = list(&books.conn, books.ada, &filter, limit).unwrap();
        let found: Vec<_> = found.iter().map(|found| found.request_id.to_i64()).collect();
        assert_eq!(found, expected, "{filter:?} {limit}");
    }
    let bobs = list(&books.conn, books.bob, &all, 10).unwrap();
    assert_eq!(bobs.iter().map(|found| found.request_id.to_i64()).collect::<Vec<_>>(), [4]);
    assert_eq!(list(&books.conn, books.earner, &all, 10).unwrap().len(), 0, "who serves does not pay");
}

/// Two rows: one that the balance did not cover, and one that was refunded a minute later.
fn two_rows() -> Vec<UsageRow> {
    let books = Books::new();
    books.settle(&books.request(1));
    let dear = Charge {
        key_id: key(2),
        model: "of \"ours\", large".into(),
        endpoint: Endpoint::Embeddings,
        translated: true,
        usage: Usage {
            prompt_tokens: 7,
            cached_tokens: 6,
            cache_writes: CacheWrites { short: 0, hour: 1 },
            completion_tokens: 5,
        },
        cost: MicroUsd::new(9_500),
        outcome: Outcome::ClientDisconnected,
        metered_by: MeteredBy::Estimate,
        now: second(1),
        ..books.request(2)
    };
    books.settle(&dear);
    refund::refund(&books.conn, row(1), "", |_| MicroUsd::ZERO, "test", second(60)).unwrap();
    list(&books.conn, books.ada, &UsageFilter::default(), 10).unwrap()
}

#[test]
fn a_row_says_what_was_settled() {
    let expected = serde_json::json!([
        {
            "request_id": "req_0000000000002", "model": "of \"ours\", large", "prompt_tokens": 7,
            "completion_tokens": 5, "cost_micro_usd": 9_500, "timestamp": "2026-04-30T14:22:02Z", "cached_tokens": 6,
            "endpoint": "/v1/embeddings", "key_id": "key_000000000002", "outcome": "client_disconnected",
            "metered_by": "estimate", "shortfall_micro_usd": 500, "charged_micro_usd": 9_000, "refunded_at": null,
            "cache_write_tokens": 1, "cache_write_1h_tokens": 1, "translated": true, "key_name": "", "own_use": false,
        },
        {
            "request_id": "req_0000000000001", "model": "m", "prompt_tokens": 30, "completion_tokens": 10,
            "cost_micro_usd": 1_000, "timestamp": "2026-04-30T14:22:01Z", "cached_tokens": 20,
            "endpoint": "/v1/chat/completions", "key_id": "key_000000000001", "outcome": "completed",
            "metered_by": "provider", "shortfall_micro_usd": 0, "charged_micro_usd": 1_000,
            "refunded_at": "2026-04-30T14:23:01Z", "cache_write_tokens": 0, "cache_write_1h_tokens": 0,
            "translated": false, "key_name": "", "own_use": false,
        },
    ]);
    assert_eq!(serde_json::to_value(two_rows()).unwrap(), expected);
}

#[test]
fn csv_has_the_header_once_and_a_line_a_row() {
    let rows = two_rows();
    let csv = |rows: &[UsageRow], first| String::from_utf8(to_csv(rows, first).unwrap()).unwrap();
    let header = "request_id,model,prompt_tokens,completion_tokens,cost_micro_usd,timestamp,cached_tokens,endpoint,\
         key_id,outcome,metered_by,shortfall_micro_usd,charged_micro_usd,refunded_at,cache_write_tokens,\
         cache_write_1h_tokens,translated,key_name,own_use\n";
    let dear = "req_0000000000002,\"of \"\"ours\"\", large\",7,5,9500,2026-04-30T14:22:02Z,6,/v1/embeddings,\
         key_000000000002,client_disconnected,estimate,500,9000,,1,1,true,,false\n";
    let refunded = "req_0000000000001,m,30,10,1000,2026-04-30T14:22:01Z,20,/v1/chat/completions,\
         key_000000000001,completed,provider,0,1000,2026-04-30T14:23:01Z,0,0,false,,false\n";
    assert_eq!(csv(&rows, true), format!("{header}{dear}{refunded}"));
    assert_eq!(csv(&rows[..1], true) + &csv(&rows[1..], false), format!("{header}{dear}{refunded}"));
    assert_eq!((csv(&[], true), csv(&[], false)), (header.to_owned(), String::new()));
}

#[test]
fn the_balance_that_is_told_is_the_one_that_is_left() {
    // the key → what its account has of 10,000 after 1,000, of which the provider gets 900 and the house 100
    for (by, left) in [(1, 9_000), (4, 9_900), (5, 9_100)] {
        let books = Books::new();
        let account_id = match by {
            1 => books.ada,
            4 => books.earner,
            _ => accounts::HOUSE,
        };
        let settled = books.settle(&Charge { account_id, key_id: key(by), ..books.request(1) });
        assert_eq!((settled.charged.micro(), settled.balance.micro()), (1_000, left));
        assert_eq!(accounts::balance(&books.conn, account_id).unwrap().total, settled.balance);
    }
}

#[test]
fn the_fees_of_small_charges_add_up_to_the_fee_of_their_sum() {
    let books = Books::new();
    let fee = FeeBps::new(250).unwrap();
    let at_first = |account| accounts::balance(&books.conn, account).unwrap().total.micro();
    let (earner, house) = (at_first(books.earner), at_first(accounts::HOUSE));
    // 188 charges of 39 micro-dollars: each alone is short of a fee of one.
    for n in 1..=188 {
        let cost = MicroUsd::new(39);
        let usage = Usage { prompt_tokens: 600, cached_tokens: 0, completion_tokens: 0, ..Usage::default() };
        let small = Charge { price_id: PriceId::from_i64(1), usage, cost, fee, ..books.request(n) };
        settle(&books.conn, &small, MicroUsd::ZERO).unwrap();
    }
    let charged = 188 * 39;
    assert_eq!(at_first(accounts::HOUSE) - house, charged * 250 / 10_000, "183.3, rounded down once");
    assert_eq!(at_first(books.earner) - earner, charged - charged * 250 / 10_000);
    let carried = accounts::money(&books.conn, books.earner).unwrap().carry.parts();
    assert_eq!(i64::from(carried), charged * 250 % 10_000);
    let wrong = "SELECT count(*) FROM usage WHERE charged_micro_usd <> earned_micro_usd + fee_micro_usd";
    assert_eq!(books.conn.query_row(wrong, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    // Without a fee nothing is carried away.
    settle(&books.conn, &Charge { fee: FeeBps::default(), ..books.request(500) }, MicroUsd::ZERO).unwrap();
    assert_eq!(accounts::money(&books.conn, books.earner).unwrap().carry.parts(), carried);
    assert_eq!(audited(&books), Vec::<String>::new());
}

fn audited(books: &Books) -> Vec<String> {
    // The costs here are made up, so that the audit finds them; what moved must agree.
    let problems = audit::audit(&books.conn).unwrap().problems;
    problems.into_iter().filter(|text| !text.contains(": cost ")).collect()
}

#[test]
fn a_failure_that_costs_something_is_found() {
    let books = Books::new();
    books.settle(&books.request(1));
    let before = audited(&books);
    books.conn.execute("UPDATE usage SET outcome = 'provider_error'", []).unwrap();
    let found = audited(&books).join("; ");
    assert!(
        !before.join("; ").contains("has a cost") && found.contains("a failure of the provider has a cost"),
        "{found}"
    );
}

#[test]
fn what_an_account_pays_to_itself_is_never_withdrawable() {
    // the key → whose provider it is, and what of the account's 10,000 is left, none of it withdrawable
    for (by, owner, left) in [(4, "earner", 9_900), (5, "house", 10_000), (5, "earner", 9_100)] {
        let books = Books::new();
        let account_id = if by == 4 { books.earner } else { accounts::HOUSE };
        let provider_account_id = if owner == "house" { accounts::HOUSE } else { books.earner };
        books.settle(&Charge { account_id, key_id: key(by), provider_account_id, ..books.request(1) });
        let balance = accounts::balance(&books.conn, account_id).unwrap();
        assert_eq!((balance.total.micro(), balance.withdrawable.micro()), (left, 0), "{by} {owner}");
        let earned = accounts::balance(&books.conn, books.earner).unwrap().withdrawable.micro();
        assert_eq!(earned, if by == 5 && owner == "earner" { 900 } else { 0 }, "{by} {owner}");
        assert_eq!(audited(&books), Vec::<String>::new(), "{by} {owner}");
    }
}

#[test]
fn a_fee_is_paid_though_somebody_is_called_house() {
    let books = Books::new();
    // As if a fee had never been asked for.
    let forget = "DELETE FROM ledger WHERE account_id = 1; DELETE FROM keys WHERE account_id = 1; \
         DELETE FROM accounts WHERE id = 1";
    books.conn.execute_batch(forget).unwrap();
    let namesake = accounts::create(&books.conn, "house", None, "test", NOW).unwrap().id;
    books.settle(&books.request(1));
    assert_eq!(accounts::balance(&books.conn, accounts::HOUSE).unwrap().total.micro(), 100);
    assert_eq!(accounts::balance(&books.conn, namesake).unwrap().total.micro(), 0);
}

#[test]
fn the_limit_the_flag_and_the_idempotency_key_are_written_with_the_charge() {
    let (text, body) = ([1; 32], [2; 32]);
    for asked in [false, true] {
        let books = Books::new();
        let idempotency = asked.then_some((text, body));
        books.settle(&Charge { key_is_limited: asked, flagged: asked, idempotency, ..books.request(1) });
        let spent = keys::get(&books.conn, key(1)).unwrap().unwrap().spent(NOW).micro();
        let flagged = providers::find(&books.conn, "p").unwrap().flagged;
        assert_eq!((spent, flagged), if asked { (1_000, 1) } else { (0, 0) });
        let found = request_keys::find(&books.conn, books.ada, &text, NOW).unwrap();
        let found = found.map(|found| (found.request_id, found.body_hash, found.charged.micro()));
        assert_eq!(found, asked.then_some((row(1), body, 1_000)));
    }
}

#[test]
fn the_last_id_is_the_highest() {
    let books = Books::new();
    assert_eq!(last_id(&books.conn).unwrap(), row(0));
    for n in [3, 9, 5] {
        books.settle(&books.request(n));
    }
    assert_eq!(last_id(&books.conn).unwrap(), row(9));
}

#[test]
fn own_use_takes_nothing_says_why_and_cannot_be_anothers() {
    let books = Books::new();
    let own = Charge { provider_account_id: books.ada, own_use: true, ..books.request(1) };
    let metered = Metered { usage: own.usage, metered_by: MeteredBy::Provider, flagged: false };
    let ended = own.ended(metered, MicroUsd::new(1_000), Outcome::Completed, NOW);
    let before = accounts::balance(&books.conn, books.ada).unwrap();
    let settled = books.settle(&ended);
    assert_eq!((settled.charged, settled.balance), (MicroUsd::ZERO, before.total));
    assert_eq!(accounts::balance(&books.conn, books.ada).unwrap(), before);
    let own = list(&books.conn, books.ada, &UsageFilter::default(), 1).unwrap().remove(0);
    assert_eq!((own.own_use, own.prompt_tokens, own.cost_micro_usd), (true, 30, MicroUsd::ZERO));
    // Whatever the relay thought: another's provider serves nobody for nothing, and what is free has no cost.
    let others = Charge { provider_account_id: books.earner, request_id: row(2), ..ended.clone() };
    assert!(settle(&books.conn, &others, MicroUsd::ZERO).is_err());
    let costs = Charge { cost: MicroUsd::new(1), request_id: row(3), ..ended };
    assert!(settle(&books.conn, &costs, MicroUsd::ZERO).is_err());
    // Nor do the books take it, if somebody made such a row.
    assert!(audit::audit(&books.conn).unwrap().ok);
    let sql = "PRAGMA ignore_check_constraints = on; UPDATE usage SET provider_account_id = account_id + 1";
    books.conn.execute_batch(sql).unwrap();
    let problems = audit::audit(&books.conn).unwrap().problems;
    assert!(problems.iter().any(|text| text.contains("own use")), "{problems:?}");
}

/// What may happen to the index: a request with this number is settled for Ada or Bob, and a step goes on or breaks off.
#[derive(Debug, Clone)]
enum Indexing {
    Settled(i64, bool),
    /// One begins, up to here, unless one is under way.
    Begun(i64),
    /// That many entries are added.
    Added(usize),
    /// The process ends and another starts.
    BrokenOff,
}

fn indexing() -> impl Strategy<Value = Indexing> {
    prop_oneof![
        6 => (1..80_i64, any::<bool>()).prop_map(|(n, ada)| Indexing::Settled(n, ada)),
        2 => (1..80_i64).prop_map(Indexing::Begun),
        4 => (1..9_usize).prop_map(Indexing::Added),
        1 => Just(Indexing::BrokenOff),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Settled before a step, within it or late, each row is found once by its account, in its place.
    #[test]
    fn an_accounts_rows_are_the_same_however_far_the_index_is(all in prop::collection::vec(indexing(), 1..60)) {
        let books = Books::new();
        let conn = &books.conn;
        let mut rows = [Vec::new(), Vec::new()];
        let mut under_way: Option<Vec<usage_index::Entry>> = None;
        for one in all {
            match one {
                Indexing::Settled(n, _) if rows.concat().contains(&n) => {}
                Indexing::Settled(n, is_ada) => {
                    let (account_id, by) = if is_ada { (books.ada, 1) } else { (books.bob, 3) };
                    let (usage, cost) = (Usage::default(), MicroUsd::ZERO);
                    books.settle(&Charge { account_id, key_id: key(by), usage, cost, ..books.request(n) });
                    rows[usize::from(!is_ada)].push(n);
                }
                Indexing::Begun(to) => {
                    if under_way.is_none() {
                        usage_index::begin(conn, row(to)).unwrap();
                        under_way = Some(usage_index::due(conn).unwrap());
                    }
                }
                Indexing::Added(count) => {
                    if let Some(mut due) = under_way.take() {
                        let later = due.split_off(count.min(due.len()));
                        usage_index::add(conn, &due).unwrap();
                        if later.is_empty() {
                            usage_index::finish(conn).unwrap();
                        } else {
                            under_way = Some(later);
                        }
                    }
                }
                Indexing::BrokenOff => {
                    under_way = None;
                    if usage_index::next(conn, NOW).unwrap().is_some() {
                        under_way = Some(usage_index::due(conn).unwrap());
                    }
                }
            }
            for (account, rows) in [books.ada, books.bob].into_iter().zip(&mut rows) {
                rows.sort_unstable_by(|a, b| b.cmp(a));
                let found = list(conn, account, &UsageFilter::default(), 1_000).unwrap();
                prop_assert_eq!(&found.iter().map(|found| found.request_id.to_i64()).collect::<Vec<_>>(), &*rows);
                let totals = summary::summary(conn, account, &UsageFilter::default(), GroupBy::Model).unwrap();
                prop_assert_eq!(totals.iter().map(|total| total.requests).sum::<u64>(), rows.len() as u64);
                let middle = UsageFilter { before: Some(row(40)), ..UsageFilter::default() };
                let found = list(conn, account, &middle, 3).unwrap();
                let below: Vec<_> = rows.iter().copied().filter(|n| *n < 40).take(3).collect();
                prop_assert_eq!(found.iter().map(|found| found.request_id.to_i64()).collect::<Vec<_>>(), below);
            }
        }
        prop_assert_eq!(audit::audit(conn).unwrap().problems, Vec::<String>::new());
    }
}

#[test]
fn a_step_is_due_when_there_are_many_rows_or_old_ones() {
    let books = Books::new();
    let (conn, at) = (&books.conn, |seconds: i64| RequestId::first_at(second(seconds)));
    let next = |seconds| usage_index::next(conn, second(seconds)).unwrap();
    assert_eq!(next(0), None);
    books.settle(&Charge { request_id: at(0), ..books.request(1) });
    books.settle(&Charge { request_id: at(50), ..books.request(1) });
    assert_eq!(next(60), None, "few, and none of them old");
    assert_eq!(next(61), Some(at(50)));
    usage_index::begin(conn, at(50)).unwrap();
    assert_eq!(next(0), Some(at(50)), "it broke off");
    usage_index::add(conn, &usage_index::due(conn).unwrap()).unwrap();
    usage_index::finish(conn).unwrap();
    assert_eq!(next(1_000), None);
    for n in 1..=4_096 {
        books.settle(&Charge { request_id: row(at(100).to_i64() + n), cost: MicroUsd::ZERO, ..books.request(1) });
    }
    assert_eq!(next(101), None, "some of them may not be settled yet");
    assert_eq!(next(103), Some(row(at(100).to_i64() + 4_096)));
}

#[test]
fn a_row_that_the_index_lacks_is_found() {
    let books = Books::new();
    let conn = &books.conn;
    books.settle(&Charge { usage: Usage::default(), cost: MicroUsd::ZERO, ..books.request(1) });
    usage_index::begin(conn, row(1)).unwrap();
    usage_index::add(conn, &usage_index::due(conn).unwrap()).unwrap();
    usage_index::finish(conn).unwrap();
    assert_eq!(audit::audit(conn).unwrap().problems, Vec::<String>::new());
    conn.execute("DELETE FROM usage_by_account", []).unwrap();
    let problems = audit::audit(conn).unwrap().problems.join("; ");
    assert!(problems.ends_with("is not what it should be: 1 rows up to it, 0 in the index"), "{problems}");
}

#[test]
fn an_account_is_asked_for_through_its_index() {
    let conn = Tx::in_memory();
    for sql in [
        "SELECT id FROM account_usage WHERE account_id = 1 AND id < 5 ORDER BY id DESC LIMIT 9",
        "SELECT sum(charged_micro_usd) FROM account_usage WHERE account_id = 1 AND created_at > 5",
    ] {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let plan: Vec<String> =
            statement.query_map([], |row| row.get("detail")).unwrap().collect::<rusqlite::Result<_>>().unwrap();
        let plan = plan.join("; ");
        assert!(plan.contains("SEARCH i USING PRIMARY KEY (account_id=?"), "{plan}");
        assert!(plan.contains("SEARCH usage USING INTEGER PRIMARY KEY (rowid>?"), "{plan}");
        assert!(!plan.contains("ORDER BY"), "nothing is sorted: {plan}");
    }
}
