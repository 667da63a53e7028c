//! Totals of usage rows, for charts.

use std::collections::HashMap;

use rusqlite::types::Value;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::ids::AccountId;
use crate::domain::keys::KeyId;
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::store::usage::UsageFilter;
use crate::store::{Read, StoreError};

/// What the rows are put together by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupBy {
    /// The UTC day they were settled on.
    Day,
    /// The model's public name.
    Model,
    /// The key.
    Key,
    /// The day, and on it the model.
    DayModel,
}

impl GroupBy {
    /// Reads `day`, `model`, `key`, `day,model`.
    pub fn from_text(text: &str) -> Option<Self> {
        match text {
            "day" => Some(Self::Day),
            "model" => Some(Self::Model),
            "key" => Some(Self::Key),
            "day,model" => Some(Self::DayModel),
            _ => None,
        }
    }

    /// The expression to group by, and the order: days oldest first, the others by what they cost.
    const fn sql(self) -> (&'static str, &'static str) {
        match self {
            // Whole days since 1970, whatever the sign.
            Self::Day => ("created_at / 86400000", "1"),
            Self::Model => ("model", "7 DESC, 1"),
            Self::Key => ("key_id", "7 DESC, 1"),
            // No blank is in the first, nor in any model's name.
            Self::DayModel => ("(created_at / 86400000) || ' ' || model", "min(created_at) / 86400000, 7 DESC, 1"),
        }
    }
}

/// What a total is of; serialized as the field or fields that `group_by` names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SummaryGroup)]
#[serde(untagged)]
pub enum Group {
    /// `2026-04-30`
    Day {
        /// UTC.
        day: String,
    },
    /// A model.
    Model {
        /// Its public name.
        model: String,
    },
    /// A key.
    Key {
        /// `key_…`
        key_id: KeyId,
        /// Its name.
        key_name: String,
    },
    /// A model on a day.
    DayModel {
        /// UTC.
        day: String,
        /// Its public name.
        model: String,
    },
}

/// The total of one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SummaryRow)]
pub struct Total {
    /// Of what.
    #[serde(flatten)]
    pub group: Group,
    /// How many.
    pub requests: u64,
    /// Cached ones included.
    pub prompt_tokens: u64,
    /// Generated.
    pub completion_tokens: u64,
    /// The part of the prompts that was cached.
    pub cached_tokens: u64,
    /// What they cost.
    pub cost_micro_usd: MicroUsd,
    /// What was debited.
    pub charged_micro_usd: MicroUsd,
    /// The part of it that was given back since.
    pub refunded_micro_usd: MicroUsd,
}

/// The totals of an account's rows that match. Reads them all: for the blocking pool.
pub fn summary(conn: &Read, account: AccountId, filter: &UsageFilter, by: GroupBy) -> Result<Vec<Total>, StoreError> {
    let (condition, values) = filter.condition(account);
    let (group, order) = by.sql();
    let refunded = refunded(conn, account, (&condition, &values), group)?;
    let name = match by {
        GroupBy::Key => "(SELECT name FROM keys WHERE id = key_id)",
        GroupBy::Day | GroupBy::Model | GroupBy::DayModel => "''",
    };
    let sql = format!(
        "SELECT {group}, count(*), sum(prompt_tokens), sum(completion_tokens), sum(cached_tokens), \
         sum(cost_micro_usd), sum(charged_micro_usd), {name} FROM account_usage WHERE {condition} GROUP BY 1 ORDER BY {order}"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(rusqlite::params_from_iter(values), |row| {
        let refunded_micro_usd = refunded.get(&format!("{:?}", row.get_ref(0)?)).copied().unwrap_or_default();
        let group = match by {
            GroupBy::Day => Group::Day { day: day_text(row.get(0)?) },
            GroupBy::Model => Group::Model { model: row.get(0)? },
            GroupBy::Key => Group::Key { key_id: KeyId::from_i64(row.get(0)?), key_name: row.get(7)? },
            GroupBy::DayModel => day_model(&row.get::<_, String>(0)?),
        };
        Ok(Total {
            group,
            requests: row.get(1)?,
            prompt_tokens: row.get(2)?,
            completion_tokens: row.get(3)?,
            cached_tokens: row.get(4)?,
            cost_micro_usd: MicroUsd::new(row.get(5)?),
            charged_micro_usd: MicroUsd::new(row.get(6)?),
            refunded_micro_usd,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// A day since 1970, a blank, and a model.
fn day_model(text: &str) -> Group {
    let (day, model) = text.split_once(' ').unwrap_or((text, ""));
    Group::DayModel { day: day_text(day.parse().unwrap_or_default()), model: model.to_owned() }
}

/// What was given back of each group's rows. By the refunds, of which there are few, not by the rows.
fn refunded(
    conn: &Read,
    account: AccountId,
    (condition, values): (&str, &[Value]),
    group: &str,
) -> Result<HashMap<String, MicroUsd>, StoreError> {
    let sql = format!(
        "SELECT {group}, sum(charged_micro_usd) FROM usage WHERE {condition} AND id IN \
         (SELECT request_id FROM ledger WHERE account_id = ? AND kind = 'refund') GROUP BY 1"
    );
    let values = values.iter().cloned().chain([Value::Integer(account.to_i64())]);
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(rusqlite::params_from_iter(values), |row| {
        Ok((format!("{:?}", row.get_ref(0)?), MicroUsd::new(row.get(1)?)))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// `2026-04-30`, from days since 1970.
pub(super) fn day_text(days: i64) -> String {
    let text = Timestamp::from_millis(days.saturating_mul(86_400_000)).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}
