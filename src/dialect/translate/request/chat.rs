//! A chat request in the making: messages that follow each other as chat templates want them.
//!
//! Templates of open models raise an error where a system message is not the first one, or where two messages of one
//! side follow each other. So all instructions of the beginning are one system message, and neighbours of one role are
//! one message.

use std::borrow::Cow;
use std::collections::HashSet;

use super::super::raw::{Result, quoted};
use super::super::room::Room;

/// A part of a user's message. Texts are as they are written between the quotes of a JSON string.
#[derive(Debug)]
pub(super) enum Part<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// A picture: its address or its data URL, and the level of detail to read it in.
    Image { url: Cow<'a, str>, detail: Option<&'a str> },
}

/// A call that the assistant made.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// As written between quotes.
    pub id: &'a str,
    /// The name that the chat server knows the tool by.
    pub name: String,
    /// The arguments: a JSON text, as a JSON string.
    pub arguments: Cow<'a, str>,
}

/// What the assistant said, or a part of it.
#[derive(Debug, Default)]
pub(super) struct Said<'a> {
    /// Each as written between quotes.
    pub texts: Vec<Cow<'a, str>>,
    /// The same, of its reasoning.
    pub reasoning: Vec<Cow<'a, str>>,
    /// What it called.
    pub calls: Vec<Call<'a>>,
}

#[derive(Debug)]
enum Message<'a> {
    User(Vec<Part<'a>>),
    Assistant { text: String, reasoning: String, calls: Vec<Call<'a>> },
    Tool { id: &'a str, text: String },
}

/// The messages so far.
#[derive(Debug, Default)]
pub(super) struct Messages<'a> {
    /// Instructions of the beginning.
    system: Vec<Cow<'a, str>>,
    list: Vec<Message<'a>>,
    /// Pictures that tools gave, for a user's message after the last of them: few servers take pictures of tools.
    shown: Vec<Part<'a>>,
}

impl<'a> Messages<'a> {
    /// Adds instructions. Once the assistant had its turn they stand where they came, in a user's message, marked.
    pub fn system(&mut self, text: Cow<'a, str>) {
        if text.is_empty() {
            return;
        }
        if self.list.iter().all(|message| matches!(message, Message::User(_))) {
            self.system.push(text);
        } else {
            let marked = format!(r"<system>\n{text}\n</system>");
            self.user(vec![Part::Text(marked.into())]);
        }
    }

    /// Adds what the user said.
    pub fn user(&mut self, parts: Vec<Part<'a>>) {
        self.show();
        match self.list.last_mut() {
            Some(Message::User(last)) => last.extend(parts),
            _ => self.list.push(Message::User(parts)),
        }
    }

    /// Adds what the assistant said, to what it said before if nobody spoke in between.
    pub fn assistant(&mut self, said: Said<'a>) {
        if said.texts.iter().chain(&said.reasoning).all(|text| text.is_empty()) && said.calls.is_empty() {
            return;
        }
        self.show();
        if !matches!(self.list.last(), Some(Message::Assistant { .. })) {
            self.list.push(Message::Assistant { text: String::new(), reasoning: String::new(), calls: Vec::new() });
        }
        let Some(Message::Assistant { text, reasoning, calls }) = self.list.last_mut() else { return };
        for (all, more) in [(text, said.texts.concat()), (reasoning, said.reasoning.concat())] {
            if !all.is_empty() && !more.is_empty() {
                all.push_str(r"\n\n");
            }
            all.push_str(&more);
        }
        calls.extend(said.calls);
    }

    /// Adds what a tool answered. Pictures follow in a user's message.
    pub fn tool(&mut self, id: &'a str, parts: Vec<Part<'a>>) {
        let (mut texts, mut pictures) = (Vec::new(), 0);
        for part in parts {
            match part {
                Part::Text(text) => texts.push(text),
                image @ Part::Image { .. } => {
                    if pictures == 0 {
                        self.shown.push(Part::Text(format!("Pictures from the tool call {id}:").into()));
                    }
                    self.shown.push(image);
                    pictures += 1;
                }
            }
        }
        if pictures > 0 {
            texts.push(Cow::Borrowed("(The pictures follow in the next message.)"));
        }
        self.list.push(Message::Tool { id, text: texts.join(r"\n") });
    }

    fn show(&mut self) {
        if !self.shown.is_empty() {
            let shown = std::mem::take(&mut self.shown);
            self.list.push(Message::User(shown));
        }
    }

    /// Nothing was said.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.system.is_empty() && self.shown.is_empty()
    }

    /// Writes the list as a field.
    pub fn write(mut self, fields: &mut Fields<'_>) -> Result<()> {
        self.show();
        fields.begin("messages");
        fields.json.push('[');
        if !self.system.is_empty() {
            fields.json.push_str(r#"{"role":"system","content":""#);
            for (place, text) in self.system.iter().enumerate() {
                fields.json.push_str(if place == 0 { "" } else { r"\n\n" });
                fields.json.push_str(text);
            }
            fields.json.push_str(r#""},"#);
        }
        for message in self.list {
            message.write(&mut fields.json);
            fields.json.push(',');
            fields.check()?;
        }
        if fields.json.ends_with(',') {
            fields.json.pop();
        }
        fields.json.push(']');
        fields.check()
    }
}

impl Message<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Self::User(parts) => {
                out.push_str(r#"{"role":"user","content":"#);
                write_parts(parts, out);
            }
            Self::Tool { id, text } => {
                out.push_str(&format!(r#"{{"role":"tool","tool_call_id":"{id}","content":"{text}""#));
            }
            Self::Assistant { text, reasoning, calls } => {
                out.push_str(r#"{"role":"assistant","content":""#);
                out.push_str(text);
                out.push('"');
                if !reasoning.is_empty() {
                    out.push_str(r#","reasoning_content":""#);
                    out.push_str(reasoning);
                    out.push('"');
                }
                write_calls(calls, out);
            }
        }
        out.push('}');
    }
}

fn write_calls(calls: &[Call<'_>], out: &mut String) {
    for (place, Call { id, name, arguments }) in calls.iter().enumerate() {
        out.push_str(if place == 0 { r#","tool_calls":["# } else { "," });
        let name = quoted(name);
        out.push_str(&format!(
            r#"{{"id":"{id}","type":"function","function":{{"name":{name},"arguments":{arguments}}}}}"#
        ));
    }
    if !calls.is_empty() {
        out.push(']');
    }
}

/// Texts alone are one text: every server takes that.
fn write_parts(parts: &[Part<'_>], out: &mut String) {
    if parts.iter().all(|part| matches!(part, Part::Text(_))) {
        out.push('"');
        for (place, part) in parts.iter().enumerate() {
            let Part::Text(text) = part else { continue };
            out.push_str(if place == 0 { "" } else { r"\n" });
            out.push_str(text);
        }
        out.push('"');
        return;
    }
    for (place, part) in parts.iter().enumerate() {
        out.push(if place == 0 { '[' } else { ',' });
        match part {
            Part::Text(text) => out.push_str(&format!(r#"{{"type":"text","text":"{text}"}}"#)),
            Part::Image { url, detail } => {
                out.push_str(r#"{"type":"image_url","image_url":{"url":""#);
                out.push_str(url);
                out.push('"');
                if let Some(detail) = detail {
                    out.push_str(&format!(r#","detail":"{detail}""#));
                }
                out.push_str("}}");
            }
        }
    }
    out.push(']');
}

/// The fields of the request that is being made. One that is set keeps others of its name out.
#[derive(Debug)]
pub(super) struct Fields<'r> {
    names: HashSet<Cow<'static, str>>,
    json: String,
    room: &'r Room,
}

impl<'r> Fields<'r> {
    pub fn new(room: &'r Room) -> Self {
        Self { names: HashSet::new(), json: String::new(), room }
    }

    /// Sets a field to a raw value, unless it has one.
    pub fn set(&mut self, name: &'static str, raw: impl AsRef<str>) -> Result<()> {
        self.add(Cow::Borrowed(name), raw.as_ref())
    }

    /// Sets a field to a list of what is made already.
    pub fn set_list(&mut self, name: &'static str, raw: impl Iterator<Item = String>) -> Result<()> {
        if !self.begin(name) {
            return Ok(());
        }
        for (place, raw) in raw.enumerate() {
            self.json.push(if place == 0 { '[' } else { ',' });
            self.json.push_str(&raw);
            self.check()?;
        }
        self.json.push(']');
        self.check()
    }

    /// Carries a client's field that is no field of its dialect, as it is.
    pub fn pass_on(&mut self, name: &str, raw: &str) -> Result<()> {
        self.add(Cow::Owned(name.to_owned()), raw)
    }

    fn add(&mut self, name: Cow<'static, str>, raw: &str) -> Result<()> {
        if self.begin(name) {
            self.json.push_str(raw);
        }
        self.check()
    }

    /// Writes a field's name, unless it has been set.
    fn begin(&mut self, name: impl Into<Cow<'static, str>>) -> bool {
        let name = name.into();
        let quoted = quoted(&name);
        let is_new = self.names.insert(name);
        if is_new {
            self.json.push(if self.json.is_empty() { '{' } else { ',' });
            self.json.push_str(&quoted);
            self.json.push(':');
        }
        is_new
    }

    fn check(&self) -> Result<()> {
        self.room.holds(self.json.len())
    }

    /// The whole object.
    pub fn into_json(self) -> String {
        if self.json.is_empty() { "{}".to_owned() } else { self.json + "}" }
    }
}
