//! Work that a server does on its own, which only its owner's bill sees: searches, stored prompts, other tiers.
//!
//! A provider does such work only if it is marked to. For the others it is left out of a request where programs
//! ask for it unasked (Codex lists a web search among its tools), and refused where the request means nothing
//! without it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::BadRequest;
use super::lookalike::lookalike;
use crate::dialect::FileReferences;
use crate::domain::endpoint::Endpoint;
use crate::domain::json::{Edits, TopLevel};

/// Fields that are left out.
const LEFT_OUT: &[&str] = &["store", "service_tier", "speed"];

/// Fields that are refused, at every endpoint.
const REFUSED: &[&str] = &[
    "models",
    "fallbacks",
    "plugins",
    "web_search_options",
    "search_parameters",
    "enable_search",
    "session_params",
    TEMPLATE,
    "container",
    "mcp_servers",
    "inference_geo",
    "previous_response_id",
    "conversation",
];

/// A template is a program: a few bytes of it can write a prompt of any length. Servers take one under these names,
/// and among the arguments of their own (vLLM).
const TEMPLATE: &str = "chat_template";
const TEMPLATE_TOO: &[&str] = &["chat_template_str", "instruction_template_str"];
const TEMPLATE_ARGUMENTS: &str = "chat_template_kwargs";

/// Tools by the beginning of their type.
const TOOLS: &[&str] = &[
    "web_search",
    "web_fetch",
    "file_search",
    "code_interpreter",
    "code_execution",
    "image_generation",
    "mcp",
    "shell",
];

/// What refers to something that is stored at the server, in the content of a request.
const STORED: &[&str] = &["prompt", "item_reference", "file_id"];

/// Any tool that a server runs, also one that is not known here.
const ANY_TOOL: &str = "tools";

/// Types of tools that the client runs, by their beginning.
const CLIENT_TOOLS: &[&str] = &[
    "function",
    "custom",
    "namespace",
    "local_shell",
    "apply_patch",
    "computer",
    "bash_",
    "text_editor_",
    "memory_",
    "tool_search",
];

/// What a provider may be asked to do beside generating.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allow(Vec<String>);

impl Allow {
    /// Reads names, each of a field or of a tool.
    ///
    /// # Errors
    /// A name that is not known, in words.
    pub fn of(names: &[String]) -> Result<Self, String> {
        let known = || [LEFT_OUT, REFUSED, STORED, TOOLS, &[ANY_TOOL]].concat();
        match names.iter().find(|name| !known().contains(&name.as_str())) {
            Some(name) => Err(format!("\"{name}\" is none of {}", known().join(", "))),
            None => {
                let mut names = names.to_vec();
                names.sort_unstable();
                names.dedup();
                Ok(Self(names))
            }
        }
    }

    /// Reads [`Self::text`] back.
    pub fn from_text(text: &str) -> Self {
        Self(text.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// The names, with blanks between them.
    pub fn text(&self) -> String {
        self.0.join(" ")
    }

    /// The names.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|allowed| allowed == name || (allowed == ANY_TOOL && TOOLS.contains(&name)))
    }
}

/// The hosted work that a request asks for.
#[derive(Debug, Default)]
pub(super) struct Hosted {
    /// What must be there, and the field that asks for it.
    needed: Vec<(&'static str, &'static str)>,
    /// Fields that may go.
    fields: Vec<&'static str>,
    /// Tools that may go: their name for [`Allow`], and their place in the list.
    tools: Vec<(&'static str, usize)>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// A list of blocks that is nested deeper is not searched: a message has blocks, and a tool's result has blocks.
const FILE_DEPTH: u8 = 8;

/// A part of a message, as far as it may name a file; what a tool was called with is no part of it.
#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    /// Of a container's upload.
    file_id: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Source<'a> {
    file_id: Option<serde::de::IgnoredAny>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

/// Is a file of the server's meant in this list of messages or blocks? One that cannot be read in the dialect is
/// taken for such a one.
fn names_a_file(list: &str, depth: u8) -> bool {
    let Some(deeper) = depth.checked_sub(1) else { return true };
    if !list.starts_with('[') {
        return false;
    }
    let Ok(blocks) = serde_json::from_str::<Vec<&RawValue>>(list) else { return true };
    blocks.into_iter().filter(|raw| raw.get().starts_with('{')).any(|raw| {
        let Ok(block) = serde_json::from_str::<Block<'_>>(raw.get()) else { return true };
        let in_source = block.source.filter(|raw| raw.get().starts_with('{')).is_some_and(|raw| {
            serde_json::from_str::<Source<'_>>(raw.get()).map_or(true, |source| {
                source.file_id.is_some() || source.content.is_some_and(|raw| names_a_file(raw.get(), deeper))
            })
        });
        in_source || block.file_id.is_some() || block.content.is_some_and(|raw| names_a_file(raw.get(), deeper))
    })
}

/// The same JSON with the small letters of its escapes written out: a key may be spelled with them.
fn with_plain_letters(json: &str) -> Cow<'_, str> {
    const ESCAPE: &str = "\\u00";
    if !json.contains(ESCAPE) {
        return Cow::Borrowed(json);
    }
    let (mut plain, mut rest) = (String::with_capacity(json.len()), json);
    while let Some((before, after)) = rest.split_once(ESCAPE) {
        plain.push_str(before);
        let letter = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match letter.filter(|byte| byte.is_ascii_lowercase() || *byte == b'_') {
            Some(letter) => {
                plain.push(char::from(letter));
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                plain.push_str(ESCAPE);
                rest = after;
            }
        }
    }
    Cow::Owned(plain + rest)
}

/// The keys that are read here.
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    LEFT_OUT.iter().chain(REFUSED).chain(TEMPLATE_TOO).copied().chain(["tools", "tool_choice"])
}

fn is_asked(raw: &str) -> bool {
    !matches!(raw, "null" | "false" | "[]" | "{}" | "\"\"")
}

/// A template's arguments hold another template, however its name is written, or cannot be read.
fn brings_template(arguments: &str) -> bool {
    let is_template = |name: &str| name == TEMPLATE || lookalike(name, [TEMPLATE]).is_some();
    arguments.starts_with('{')
        && TopLevel::read_str(arguments)
            .map_or(true, |inner| inner.iter().any(|(name, raw)| is_template(name) && is_asked(raw)))
}

impl Hosted {
    pub(super) fn read(endpoint: Endpoint, top: &TopLevel<'_>) -> Result<Self, BadRequest> {
        let asked = |field: &&&'static str| top.get(field).is_some_and(is_asked);
        let mut hosted = Self {
            needed: REFUSED.iter().filter(asked).map(|field| (*field, *field)).collect(),
            fields: LEFT_OUT.iter().filter(asked).copied().collect(),
            tools: Vec::new(),
        };
        hosted.needed.extend(TEMPLATE_TOO.iter().filter(asked).map(|field| (TEMPLATE, *field)));
        if top.get(TEMPLATE_ARGUMENTS).is_some_and(brings_template) {
            hosted.needed.push((TEMPLATE, TEMPLATE_ARGUMENTS));
        }
        if endpoint.dialect().request.stored.items && top.get("prompt").is_some_and(is_asked) {
            hosted.needed.push(("prompt", "prompt"));
        }
        if let Some(tools) = top.get("tools").filter(|raw| raw.starts_with('[')) {
            hosted.read_tools(tools, top.get("tool_choice"))?;
        }
        if let Some(content) = top.get(endpoint.content_field()) {
            hosted.read_content(endpoint, content)?;
        }
        Ok(hosted)
    }

    fn read_tools(&mut self, tools: &str, choice: Option<&str>) -> Result<(), BadRequest> {
        let wrong = |_| BadRequest::field("tools", "tools must be a list of objects, each with one type");
        let tools: Vec<&RawValue> = serde_json::from_str(tools).map_err(wrong)?;
        let mut names = Vec::new();
        for (place, tool) in tools.iter().enumerate() {
            let head: Head<'_> = serde_json::from_str(tool.get()).map_err(wrong)?;
            let Some(kind) = head.kind else { continue };
            let is_local = kind == "shell" && tool.get().contains("\"local\"");
            if is_local || CLIENT_TOOLS.iter().any(|known| kind.starts_with(known)) {
                continue;
            }
            let family = TOOLS.iter().find(|family| kind.starts_with(**family)).copied().unwrap_or(ANY_TOOL);
            self.tools.push((family, place));
            names.extend([Some(kind), head.name].into_iter().flatten());
        }
        let Some(choice) = choice else { return Ok(()) };
        let alone =
            self.tools.len() == tools.len() && ["\"required\"", "\"any\""].iter().any(|word| choice.contains(word));
        if alone || names.iter().any(|name| choice.contains(&format!("\"{name}\""))) {
            self.needed.extend(self.tools.iter().map(|(family, _)| (*family, "tool_choice")));
        }
        Ok(())
    }

    fn read_content(&mut self, endpoint: Endpoint, content: &str) -> Result<(), BadRequest> {
        let field = endpoint.content_field();
        let plain = with_plain_letters(content);
        let is_key = |key: &str| {
            let rest = |place: usize| plain.get(place + key.len()..).unwrap_or_default().trim_ascii_start();
            plain.match_indices(key).any(|(place, _)| rest(place).starts_with(':'))
        };
        let stored = endpoint.dialect().request.stored;
        let names_file = match stored.files {
            FileReferences::Nowhere => false,
            FileReferences::AnyKey => is_key("\"file_id\""),
            FileReferences::Parts => is_key("\"file_id\"") && names_a_file(content, FILE_DEPTH),
        };
        if names_file {
            self.needed.push(("file_id", field));
        }
        let may_refer = || ["item_reference", "\"id\"", "\\u00"].iter().any(|sign| content.contains(sign));
        if !stored.items || !content.starts_with('[') || !may_refer() {
            return Ok(());
        }
        let items: Vec<Head<'_>> = match serde_json::from_str(content) {
            Ok(items) => items,
            // Numbers, or texts: not of this dialect, for the server to refuse.
            Err(e) if e.to_string().starts_with("invalid type") => return Ok(()),
            Err(_) => {
                return Err(BadRequest::field(field, format!("{field} must be a list of objects, each with one type")));
            }
        };
        let refers = |item: &Head<'_>| match item.kind.as_deref() {
            Some(kind) => kind == "item_reference",
            None => item.role.is_none() && item.id.is_some(),
        };
        if items.iter().any(refers) {
            self.needed.push(("item_reference", field));
        }
        Ok(())
    }

    /// Something is asked for that `allow` grants.
    pub(super) fn uses(&self, allow: &Allow) -> bool {
        let needed = self.needed.iter().map(|(name, _)| name);
        needed.chain(self.tools.iter().map(|(name, _)| name)).any(|name| allow.has(name))
    }

    /// What must be there and is not allowed.
    pub(super) fn lacking(&self, allow: &Allow) -> Option<BadRequest> {
        let (name, field) = self.needed.iter().find(|(name, _)| !allow.has(name))?;
        let message =
            format!("{field}: no provider of this model does hosted work or keeps state ({name}); leave it out");
        Some(BadRequest::field(field, message))
    }

    /// Leaves out what may go and is not allowed.
    pub(super) fn leave_out(&self, allow: &Allow, top: &TopLevel<'_>, edits: &mut Edits<'_, '_>) {
        for field in self.fields.iter().filter(|field| !allow.has(field)) {
            edits.remove(field);
        }
        let go: Vec<usize> = self.tools.iter().filter(|(name, _)| !allow.has(name)).map(|(_, place)| *place).collect();
        if go.is_empty() {
            return;
        }
        let tools: Vec<&RawValue> = top.get("tools").and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
        let kept = tools.iter().enumerate().filter(|(place, _)| !go.contains(place)).map(|(_, tool)| tool.get());
        let kept: Vec<&str> = kept.collect();
        if kept.is_empty() {
            // OpenAI refuses these without tools.
            for field in ["tools", "tool_choice", "parallel_tool_calls"] {
                edits.remove(field);
            }
        } else {
            edits.set("tools", format!("[{}]", kept.join(",")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::request::InferenceRequest;

    #[test]
    fn a_stored_file_is_named_wherever_a_message_may_have_it() {
        use Endpoint::{ChatCompletions as Chat, Messages};
        let document = r#"{"type":"document","source":{"type":"file","file_id":"file_1"}}"#;
        let result = format!(r#"{{"type":"tool_result","tool_use_id":"t","content":[{document}]}}"#);
        let nested = format!(r#"{{"type":"document","source":{{"type":"content","content":[{document}]}}}}"#);
        let rows = [
            (Messages, document, true),
            (Messages, result.as_str(), true),
            (Messages, nested.as_str(), true),
            (Messages, &document.replace("file_id", "fil\\u0065_id"), true),
            (Messages, r#"{"type":"container_upload","file_id":"file_1"}"#, true),
            (Messages, r#"{"type":"document","source":{"file_id":1,"file_id":2}}"#, true),
            (Messages, r#"{"type":"tool_use","id":"t","name":"open","input":{"file_id":"file_1"}}"#, false),
            (Messages, r#"{"type":"text","text":"\"file_id\": 1"}"#, false),
            (Messages, r#"{"type":"text","text":"{\u0022file_id\u0022: 1}"}"#, false),
            (Chat, r#"{"type":"file","file":{"file\u005fid":"file_1"}}"#, true),
            (Chat, r#"{"type":"text","text":"\u00e9 \u00"}"#, false),
        ];
        for (endpoint, part, is_named) in rows {
            let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}"#);
            let Ok(request) = InferenceRequest::read(endpoint, body.as_bytes()) else {
                assert!(part.ends_with(r#"\u00"}"#), "{part}");
                continue;
            };
            let lacking = request.lacking(&Allow::default());
            assert_eq!(lacking.and_then(|e| e.param).as_deref(), is_named.then_some("messages"), "{part}");
            assert_eq!(request.lacking(&Allow::from_text("file_id")), None, "{part}");
        }
    }
}
