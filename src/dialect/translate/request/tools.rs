//! The tools of a request, as functions.

use std::borrow::Cow;
use std::collections::HashMap;

use super::chat::Fields;
use crate::dialect::translate::context::Tool;
use crate::dialect::translate::raw::{At, Result, given, quoted};
use crate::dialect::translate::room::Room;
use crate::domain::json::TopLevel;

/// The schema of a tool that takes a text.
const ONE_TEXT: &str =
    r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}"#;

/// The schema of a tool that takes nothing.
const NOTHING: &str = r#"{"type":"object","properties":{}}"#;

/// A longer name of a tool or a namespace OpenAI refuses too, in characters.
const LONGEST_NAME: usize = 64;

/// The tools that a chat server gets.
#[derive(Debug)]
pub(super) struct Tools<'r> {
    /// Their definitions; `None`: it was taken out again.
    list: Vec<Option<String>>,
    /// Where in the list the tool of a name is.
    places: HashMap<String, usize>,
    /// Those that an answer has to name otherwise.
    pub renamed: Vec<Tool>,
    /// The type or the name of the first that was left out.
    left_out: Option<String>,
    room: &'r Room,
}

/// Which tool is to be called.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// `auto`, `none` or `required`.
    Word(&'static str),
    /// This one, by its name there.
    Named(String),
}

impl<'r> Tools<'r> {
    pub fn new(room: &'r Room) -> Self {
        Self { list: Vec::new(), places: HashMap::new(), renamed: Vec::new(), left_out: None, room }
    }

    /// Adds a function: the raw description, schema and strictness, as far as they are given.
    pub fn function(
        &mut self,
        name: String,
        description: Option<&str>,
        schema: Option<&str>,
        strict: Option<&str>,
    ) -> Result<()> {
        let mut definition = format!(r#"{{"name":{}"#, quoted(&name));
        for (field, raw) in [("description", description), ("parameters", schema.or(Some(NOTHING))), ("strict", strict)]
        {
            if let Some(raw) = raw {
                definition.push_str(&format!(r#","{field}":{raw}"#));
            }
        }
        definition.push('}');
        // What is kept of it beside: its name, and its places in both lists.
        self.room.take(definition.len() + name.len() + 128)?;
        // Of a name given twice the last counts, as where tools change in a conversation.
        self.remove(&name);
        self.places.insert(name, self.list.len());
        self.list.push(Some(format!(r#"{{"type":"function","function":{definition}}}"#)));
        Ok(())
    }

    /// Adds a tool of the Responses dialect.
    pub fn of_responses(&mut self, raw: &str, at: &At<'_>, namespace: Option<&str>) -> Result<()> {
        let tool = at.object(raw)?;
        let kind = at.kind_of(&tool)?;
        let name = at.text_of(&tool, "name")?;
        match &*kind {
            "function" | "custom" => {
                let Some(name) = name else { return At::Field(at, "name").refuse("is required") };
                let name = at.name(name, LONGEST_NAME)?;
                let chat = namespace.map_or_else(|| name.clone().into_owned(), |space| flat(space, &name));
                if kind == "custom" {
                    let description = described(at, &tool)?;
                    self.function(chat.clone(), Some(&quoted(&description)), Some(ONE_TEXT), None)?;
                } else {
                    let [description, schema, strict] =
                        ["description", "parameters", "strict"].map(|field| given(&tool, field));
                    self.function(chat.clone(), description, schema, strict)?;
                }
                if kind == "custom" || namespace.is_some() {
                    let namespace = namespace.map(str::to_owned);
                    let tool = Tool { chat, namespace, name: name.into_owned(), is_custom: kind == "custom" };
                    self.room.take(tool.size())?;
                    self.renamed.push(tool);
                }
            }
            "namespace" => {
                let Some(name) = name else { return At::Field(at, "name").refuse("is required") };
                let name = at.name(name, LONGEST_NAME)?;
                let (Some(inner), here) = (given(&tool, "tools"), At::Field(at, "tools")) else { return Ok(()) };
                if namespace.is_some() {
                    return here.refuse("holds a namespace in a namespace");
                }
                for (place, raw) in here.list(inner)?.enumerate() {
                    self.of_responses(raw, &At::Entry(&here, place), Some(&name))?;
                }
            }
            "" => return At::Field(at, "type").refuse("is required"),
            hosted => self.leave_out(hosted),
        }
        Ok(())
    }

    /// Notes that a tool was left out: its type, or its name.
    pub fn leave_out(&mut self, name: &str) {
        self.left_out.get_or_insert_with(|| name.to_owned());
    }

    /// Takes a tool out again.
    pub fn remove(&mut self, name: &str) {
        if let Some(tool) = self.places.remove(name).and_then(|place| self.list.get_mut(place)) {
            *tool = None;
        }
    }

    /// A chat server gets a tool of this name.
    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Keeps these alone.
    pub fn keep(&mut self, names: &[String]) {
        let kept = names.iter().filter_map(|name| self.places.remove_entry(name)).collect();
        for (_, place) in std::mem::replace(&mut self.places, kept) {
            if let Some(tool) = self.list.get_mut(place) {
                *tool = None;
            }
        }
    }

    /// Writes the fields that speak of tools.
    pub fn write(
        self,
        at: &At<'_>,
        choice: Option<Choice>,
        parallel: Option<&str>,
        fields: &mut Fields<'_>,
    ) -> Result<()> {
        let missing = match &choice {
            Some(Choice::Named(name)) if !self.has(name) => Some(name.as_str()),
            Some(Choice::Word("required")) if self.places.is_empty() => self.left_out.as_deref().or(Some("")),
            _ => None,
        };
        if let Some(name) = missing {
            return at
                .refuse(format_args!("asks for a tool that no server of this model can run or was told of ({name})"));
        }
        if self.places.is_empty() {
            // OpenAI refuses the others without tools.
            return Ok(());
        }
        fields.set_list("tools", self.list.into_iter().flatten())?;
        match choice {
            Some(Choice::Word(word)) => fields.set("tool_choice", quoted(word))?,
            Some(Choice::Named(name)) => {
                fields
                    .set("tool_choice", format!(r#"{{"type":"function","function":{{"name":{}}}}}"#, quoted(&name)))?;
            }
            None => {}
        }
        if let Some(parallel) = parallel {
            fields.set("parallel_tool_calls", parallel)?;
        }
        Ok(())
    }
}

/// The name of a tool in a namespace, where there are none.
pub(super) fn flat(namespace: &str, name: &str) -> String {
    format!("{namespace}__{name}")
}

/// What a tool with a text of its own form is described as: a chat server knows no forms.
fn described(at: &At<'_>, tool: &TopLevel<'_>) -> Result<String> {
    let description = at.text_of(tool, "description")?.unwrap_or_default();
    let here = At::Field(at, "format");
    let Some(format) = given(tool, "format").map(|raw| here.object(raw)).transpose()? else {
        return Ok(description.into_owned());
    };
    let [syntax, definition] = ["syntax", "definition"].map(|field| here.text_of(&format, field));
    match (syntax?, definition?) {
        (syntax, Some(definition)) => {
            let syntax = syntax.unwrap_or(Cow::Borrowed("lark"));
            Ok(format!("{description}\n\nThe input is a text that follows this {syntax} grammar:\n{definition}"))
        }
        _ => Ok(description.into_owned()),
    }
}
