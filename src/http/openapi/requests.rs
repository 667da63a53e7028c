//! The bodies of inference requests. They are passed on byte for byte, so only what the coordinator itself
//! reads is described; every other field of the dialect may be there too.

use serde_json::{Value, json};

use crate::domain::endpoint::Endpoint;

/// The schemas by name.
pub fn schemas() -> Vec<(&'static str, Value)> {
    let messages = json!({"type": "array", "minItems": 1, "items": {
        "type": "object",
        "required": ["role"],
        "properties": {"role": {"type": "string"}, "content": {"type": ["string", "array", "null"]}},
    }});
    let text =
        json!({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": ["string", "integer", "object"]}}]});
    vec![
        (
            "ChatRequest",
            generates(
                &json!({"messages": messages, "max_completion_tokens": bound(),
            "stream_options": stream_options()}),
                "max_tokens",
                "messages",
            ),
        ),
        (
            "CompletionRequest",
            generates(&json!({"prompt": text, "stream_options": stream_options()}), "max_tokens", "prompt"),
        ),
        ("EmbeddingRequest", request(&json!({"input": text}), "input")),
        ("ResponsesRequest", generates(&json!({"input": text}), "max_output_tokens", "input")),
        ("CompactRequest", request(&json!({"input": text, "instructions": {"type": ["string", "null"]}}), "input")),
        ("MessagesRequest", generates(&json!({"messages": messages}), "max_tokens", "messages")),
        (
            "QuoteRequest",
            request(&json!({"endpoint": {"type": "string", "enum": Endpoint::ALL.map(Endpoint::path)}}), "endpoint"),
        ),
        (
            "ModelAnswer",
            json!({
                "type": "object",
                "description": "The provider's answer in its dialect; its usage has cost_micro_usd in it.",
            }),
        ),
    ]
}

fn bound() -> Value {
    json!({"type": ["integer", "null"], "minimum": 0, "description": "The most tokens of output."})
}

fn stream_options() -> Value {
    json!({"type": ["object", "null"], "properties": {"include_usage": {"type": "boolean"}}})
}

/// A request whose answer is generated, and may be streamed.
fn generates(fields: &Value, bound_field: &str, required: &str) -> Value {
    let mut schema = request(fields, required);
    if let Some(properties) = schema.pointer_mut("/properties").and_then(Value::as_object_mut) {
        properties.insert(bound_field.to_owned(), bound());
        properties.insert("stream".to_owned(), json!({"type": ["boolean", "null"]}));
        properties.insert("n".to_owned(), json!({"type": ["integer", "null"], "enum": [1, null]}));
    }
    schema
}

fn request(fields: &Value, required: &str) -> Value {
    let mut properties = fields.as_object().cloned().unwrap_or_default();
    let model = json!({"type": "string", "minLength": 1, "maxLength": 256, "description": "A name of /v1/models."});
    properties.insert("model".to_owned(), model);
    json!({
        "type": "object",
        "required": ["model", required],
        "properties": properties,
        "additionalProperties": true,
        "description": "Passed on to the provider; fields that are not listed here too.",
    })
}
