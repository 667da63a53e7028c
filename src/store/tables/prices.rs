//! Prices: one version in force per model, older ones kept for the rows billed at them.

use rusqlite::{OptionalExtension, Row, params};

use super::events;
use crate::domain::ids::PriceId;
use crate::domain::model_name::{self, is_model_name};
use crate::domain::money::MicroUsd;
use crate::domain::price::{HIGHEST_PRICE, Price};
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

/// A version of a model's price, with what else the coordinator knows of the model.
#[derive(Debug, Clone)]
pub struct PriceRow {
    /// This version.
    pub id: PriceId,
    /// The public name.
    pub model: String,
    /// The name for people.
    pub display_name: String,
    /// Micro-USD per 1,000,000 tokens.
    pub price: Price,
    /// The most tokens of prompt and output together.
    pub context_length: Option<u64>,
    /// The most tokens of output.
    pub max_output: Option<u64>,
    /// How many requests an account may have running at once; the others wait.
    pub max_running: Option<u32>,
    /// Since when it is in force.
    pub created_at: Timestamp,
    /// Who set it.
    pub created_by: String,
    /// Since when it is not.
    pub retired_at: Option<Timestamp>,
}

const COLUMNS: &str = "p.id, p.model, p.display_name, p.input_price, p.output_price, p.cache_read_price, \
     p.context_length, p.max_output, p.created_at, p.created_by, p.retired_at, p.cache_write_price, \
     p.cache_write_1h_price, p.max_running";
/// How many those are.
const COLUMN_COUNT: usize = 14;

fn from_row(row: &Row<'_>) -> rusqlite::Result<PriceRow> {
    Ok(PriceRow {
        id: PriceId::from_i64(row.get(0)?),
        model: row.get(1)?,
        display_name: row.get(2)?,
        price: Price {
            input: MicroUsd::new(row.get(3)?),
            output: MicroUsd::new(row.get(4)?),
            cache_read: row.get::<_, Option<i64>>(5)?.map(MicroUsd::new),
            cache_write: row.get::<_, Option<i64>>(11)?.map(MicroUsd::new),
            cache_write_1h: row.get::<_, Option<i64>>(12)?.map(MicroUsd::new),
        },
        context_length: row.get(6)?,
        max_output: row.get(7)?,
        max_running: row.get(13)?,
        created_at: Timestamp::from_millis(row.get(8)?),
        created_by: row.get(9)?,
        retired_at: row.get::<_, Option<i64>>(10)?.map(Timestamp::from_millis),
    })
}

/// The version in force for a model.
pub fn in_force(conn: &Read, model: &str) -> Result<Option<PriceRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM prices p WHERE p.model = ?1 AND p.retired_at IS NULL");
    Ok(conn.prepare_cached(&sql)?.query_row([model], from_row).optional()?)
}

/// Some model is free: it works at balance 0.
pub fn any_free(conn: &Read) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM prices WHERE retired_at IS NULL \
         AND input_price = 0 AND output_price = 0 AND coalesce(cache_read_price, 0) = 0)";
    Ok(conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// The versions in force of all models, in the order the models first appeared.
pub fn list(conn: &Read) -> Result<Vec<PriceRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM prices p WHERE p.retired_at IS NULL \
         ORDER BY (SELECT min(first.id) FROM prices first WHERE first.model = p.model)"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map([], from_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// A version as its history shows it.
#[derive(Debug, Clone)]
pub struct NumberedPrice {
    /// What it says.
    pub row: PriceRow,
    /// The first version of a model is 1.
    pub number: u64,
    /// It was retired without another one taking its place.
    pub removed: bool,
}

/// The versions of one model's price, or of all, before `before`, newest first.
pub fn history(
    conn: &Read,
    model: Option<&str>,
    before: Option<PriceId>,
    limit: u32,
) -> Result<Vec<NumberedPrice>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, (SELECT count(*) FROM prices q WHERE q.model = p.model AND q.id <= p.id), \
         p.retired_at IS NOT NULL AND NOT EXISTS \
         (SELECT 1 FROM prices q WHERE q.model = p.model AND q.id > p.id AND q.created_at <= p.retired_at) \
         FROM prices p WHERE p.id < ?1 AND (?2 IS NULL OR p.model = ?2) ORDER BY p.id DESC LIMIT ?3"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let before = before.map_or(i64::MAX, PriceId::to_i64);
    let rows = statement.query_map(params![before, model, limit], |row| {
        Ok(NumberedPrice { row: from_row(row)?, number: row.get(COLUMN_COUNT)?, removed: row.get(COLUMN_COUNT + 1)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// A price to be set.
#[derive(Debug, Clone)]
pub struct NewPrice {
    /// The public name.
    pub model: String,
    /// The name for people; by default the one before, else the model's name.
    pub display_name: Option<String>,
    /// Micro-USD per 1,000,000 tokens.
    pub price: Price,
    /// The most tokens of prompt and output together.
    pub context_length: Option<u64>,
    /// The most tokens of output.
    pub max_output: Option<u64>,
    /// How many requests an account may have running at once; zero: any number.
    pub max_running: Option<u32>,
    /// A length or a number that is `None` stays as the version before said; otherwise it is not known any more.
    pub keep: bool,
}

/// Puts a new version in force.
///
/// # Errors
/// [`StoreError::Invalid`] for a bad name, price or length.
pub fn set(conn: &Tx, new: &NewPrice, actor: &str, now: Timestamp) -> Result<PriceRow, StoreError> {
    check(new)?;
    let before = in_force(conn, &new.model)?;
    retire(conn, &new.model, now)?;
    let before = before.as_ref();
    let display_name = new.display_name.as_deref().or(before.map(|b| &*b.display_name)).unwrap_or(&new.model);
    let max_running = new.max_running.or(before.filter(|_| new.keep).and_then(|b| b.max_running)).filter(|n| *n > 0);
    let id = PriceId::generate(now);
    conn.prepare_cached(
        "INSERT INTO prices (id, model, display_name, input_price, output_price, cache_read_price, context_length, \
         max_output, created_at, created_by, cache_write_price, cache_write_1h_price, \
         max_running) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?
    .execute(params![
        id.to_i64(),
        new.model,
        display_name,
        new.price.input.micro(),
        new.price.output.micro(),
        new.price.cache_read.map(MicroUsd::micro),
        new.context_length.or(before.filter(|_| new.keep).and_then(|b| b.context_length)),
        new.max_output.or(before.filter(|_| new.keep).and_then(|b| b.max_output)),
        now.millis(),
        actor,
        new.price.cache_write.map(MicroUsd::micro),
        new.price.cache_write_1h.map(MicroUsd::micro),
        max_running,
    ])?;
    let detail = serde_json::json!({
        "input_price": new.price.input, "output_price": new.price.output, "cache_read_price": new.price.cache_read,
        "cache_write_price": new.price.cache_write, "cache_write_1h_price": new.price.cache_write_1h,
        "max_running": max_running,
    });
    events::record(conn, actor, "price.set", &new.model, &detail, now)?;
    in_force(conn, &new.model)?.ok_or_else(|| StoreError::NotFound(format!("no price for {}", new.model)))
}

fn check(new: &NewPrice) -> Result<(), StoreError> {
    let invalid = |why: &str| Err(StoreError::Invalid(why.into()));
    if !is_model_name(&new.model) {
        return Err(StoreError::Invalid(format!("a model name is {}", model_name::RULE)));
    }
    if new
        .display_name
        .as_ref()
        .is_some_and(|name| !(1..=200).contains(&name.chars().count()) || name.chars().any(char::is_control))
    {
        return invalid("a display name is 1 to 200 characters");
    }
    let price = &new.price;
    let prices = [Some(price.input), Some(price.output), price.cache_read, price.cache_write, price.cache_write_1h];
    if prices.into_iter().flatten().any(|p| p.is_negative() || p > HIGHEST_PRICE) {
        return invalid("a price is between $0 and $1,000,000 per 1M tokens");
    }
    let lengths = [new.context_length, new.max_output];
    if lengths.into_iter().flatten().any(|n| n == 0 || n > u64::from(u32::MAX)) {
        return invalid("a context length or maximum output is between 1 and 4294967295 tokens");
    }
    Ok(())
}

fn retire(conn: &Tx, model: &str, now: Timestamp) -> Result<bool, StoreError> {
    let retired = conn
        .prepare_cached("UPDATE prices SET retired_at = ?2 WHERE model = ?1 AND retired_at IS NULL")?
        .execute(params![model, now.millis()])?;
    Ok(retired > 0)
}

/// Takes a model off the price list: it is not served any more.
pub fn remove(conn: &Tx, model: &str, actor: &str, now: Timestamp) -> Result<(), StoreError> {
    if !retire(conn, model, now)? {
        return Err(StoreError::NotFound(format!("no price for \"{model}\"")));
    }
    events::record(conn, actor, "price.remove", model, &serde_json::json!({}), now)
}
