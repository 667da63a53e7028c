//! Credit and its notes, entries read back, and CSV.

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_777_558_921_000);

/// A database with the accounts `ada` and `bob`.
fn database() -> (Tx, [AccountId; 2]) {
    let conn = Tx::in_memory();
    let ids = ["ada", "bob"].map(|name| accounts::create(&conn, name, None, "test", NOW).unwrap().id);
    (conn, ids)
}

fn add(conn: &Tx, account: AccountId, amount: i64, note: &str, now: Timestamp) -> Result<Credited, StoreError> {
    credit(conn, account, MicroUsd::new(amount), note, "admin:eve", now)
}

#[test]
fn a_note_is_at_most_a_thousand_characters() {
    let (longest, too_long) = ("ä".repeat(1_000), "a".repeat(1_001));
    let rows = [
        ("", true),
        ("paid by invoice", true),
        ("two\nlines", true),
        (longest.as_str(), true),
        (too_long.as_str(), false),
        ("a\0b", false),
        ("\0", false),
    ];
    let (conn, [ada, _]) = database();
    let mut total = 0;
    for (note, fine) in rows {
        match add(&conn, ada, 5, note, NOW) {
            Ok(_) => {
                assert!(fine, "{note:?}");
                assert_eq!(list(&conn, ada, LedgerFilter::default(), 1).unwrap()[0].note, note);
                total += 5;
            }
            Err(e) => assert!(!fine && matches!(e, StoreError::InvalidField { field: "note", .. }), "{note:?}: {e:?}"),
        }
        assert_eq!(accounts::balance(&conn, ada).unwrap().total.micro(), total, "{note:?}");
    }
}

#[test]
fn credit_is_more_than_zero_and_fits_the_balance() {
    // amount → fine
    let rows = [(i64::MIN, false), (-1, false), (0, false), (1, true), (i64::MAX - 10, true), (i64::MAX - 9, false)];
    for (amount, fine) in rows {
        let (conn, [ada, _]) = database();
        add(&conn, ada, 10, "", NOW).unwrap();
        match add(&conn, ada, amount, "", NOW) {
            Ok(credited) => {
                assert!(fine, "{amount}");
                assert_eq!((credited.account_id, credited.credited_micro_usd.micro()), (ada, amount));
                assert_eq!(credited.balance_micro_usd.micro(), 10 + amount);
                assert_eq!(list(&conn, ada, LedgerFilter::default(), 1).unwrap()[0].id, credited.ledger_id);
            }
            Err(e) => assert!(!fine && matches!(e, StoreError::Invalid(_)), "{amount}: {e:?}"),
        }
        let entries = if fine { 2 } else { 1 };
        assert_eq!(list(&conn, ada, LedgerFilter::default(), 10).unwrap().len(), entries, "{amount}");
        assert_eq!(events::list(&conn, Some("credit.add"), None, 10).unwrap().len(), entries, "{amount}");
    }
}

#[test]
fn a_debit_takes_what_is_there_and_not_held_and_earnings_last() {
    // amount, reserved, held by others, of 100 with 30 withdrawable → what is left
    let rows = [
        (0, 100, 0, None),
        (-5, 100, 0, None),
        (i64::MAX, i64::MAX, 0, None),
        (101, 200, 0, None),
        (70, 70, 0, Some((30, 30))),
        (80, 80, 0, Some((20, 20))),
        (100, 100, 0, Some((0, 0))),
        (70, 69, 0, None),
        (70, 100, 31, None),
        (70, 100, 30, Some((30, 30))),
        (1, 100, 500, None),
    ];
    for (amount, reserved, held, left) in rows {
        let (conn, [ada, _]) = database();
        let before = Balance::default();
        let after = Balance { total: MicroUsd::new(100), withdrawable: MicroUsd::new(30) };
        let kind = "adjustment";
        let movement = Movement { account_id: ada, kind, before, after, request_id: None, actor: "test", note: "" };
        write(&conn, &movement, NOW).unwrap();
        let wanted = Debit { account: ada, amount: MicroUsd::new(amount), note: "a slip".into() };
        let done = debit(&conn, &wanted, MicroUsd::new(reserved), MicroUsd::new(held), "admin:eve", NOW);
        let balance = accounts::balance(&conn, ada).unwrap();
        assert_eq!((balance.total.micro(), balance.withdrawable.micro()), left.unwrap_or((100, 30)), "{amount}");
        let Some((total, _)) = left else {
            assert!(matches!(done, Err(StoreError::InvalidField { field: "amount_usd", .. })), "{amount}: {done:?}");
            continue;
        };
        assert_eq!(done.unwrap().balance_micro_usd.micro(), total);
        let entry = &list(&conn, ada, LedgerFilter::default(), 1).unwrap()[0];
        assert_eq!(
            (entry.kind.as_str(), entry.amount_micro_usd.micro(), &*entry.note),
            ("adjustment", -amount, "a slip")
        );
        assert_eq!(events::list(&conn, Some("credit.debit"), None, 10).unwrap().len(), 1);
        assert!(crate::store::audit::audit(&conn).unwrap().ok);
    }
}

#[test]
fn entries_are_filtered_and_paged_newest_first() {
    let (conn, [ada, bob]) = database();
    // Ada's entries are of 1 to 4 micro-dollars, a second apart.
    let at = |second: i64| NOW.plus_seconds(second);
    let mut ids = Vec::new();
    for n in 1..=4 {
        ids.push(add(&conn, ada, n, "", at(n)).unwrap().ledger_id);
        add(&conn, bob, 100, "", at(n)).unwrap();
    }
    let all = LedgerFilter::default();
    let rows: [(LedgerFilter, u32, &[i64]); 8] = [
        (all, 10, &[4, 3, 2, 1]),
        (all, 2, &[4, 3]),
        (LedgerFilter { before: Some(ids[2]), ..all }, 10, &[2, 1]),
        (LedgerFilter { before: Some(ids[0]), ..all }, 10, &[]),
        (LedgerFilter { since: Some(at(2)), ..all }, 10, &[4, 3, 2]),
        (LedgerFilter { until: Some(at(3)), ..all }, 10, &[2, 1]),
        (LedgerFilter { since: Some(at(2)), until: Some(at(4)), ..all }, 10, &[3, 2]),
        (LedgerFilter { since: Some(at(2)), until: Some(at(4)), before: Some(ids[2]) }, 10, &[2]),
    ];
    let amounts = |entries: Vec<Entry>| entries.iter().map(|e| e.amount_micro_usd.micro()).collect::<Vec<_>>();
    for (filter, limit, expected) in rows {
        assert_eq!(amounts(list(&conn, ada, filter, limit).unwrap()), expected, "{filter:?} {limit}");
    }
    assert_eq!(amounts(list(&conn, ada, LedgerFilter::default(), 3).unwrap()), [4, 3, 2]);
    assert_eq!(
        amounts(list(&conn, ada, LedgerFilter { before: Some(ids[1]), ..LedgerFilter::default() }, 3).unwrap()),
        [1]
    );
}

/// Ada earned 30 and has 70 of credit; then 50 were taken, and 5 were added without a word.
fn two_entries(conn: &Tx, ada: AccountId) -> Vec<Entry> {
    let before = Balance { total: MicroUsd::new(100), withdrawable: MicroUsd::new(30) };
    let after = Balance { total: MicroUsd::new(50), withdrawable: MicroUsd::new(10) };
    let note = "a \"mistake\", by hand\n=1+1";
    let movement =
        Movement { account_id: ada, kind: "adjustment", before, after, request_id: None, actor: "cli", note };
    write(conn, &movement, NOW).unwrap();
    add(conn, ada, 5, "", NOW.plus_seconds(1)).unwrap();
    list(conn, ada, LedgerFilter::default(), 10).unwrap()
}

#[test]
fn an_entry_says_what_moved_and_null_for_no_note() {
    let (conn, [ada, _]) = database();
    let entries = two_entries(&conn, ada);
    let expected = serde_json::json!([
        {
            "id": entries[0].id, "account_id": ada, "kind": "top_up", "amount_micro_usd": 5,
            "withdrawable_micro_usd": 0, "balance_after_micro_usd": 55, "request_id": null, "actor": "admin:eve",
            "note": null, "timestamp": "2026-04-30T14:22:02Z",
        },
        {
            "id": entries[1].id, "account_id": ada, "kind": "adjustment", "amount_micro_usd": -50,
            "withdrawable_micro_usd": -20, "balance_after_micro_usd": 50, "request_id": null, "actor": "cli",
            "note": "a \"mistake\", by hand\n=1+1", "timestamp": "2026-04-30T14:22:01Z",
        },
    ]);
    assert_eq!(serde_json::to_value(&entries).unwrap(), expected);
    let left = accounts::balance(&conn, ada).unwrap();
    assert_eq!((left.total.micro(), left.withdrawable.micro()), (55, 10));
}

#[test]
fn csv_has_the_header_once_and_a_record_an_entry() {
    let (conn, [ada, _]) = database();
    let entries = two_entries(&conn, ada);
    let csv = |rows: &[Entry], first| String::from_utf8(to_csv(rows, first).unwrap()).unwrap();
    let header = "id,account_id,kind,amount_micro_usd,withdrawable_micro_usd,balance_after_micro_usd,request_id,actor,\
         note,timestamp\n";
    let top_up = format!("{},{ada},top_up,5,0,55,,admin:eve,,2026-04-30T14:22:02Z\n", entries[0].id);
    let note = "\"a \"\"mistake\"\", by hand\n=1+1\"";
    let taken = format!("{},{ada},adjustment,-50,-20,50,,cli,{note},2026-04-30T14:22:01Z\n", entries[1].id);
    assert_eq!(csv(&entries, true), format!("{header}{top_up}{taken}"));
    assert_eq!(csv(&entries[..1], true) + &csv(&entries[1..], false), format!("{header}{top_up}{taken}"));
    assert_eq!((csv(&[], true), csv(&[], false)), (header.to_owned(), String::new()));
}
