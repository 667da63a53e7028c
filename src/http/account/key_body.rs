//! The body that makes or changes a key.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::key_limits::KeyLimits;
use crate::domain::keys::{LimitReset, Scopes};
use crate::domain::model_name::is_model_name;
use crate::domain::time::Timestamp;
use crate::http::openapi::wire;
use crate::http::shared::body;
use crate::http::shared::error::ApiError;
use crate::http::shared::fields::{self, A_TIME, AN_AMOUNT, Field, given, json};
use crate::http::shared::types;
use crate::store::key_changes::Change;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyBody {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    name: Field,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<wire::Scope>>)]
    scopes: Field,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<types::AmountUsd>)]
    limit_usd: Field,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<wire::Reset>)]
    limit_reset: Field,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    rpm_limit: Field,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    max_concurrent: Field,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<String>>)]
    allowed_models: Field,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Timestamp>)]
    expires_at: Field,
    /// Of a key with the scope `provide`: how many machines may join with it; 1 if that is not said.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    max_machines: Field,
    /// Of the same: a machine that is new gets no requests until an admin enables it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<bool>)]
    holds_machines: Field,
}

/// More models than that are no list.
const MOST_MODELS: usize = 1_000;

/// What a body says of a key that is to be made. An empty body makes one with the usual settings. `holds`: whether new
/// machines wait for an admin if the body does not say so.
pub fn read_new(bytes: &[u8], holds: bool, now: Timestamp) -> Result<(String, Scopes, KeyLimits), ApiError> {
    let body: KeyBody = body::parse(if bytes.is_empty() { b"{}" } else { bytes })?;
    let change = read(&body, now)?;
    let scopes = change.scopes.unwrap_or(Scopes::INFERENCE);
    let machines =
        fields::read("max_machines", &body.max_machines, "an integer of at least 1", fields::count)?.flatten();
    let held = fields::read("holds_machines", &body.holds_machines, "true or false", json)?.flatten();
    if !scopes.provide && (machines.is_some() || held.is_some()) {
        let field = if machines.is_some() { "max_machines" } else { "holds_machines" };
        return Err(ApiError::invalid(Some(field), format!("{field} is for keys with the scope provide")));
    }
    let limits = KeyLimits {
        spend: change.spend.flatten(),
        reset: change.reset.unwrap_or_default(),
        rpm: change.rpm.flatten(),
        max_concurrent: change.max_concurrent.flatten(),
        allowed_models: change.allowed_models.flatten(),
        expires_at: change.expires_at.flatten(),
        max_machines: scopes.provide.then_some(machines.unwrap_or(1)),
        holds_machines: scopes.provide && held.unwrap_or(holds),
    };
    Ok((change.name.unwrap_or_default(), scopes, limits))
}

/// What a body changes of a key. Null takes a limit away; a name, scopes or a window cannot be taken away,
/// there null is as good as nothing.
pub fn read_change(bytes: &[u8], now: Timestamp) -> Result<Change, ApiError> {
    let body: KeyBody = body::parse(bytes)?;
    for (field, given) in [("max_machines", &body.max_machines), ("holds_machines", &body.holds_machines)] {
        if given.is_some() {
            let message = format!("{field} stays as it was made: revoke the key, and make another");
            return Err(ApiError::invalid(Some(field), message));
        }
    }
    read(&body, now)
}

/// What can be said of a new key and of one that is there.
fn read(b: &KeyBody, now: Timestamp) -> Result<Change, ApiError> {
    let resets = "none, daily, weekly or monthly";
    let change = Change {
        name: fields::read("name", &b.name, "a string", json)?.flatten(),
        scopes: fields::read("scopes", &b.scopes, "a list of inference, manage, provide", scopes)?.flatten(),
        spend: fields::read("limit_usd", &b.limit_usd, AN_AMOUNT, fields::usd)?,
        reset: fields::read("limit_reset", &b.limit_reset, resets, |raw| LimitReset::from_text(&json::<String>(raw)?))?
            .flatten(),
        rpm: fields::read("rpm_limit", &b.rpm_limit, "an integer of at least 1", fields::count)?,
        max_concurrent: fields::read("max_concurrent", &b.max_concurrent, "an integer of at least 1", fields::count)?,
        allowed_models: fields::read(
            "allowed_models",
            &b.allowed_models,
            "a list of model names, or null for all",
            models,
        )?,
        expires_at: fields::read("expires_at", &b.expires_at, A_TIME, fields::time)?,
    };
    if change.expires_at.flatten().is_some_and(|at| at <= now) {
        return Err(ApiError::invalid(Some("expires_at"), "expires_at must lie in the future"));
    }
    Ok(change)
}

/// An account's key can run models, manage, let machines join; nothing else can be given away.
fn scopes(raw: &serde_json::value::RawValue) -> Option<Scopes> {
    let names: Vec<String> = json(raw)?;
    let known =
        !names.is_empty() && names.iter().all(|name| matches!(name.as_str(), "inference" | "manage" | "provide"));
    Scopes::parse(&names.join(" ")).filter(|_| known)
}

fn models(raw: &serde_json::value::RawValue) -> Option<Vec<String>> {
    json::<Vec<String>>(raw).filter(|models| is_model_list(models))
}

/// What a key's models may be: some, and not too many.
pub fn is_model_list(models: &[String]) -> bool {
    (1..=MOST_MODELS).contains(&models.len()) && models.iter().all(|model| is_model_name(model))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::MicroUsd;

    const NOW: Timestamp = Timestamp::from_millis(1_777_559_321_000);

    #[test]
    fn a_field_at_fault_is_named() {
        let rows = [
            (r#"{"name":1}"#, "name"),
            (r#"{"scopes":[]}"#, "scopes"),
            (r#"{"scopes":["admin"]}"#, "scopes"),
            (r#"{"scopes":["inference manage"]}"#, "scopes"),
            (r#"{"scopes":"manage"}"#, "scopes"),
            (r#"{"limit_usd":"-1"}"#, "limit_usd"),
            (r#"{"limit_usd":1e3}"#, "limit_usd"),
            (r#"{"limit_usd":"0.0000001"}"#, "limit_usd"),
            (r#"{"limit_reset":"yearly"}"#, "limit_reset"),
            (r#"{"rpm_limit":0}"#, "rpm_limit"),
            (r#"{"rpm_limit":-1}"#, "rpm_limit"),
            (r#"{"max_concurrent":1.5}"#, "max_concurrent"),
            (r#"{"allowed_models":[]}"#, "allowed_models"),
            (r#"{"allowed_models":[""]}"#, "allowed_models"),
            (r#"{"expires_at":"soon"}"#, "expires_at"),
            (r#"{"expires_at":"2020-01-01"}"#, "expires_at"),
            (r#"{"scopes":["provide"],"max_machines":0}"#, "max_machines"),
            (r#"{"scopes":["provide"],"holds_machines":1}"#, "holds_machines"),
            (r#"{"max_machines":2}"#, "max_machines"),
            (r#"{"holds_machines":true}"#, "holds_machines"),
            (r#"{"limit":5}"#, "limit"),
            (r#"{"name":"a","name":"b"}"#, "name"),
        ];
        for (body, field) in rows {
            let e = read_new(body.as_bytes(), false, NOW)
                .map(drop)
                .map_err(|e| e.body(crate::dialect::Envelope::OpenAi, None));
            let text = e.err().unwrap_or_default();
            assert!(text.contains(&format!(r#""param":"{field}""#)), "{body}: {text}");
        }
    }

    #[test]
    fn null_takes_away_and_nothing_leaves() {
        let change = read_change(br#"{"limit_usd":null,"rpm_limit":3,"name":null}"#, NOW).unwrap_or_default();
        assert_eq!((change.spend, change.rpm, change.max_concurrent), (Some(None), Some(Some(3)), None));
        assert_eq!((change.name, change.scopes), (None, None));
        for (body, micro) in [(r#"{"limit_usd":"25.00"}"#, 25_000_000), (r#"{"limit_usd":0.01}"#, 10_000)] {
            let (name, scopes, limits) = read_new(body.as_bytes(), false, NOW).unwrap_or_default();
            assert_eq!((name.as_str(), scopes, limits.spend), ("", Scopes::INFERENCE, Some(MicroUsd::new(micro))));
        }
    }

    #[test]
    fn a_key_for_machines_is_for_one_unless_it_says_more() {
        let rows = [
            (r#"{"scopes":["provide"]}"#, false, Some(1), false),
            (r#"{"scopes":["provide"]}"#, true, Some(1), true),
            (r#"{"scopes":["provide"],"max_machines":3,"holds_machines":true}"#, false, Some(3), true),
            (r#"{"scopes":["provide"],"holds_machines":false}"#, true, Some(1), false),
            (r#"{"scopes":["inference"]}"#, true, None, false),
            ("", true, None, false),
        ];
        for (body, holds, machines, held) in rows {
            let (_, _, limits) = read_new(body.as_bytes(), holds, NOW).unwrap_or_default();
            assert_eq!((limits.max_machines, limits.holds_machines), (machines, held), "{body}");
        }
        assert!(read_change(br#"{"max_machines":2}"#, NOW).is_err(), "what it is for stays");
    }
}
