//! The items of a Responses request as messages.

use std::borrow::Cow;

use super::chat::{Call, Messages, Part, Said};
use super::file;
use super::tools::{Tools, flat};
use crate::dialect::translate::raw::{At, Result, given, quoted};
use crate::dialect::translate::room::{ENTRY, Room};
use crate::domain::json::TopLevel;

/// Items that tell what a server did on its own. What came of it is in the answer that follows them.
const HOSTED_ITEMS: &[&str] = &[
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "mcp_list_tools",
    "mcp_call",
    "tool_search_call",
];

/// The name of a tool that is called or to be called, as the chat server knows it.
pub(super) fn chosen(at: &At<'_>, choice: &TopLevel<'_>) -> Result<String> {
    let Some(name) = at.text_of(choice, "name")? else { return At::Field(at, "name").refuse("is required") };
    Ok(at.text_of(choice, "namespace")?.map_or_else(|| name.clone().into_owned(), |space| flat(&space, &name)))
}

/// What is read of the input.
#[derive(Debug)]
pub(super) struct Reading<'a, 'r> {
    /// The messages so far.
    pub messages: Messages<'a>,
    /// The tools so far.
    pub tools: Tools<'r>,
    room: &'r Room,
}

impl<'a, 'r> Reading<'a, 'r> {
    pub fn new(room: &'r Room) -> Self {
        Self { messages: Messages::default(), tools: Tools::new(room), room }
    }

    /// Reads a list of tools.
    pub fn tools(&mut self, raw: Option<&str>, at: &At<'_>) -> Result<()> {
        let Some(raw) = raw.filter(|raw| *raw != "null") else { return Ok(()) };
        for (place, raw) in at.list(raw)?.enumerate() {
            self.tools.of_responses(raw, &At::Entry(at, place), None)?;
        }
        Ok(())
    }

    /// Reads the input: a text, or items.
    pub fn input(&mut self, raw: &'a str) -> Result<()> {
        let at = At::Top("input");
        if raw.starts_with('"') {
            self.messages.user(vec![Part::Text(at.inner(raw)?.into())]);
            return Ok(());
        }
        for (place, raw) in at.list(raw)?.enumerate() {
            self.item(raw, &At::Entry(&at, place))?;
        }
        Ok(())
    }

    fn item(&mut self, raw: &'a str, at: &At<'_>) -> Result<()> {
        let item = at.object(raw)?;
        self.room.take(ENTRY)?;
        match &*at.kind_of(&item)? {
            "message" => self.message(&item, at),
            "" if item.get("role").is_some() => self.message(&item, at),
            "function_call" => {
                let arguments = given(&item, "arguments").unwrap_or("\"{}\"");
                At::Field(at, "arguments").inner(arguments)?;
                self.call(&item, at, arguments.into())
            }
            "custom_tool_call" => {
                let input = given(&item, "input").unwrap_or("\"\"");
                At::Field(at, "input").inner(input)?;
                // Escaped once more, where it is escaped.
                self.room.take(16 + 2 * input.len())?;
                self.call(&item, at, quoted(&format!(r#"{{"input":{input}}}"#)).into())
            }
            "function_call_output" | "custom_tool_call_output" => {
                let here = At::Field(at, "output");
                let parts = item
                    .get("output")
                    .map_or_else(|| here.refuse("is required"), |raw| content(raw, &here, self.room))?;
                self.messages.tool(at.inner_of(&item, "call_id")?, parts);
                Ok(())
            }
            "reasoning" => self.reasoning(&item, at),
            "additional_tools" | "tool_search_output" => self.tools(item.get("tools"), &At::Field(at, "tools")),
            "agent_message" => {
                let here = At::Field(at, "content");
                self.messages.user(content(item.get("content").unwrap_or("[]"), &here, self.room)?);
                Ok(())
            }
            kind if HOSTED_ITEMS.contains(&kind) => Ok(()),
            "" if item.get("id").is_some() => At::Field(at, "id").refuse("means a stored item (item_reference)"),
            "" => At::Field(at, "type").refuse("is required"),
            kind => At::Field(at, "type").refuse(format_args!("{kind} cannot be carried to a chat server")),
        }
    }

    fn message(&mut self, item: &TopLevel<'a>, at: &At<'_>) -> Result<()> {
        let here = At::Field(at, "content");
        let parts = content(item.get("content").unwrap_or("null"), &here, self.room)?;
        match at.text_of(item, "role")?.as_deref() {
            Some("user") => self.messages.user(parts),
            Some("system" | "developer") => self.messages.system(all_text(parts, &here)?.join(r"\n").into()),
            Some("assistant") => {
                let texts = all_text(parts, &here)?;
                self.messages.assistant(Said { texts, ..Said::default() });
            }
            _ => return At::Field(at, "role").refuse("must be user, assistant, system or developer"),
        }
        Ok(())
    }

    fn call(&mut self, item: &TopLevel<'a>, at: &At<'_>, arguments: Cow<'a, str>) -> Result<()> {
        let id = at.inner_of(item, "call_id")?;
        let calls = vec![Call { id, name: chosen(at, item)?, arguments }];
        self.messages.assistant(Said { calls, ..Said::default() });
        Ok(())
    }

    /// The text itself where it is given, else what sums it up.
    fn reasoning(&mut self, item: &TopLevel<'a>, at: &At<'_>) -> Result<()> {
        let mut texts = Vec::new();
        for field in ["content", "summary"] {
            let here = At::Field(at, field);
            if let Some(raw) = given(item, field).filter(|_| texts.is_empty()) {
                texts = all_text(content(raw, &here, self.room)?, &here)?;
            }
        }
        self.messages.assistant(Said { reasoning: texts, ..Said::default() });
        Ok(())
    }
}

/// The texts, where nothing else can be.
fn all_text<'a>(parts: Vec<Part<'a>>, at: &At<'_>) -> Result<Vec<Cow<'a, str>>> {
    let texts = parts.into_iter().map(|part| match part {
        Part::Text(text) => Ok(text),
        Part::Image { .. } => at.refuse("must be text"),
    });
    texts.collect()
}

/// A text or a list of parts.
fn content<'a>(raw: &'a str, at: &At<'_>, room: &Room) -> Result<Vec<Part<'a>>> {
    if raw.starts_with('"') {
        return Ok(vec![Part::Text(at.inner(raw)?.into())]);
    }
    let mut parts = Vec::new();
    for (place, raw) in at.list(raw)?.enumerate() {
        let at = At::Entry(at, place);
        let part = at.object(raw)?;
        room.take(ENTRY)?;
        parts.push(match &*at.kind_of(&part)? {
            "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text" => {
                Part::Text(at.inner_of(&part, "text")?.into())
            }
            "refusal" => Part::Text(at.inner_of(&part, "refusal")?.into()),
            "input_image" => image(&part, &at)?,
            "input_file" => input_file(&part, &at, room)?,
            "" => return At::Field(&at, "type").refuse("is required"),
            kind => return At::Field(&at, "type").refuse(format_args!("{kind} cannot be carried to a chat server")),
        });
    }
    Ok(parts)
}

fn image<'a>(part: &TopLevel<'a>, at: &At<'_>) -> Result<Part<'a>> {
    if given(part, "image_url").is_none() && given(part, "file_id").is_some() {
        return At::Field(at, "file_id").refuse("means a stored file: send the picture");
    }
    let detail = given(part, "detail").map(|raw| At::Field(at, "detail").inner(raw)).transpose()?;
    let detail = detail.filter(|detail| matches!(*detail, "auto" | "low" | "high"));
    Ok(Part::Image { url: at.inner_of(part, "image_url")?.into(), detail })
}

fn input_file<'a>(part: &TopLevel<'a>, at: &At<'_>, room: &Room) -> Result<Part<'a>> {
    for field in ["file_id", "file_url"] {
        if given(part, field).is_some() {
            return At::Field(at, field).refuse("means a file that is elsewhere: send its text");
        }
    }
    let name = at.text_of(part, "filename")?.unwrap_or_default();
    let data = at.text_of(part, "file_data")?;
    match data.map(|data| file::text(&name, &data, room)).transpose()?.flatten() {
        Some(text) => Ok(Part::Text(text.into())),
        None => At::Field(at, "file_data").refuse("is no file of text, and a chat server knows no others"),
    }
}
