//! A request to the demo provider: the fields every dialect has, and how it is refused.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Map, Value, json};

use super::generate::Limits;

/// How long a token takes, unless `demo_delay_ms` says otherwise: a pace that can be read along.
const TOKEN_DELAY_MS: usize = 8;
/// The most `demo_delay_ms` may ask for.
const LONGEST_DELAY_MS: usize = 1_000;

/// Why a request is refused, in the shape of OpenAI's errors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unanswerable {
    /// HTTP status.
    pub status: u16,
    /// OpenAI's `type`.
    pub kind: &'static str,
    /// OpenAI's `code`, where it has one.
    pub code: Option<&'static str>,
    /// What is wrong.
    pub message: String,
    /// The field at fault.
    pub param: Option<String>,
}

impl Unanswerable {
    /// 400, naming the field.
    pub fn field(param: &str, message: impl Into<String>) -> Self {
        let (message, param) = (message.into(), Some(param.to_owned()));
        Self { status: 400, kind: "invalid_request_error", code: None, message, param }
    }

    /// A refusal that is about no field.
    pub fn plain(status: u16, kind: &'static str, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status, kind, code, message: message.into(), param: None }
    }
}

impl ResponseError for Unanswerable {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        // `"type":"error"` is Anthropic's half of the envelope; the others do not look at it.
        HttpResponse::build(self.status_code()).json(json!({"type": "error", "error": {
            "message": self.message, "type": self.kind, "code": self.code, "param": self.param}}))
    }
}

/// A request, read.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// The model's name, as asked.
    pub model: String,
    /// The answer is streamed.
    pub stream: bool,
    /// The stream ends with a usage chunk.
    pub include_usage: bool,
    /// Every chunk carries the usage so far (vLLM).
    pub continuous_usage: bool,
    /// What bounds the answer.
    pub limits: Limits,
    /// How long each token takes.
    pub delay: Duration,
    /// `demo_cached_tokens`: how many tokens of the prompt count as read from a cache.
    pub cached: Option<usize>,
    /// All of the body.
    pub body: Map<String, Value>,
}

impl Ask {
    /// Reads a body whose output bound is in `max_fields` (the lowest counts) and whose stop texts are
    /// in `stop_field`.
    ///
    /// # Errors
    /// Not a JSON object, no model, a field of the wrong type.
    pub fn read(bytes: &[u8], max_fields: &[&str], stop_field: &str) -> Result<Self, Unanswerable> {
        let body: Map<String, Value> = serde_json::from_slice(bytes).map_err(|e| {
            Unanswerable::plain(400, "invalid_request_error", None, format!("the body is not a JSON object: {e}"))
        })?;
        let model = body.get("model").and_then(Value::as_str);
        let model = model.ok_or_else(|| Unanswerable::field("model", "model must be a string"))?.to_owned();
        if whole(&body, "n")?.is_some_and(|n| n != 1) {
            return Err(Unanswerable::field("n", "n must be 1"));
        }
        let mut limits = Limits {
            max: None,
            exact: whole(&body, "demo_tokens")?,
            ignore_eos: flag(&body, "ignore_eos")?,
            stops: texts(&body, stop_field)?,
        };
        for field in max_fields {
            limits.max = [limits.max, whole(&body, field)?].into_iter().flatten().min();
        }
        let delay = whole(&body, "demo_delay_ms")?.unwrap_or(TOKEN_DELAY_MS);
        if delay > LONGEST_DELAY_MS {
            return Err(Unanswerable::field("demo_delay_ms", "demo_delay_ms must be 0 to 1000"));
        }
        let option = |name: &str| body.get("stream_options").and_then(|o| o.get(name)) == Some(&Value::Bool(true));
        Ok(Self {
            model,
            stream: flag(&body, "stream")?,
            include_usage: option("include_usage"),
            continuous_usage: option("continuous_usage_stats"),
            limits,
            delay: Duration::from_millis(u64::try_from(delay).unwrap_or(0)),
            cached: whole(&body, "demo_cached_tokens")?,
            body,
        })
    }
}

/// A field that is a whole number of at least 0; null is none.
///
/// # Errors
/// Anything else.
pub fn whole(body: &Map<String, Value>, field: &str) -> Result<Option<usize>, Unanswerable> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_u64().and_then(|n| usize::try_from(n).ok());
            number
                .map(Some)
                .ok_or_else(|| Unanswerable::field(field, format!("{field} must be a whole number of at least 0")))
        }
    }
}

fn flag(body: &Map<String, Value>, field: &str) -> Result<bool, Unanswerable> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(false),
        Some(value) => {
            value.as_bool().ok_or_else(|| Unanswerable::field(field, format!("{field} must be true or false")))
        }
    }
}

fn texts(body: &Map<String, Value>, field: &str) -> Result<Vec<String>, Unanswerable> {
    let bad = || Unanswerable::field(field, format!("{field} must be a string or a list of strings"));
    match body.get(field) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(many)) => many.iter().map(|v| v.as_str().map(str::to_owned).ok_or_else(bad)).collect(),
        Some(_) => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &Value) -> Result<Ask, Unanswerable> {
        Ask::read(body.to_string().as_bytes(), &["max_tokens", "max_completion_tokens"], "stop")
    }

    #[test]
    fn the_lowest_bound_counts_and_null_is_none() {
        let ask = read(&json!({"model": "m", "max_tokens": 9, "max_completion_tokens": 5, "stop": "x"})).unwrap();
        assert_eq!((ask.limits.max, ask.limits.stops), (Some(5), vec!["x".to_owned()]));
        assert_eq!(ask.delay, Duration::from_millis(8));
        let ask = read(&json!({"model": "m", "max_tokens": null, "stream_options": null})).unwrap();
        assert_eq!((ask.limits.max, ask.include_usage), (None, false));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (json!({}), Some("model")),
            (json!({"model": "m", "n": 2}), Some("n")),
            (json!({"model": "m", "max_tokens": "many"}), Some("max_tokens")),
            (json!({"model": "m", "max_tokens": -1}), Some("max_tokens")),
            (json!({"model": "m", "stop": [1]}), Some("stop")),
            (json!({"model": "m", "stream": 1}), Some("stream")),
            (json!({"model": "m", "demo_delay_ms": 1001}), Some("demo_delay_ms")),
            (json!([]), None),
        ];
        for (body, param) in cases {
            let fault = read(&body).unwrap_err();
            assert_eq!((fault.status, fault.param.as_deref()), (400, param), "{body}");
        }
    }
}
