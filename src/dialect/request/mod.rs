//! An inference request: what the coordinator reads of it, and the only edits it makes.

mod facts;
pub mod fields;
pub mod output_fields;
pub mod hosted;
pub mod lookalike;
mod settings;

use std::borrow::Cow;

use bytes::Bytes;

pub use crate::domain::endpoint::Endpoint;
use crate::domain::json::{BadJson, Edits, TopLevel};
use crate::domain::model_name;
use crate::domain::number::{Whole, whole};
use fields::{COUNTS, LEAST_OUTPUT, OUTPUT, SWITCHES, check_spelling, check_stream_options};
use hosted::{Allow, Hosted};
use output_fields::OutputFields;
use settings::is_setting;

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
    pub(super) fn field(param: &str, message: impl Into<String>) -> Self {
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
    hosted: Hosted,
    /// The answer begins with the prompt.
    pub echoes: bool,
    top: TopLevel<'a>,
}

impl<'a> InferenceRequest<'a> {
    /// What the model is to answer, as JSON.
    pub fn content(&self) -> Option<&'a str> {
        self.top.get(self.endpoint.content_field())
    }

    /// Reads a body.
    ///
    /// # Errors
    /// Bad JSON, a duplicate key, a field of the wrong type or in another spelling, more than one answer, no
    /// content, or output bounds that disagree. `param` names the field.
    pub fn read(endpoint: Endpoint, body: &'a [u8]) -> Result<Self, BadRequest> {
        let top = TopLevel::read(body)?;
        check_spelling(endpoint, &top)?;
        let model = model(&top)?;
        for field in COUNTS {
            if integer(&top, field)?.is_some_and(|n| n != 1) {
                // Servers report the usage of one choice for all of them.
                return Err(BadRequest::field(field, format!("{field} must be 1")));
            }
        }
        for (field, why) in SWITCHES.iter().chain(endpoint.refused_fields()) {
            if top.get(field).is_some_and(|raw| !matches!(raw, "null" | "false")) {
                return Err(BadRequest::field(field, *why));
            }
        }
        check_content(endpoint, &top)?;
        let max_output = if endpoint.generates() { max_output(&top)? } else { None };
        let stream = endpoint.streams() && boolean(&top, "stream")?;
        let include_usage = endpoint.usage_is_asked_for() && asked_for_usage(&top)?;
        let hosted = Hosted::read(endpoint, &top)?;
        // Servers take 1 and "true" for true.
        let echoes =
            endpoint.dialect().request.echoes && top.get("echo").is_some_and(|raw| !matches!(raw, "null" | "false"));
        Ok(Self { endpoint, model, stream, include_usage, max_output, echoes, hosted, top })
    }

    /// The text that is sent to a provider, with its name for the model and the output bound in the fields that
    /// the client used, as far as the server does not refuse them; if that may leave the output unbounded, also in the one
    /// that it is known to take. Of an unknown server that is the dialect's own: with a field that it ignored
    /// alone, it would run on.
    ///
    /// Work that the provider would do on its own is left out, but for what `allow` grants.
    pub fn for_upstream(
        &self,
        upstream_model: &str,
        output_bound: u64,
        allow: &Allow,
        takes: &OutputFields,
    ) -> Cow<'a, str> {
        let edited = self.edits(upstream_model, output_bound, allow, takes).apply();
        edited.map_or(Cow::Borrowed(self.top.text()), Cow::Owned)
    }

    /// The same, of `body`, which is what was read: in pieces, so that nothing of a large one is copied.
    pub fn pieces_for_upstream(
        &self,
        body: &Bytes,
        upstream_model: &str,
        output_bound: u64,
        allow: &Allow,
        takes: &OutputFields,
    ) -> Vec<Bytes> {
        let edited = self.edits(upstream_model, output_bound, allow, takes).apply_to(body);
        edited.unwrap_or_else(|| vec![body.clone()])
    }

    fn edits(&self, upstream_model: &str, output_bound: u64, allow: &Allow, takes: &OutputFields) -> Edits<'_, 'a> {
        let mut edits = self.top.edit();
        self.hosted.leave_out(allow, &self.top, &mut edits);
        if self.model != upstream_model {
            edits.set("model", serde_json::Value::from(upstream_model).to_string());
        }
        let used = || OUTPUT.iter().filter(|field| self.sets_bound_in(field));
        for field in used() {
            if takes.refuses(field) {
                edits.remove(field);
            } else {
                edits.set(field, output_bound.to_string());
            }
        }
        if let Some(best) = takes.best(self.endpoint)
            && !used().any(|field| takes.holds(field, self.endpoint))
        {
            edits.set(best, output_bound.to_string());
        }
        for field in LEAST_OUTPUT {
            if let Some(Whole::Natural(least)) = self.top.get(field).map(whole)
                && least > output_bound
            {
                edits.set(field, output_bound.to_string());
            }
        }
        if self.stream && self.endpoint.usage_is_asked_for() && !self.include_usage {
            edits.set("stream_options", with_usage(self.top.get("stream_options")));
        }
        edits
    }

    /// The client gave a value to this field for the output bound.
    pub fn sets_bound_in(&self, field: &str) -> bool {
        self.endpoint.generates() && self.top.get(field).is_some_and(|raw| raw != "null")
    }

    /// The fields that may reach a prompt, each with its raw value: all but known settings.
    pub fn prompt_fields(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.top.iter().filter(|(name, _)| !is_setting(name))
    }

    /// The bytes of the values that steer the server and are no part of a prompt.
    pub fn settings_size(&self) -> usize {
        self.top.iter().filter(|(name, _)| is_setting(name)).map(|(_, raw)| raw.len()).sum()
    }

    /// Why a provider that may do only what `allow` grants cannot answer this.
    pub fn lacking(&self, allow: &Allow) -> Option<BadRequest> {
        self.hosted.lacking(allow)
    }

    /// A provider with this `allow` reads more than is written here: what it stored, or finds.
    pub fn reaches_further(&self, allow: &Allow) -> bool {
        self.hosted.uses(allow)
    }

    /// The size of the body in bytes.
    pub fn size(&self) -> usize {
        self.top.text().len()
    }
}

/// The public name of the model.
fn model(top: &TopLevel<'_>) -> Result<String, BadRequest> {
    let raw = top.get("model").ok_or_else(|| BadRequest::field("model", "model is required"))?;
    let model: String = serde_json::from_str(raw).map_err(|_| BadRequest::field("model", "model must be a string"))?;
    // One with blanks is no model's either: it is looked for in vain, as any name that nobody offers.
    if model.is_empty() || model.len() > model_name::LONGEST {
        return Err(BadRequest::field("model", "model must be 1 to 256 bytes long"));
    }
    Ok(model)
}

/// Refuses a request that asks nothing, or what the dialect cannot answer.
fn check_content(endpoint: Endpoint, top: &TopLevel<'_>) -> Result<(), BadRequest> {
    let field = endpoint.content_field();
    let refuse = |why: &str| Err(BadRequest::field(field, format!("{field} {why}")));
    let raw = match top.get(field) {
        None | Some("null") => return refuse("is required"),
        Some(raw) => raw,
    };
    if raw.starts_with('[') && raw.trim_start_matches('[').trim_ascii_start().starts_with(']') {
        return refuse("must not be empty");
    }
    (endpoint.dialect().request.check_content)(raw).or_else(refuse)
}

/// The bound that all fields which name one agree on.
fn max_output(top: &TopLevel<'_>) -> Result<Option<u64>, BadRequest> {
    let mut bound = None;
    for field in OUTPUT {
        let said = integer(top, field)?;
        if let (Some(a), Some(b)) = (bound, said)
            && a != b
        {
            return Err(BadRequest::field(field, format!("{field} and another maximum of the output disagree")));
        }
        bound = bound.or(said);
    }
    for field in LEAST_OUTPUT {
        match top.get(field) {
            None | Some("null") => {}
            Some(raw) if matches!(whole(raw), Whole::Natural(_)) => {}
            Some(_) => return Err(BadRequest::field(field, format!("{field} must be an integer"))),
        }
    }
    Ok(bound)
}

/// A `stream_options` value that asks for usage, whatever else it says.
fn with_usage(old: Option<&str>) -> String {
    let asked = || "{\"include_usage\":true}".to_owned();
    let Some(top) = old.and_then(|raw| TopLevel::read_str(raw).ok()) else { return asked() };
    let mut edits = top.edit();
    edits.set("include_usage", "true".into());
    edits.apply().unwrap_or_else(asked)
}

/// A bound or a count; -1 says that there is none.
fn integer(top: &TopLevel<'_>, field: &str) -> Result<Option<u64>, BadRequest> {
    match top.get(field) {
        None | Some("null") => Ok(None),
        // 0 means "no limit" to some servers and 1 to others, so it can be neither sold nor passed on.
        Some(raw) => match whole(raw) {
            Whole::Natural(n @ 1..=0xFFFF_FFFF) => Ok(Some(n)),
            Whole::MinusOne if OUTPUT.contains(&field) => Ok(None),
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
            check_stream_options(&options)?;
            boolean(&options, "include_usage")
                .map_err(|_| BadRequest::field("stream_options.include_usage", "include_usage must be true or false"))
        }
    }
}

#[cfg(test)]
mod tests;
