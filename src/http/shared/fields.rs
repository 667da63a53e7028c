//! Fields of small bodies, read one by one, so that an error can name the one at fault.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::http::shared::error::ApiError;

/// A field that may be missing (outer `None`) or null (inner `None`).
pub type Field = Option<Option<Box<RawValue>>>;

/// Tells null from missing; use it with `#[serde(default, deserialize_with = "given")]`.
///
/// # Errors
/// Not JSON.
pub fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Field, D::Error> {
    Option::<Box<RawValue>>::deserialize(deserializer).map(Some)
}

/// A field's value; `what` says what it must be.
///
/// # Errors
/// 400 naming the field if it is something else.
pub fn read<T>(
    name: &str,
    field: &Field,
    what: &str,
    parse: impl Fn(&RawValue) -> Option<T>,
) -> Result<Option<Option<T>>, ApiError> {
    let read =
        |raw: &RawValue| parse(raw).ok_or_else(|| ApiError::invalid(Some(name), format!("{name} must be {what}")));
    field.as_ref().map(|value| value.as_deref().map(read).transpose()).transpose()
}

/// A value of a type that serde knows.
pub fn json<T: DeserializeOwned>(raw: &RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

/// An integer of at least 1.
pub fn count(raw: &RawValue) -> Option<u32> {
    json::<u32>(raw).filter(|n| *n >= 1)
}

/// A time or a day, as text.
pub fn time(raw: &RawValue) -> Option<Timestamp> {
    Timestamp::parse(&json::<String>(raw)?)
}

/// An amount in USD, as a string or a number: read from its text, never through a float.
pub fn usd(raw: &RawValue) -> Option<MicroUsd> {
    let text = json::<String>(raw).unwrap_or_else(|| raw.get().to_owned());
    MicroUsd::parse_usd(&text).ok()
}

/// What [`time`] reads, for people.
pub const A_TIME: &str = "a time like 2026-04-30T14:22:01Z or a day like 2026-04-30";
/// What [`usd`] reads, for people.
pub const AN_AMOUNT: &str = "an amount of USD like \"25.00\", with at most six decimals";
