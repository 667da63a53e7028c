//! The sums over usage rows that everybody asks for, without reading all rows each time.
//!
//! A row's id is as old as its request, so the rows of requests that arrived long ago do not change any more: they
//! are added up once, by day and provider. What came since is read each time. Both together are what a query over
//! all rows would say.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use rusqlite::OptionalExtension;

use crate::domain::ids::{LedgerId, ProviderId, RequestId};
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError};

/// Requests that arrived longer ago than this are settled, all of them. In seconds: a day.
const SETTLED_AFTER: i64 = 24 * 60 * 60;
/// A day in milliseconds.
const DAY: i64 = 24 * 60 * 60 * 1_000;
/// Below every row.
const FIRST: RequestId = RequestId::from_i64(0);
/// Above every row.
const LAST: RequestId = RequestId::from_i64(i64::MAX);

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

/// All usage rows together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageTotal {
    /// Metered.
    pub requests: u64,
    /// Cached ones included.
    pub prompt_tokens: u64,
    /// Generated.
    pub completion_tokens: u64,
}

/// What one provider did, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProviderTotal {
    /// Usage rows, and their tokens.
    pub served: UsageTotal,
    /// Σ earned.
    pub earned: MicroUsd,
    /// The rows of them that it broke off.
    pub failed: u64,
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

/// The sums of rows that do not change any more.
#[derive(Debug, Default)]
pub struct UsageSums(Mutex<Known>);

/// What was added up so far.
#[derive(Debug)]
struct Known {
    /// All rows from here on …
    from: RequestId,
    /// … and before here.
    until: RequestId,
    sums: Sums,
}

impl Default for Known {
    fn default() -> Self {
        Self { from: FIRST, until: FIRST, sums: Sums::default() }
    }
}

/// What each provider did on each day.
type Sums = BTreeMap<Day, HashMap<ProviderId, ProviderDay>>;

/// What one provider did on one day.
#[derive(Debug, Clone, Copy, Default)]
struct ProviderDay {
    total: UsageTotal,
    charged: MicroUsd,
    fee: MicroUsd,
    earned: MicroUsd,
    estimated: u64,
    failed: u64,
}

impl UsageSums {
    /// All rows there are.
    pub fn total(&self, conn: &Read, now: Timestamp) -> Result<UsageTotal, StoreError> {
        let mut all = ProviderDay::default();
        self.each(conn, FIRST, now, |_, _, of| all.add(of))?;
        Ok(all.total)
    }

    /// What each provider has served and earned.
    pub fn by_provider(&self, conn: &Read, now: Timestamp) -> Result<HashMap<ProviderId, ProviderTotal>, StoreError> {
        let mut all: HashMap<ProviderId, ProviderDay> = HashMap::new();
        self.each(conn, FIRST, now, |_, provider, of| all.entry(provider).or_default().add(of))?;
        let total = |of: ProviderDay| ProviderTotal { served: of.total, earned: of.earned, failed: of.failed };
        Ok(all.into_iter().map(|(provider, of)| (provider, total(of))).collect())
    }

    /// The days from `first` to today that had requests or refunds, oldest first. Reads no row before them.
    pub fn days(&self, conn: &Read, first: Day, now: Timestamp) -> Result<Vec<(Day, DayTotals)>, StoreError> {
        let mut all: BTreeMap<Day, ProviderDay> = BTreeMap::new();
        let from = RequestId::first_at(start_of(first));
        self.each(conn, from, now, |day, _, of| all.entry(day).or_default().add(of))?;
        let mut days: BTreeMap<Day, DayTotals> = all.into_iter().map(|(day, of)| (day, of.into())).collect();
        for (day, refunded) in refunded(conn, first)? {
            days.entry(day).or_default().refunded = refunded;
        }
        Ok(days.into_iter().filter(|(day, _)| (first..=day_of(now)).contains(day)).collect())
    }

    /// Calls `each` for what each provider did on each day; of the rows before `first`, some may be in it.
    fn each(
        &self,
        conn: &Read,
        first: RequestId,
        now: Timestamp,
        mut each: impl FnMut(Day, ProviderId, &ProviderDay),
    ) -> Result<(), StoreError> {
        // Held while rows are read: who comes meanwhile would read the same ones.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(conn, first, RequestId::first_at(now.plus_seconds(-SETTLED_AFTER)))?;
        let recent = sums(conn, known.until, LAST)?;
        for (day, providers) in known.sums.iter().chain(&recent) {
            providers.iter().for_each(|(provider, of)| each(*day, *provider, of));
        }
        Ok(())
    }
}

impl Known {
    /// Adds up the rows from `first` on, where that is not done yet, and those that were settled since.
    fn extend(&mut self, conn: &Read, first: RequestId, settled: RequestId) -> Result<(), StoreError> {
        if self.from == self.until {
            (self.from, self.until) = (settled, settled);
        }
        // What is added is noted with it: an error in the second part must not count the first one twice.
        if first < self.from {
            let older = sums(conn, first, self.from)?;
            self.add(older);
            self.from = first;
        }
        if self.until < settled {
            let newer = sums(conn, self.until, settled)?;
            self.add(newer);
            self.until = settled;
        }
        Ok(())
    }

    /// A part may end within a day.
    fn add(&mut self, more: Sums) {
        for (day, providers) in more {
            let known = self.sums.entry(day).or_default();
            for (provider, of) in providers {
                known.entry(provider).or_default().add(&of);
            }
        }
    }
}

impl ProviderDay {
    fn add(&mut self, more: &Self) {
        let plus = |a: MicroUsd, b| a.checked_add(b).unwrap_or(MicroUsd::new(i64::MAX));
        *self = Self {
            total: UsageTotal {
                requests: self.total.requests.saturating_add(more.total.requests),
                prompt_tokens: self.total.prompt_tokens.saturating_add(more.total.prompt_tokens),
                completion_tokens: self.total.completion_tokens.saturating_add(more.total.completion_tokens),
            },
            charged: plus(self.charged, more.charged),
            fee: plus(self.fee, more.fee),
            earned: plus(self.earned, more.earned),
            estimated: self.estimated.saturating_add(more.estimated),
            failed: self.failed.saturating_add(more.failed),
        };
    }
}

impl From<ProviderDay> for DayTotals {
    fn from(of: ProviderDay) -> Self {
        Self {
            requests: of.total.requests,
            charged: of.charged,
            fee: of.fee,
            refunded: MicroUsd::ZERO,
            estimated: of.estimated,
            failed: of.failed,
        }
    }
}

/// Adds up the rows from `from` on, and before `to`.
fn sums(conn: &Read, mut from: RequestId, to: RequestId) -> Result<Sums, StoreError> {
    let mut sums = Sums::new();
    // A day at a time: to group all rows at once, SQLite would sort all of them.
    while let Some(row) = first_row(conn, from, to)? {
        let day = day_of(row.time());
        let end = RequestId::first_at(start_of(day + 1)).min(to);
        sums.insert(day, providers(conn, row, end)?);
        from = end;
    }
    Ok(sums)
}

fn first_row(conn: &Read, from: RequestId, to: RequestId) -> Result<Option<RequestId>, StoreError> {
    let sql = "SELECT id FROM usage WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 1";
    let first = conn.prepare_cached(sql)?.query_row([from.to_i64(), to.to_i64()], |row| row.get(0)).optional()?;
    Ok(first.map(RequestId::from_i64))
}

fn providers(conn: &Read, from: RequestId, to: RequestId) -> Result<HashMap<ProviderId, ProviderDay>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT provider_id, count(*), sum(prompt_tokens), sum(completion_tokens), sum(charged_micro_usd), \
         sum(fee_micro_usd), sum(earned_micro_usd), sum(metered_by = 'estimate'), sum(outcome = 'provider_error') \
         FROM usage WHERE id >= ?1 AND id < ?2 GROUP BY provider_id",
    )?;
    let rows = statement.query_map([from.to_i64(), to.to_i64()], |row| {
        let total = UsageTotal { requests: row.get(1)?, prompt_tokens: row.get(2)?, completion_tokens: row.get(3)? };
        let of = ProviderDay {
            total,
            charged: MicroUsd::new(row.get(4)?),
            fee: MicroUsd::new(row.get(5)?),
            earned: MicroUsd::new(row.get(6)?),
            estimated: row.get(7)?,
            failed: row.get(8)?,
        };
        Ok((ProviderId::from_i64(row.get(0)?), of))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// What refunds gave back on each day from `first` on. There are few of them.
fn refunded(conn: &Read, first: Day) -> Result<Vec<(Day, MicroUsd)>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT (id >> 20) / 86400000 AS day, sum(amount_micro_usd) FROM ledger \
         WHERE id >= ?1 AND kind = 'refund' GROUP BY day",
    )?;
    let from = LedgerId::first_at(start_of(first)).to_i64();
    let rows = statement.query_map([from], |row| Ok((row.get(0)?, MicroUsd::new(row.get(1)?))))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests;
