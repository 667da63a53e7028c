//! Days, and that what is remembered with what is read is all there is.

use rusqlite::params;

use super::*;
use crate::store::Tx;
use crate::store::accounts::{self, AccountTotals};

#[test]
fn a_day_begins_at_midnight_utc() {
    let noon = Timestamp::from_millis(1_777_558_921_000);
    assert_eq!(start_of(day_of(noon)).to_string(), "2026-04-30T00:00:00Z");
    assert_eq!(day_of(start_of(5)), 5);
    assert_eq!(day_of(Timestamp::from_millis(-1)), -1);
}

#[test]
fn days_are_counted_by_when_requests_arrived() -> Result<(), StoreError> {
    let conn = Tx::in_memory();
    conn.execute_batch("PRAGMA foreign_keys = OFF")?;
    let add = |time: Timestamp, n: i64, charged: i64, outcome: &str, by: &str| {
        conn.execute(
            "INSERT INTO usage VALUES (?1, 5, 6, 7, 8, 1, 'm', '/v1/embeddings', 1, 0, 0, ?2, ?2, 0, 0, ?3, ?4, ?5, ?6, ?7, 0, 0, 0, 0)",
            params![
                RequestId::first_at(time).to_i64() + n,
                charged,
                charged / 10,
                charged - charged / 10,
                outcome,
                by,
                time.plus_seconds(5).millis(),
            ],
        )
    };
    let midnight = start_of(20_000);
    add(midnight.plus_seconds(-1), 0, 100, "completed", "provider")?;
    add(midnight, 1, 20, "completed", "estimate")?;
    add(midnight, 2, 0, "provider_error", "provider")?;
    add(start_of(20_002), 3, 7, "completed", "provider")?;

    let sums = UsageSums::default();
    let now = start_of(20_001);
    let found = sums.days(&conn, 19_999, now)?;
    let day = |requests, charged, fee, estimated, failed| DayTotals {
        requests,
        charged: MicroUsd::new(charged),
        fee: MicroUsd::new(fee),
        refunded: MicroUsd::ZERO,
        estimated,
        failed,
    };
    assert_eq!(found, [(19_999, day(1, 100, 10, 0, 0)), (20_000, day(2, 20, 2, 1, 1))]);
    // Given back a day later, on which nothing was asked for.
    conn.execute(
        "INSERT INTO ledger (id, account_id, kind, amount_micro_usd, withdrawable_micro_usd, \
         balance_after_micro_usd, request_id, actor, note, created_at) VALUES (?1, 5, 'refund', 20, 0, 20, ?2, 'a', '', 0)",
        [RequestId::first_at(start_of(20_001)).to_i64(), RequestId::first_at(midnight).to_i64() + 1],
    )?;
    let refunded = DayTotals { refunded: MicroUsd::new(20), ..DayTotals::default() };
    assert_eq!(sums.days(&conn, 20_001, now)?, [(20_001, refunded)]);
    assert_eq!(
        accounts::totals(&conn)?,
        AccountTotals { accounts: 0, balance: MicroUsd::ZERO, withdrawable: MicroUsd::ZERO }
    );
    Ok(())
}

/// A row of provider `provider` that arrived at `time`, the `n`-th then, and earned 1.
fn add_row(conn: &Tx, time: Timestamp, n: i64, provider: i64) -> Result<(), StoreError> {
    let id = RequestId::first_at(time).to_i64() + n;
    conn.execute(
        "INSERT INTO usage VALUES (?1, 5, 6, ?2, 8, 1, 'm', '/v1/embeddings', 10, 0, 3, 1, 1, 0, 0, 0, 1, 'completed', \
         'provider', ?3, 0, 0, 0, 0)",
        params![id, provider, time.millis()],
    )?;
    Ok(())
}

#[test]
fn what_is_remembered_and_what_came_since_is_all_there_is() -> Result<(), StoreError> {
    let conn = Tx::in_memory();
    conn.execute_batch("PRAGMA foreign_keys = OFF")?;
    let sums = UsageSums::default();
    let begin = start_of(20_000);
    // In the middle of a day, hours pass; at each a row comes, every fifth of a request that arrived 20 hours before.
    let mut rows: Vec<(Timestamp, i64)> = vec![(begin.plus_seconds(-40 * 24 * 3_600), 7)];
    add_row(&conn, rows[0].0, 0, 7)?;
    for hour in 0..120 {
        let now = begin.plus_seconds(hour * 3_600 + 1_800);
        let arrived = if hour % 5 == 0 { now.plus_seconds(-20 * 3_600) } else { now };
        let provider = 1 + hour % 3;
        add_row(&conn, arrived, hour, provider)?;
        rows.push((arrived, provider));
        // Who asks first decides what is read first; the answers must not depend on it.
        if hour % 2 == 0 {
            let first = 20_000 + hour / 24 - 1;
            let days = sums.days(&conn, first, now)?;
            let expected = |day| rows.iter().filter(|(time, _)| day_of(*time) == day).count();
            for (day, totals) in &days {
                assert_eq!(usize::try_from(totals.requests).ok(), Some(expected(*day)), "{hour} {day}");
            }
            assert_eq!(days.len(), (first..=day_of(now)).filter(|day| expected(*day) > 0).count(), "{hour}");
        }
        if hour % 7 == 6 {
            let count = u64::try_from(rows.len()).unwrap();
            let all = UsageTotal { requests: count, prompt_tokens: 10 * count, completion_tokens: 3 * count };
            assert_eq!(sums.total(&conn, now)?, all, "{hour}");
            for (provider, ProviderTotal { earned, .. }) in sums.by_provider(&conn, now)? {
                let own = rows.iter().filter(|(_, of)| ProviderId::from_i64(*of) == provider).count();
                assert_eq!(usize::try_from(earned.micro()).ok(), Some(own), "{hour} {provider}");
            }
        }
    }
    Ok(())
}

#[test]
fn old_rows_are_read_once() -> Result<(), StoreError> {
    let conn = Tx::in_memory();
    conn.execute_batch("PRAGMA foreign_keys = OFF")?;
    let (sums, now) = (UsageSums::default(), start_of(20_000));
    add_row(&conn, now.plus_seconds(-SETTLED_AFTER - 1), 0, 1)?;
    add_row(&conn, now.plus_seconds(-SETTLED_AFTER), 1, 1)?;
    assert_eq!(sums.total(&conn, now)?.requests, 2);
    conn.execute("DELETE FROM usage", [])?;
    assert_eq!(sums.total(&conn, now)?.requests, 1, "the one that cannot change any more is remembered");
    Ok(())
}
