//! A Responses request as a chat request.

use std::borrow::Cow;

use super::chat::Fields;
use super::items::{Reading, chosen};
use super::tools::{Choice, Tools};
use super::{WITH_USAGE, effort, is_asked};
use crate::dialect::translate::context::{ClientDialect, Context};
use crate::dialect::translate::raw::{At, Result, given, quoted};
use crate::dialect::translate::room::Room;
use crate::domain::json::TopLevel;

/// Fields that are carried under the same name.
const CARRIED: &[&str] = &["model", "stream", "temperature", "top_p", "user"];

/// Fields that are read below.
const READ: &[&str] =
    &["input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text", "max_output_tokens"];

/// Fields without a meaning for a chat server, or that change nothing in an answer.
const LEFT_OUT: &[&str] = &[
    "store",
    "metadata",
    "service_tier",
    "truncation",
    "stream_options",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "client_metadata",
    "max_tool_calls",
    "context_management",
    "include",
    "background",
];

/// Fields that mean a work or a memory that a chat server has not.
const REFUSED: &[(&str, &str)] = &[
    ("previous_response_id", "means a stored response: send the conversation as input"),
    ("conversation", "means a stored conversation: send it as input"),
    ("background", "means a response that is fetched later"),
    ("prompt", "means a stored prompt: send its text"),
    ("top_logprobs", "cannot be told by a server of this model"),
];

/// A longer value is not repeated in the answer, in bytes.
const LONGEST_ECHO: usize = 4 << 10;

/// Reads a request.
pub(in super::super) fn request(top: &TopLevel<'_>, room: &Room) -> Result<(String, Context)> {
    for (field, why) in REFUSED {
        if top.get(field).is_some_and(is_asked) {
            return At::Top(field).refuse(why);
        }
    }
    check_include(top)?;
    let (mut context, mut fields) = (Context::new(ClientDialect::Responses), Fields::new(room));
    let mut reading = Reading::new(room);
    reading.tools(top.get("tools"), &At::Top("tools"))?;
    if let Some(raw) = given(top, "instructions") {
        reading.messages.system(At::Top("instructions").inner(raw)?.into());
    }
    reading.input(top.get("input").unwrap_or("null"))?;
    let Reading { messages, mut tools, .. } = reading;
    if messages.is_empty() {
        return At::Top("input").refuse("holds nothing to answer");
    }
    for field in CARRIED {
        if let Some(raw) = given(top, field) {
            fields.set(field, raw)?;
        }
    }
    messages.write(&mut fields)?;
    if top.get("stream") == Some("true") {
        fields.set("stream_options", WITH_USAGE)?;
    }
    if let Some(raw) = given(top, "max_output_tokens") {
        fields.set("max_tokens", raw)?;
    }
    read_reasoning(top, &mut context, &mut fields)?;
    read_text(top, &mut fields)?;
    let choice = given(top, "tool_choice").map(|raw| choice(raw, &mut tools)).transpose()?;
    context.tools = std::mem::take(&mut tools.renamed);
    tools.write(&At::Top("tool_choice"), choice, given(top, "parallel_tool_calls"), &mut fields)?;
    context.echo = echo(top);
    for (name, raw) in top.iter() {
        let known = [CARRIED, READ, LEFT_OUT].iter().any(|list| list.contains(&name));
        if !known && raw != "null" && REFUSED.iter().all(|(field, _)| *field != name) {
            fields.pass_on(name, raw)?;
        }
    }
    Ok((fields.into_json(), context))
}

/// What a client wants beside the answer is left out, but where it would be missed.
fn check_include(top: &TopLevel<'_>) -> Result<()> {
    let at = At::Top("include");
    let mut asked = given(top, "include").map(|raw| at.list(raw)).transpose()?.unwrap_or_default();
    match asked.position(|raw| raw == "\"message.output_text.logprobs\"") {
        Some(place) => At::Entry(&at, place).refuse("cannot be told by a server of this model"),
        None => Ok(()),
    }
}

fn read_reasoning(top: &TopLevel<'_>, context: &mut Context, fields: &mut Fields<'_>) -> Result<()> {
    let at = At::Top("reasoning");
    let Some(reasoning) = given(top, "reasoning").map(|raw| at.object(raw)).transpose()? else { return Ok(()) };
    if let Some(effort) = at.text_of(&reasoning, "effort")? {
        effort::ask(&effort, fields)?;
    }
    for field in ["summary", "generate_summary"] {
        context.summarized |= at.text_of(&reasoning, field)?.is_some_and(|word| word != "none");
    }
    Ok(())
}

fn read_text(top: &TopLevel<'_>, fields: &mut Fields<'_>) -> Result<()> {
    let at = At::Top("text");
    let Some(text) = given(top, "text").map(|raw| at.object(raw)).transpose()? else { return Ok(()) };
    if let Some(raw) = given(&text, "verbosity") {
        fields.set("verbosity", raw)?;
    }
    let at = At::Field(&at, "format");
    let Some(format) = given(&text, "format").map(|raw| at.object(raw)).transpose()? else { return Ok(()) };
    match &*at.kind_of(&format)? {
        "text" => {}
        "json_object" => fields.set("response_format", r#"{"type":"json_object"}"#)?,
        "json_schema" => {
            let schema = given(&format, "schema");
            let Some(schema) = schema else { return At::Field(&at, "schema").refuse("is required") };
            let mut out = format!(r#"{{"name":{}"#, given(&format, "name").unwrap_or("\"answer\""));
            for (field, raw) in [
                ("description", given(&format, "description")),
                ("schema", Some(schema)),
                ("strict", given(&format, "strict")),
            ] {
                if let Some(raw) = raw {
                    out.push_str(&format!(r#","{field}":{raw}"#));
                }
            }
            fields.set("response_format", format!(r#"{{"type":"json_schema","json_schema":{out}}}}}"#))?;
        }
        other => return At::Field(&at, "type").refuse(format_args!("{other} cannot be carried to a chat server")),
    }
    Ok(())
}

/// Which tool is to be called; a list of those that may be called leaves no others.
fn choice(raw: &str, tools: &mut Tools<'_>) -> Result<Choice> {
    let at = At::Top("tool_choice");
    if raw.starts_with('"') {
        return word(&at, &at.text(raw)?);
    }
    let choice = at.object(raw)?;
    match &*at.kind_of(&choice)? {
        "function" | "custom" => Ok(Choice::Named(chosen(&at, &choice)?)),
        "allowed_tools" => {
            let list = At::Field(&at, "tools");
            let mut names = Vec::new();
            for (place, raw) in list.list(choice.get("tools").unwrap_or("[]"))?.enumerate() {
                let here = At::Entry(&list, place);
                let tool = here.object(raw)?;
                if matches!(&*here.kind_of(&tool)?, "function" | "custom") {
                    names.push(chosen(&here, &tool)?);
                }
            }
            tools.keep(&names);
            let mode = at.text_of(&choice, "mode")?.unwrap_or(Cow::Borrowed("auto"));
            word(&At::Field(&at, "mode"), &mode)
        }
        hosted => at.refuse(format_args!("requires a hosted tool ({hosted}), which no server of this model runs")),
    }
}

fn word(at: &At<'_>, word: &str) -> Result<Choice> {
    match ["auto", "none", "required"].into_iter().find(|known| *known == word) {
        Some(word) => Ok(Choice::Word(word)),
        None => at.refuse("must be auto, none, required or a tool"),
    }
}

/// What a response says again of its request. Prompts are not said again.
fn echo(top: &TopLevel<'_>) -> String {
    let short = |name: &str, or: &str| {
        let raw = given(top, name).filter(|raw| raw.len() <= LONGEST_ECHO).unwrap_or(or);
        // Between tokens there may be line ends, which would be the end of an event's line; within texts there are none.
        format!("{}:{},", quoted(name), raw.replace(['\n', '\r'], " "))
    };
    [
        ("max_output_tokens", "null"),
        ("metadata", "{}"),
        ("parallel_tool_calls", "true"),
        ("reasoning", r#"{"effort":null,"summary":null}"#),
        ("temperature", "null"),
        ("text", r#"{"format":{"type":"text"}}"#),
        ("tool_choice", r#""auto""#),
        ("top_p", "null"),
        ("user", "null"),
    ]
    .map(|(name, or)| short(name, or))
    .concat()
}
