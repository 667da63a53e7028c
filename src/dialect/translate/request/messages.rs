//! A Messages request as a chat request.

use super::blocks::Reading;
use super::chat::Fields;
use super::tools::{Choice, Tools};
use super::{WITH_USAGE, effort, is_asked};
use crate::dialect::translate::context::{ClientDialect, Context};
use crate::dialect::translate::raw::{At, Result, given};
use crate::dialect::translate::room::{ENTRY, Room};
use crate::domain::json::TopLevel;

/// Fields that are carried under the same name.
const CARRIED: &[&str] = &["model", "stream", "max_tokens", "temperature", "top_p", "top_k"];

/// Fields that are read below.
const READ: &[&str] =
    &["messages", "system", "tools", "tool_choice", "stop_sequences", "thinking", "output_config", "output_format"];

/// Fields without a meaning for a chat server, or that change nothing in an answer.
const LEFT_OUT: &[&str] = &[
    "metadata",
    "service_tier",
    "context_management",
    "cache_control",
    "betas",
    "anthropic_beta",
    "anthropic_version",
    "speed",
    "inference_geo",
    "diagnostics",
];

/// Fields that mean a work or a memory that a chat server has not.
const REFUSED: &[(&str, &str)] = &[
    ("container", "means a machine of the server's"),
    ("mcp_servers", "means servers that a server of this model does not call"),
    ("fallbacks", "means other models than the one that is paid for"),
];

/// Tools that the client runs and the model was taught: no definition of them is sent.
const TAUGHT: &[&str] = &["bash_", "text_editor_", "computer_", "memory_"];

/// A longer name of a tool Anthropic refuses too, in characters.
const LONGEST_NAME: usize = 128;

/// Reads a request.
pub(in super::super) fn request(top: &TopLevel<'_>, room: &Room) -> Result<(String, Context)> {
    for (field, why) in REFUSED {
        if top.get(field).is_some_and(is_asked) {
            return At::Top(field).refuse(why);
        }
    }
    let (mut context, mut fields) = (Context::new(ClientDialect::Messages), Fields::new(room));
    let mut reading = Reading::new(room);
    if let Some(raw) = given(top, "system") {
        reading.system(raw, &At::Top("system"))?;
    }
    reading.messages(top.get("messages").unwrap_or("null"))?;
    if reading.messages.is_empty() {
        return At::Top("messages").refuse("holds nothing to answer");
    }
    for field in CARRIED {
        if let Some(raw) = given(top, field) {
            fields.set(field, raw)?;
        }
    }
    let tools = read_tools(top, &reading, room)?;
    reading.messages.write(&mut fields)?;
    if top.get("stream") == Some("true") {
        fields.set("stream_options", WITH_USAGE)?;
    }
    if let Some(raw) = given(top, "stop_sequences") {
        let at = At::Top("stop_sequences");
        for (place, raw) in at.list(raw)?.enumerate() {
            let stop = At::Entry(&at, place).text(raw)?.into_owned();
            room.take(ENTRY + stop.len())?;
            context.stops.push(stop);
        }
        if !context.stops.is_empty() {
            fields.set("stop", raw)?;
        }
    }
    read_choice(top, tools, &mut fields)?;
    read_thinking(top, &mut fields)?;
    read_format(top, &mut fields)?;
    for (name, raw) in top.iter() {
        let known = [CARRIED, READ, LEFT_OUT].iter().any(|list| list.contains(&name));
        if !known && raw != "null" && REFUSED.iter().all(|(field, _)| *field != name) {
            fields.pass_on(name, raw)?;
        }
    }
    Ok((fields.into_json(), context))
}

/// The tools, and what the conversation says of them: some are shown to a model only once it found them.
fn read_tools<'r>(top: &TopLevel<'_>, reading: &Reading<'_, '_>, room: &'r Room) -> Result<Tools<'r>> {
    let (mut tools, at) = (Tools::new(room), At::Top("tools"));
    let list = given(top, "tools").map(|raw| at.list(raw)).transpose()?.unwrap_or_default();
    for (place, raw) in list.enumerate() {
        let here = At::Entry(&at, place);
        let tool = here.object(raw)?;
        let is_deferred = tool.get("defer_loading") == Some("true");
        let name = here.text_of(&tool, "name")?.unwrap_or_default();
        if !is_deferred || reading.found.contains(&*name) {
            add_tool(raw, &here, &mut tools)?;
        } else {
            tools.leave_out(&name);
        }
    }
    for (raw, at) in &reading.added {
        let here = At::Top(at);
        add_tool(raw, &here, &mut tools)?;
    }
    for name in &reading.removed {
        tools.remove(name);
    }
    Ok(tools)
}

fn add_tool(raw: &str, at: &At<'_>, tools: &mut Tools<'_>) -> Result<()> {
    let tool = at.object(raw)?;
    let kind = at.kind_of(&tool)?;
    if kind.is_empty() || kind == "custom" {
        let Some(name) = at.text_of(&tool, "name")? else { return At::Field(at, "name").refuse("is required") };
        let [description, schema] = ["description", "input_schema"].map(|field| given(&tool, field));
        let name = at.name(name, LONGEST_NAME)?.into_owned();
        tools.function(name, description, schema, given(&tool, "strict"))?;
    } else if TAUGHT.iter().any(|taught| kind.starts_with(taught)) {
        return At::Field(at, "type")
            .refuse(format_args!("{kind} has no definition that a chat server could be given"));
    } else {
        // Named by a choice or not, the server would have to run it.
        tools.leave_out(&kind);
    }
    Ok(())
}

fn read_choice(top: &TopLevel<'_>, tools: Tools<'_>, fields: &mut Fields<'_>) -> Result<()> {
    let at = At::Top("tool_choice");
    let Some(choice) = given(top, "tool_choice").map(|raw| at.object(raw)).transpose()? else {
        return tools.write(&at, None, None, fields);
    };
    let parallel = match choice.get("disable_parallel_tool_use") {
        Some("true") => Some("false"),
        _ => None,
    };
    let choice = match &*at.kind_of(&choice)? {
        "auto" => Choice::Word("auto"),
        "any" => Choice::Word("required"),
        "none" => Choice::Word("none"),
        "tool" => match at.text_of(&choice, "name")? {
            Some(name) => Choice::Named(name.into_owned()),
            None => return At::Field(&at, "name").refuse("is required"),
        },
        _ => return At::Field(&at, "type").refuse("must be auto, any, tool or none"),
    };
    tools.write(&at, Some(choice), parallel, fields)
}

fn read_thinking(top: &TopLevel<'_>, fields: &mut Fields<'_>) -> Result<()> {
    let at = At::Top("thinking");
    if let Some(thinking) = given(top, "thinking").map(|raw| at.object(raw)).transpose()? {
        match &*at.kind_of(&thinking)? {
            "disabled" => {
                return effort::no_thinking(fields);
            }
            "enabled" | "adaptive" => {}
            _ => return At::Field(&at, "type").refuse("must be enabled, adaptive or disabled"),
        }
    }
    let at = At::Top("output_config");
    let config = given(top, "output_config").map(|raw| at.object(raw)).transpose()?;
    if let Some(effort) = config.map(|config| at.text_of(&config, "effort")).transpose()?.flatten() {
        effort::ask(&effort, fields)?;
    }
    Ok(())
}

/// The form of the answer, where it was once, and where it is now.
fn read_format(top: &TopLevel<'_>, fields: &mut Fields<'_>) -> Result<()> {
    let at = At::Top("output_config");
    let config = given(top, "output_config").map(|raw| at.object(raw)).transpose()?;
    let inner = config.as_ref().and_then(|config| given(config, "format"));
    let (at, raw) = match inner {
        Some(raw) => (At::Field(&at, "format"), raw),
        None => match given(top, "output_format") {
            Some(raw) => (At::Top("output_format"), raw),
            None => return Ok(()),
        },
    };
    let format = at.object(raw)?;
    match (&*at.kind_of(&format)?, given(&format, "schema")) {
        ("json_schema", Some(schema)) => {
            let schema = format!(r#"{{"name":"answer","schema":{schema},"strict":true}}"#);
            fields.set("response_format", format!(r#"{{"type":"json_schema","json_schema":{schema}}}"#))
        }
        ("json_schema", None) => At::Field(&at, "schema").refuse("is required"),
        (kind, _) => At::Field(&at, "type").refuse(format_args!("{kind} cannot be carried to a chat server")),
    }
}
