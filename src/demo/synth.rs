//! A JSON value that satisfies a JSON schema superficially: required properties filled, nothing clever.

use serde_json::{Map, Value, json};

/// A schema may refer to itself: no deeper than this.
const DEEPEST: usize = 12;
/// No list or text is made longer than this, whatever the schema asks for.
const LONGEST: u64 = 64;

/// Makes a value for `schema`.
pub fn value(schema: &Value) -> Value {
    Synth { root: schema }.value(schema, 0)
}

/// The same, as an object: what the arguments of a tool must be.
pub fn object(schema: &Value) -> Value {
    let made = value(schema);
    if made.is_object() { made } else { json!({}) }
}

struct Synth<'a> {
    root: &'a Value,
}

impl Synth<'_> {
    fn value(&self, schema: &Value, depth: usize) -> Value {
        if depth > DEEPEST {
            return Value::Null;
        }
        let deeper = depth.saturating_add(1);
        for given in ["const", "default"] {
            if let Some(given) = schema.get(given) {
                return given.clone();
            }
        }
        if let Some(first) = first_of(schema, "enum").or_else(|| first_of(schema, "examples")) {
            return first.clone();
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            return self.resolve(target).map_or(Value::Null, |s| self.value(s, deeper));
        }
        if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
            return self.merged(all, deeper);
        }
        if let Some(one) = first_of(schema, "anyOf").or_else(|| first_of(schema, "oneOf")) {
            return self.value(one, deeper);
        }
        match kind(schema) {
            "object" => self.object(schema, deeper),
            "array" => self.array(schema, deeper),
            "integer" | "number" => number(schema),
            "boolean" => Value::Bool(true),
            "null" => Value::Null,
            _ => Value::String(text(schema)),
        }
    }

    fn object(&self, schema: &Value, depth: usize) -> Value {
        let properties = schema.get("properties");
        let mut made = Map::new();
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            let value = properties.and_then(|p| p.get(name)).map_or_else(|| json!("demo"), |s| self.value(s, depth));
            made.insert(name.to_owned(), value);
        }
        Value::Object(made)
    }

    fn array(&self, schema: &Value, depth: usize) -> Value {
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
        let wanted = bound("minItems").unwrap_or(1).min(bound("maxItems").unwrap_or(LONGEST)).min(LONGEST);
        match schema.get("items") {
            Some(items) => Value::Array((0..wanted).map(|_| self.value(items, depth)).collect()),
            None => json!([]),
        }
    }

    fn merged(&self, all: &[Value], depth: usize) -> Value {
        let mut made = Map::new();
        for schema in all {
            match self.value(schema, depth) {
                Value::Object(part) => made.extend(part),
                other => return other,
            }
        }
        Value::Object(made)
    }

    fn resolve(&self, target: &str) -> Option<&Value> {
        self.root.pointer(target.strip_prefix('#')?)
    }
}

fn first_of<'a>(schema: &'a Value, field: &str) -> Option<&'a Value> {
    schema.get(field)?.as_array()?.first()
}

/// The type a schema names; if it names none, what its other words imply.
fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(name)) => name,
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).find(|n| *n != "null").unwrap_or("null"),
        _ if schema.get("properties").is_some() => "object",
        _ if schema.get("items").is_some() => "array",
        _ => "string",
    }
}

fn number(schema: &Value) -> Value {
    let one = json!(1);
    for (bound, is_low) in [("minimum", true), ("maximum", false)] {
        if let Some(limit) = schema.get(bound) {
            let outside = limit.as_f64().is_some_and(|l| if is_low { l > 1.0 } else { l < 1.0 });
            if outside {
                return limit.clone();
            }
        }
    }
    one
}

fn text(schema: &Value) -> String {
    let fixed = match schema.get("format").and_then(Value::as_str) {
        Some("date") => "2026-01-01",
        Some("date-time") => "2026-01-01T00:00:00Z",
        Some("time") => "00:00:00Z",
        Some("email") => "demo@example.com",
        Some("uri" | "url") => "https://example.com/demo",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        _ => "demo",
    };
    let bound =
        |name: &str| schema.get(name).and_then(Value::as_u64).map(|n| usize::try_from(n.min(LONGEST)).unwrap_or(0));
    let mut text = fixed.to_owned();
    while text.len() < bound("minLength").unwrap_or(0) {
        text.push('o');
    }
    text.truncate(bound("maxLength").unwrap_or(text.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_satisfied() {
        let cases = [
            (json!({"type": "string"}), json!("demo")),
            (json!({"enum": ["c", "f"]}), json!("c")),
            (json!({"const": 7}), json!(7)),
            (json!({"type": "number"}), json!(1)),
            (json!({"type": "integer", "minimum": 5}), json!(5)),
            (json!({"type": "integer", "maximum": -5}), json!(-5)),
            (json!({"type": ["null", "boolean"]}), json!(true)),
            (json!({"type": "string", "minLength": 6}), json!("demooo")),
            (json!({"type": "string", "maxLength": 2}), json!("de")),
            (json!({"type": "string", "format": "date"}), json!("2026-01-01")),
            (json!({"type": "array", "items": {"type": "integer"}, "minItems": 2}), json!([1, 1])),
            (json!({"type": "array", "items": {"type": "integer"}, "maxItems": 0}), json!([])),
            (json!({"anyOf": [{"type": "boolean"}, {"type": "null"}]}), json!(true)),
            (json!({}), json!("demo")),
        ];
        for (schema, wanted) in cases {
            assert_eq!(value(&schema), wanted, "{schema}");
        }
    }

    #[test]
    fn required_properties_are_filled_and_nested() {
        let schema = json!({"type": "object", "required": ["a", "b", "free"], "properties": {
            "a": {"$ref": "#/$defs/inner"}, "b": {"allOf": [{"$ref": "#/$defs/inner"}]}, "c": {"type": "string"}},
            "$defs": {"inner": {"type": "object", "properties": {"x": {"type": "boolean"}}, "required": ["x"]}}});
        assert_eq!(value(&schema), json!({"a": {"x": true}, "b": {"x": true}, "free": "demo"}));
    }

    #[test]
    fn a_schema_of_itself_ends() {
        let schema = json!({"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#"}}});
        assert!(value(&schema).to_string().len() < 500);
    }

    #[test]
    fn arguments_are_always_an_object() {
        assert_eq!(object(&json!({"type": "string"})), json!({}));
        assert_eq!(object(&json!(null)), json!({}));
    }
}
