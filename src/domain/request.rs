//! An inference request: what the coordinator reads of it, and the only edits it makes.

use std::borrow::Cow;

pub use super::endpoint::Endpoint;
use super::json::{BadJson, TopLevel};

/// Why a request is refused before anything is reserved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadRequest {
    /// The field at fault, if it is one field.
    pub param: Option<String>,
    /// What is wrong, for the client.
    pub message: String,
}

impl BadRequest {
    fn field(param: &str, message: impl Into<String>) -> Self {
        Self { param: Some(param.to_owned()), message: message.into() }
    }
}

impl From<BadJson> for BadRequest {
    fn from(e: BadJson) -> Self {
        let param = match &e {
            BadJson::Duplicate(key) => Some(key.clone()),
            BadJson::Syntax(_) | BadJson::NotAnObject => None,
        };
        Self { param, message: e.to_string() }
    }
}

/// An inference request: the few fields that money depends on, read once; the rest stays raw bytes.
#[derive(Debug)]
pub struct InferenceRequest<'a> {
    /// Where it was sent.
    pub endpoint: Endpoint,
    /// The public model name.
    pub model: String,
    /// The client asked for a stream.
    pub stream: bool,
    /// The client asked for a usage chunk in the stream.
    pub include_usage: bool,
    /// The most output tokens the client asked for.
    pub max_output: Option<u64>,
    top: TopLevel<'a>,
}

/// A longer model name is no model's.
const LONGEST_MODEL_NAME: usize = 256;

impl<'a> InferenceRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// Bad JSON, a duplicate key, a field of the wrong type, `n` or `best_of` other than 1, or output
    /// bounds that disagree. `param` names the field.
    pub fn read(endpoint: Endpoint, body: &'a [u8]) -> Result<Self, BadRequest> {
        let top = TopLevel::read(body)?;
        let model = match top.get("model") {
            None => return Err(BadRequest::field("model", "model is required")),
            Some(raw) => {
                serde_json::from_str::<String>(raw).map_err(|_| BadRequest::field("model", "model must be a string"))?
            }
        };
        if model.is_empty() || model.len() > LONGEST_MODEL_NAME {
            return Err(BadRequest::field("model", "model must be 1 to 256 bytes long"));
        }
        // `n_cmpl` is llama.cpp's own name for `n`.
        for field in ["n", "best_of", "n_cmpl"] {
            if integer(&top, field)?.is_some_and(|n| n != 1) {
                // Servers report the usage of one choice for all of them.
                return Err(BadRequest::field(field, format!("{field} must be 1")));
            }
        }
        one_prompt(endpoint, &top)?;
        for (field, why) in endpoint.refused_fields() {
            if top.get(field).is_some_and(|raw| !matches!(raw, "null" | "false")) {
                return Err(BadRequest::field(field, *why));
            }
        }
        let mut max_output = None;
        for field in endpoint.output_fields() {
            let bound = integer(&top, field)?;
            if let (Some(a), Some(b)) = (max_output, bound)
                && a != b
            {
                return Err(BadRequest::field(field, format!("{field} and another maximum of the output disagree")));
            }
            max_output = max_output.or(bound);
        }
        let stream = endpoint.generates() && boolean(&top, "stream")?;
        let include_usage = endpoint.usage_is_asked_for() && asked_for_usage(&top)?;
        Ok(Self { endpoint, model, stream, include_usage, max_output, top })
    }

    /// The text that is sent to a provider, with its name for the model and the output bound written
    /// into every field that could carry one.
    pub fn for_upstream(&self, upstream_model: &str, output_bound: u64) -> Cow<'a, str> {
        let mut edits = self.top.edit();
        if self.model != upstream_model {
            edits.set("model", serde_json::Value::from(upstream_model).to_string());
        }
        for (place, field) in self.endpoint.output_fields().iter().enumerate() {
            if place == 0 || self.top.get(field).is_some_and(|raw| raw != "null") {
                edits.set(field, output_bound.to_string());
            }
        }
        if self.stream && self.endpoint.usage_is_asked_for() && !self.include_usage {
            edits.set("stream_options", with_usage(self.top.get("stream_options")));
        }
        edits.apply().map_or(Cow::Borrowed(self.top.text()), Cow::Owned)
    }

    /// The raw values that a prompt is made of, for counting its tokens.
    pub fn prompt_parts(&self) -> impl Iterator<Item = &'a str> {
        self.endpoint.prompt_fields().iter().filter_map(|key| self.top.get(key))
    }

    /// The prompt refers to an image, a sound, a film or a file, whose tokens its bytes do not bound. A
    /// letter written as an escape counts as one too: only somebody who hides the word writes it so.
    pub fn has_media(&self) -> bool {
        const KINDS: [&str; 12] = [
            "\"image_url\"",
            "\"input_image\"",
            "\"image\"",
            "\"audio_url\"",
            "\"input_audio\"",
            "\"audio\"",
            "\"video_url\"",
            "\"input_video\"",
            "\"video\"",
            "\"input_file\"",
            "\"file\"",
            "\"document\"",
        ];
        self.prompt_parts().any(|part| KINDS.iter().any(|kind| part.contains(kind)) || escapes_a_letter(part))
    }

    /// The size of the body in bytes.
    pub fn size(&self) -> usize {
        self.top.text().len()
    }
}

/// Refuses several prompts in one legacy completion: servers report the usage of one for all of them.
fn one_prompt(endpoint: Endpoint, top: &TopLevel<'_>) -> Result<(), BadRequest> {
    let (Endpoint::Completions, Some(raw)) = (endpoint, top.get("prompt")) else { return Ok(()) };
    if !raw.starts_with('[') {
        return Ok(());
    }
    let parts: Vec<&serde_json::value::RawValue> = serde_json::from_str(raw).unwrap_or_default();
    let is_number = |part: &serde_json::value::RawValue| part.get().starts_with(|c: char| c.is_ascii_digit());
    if parts.len() > 1 && !parts.iter().all(|part| is_number(part)) {
        return Err(BadRequest::field("prompt", "prompt must be one prompt: send a request for each"));
    }
    Ok(())
}

/// The JSON text writes an ASCII letter or an underscore as `\u00xx`.
fn escapes_a_letter(json: &str) -> bool {
    let code = |rest: &str| rest.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
    json.split("\\u00").skip(1).filter_map(code).any(|byte| byte.is_ascii_alphabetic() || byte == b'_')
}

/// A `stream_options` value that asks for usage, whatever else it says.
fn with_usage(old: Option<&str>) -> String {
    let asked = || "{\"include_usage\":true}".to_owned();
    let Some(top) = old.and_then(|raw| TopLevel::read_str(raw).ok()) else { return asked() };
    let mut edits = top.edit();
    edits.set("include_usage", "true".into());
    edits.apply().unwrap_or_else(asked)
}

fn integer(top: &TopLevel<'_>, field: &str) -> Result<Option<u64>, BadRequest> {
    match top.get(field) {
        None | Some("null") => Ok(None),
        // 0 means "no limit" to some servers and 1 to others, so it can be neither sold nor passed on.
        Some(raw) => match raw.parse::<u64>() {
            Ok(n @ 1..=0xFFFF_FFFF) => Ok(Some(n)),
            _ => Err(BadRequest::field(field, format!("{field} must be an integer of at least 1"))),
        },
    }
}

fn boolean(top: &TopLevel<'_>, field: &str) -> Result<bool, BadRequest> {
    match top.get(field) {
        None | Some("null" | "false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(BadRequest::field(field, format!("{field} must be true or false"))),
    }
}

fn asked_for_usage(top: &TopLevel<'_>) -> Result<bool, BadRequest> {
    match top.get("stream_options") {
        None | Some("null") => Ok(false),
        Some(raw) => {
            let options = TopLevel::read_str(raw).map_err(|e| match e {
                BadJson::Duplicate(key) => BadRequest::field("stream_options", BadJson::Duplicate(key).to_string()),
                BadJson::Syntax(_) | BadJson::NotAnObject => {
                    BadRequest::field("stream_options", "stream_options must be an object")
                }
            })?;
            boolean(&options, "include_usage")
                .map_err(|_| BadRequest::field("stream_options.include_usage", "include_usage must be true or false"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<InferenceRequest<'_>, BadRequest> {
        InferenceRequest::read(Endpoint::ChatCompletions, body.as_bytes())
    }

    #[test]
    fn the_fields_that_money_depends_on() {
        // body → stream, include_usage, max_output
        let rows = [
            (r#"{"model":"m"}"#, (false, false, None)),
            (r#"{"model":"m","stream":null,"max_tokens":null,"stream_options":null}"#, (false, false, None)),
            (r#"{"model":"m","stream":true,"max_tokens":5,"n":1}"#, (true, false, Some(5))),
            (r#"{"model":"m","max_completion_tokens":7,"max_tokens":7}"#, (false, false, Some(7))),
            (r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#, (true, true, None)),
            (r#"{"model":"m","stream":true,"stream_options":{"x":[1]}}"#, (true, false, None)),
        ];
        for (body, expected) in rows {
            match read(body) {
                Ok(r) => assert_eq!((r.stream, r.include_usage, r.max_output), expected, "{body}"),
                Err(e) => panic!("{body}: {e}"),
            }
        }
    }

    #[test]
    fn a_bad_field_is_named() {
        let rows = [
            (r#"{}"#, Some("model")),
            (r#"{"model":7}"#, Some("model")),
            (r#"{"model":null}"#, Some("model")),
            (r#"{"model":""}"#, Some("model")),
            (r#"{"model":"\ud800"}"#, Some("model")),
            (r#"{"model":"m","model":"m"}"#, Some("model")),
            (r#"{"model":"m","n":2}"#, Some("n")),
            (r#"{"model":"m","n":0}"#, Some("n")),
            (r#"{"model":"m","best_of":3}"#, Some("best_of")),
            (r#"{"model":"m","n_cmpl":8}"#, Some("n_cmpl")),
            (r#"{"model":"m","max_tokens":1,"n_predict":-1}"#, Some("n_predict")),
            (r#"{"model":"m","max_tokens":1,"n_predict":4000}"#, Some("n_predict")),
            (r#"{"model":"m","stream":"yes"}"#, Some("stream")),
            (r#"{"model":"m","stream":1}"#, Some("stream")),
            (r#"{"model":"m","max_tokens":0}"#, Some("max_tokens")),
            (r#"{"model":"m","max_tokens":-1}"#, Some("max_tokens")),
            (r#"{"model":"m","max_tokens":1.0}"#, Some("max_tokens")),
            (r#"{"model":"m","max_tokens":1e3}"#, Some("max_tokens")),
            (r#"{"model":"m","max_tokens":"7"}"#, Some("max_tokens")),
            (r#"{"model":"m","max_tokens":18446744073709551616}"#, Some("max_tokens")),
            (r#"{"model":"m","max_completion_tokens":[]}"#, Some("max_completion_tokens")),
            (r#"{"model":"m","max_tokens":1,"max_completion_tokens":2}"#, Some("max_completion_tokens")),
            (r#"{"model":"m","stream_options":7}"#, Some("stream_options")),
            (r#"{"model":"m","stream_options":{"include_usage":1}}"#, Some("stream_options.include_usage")),
            (r#"{"model":"m","stream_options":{"include_usage":true,"include_usage":false}}"#, Some("stream_options")),
            (r#"["model"]"#, None),
            (r#"{"model":"m""#, None),
        ];
        for (body, param) in rows {
            match read(body) {
                Ok(_) => panic!("accepted {body}"),
                Err(e) => assert_eq!(e.param.as_deref(), param, "{body}"),
            }
        }
    }

    #[test]
    fn each_dialect_is_bounded_in_its_own_field() {
        // endpoint, body → max_output, what goes upstream bounded to 9 tokens
        let rows = [
            (
                Endpoint::Completions,
                r#"{"model":"m","prompt":[1,2]}"#,
                None,
                r#"{"max_tokens":9,"model":"m","prompt":[1,2]}"#,
            ),
            (Endpoint::Embeddings, r#"{"model":"m","input":["a","b"]}"#, None, r#"{"model":"m","input":["a","b"]}"#),
            (
                Endpoint::Responses,
                r#"{"model":"m","max_output_tokens":20}"#,
                Some(20),
                r#"{"model":"m","max_output_tokens":9}"#,
            ),
            (
                Endpoint::Messages,
                r#"{"model":"m","max_tokens":20,"stream":true}"#,
                Some(20),
                r#"{"model":"m","max_tokens":9,"stream":true}"#,
            ),
        ];
        for (endpoint, body, max_output, upstream) in rows {
            match InferenceRequest::read(endpoint, body.as_bytes()) {
                Ok(r) => assert_eq!((r.max_output, &*r.for_upstream("m", 9)), (max_output, upstream), "{body}"),
                Err(e) => panic!("{body}: {e}"),
            }
        }
        let refused = [
            (Endpoint::Completions, r#"{"model":"m","prompt":["a","b"]}"#, "prompt"),
            (Endpoint::Completions, r#"{"model":"m","prompt":[[1],[2]]}"#, "prompt"),
            (Endpoint::Responses, r#"{"model":"m","background":true}"#, "background"),
            (Endpoint::Responses, r#"{"model":"m","previous_response_id":"resp_1"}"#, "previous_response_id"),
            (Endpoint::Responses, r#"{"model":"m","max_output_tokens":0}"#, "max_output_tokens"),
        ];
        for (endpoint, body, param) in refused {
            match InferenceRequest::read(endpoint, body.as_bytes()) {
                Ok(_) => panic!("accepted {body}"),
                Err(e) => assert_eq!(e.param.as_deref(), Some(param), "{body}"),
            }
        }
        for endpoint in Endpoint::ALL {
            assert_eq!(Endpoint::from_path(endpoint.path()), Some(endpoint));
        }
    }

    #[test]
    fn an_endpoint_has_its_paths() {
        let rows = [
            (Endpoint::ChatCompletions, "/chat/completions", true),
            (Endpoint::Completions, "/completions", true),
            (Endpoint::Embeddings, "/embeddings", false),
            (Endpoint::Responses, "/responses", true),
            (Endpoint::Messages, "/messages", true),
        ];
        for (endpoint, upstream, generates) in rows {
            assert_eq!((endpoint.upstream_path(), endpoint.generates()), (upstream, generates));
            assert_eq!(endpoint.to_string(), endpoint.path());
            let body = br#"{"model":"m","stream":true}"#;
            assert_eq!(InferenceRequest::read(endpoint, body).map(|r| r.stream), Ok(generates), "{endpoint}");
        }
    }

    #[test]
    fn a_prompt_is_found_and_measured() {
        // endpoint, body → parts, media
        let rows = [
            (Endpoint::ChatCompletions, r#"{"model":"m","messages":[1],"tools":2,"x":3}"#, vec!["[1]", "2"], false),
            (
                Endpoint::ChatCompletions,
                r#"{"model":"m","messages":[{"image_url":1}]}"#,
                vec![r#"[{"image_url":1}]"#],
                true,
            ),
            (Endpoint::ChatCompletions, r#"{"model":"m","x":{"image_url":1}}"#, vec![], false),
            (Endpoint::Completions, r#"{"model":"m","prompt":["a"]}"#, vec![r#"["a"]"#], false),
            (Endpoint::Messages, r#"{"model":"m","system":"\"file\""}"#, vec![r#""\"file\"""#], false),
        ];
        for (endpoint, body, parts, media) in rows {
            match InferenceRequest::read(endpoint, body.as_bytes()) {
                Ok(r) => {
                    assert_eq!((r.prompt_parts().collect::<Vec<_>>(), r.has_media()), (parts, media), "{body}");
                    assert_eq!(r.size(), body.len());
                }
                Err(e) => panic!("{body}: {e}"),
            }
        }
        let named = |length: usize| format!(r#"{{"model":"{}"}}"#, "m".repeat(length));
        assert!(read(&named(256)).is_ok() && read(&named(257)).is_err());
    }

    #[test]
    fn media_are_seen_also_where_they_are_hidden() {
        let rows = [
            (r#"{"model":"m","messages":[{"role":"user","content":"an image"}]}"#, false),
            (r#"{"model":"m","messages":[{"content":"\u00e9 \u0022 \u003c"}]}"#, false),
            (r#"{"model":"m","messages":[{"content":[{"type":"image_url","image_url":{"url":"http://x"}}]}]}"#, true),
            (r#"{"model":"m","messages":[{"content":[{"type":"video_url"}]}]}"#, true),
            (r#"{"model":"m","messages":[{"content":[{"type":"image\u005furl"}]}]}"#, true),
        ];
        for (body, expected) in rows {
            assert_eq!(read(body).map(|r| r.has_media()), Ok(expected), "{body}");
        }
    }

    #[test]
    fn only_three_things_are_edited() {
        // body → what a provider that calls the model "up" gets, bounded to 9 tokens
        let rows = [
            (r#"{"model":"m","x": [1e400]}"#, r#"{"max_tokens":9,"model":"up","x": [1e400]}"#),
            (r#"{"max_tokens":20,"model":"m"}"#, r#"{"max_tokens":9,"model":"up"}"#),
            (r#"{"max_tokens":9,"model":"up"}"#, r#"{"max_tokens":9,"model":"up"}"#),
            (r#"{"n_predict":20,"model":"up"}"#, r#"{"max_tokens":9,"n_predict":9,"model":"up"}"#),
            (
                r#"{"model":"up","max_completion_tokens":9}"#,
                r#"{"max_tokens":9,"model":"up","max_completion_tokens":9}"#,
            ),
            (
                r#"{"model":"up","max_tokens":9,"max_completion_tokens":null}"#,
                r#"{"model":"up","max_tokens":9,"max_completion_tokens":null}"#,
            ),
            (
                r#"{"model":"up","max_tokens":9,"stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"up","max_tokens":9,"stream":true}"#,
            ),
            (
                r#"{"model":"up","max_tokens":9,"stream":true,"stream_options":{"include_obfuscation":false}}"#,
                r#"{"model":"up","max_tokens":9,"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}"#,
            ),
            (
                r#"{"model":"up","max_tokens":9,"stream":true,"stream_options":{"include_usage":false}}"#,
                r#"{"model":"up","max_tokens":9,"stream":true,"stream_options":{"include_usage":true}}"#,
            ),
        ];
        for (body, upstream) in rows {
            match read(body) {
                Ok(request) => assert_eq!(request.for_upstream("up", 9), upstream),
                Err(e) => panic!("{body}: {e}"),
            }
        }
    }
}
