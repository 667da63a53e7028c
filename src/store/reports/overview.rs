//! What the admin's first page counts: money held, and what happened by day.

use std::collections::BTreeMap;

use rusqlite::params;

use crate::domain::ids::RequestId;
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError};

/// A day in milliseconds.
const DAY: i64 = 24 * 60 * 60 * 1_000;

/// A UTC day, counted from 1970-01-01.
pub type Day = i64;

/// The day that `time` lies in.
pub const fn day_of(time: Timestamp) -> Day {
    time.millis().div_euclid(DAY)
}

/// The beginning of a day.
pub const fn start_of(day: Day) -> Timestamp {
    Timestamp::from_millis(day.saturating_mul(DAY))
}

/// All accounts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// How many there are.
    pub accounts: u64,
    /// Σ balances.
    pub balance: MicroUsd,
    /// The part of it that was earned.
    pub withdrawable: MicroUsd,
}

/// What happened on one day: requests that arrived on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DayTotals {
    /// Usage rows.
    pub requests: u64,
    /// Σ charged.
    pub charged: MicroUsd,
    /// The house's part of it.
    pub fee: MicroUsd,
    /// What refunds gave back on that day, of whichever day's requests.
    pub refunded: MicroUsd,
    /// Requests whose tokens no provider reported.
    pub estimated: u64,
    /// Requests that failed at the provider.
    pub failed: u64,
}

/// Counts and sums the accounts.
///
/// # Errors
/// SQLite fails.
pub fn totals(conn: &Read) -> Result<Totals, StoreError> {
    let sql = "SELECT count(*), coalesce(sum(balance_micro_usd), 0), coalesce(sum(withdrawable_micro_usd), 0) \
               FROM accounts";
    Ok(conn.prepare_cached(sql)?.query_row([], |row| {
        Ok(Totals {
            accounts: row.get(0)?,
            balance: MicroUsd::new(row.get(1)?),
            withdrawable: MicroUsd::new(row.get(2)?),
        })
    })?)
}

/// The days from `first` until before `end` that had requests or refunds, oldest first. Reads only their rows:
/// ids are ordered by time.
///
/// # Errors
/// SQLite fails.
pub fn days(conn: &Read, first: Day, end: Day) -> Result<Vec<(Day, DayTotals)>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT (id >> 20) / 86400000 AS day, count(*), sum(charged_micro_usd), sum(fee_micro_usd), \
         sum(metered_by = 'estimate'), sum(outcome = 'provider_error') \
         FROM usage WHERE id >= ?1 AND id < ?2 GROUP BY day ORDER BY day",
    )?;
    let bound = |day: Day| RequestId::first_at(start_of(day)).to_i64();
    let rows = statement.query_map(params![bound(first), bound(end)], |row| {
        Ok((
            row.get(0)?,
            DayTotals {
                requests: row.get(1)?,
                charged: MicroUsd::new(row.get(2)?),
                fee: MicroUsd::new(row.get(3)?),
                refunded: MicroUsd::ZERO,
                estimated: row.get(4)?,
                failed: row.get(5)?,
            },
        ))
    })?;
    let mut days = rows.collect::<rusqlite::Result<BTreeMap<Day, DayTotals>>>()?;
    let mut statement = conn.prepare_cached(
        "SELECT (id >> 20) / 86400000 AS day, sum(amount_micro_usd) FROM ledger \
         WHERE id >= ?1 AND id < ?2 AND kind = 'refund' GROUP BY day",
    )?;
    let mut rows = statement.query(params![bound(first), bound(end)])?;
    while let Some(row) = rows.next()? {
        days.entry(row.get(0)?).or_default().refunded = MicroUsd::new(row.get(1)?);
    }
    Ok(days.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Tx;

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
                "INSERT INTO usage VALUES (?1, 5, 6, 7, 8, 1, 'm', '/v1/embeddings', 1, 0, 0, ?2, ?2, 0, 0, ?3, ?4, ?5, ?6, ?7, 0, 0)",
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

        let found = days(&conn, 19_999, 20_002)?;
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
        assert_eq!(days(&conn, 20_001, 20_002)?, [(20_001, refunded)]);
        assert_eq!(totals(&conn)?, Totals { accounts: 0, balance: MicroUsd::ZERO, withdrawable: MicroUsd::ZERO });
        Ok(())
    }
}
