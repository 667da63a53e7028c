//! Usage rows as an admin sees them.

use serde::Serialize;
use utoipa::ToSchema;

use super::csv_text;
use super::usage::{self, UsageFilter, UsageRow};
use crate::domain::ids::{AccountId, ProviderId};
use crate::domain::money::MicroUsd;
use crate::store::{Read, StoreError};

/// A usage row as an admin sees it: also who served it, and at which prices.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ServedRow {
    /// As its payer sees it.
    #[serde(flatten)]
    pub row: UsageRow,
    /// Who served it.
    pub provider_id: ProviderId,
    /// What they are called.
    pub provider_name: String,
    /// What they earned.
    pub earned_micro_usd: MicroUsd,
    /// What the operator kept.
    pub fee_micro_usd: MicroUsd,
    /// Micro-USD per 1,000,000 tokens, as billed.
    pub input_price: MicroUsd,
    /// The same, of what was generated.
    pub output_price: MicroUsd,
    /// The same, of what was read from a cache; null: the input price.
    pub cache_read_price: Option<MicroUsd>,
}

/// The rows that [`usage::list`] finds, with who served them and at which prices.
pub fn list(conn: &Read, account: AccountId, filter: &UsageFilter, limit: u32) -> Result<Vec<ServedRow>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT p.id, p.name, u.earned_micro_usd, u.fee_micro_usd, r.input_price, r.output_price, r.cache_read_price \
         FROM usage u JOIN providers p ON p.id = u.provider_id JOIN prices r ON r.id = u.price_id WHERE u.id = ?1",
    )?;
    let served = |row: UsageRow| {
        Ok(statement.query_row([row.request_id.to_i64()], |of| {
            Ok(ServedRow {
                provider_id: ProviderId::from_i64(of.get(0)?),
                provider_name: of.get(1)?,
                earned_micro_usd: MicroUsd::new(of.get(2)?),
                fee_micro_usd: MicroUsd::new(of.get(3)?),
                input_price: MicroUsd::new(of.get(4)?),
                output_price: MicroUsd::new(of.get(5)?),
                cache_read_price: of.get::<_, Option<i64>>(6)?.map(MicroUsd::new),
                row,
            })
        })?)
    };
    usage::list(conn, account, filter, limit)?.into_iter().map(served).collect()
}

/// As [`usage::to_csv`].
///
/// # Errors
/// Never fails in practice: a row can always be written.
pub fn to_csv(rows: &[ServedRow], first: bool) -> Result<Vec<u8>, StoreError> {
    let more = ["provider_id", "provider_name", "earned_micro_usd", "fee_micro_usd", "input_price", "output_price"];
    let columns = [&usage::COLUMNS[..], &more, &["cache_read_price"]].concat();
    csv_text::of(rows, &columns, first)
}
