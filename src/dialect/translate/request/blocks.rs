//! The messages of a Messages request as chat messages.

use std::borrow::Cow;
use std::collections::HashSet;

use super::chat::{Call, Messages, Part, Said};
use super::file;
use crate::dialect::translate::raw::{At, Result, escaped, given, is_blank, quoted};
use crate::dialect::translate::room::{ENTRY, Room};
use crate::domain::json::TopLevel;

/// Blocks that tell what a server did on its own. What came of it is in the text that follows them.
const HOSTED_BLOCKS: &[&str] = &[
    "redacted_thinking",
    "server_tool_use",
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "advisor_tool_result",
    "mcp_tool_use",
    "mcp_tool_result",
    "fallback",
];

/// A line that Claude Code sends for Anthropic's bookkeeping: no instruction, and another one in every version.
const BOOKKEEPING: &str = "x-anthropic-billing-header:";

/// Documents in documents are read down to here.
const DEEPEST: u8 = 4;

/// What is read of the messages.
#[derive(Debug)]
pub(super) struct Reading<'a, 'r> {
    /// The messages so far.
    pub messages: Messages<'a>,
    /// Tools that the conversation has found.
    pub found: HashSet<String>,
    /// Tools that it has added: their definitions, and where they stand.
    pub added: Vec<(&'a str, String)>,
    /// Tools that it has taken away.
    pub removed: HashSet<String>,
    room: &'r Room,
}

/// What one message holds.
#[derive(Debug, Default)]
struct Held<'a> {
    parts: Vec<Part<'a>>,
    said: Said<'a>,
    /// The calls that are answered, and how.
    results: Vec<(&'a str, Vec<Part<'a>>)>,
}

impl<'a, 'r> Reading<'a, 'r> {
    pub fn new(room: &'r Room) -> Self {
        let (found, removed) = (HashSet::new(), HashSet::new());
        Self { messages: Messages::default(), found, added: Vec::new(), removed, room }
    }

    /// Reads instructions: a text, or blocks of text.
    pub fn system(&mut self, raw: &'a str, at: &At<'_>) -> Result<()> {
        let held = self.content(raw, at)?;
        for part in held.parts {
            match part {
                Part::Text(text) if text.starts_with(BOOKKEEPING) => {}
                Part::Text(text) => self.messages.system(text),
                Part::Image { .. } => return at.refuse("must be text"),
            }
        }
        Ok(())
    }

    /// Reads all messages.
    pub fn messages(&mut self, raw: &'a str) -> Result<()> {
        let at = At::Top("messages");
        for (place, raw) in at.list(raw)?.enumerate() {
            self.message(raw, &At::Entry(&at, place))?;
        }
        Ok(())
    }

    fn message(&mut self, raw: &'a str, at: &At<'_>) -> Result<()> {
        let message = at.object(raw)?;
        self.room.take(ENTRY)?;
        let here = At::Field(at, "content");
        let content = message.get("content").unwrap_or("null");
        match at.text_of(&message, "role")?.as_deref() {
            Some("user") => {
                let held = self.content(content, &here)?;
                // What tools answered has to follow their calls.
                let is_answer = !held.results.is_empty();
                for (id, parts) in held.results {
                    self.messages.tool(id, parts);
                }
                if !held.parts.is_empty() || !is_answer {
                    self.messages.user(held.parts);
                }
            }
            Some("assistant") => {
                let held = self.content(content, &here)?;
                let mut said = held.said;
                for part in held.parts {
                    match part {
                        Part::Text(text) => said.texts.push(text),
                        Part::Image { .. } => return here.refuse("of the assistant must be text"),
                    }
                }
                self.messages.assistant(said);
            }
            Some("system") => self.system(content, &here)?,
            _ => return At::Field(at, "role").refuse("must be user, assistant or system"),
        }
        Ok(())
    }

    /// A text or a list of blocks.
    fn content(&mut self, raw: &'a str, at: &At<'_>) -> Result<Held<'a>> {
        let mut held = Held::default();
        if raw.starts_with('"') {
            held.parts.push(Part::Text(at.inner(raw)?.into()));
            return Ok(held);
        }
        for (place, raw) in at.list(raw)?.enumerate() {
            self.block(raw, &At::Entry(at, place), &mut held)?;
        }
        Ok(held)
    }

    fn block(&mut self, raw: &'a str, at: &At<'_>, held: &mut Held<'a>) -> Result<()> {
        let block = at.object(raw)?;
        self.room.take(ENTRY)?;
        match &*at.kind_of(&block)? {
            "thinking" => held.said.reasoning.push(at.inner_of(&block, "thinking")?.into()),
            "tool_use" => {
                let id = at.inner_of(&block, "id")?;
                let Some(name) = at.text_of(&block, "name")? else {
                    return At::Field(at, "name").refuse("is required");
                };
                let input = given(&block, "input").unwrap_or("{}");
                // Escaped, in a string.
                self.room.take(2 * input.len())?;
                held.said.calls.push(Call { id, name: name.into_owned(), arguments: quoted(input).into() });
            }
            "tool_result" => held.results.push(self.result(&block, at)?),
            "tool_addition" | "tool_removal" => self.change_of_tools(&block, at)?,
            kind if HOSTED_BLOCKS.contains(&kind) => {}
            _ => {
                let parts = self.plain(&block, at, DEEPEST)?;
                held.parts.extend(parts);
            }
        }
        Ok(())
    }

    fn result(&mut self, block: &TopLevel<'a>, at: &At<'_>) -> Result<(&'a str, Vec<Part<'a>>)> {
        let id = at.inner_of(block, "tool_use_id")?;
        let here = At::Field(at, "content");
        let mut parts =
            given(block, "content").map_or(Ok(Vec::new()), |raw| self.plain_content(raw, &here, DEEPEST))?;
        if block.get("is_error") == Some("true") {
            // A chat server has no other word for it.
            parts.insert(0, Part::Text("Error:".into()));
        }
        Ok((id, parts))
    }

    /// A text, or blocks that are text or pictures.
    fn plain_content(&mut self, raw: &'a str, at: &At<'_>, depth: u8) -> Result<Vec<Part<'a>>> {
        if raw.starts_with('"') {
            return Ok(vec![Part::Text(at.inner(raw)?.into())]);
        }
        let Some(depth) = depth.checked_sub(1) else { return at.refuse("is nested too deep") };
        let mut parts = Vec::new();
        for (place, raw) in at.list(raw)?.enumerate() {
            let at = At::Entry(at, place);
            let block = at.object(raw)?;
            self.room.take(ENTRY)?;
            parts.extend(self.plain(&block, &at, depth)?);
        }
        Ok(parts)
    }

    fn plain(&mut self, block: &TopLevel<'a>, at: &At<'_>, depth: u8) -> Result<Vec<Part<'a>>> {
        let one = |part| Ok(vec![part]);
        match &*at.kind_of(block)? {
            "text" => one(Part::Text(at.inner_of(block, "text")?.into())),
            "compaction" => match given(block, "content") {
                Some(raw) => one(Part::Text(At::Field(at, "content").inner(raw)?.into())),
                None => Ok(Vec::new()),
            },
            "image" => {
                let here = At::Field(at, "source");
                let source = here.object(block.get("source").unwrap_or("null"))?;
                one(Part::Image { url: picture(&source, &here)?, detail: None })
            }
            "document" => self.document(block, at, depth),
            "search_result" => {
                let title = at.text_of(block, "title")?.unwrap_or_default();
                let source = at.text_of(block, "source")?.unwrap_or_default();
                let mut parts = vec![Part::Text(escaped(&format!("{title} ({source})")).into())];
                let here = At::Field(at, "content");
                parts.extend(self.plain_content(block.get("content").unwrap_or("[]"), &here, depth)?);
                Ok(parts)
            }
            "tool_reference" => {
                let name = at.text_of(block, "tool_name")?.unwrap_or_default();
                // It is said, and remembered.
                self.room.take(ENTRY + 2 * name.len())?;
                let text = escaped(&format!("The tool {name} can be called now."));
                self.found.insert(name.into_owned());
                one(Part::Text(text.into()))
            }
            "" => At::Field(at, "type").refuse("is required"),
            kind => At::Field(at, "type").refuse(format_args!("{kind} cannot be carried to a chat server")),
        }
    }

    fn document(&mut self, block: &TopLevel<'a>, at: &At<'_>, depth: u8) -> Result<Vec<Part<'a>>> {
        let here = At::Field(at, "source");
        let source = here.object(block.get("source").unwrap_or("null"))?;
        let mut parts = Vec::new();
        for field in ["title", "context"] {
            let text = given(block, field).map(|raw| At::Field(at, field).inner(raw)).transpose()?;
            parts.extend(text.filter(|text| !is_blank(text)).map(|text| Part::Text(text.into())));
        }
        match &*here.kind_of(&source)? {
            "text" => parts.push(Part::Text(here.inner_of(&source, "data")?.into())),
            "content" => {
                let inner = At::Field(&here, "content");
                parts.extend(self.plain_content(source.get("content").unwrap_or("null"), &inner, depth)?);
            }
            "base64" => {
                let [kind, data] = ["media_type", "data"].map(|field| here.text_of(&source, field));
                let (kind, data) = (kind?.unwrap_or_default(), data?.unwrap_or_default());
                match file::text("", &format!("data:{kind};base64,{data}"), self.room)? {
                    Some(text) => parts.push(Part::Text(text.into())),
                    None => return here.refuse("is no file of text, and a chat server knows no others"),
                }
            }
            kind => return here.refuse(format_args!("means a file that is elsewhere ({kind}): send its text")),
        }
        Ok(parts)
    }

    /// Tools that come and go in a conversation.
    fn change_of_tools(&mut self, block: &TopLevel<'a>, at: &At<'_>) -> Result<()> {
        let here = At::Field(at, "tool");
        let tool = here.object(block.get("tool").unwrap_or("null"))?;
        match (&*at.kind_of(block)?, given(&tool, "definition")) {
            ("tool_addition", Some(raw)) => self.added.push((raw, At::Field(&here, "definition").to_string())),
            (kind, _) => {
                let name = here.text_of(&tool, "name")?.unwrap_or_default().into_owned();
                if kind == "tool_addition" {
                    self.removed.remove(&name);
                    self.found.insert(name);
                } else {
                    self.removed.insert(name);
                }
            }
        }
        Ok(())
    }
}

/// The address of a picture, or its data URL.
fn picture<'a>(source: &TopLevel<'a>, at: &At<'_>) -> Result<Cow<'a, str>> {
    match &*at.kind_of(source)? {
        "url" => Ok(at.inner_of(source, "url")?.into()),
        "base64" => {
            let [kind, data] = ["media_type", "data"].map(|field| at.inner_of(source, field));
            Ok(format!("data:{};base64,{}", kind?, data?).into())
        }
        kind => at.refuse(format_args!("means a picture that is elsewhere ({kind}): send the picture")),
    }
}
