//! The parameters of queries, paths and headers, and references to schemas.

use serde_json::{Value, json};

/// A query parameter of this name.
pub fn query(name: &str) -> Value {
    let (schema, says) = match name {
        "limit" => (json!({"type": "integer", "minimum": 1, "maximum": 1000}), "How many rows at most"),
        "days" => (json!({"type": "integer", "minimum": 1, "maximum": 366}), "How many days"),
        "before" => (json!({"type": "string"}), "The id that the page before ended with; the Link header has it"),
        "model" => (json!({"type": "string"}), "Only of this model"),
        // As everywhere, an empty one counts as not given.
        "key" => (json!({"type": "string", "pattern": "^(key_[0-9a-hjkmnp-tv-z]{12})?$"}), "Only of this key"),
        "since" => (json!({"type": "string"}), "At or after this time (RFC 3339) or day"),
        "until" => (json!({"type": "string"}), "Before this time (RFC 3339) or day"),
        "outcome" => {
            (json!({"type": "string", "enum": ["completed", "client_disconnected", "provider_error"]}), "That ended so")
        }
        "format" => (json!({"type": "string", "enum": ["json", "csv"]}), "csv: every matching row"),
        "group_by" => {
            (json!({"type": "string", "enum": ["day", "model", "key", "day,model"]}), "What the totals are of")
        }
        "q" => (json!({"type": "string"}), "Any part, in any case"),
        _ => (json!({"type": "string"}), "Only of this status"),
    };
    json!({"name": name, "in": "query", "required": false, "schema": schema, "description": says})
}

/// The parameters in a path, in braces there.
pub fn of_path(path: &str) -> Vec<Value> {
    path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| in_path(name)).collect()
}

fn in_path(name: &str) -> Value {
    let schema = match name {
        "account_id" => reference("AccountId"),
        "admin_id" => reference("AdminId"),
        "key_id" => reference("KeyId"),
        "provider_id" => reference("ProviderId"),
        "withdrawal_id" => reference("WithdrawalId"),
        _ => json!({"type": "string", "minLength": 1}),
    };
    json!({"name": name, "in": "path", "required": true, "schema": schema})
}

/// A reference to the schema of that name.
pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The header of money writes.
pub fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key", "in": "header", "required": false,
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\t -~]+$"},
        "description": "The same key and body are answered as the first time; kept 24 hours",
    })
}
