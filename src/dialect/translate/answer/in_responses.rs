//! An answer in the Responses dialect.

use std::fmt::{self, Display, Write as _};
use std::io::Write as _;
use std::sync::Arc;

use super::block::{Finish, Kind, Target};
use super::counts::Counts;
use super::custom::Input;
use crate::dialect::translate::context::Context;
use crate::dialect::translate::raw::{escaped, quoted};

/// An answer in the Responses dialect. What its last events have to say again is kept: each text once, as it is
/// written.
#[derive(Debug)]
pub(super) struct InResponses {
    /// As written between quotes.
    id: String,
    /// As a JSON string.
    model: String,
    context: Arc<Context>,
    /// The answer is not streamed: no events are written, which are four times as long.
    is_whole: bool,
    created: u64,
    /// The number of the next event.
    sequence: u64,
    /// Items that are whole.
    items: String,
    /// How many.
    count: usize,
    open: Option<Open>,
}

/// The item that is being made.
#[derive(Debug)]
struct Open {
    /// Its id, as written between quotes.
    id: String,
    form: Form,
    /// What all events of calls say of it.
    head: String,
    /// The next piece's event, up to its number, and from there to its text.
    piece: [String; 2],
    text: String,
    input: Input,
}

/// How an item is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Refusal,
    Reasoning,
    Summary,
    Function,
    Custom,
}

impl Form {
    /// The events of its text, without `.delta` and `.done`.
    const fn events(self) -> &'static str {
        match self {
            Self::Text => "response.output_text",
            Self::Refusal => "response.refusal",
            Self::Reasoning => "response.reasoning_text",
            Self::Summary => "response.reasoning_summary_text",
            Self::Function => "response.function_call_arguments",
            Self::Custom => "response.custom_tool_call_input",
        }
    }

    /// What its part is called, and where it stands in the item; calls have none.
    const fn part(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Text | Self::Refusal | Self::Reasoning => Some(("response.content_part", "content_index")),
            Self::Summary => Some(("response.reasoning_summary_part", "summary_index")),
            Self::Function | Self::Custom => None,
        }
    }

    /// The field that holds its text.
    const fn field(self) -> &'static str {
        match self {
            Self::Refusal => "refusal",
            Self::Function => "arguments",
            Self::Custom => "input",
            Self::Text | Self::Reasoning | Self::Summary => "text",
        }
    }
}

/// A part with its text.
struct Part<'a>(Form, &'a str);

impl Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(form, text) = self;
        match form {
            Form::Refusal => write!(f, "{{\"type\":\"refusal\",\"refusal\":\"{text}\"}}"),
            Form::Reasoning => write!(f, "{{\"type\":\"reasoning_text\",\"text\":\"{text}\"}}"),
            Form::Summary => write!(f, "{{\"type\":\"summary_text\",\"text\":\"{text}\"}}"),
            Form::Text => {
                write!(f, "{{\"type\":\"output_text\",\"text\":\"{text}\",\"annotations\":[],\"logprobs\":[]}}")
            }
            Form::Function | Form::Custom => Ok(()),
        }
    }
}

impl Open {
    /// Appends the item, with this part or this text.
    fn write_item(&self, to: &mut String, status: &str, part: impl Display, text: &str) {
        let Self { id, head, .. } = self;
        // Writing to memory does not fail.
        let _ = match self.form {
            Form::Text | Form::Refusal => write!(
                to,
                "{{\"id\":\"{id}\",\"type\":\"message\",\"status\":\"{status}\",\"role\":\"assistant\",\"content\":[{part}]}}"
            ),
            Form::Reasoning => write!(
                to,
                "{{\"id\":\"{id}\",\"type\":\"reasoning\",\"summary\":[],\"content\":[{part}],\"status\":\"{status}\"}}"
            ),
            Form::Summary => {
                write!(to, "{{\"id\":\"{id}\",\"type\":\"reasoning\",\"summary\":[{part}],\"status\":\"{status}\"}}")
            }
            Form::Function => write!(
                to,
                "{{\"id\":\"{id}\",\"type\":\"function_call\",\"status\":\"{status}\",{head},\"arguments\":\"{text}\"}}"
            ),
            Form::Custom => write!(
                to,
                "{{\"id\":\"{id}\",\"type\":\"custom_tool_call\",\"status\":\"{status}\",{head},\"input\":\"{text}\"}}"
            ),
        };
    }
}

impl InResponses {
    /// An answer of this id, of the model that the client asked for. `is_whole`: it is not streamed.
    pub fn new(id: &str, model: &str, context: &Arc<Context>, is_whole: bool) -> Self {
        Self {
            id: id.to_owned(),
            model: quoted(model),
            context: Arc::clone(context),
            is_whole,
            created: 0,
            sequence: 0,
            items: String::new(),
            count: 0,
            open: None,
        }
    }

    fn event(&mut self, out: &mut Vec<u8>, kind: &str, fields: impl Display) {
        if self.is_whole {
            return;
        }
        let sequence = self.sequence;
        self.sequence += 1;
        // Writing to memory does not fail.
        let _ = write!(out, "event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{sequence}{fields}}}\n\n");
    }

    fn response(&self, status: &str, error: &str, details: &str, usage: &str) -> String {
        let Self { id, model, created, items, .. } = self;
        let echo = &self.context.echo;
        format!(
            "{{\"id\":\"resp_{id}\",\"object\":\"response\",\"created_at\":{created},\"status\":\"{status}\",\
             \"background\":false,\"error\":{error},\"incomplete_details\":{details},\"instructions\":null,\
             \"model\":{model},\"output\":[{items}],\"previous_response_id\":null,\"store\":false,{echo}\
             \"tools\":[],\"truncation\":\"disabled\",\"usage\":{usage}}}"
        )
    }

    pub fn start(&mut self, created: u64, out: &mut Vec<u8>) {
        self.created = created;
        let response = self.response("in_progress", "null", "null", "null");
        for kind in ["response.created", "response.in_progress"] {
            self.event(out, kind, format_args!(",\"response\":{response}"));
        }
    }

    pub fn open(&mut self, Kind { target, id, name }: Kind<'_>, out: &mut Vec<u8>) {
        let tool = self.context.tools.iter().find(|tool| tool.chat == name);
        let (form, prefix) = match target {
            Target::Text => (Form::Text, "msg"),
            Target::Refusal => (Form::Refusal, "msg"),
            Target::Reasoning if self.context.summarized => (Form::Summary, "rs"),
            Target::Reasoning => (Form::Reasoning, "rs"),
            Target::Call(_) if tool.is_some_and(|tool| tool.is_custom) => (Form::Custom, "ctc"),
            Target::Call(_) => (Form::Function, "fc"),
        };
        let mut head = String::new();
        if form.part().is_none() {
            let name = quoted(tool.map_or(name, |tool| &tool.name));
            head = format!("\"call_id\":\"{id}\",\"name\":{name}");
            if let Some(namespace) = tool.and_then(|tool| tool.namespace.as_deref()) {
                head += &format!(",\"namespace\":{}", quoted(namespace));
            }
        }
        let index = self.count;
        let id = format!("{prefix}_{}_{index}", self.id);
        let kind = format!("{}.delta", form.events());
        let place = form.part().map_or(String::new(), |(_, place)| format!(",\"{place}\":0"));
        let piece = [
            format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":"),
            format!(",\"item_id\":\"{id}\",\"output_index\":{index}{place},\"delta\":\""),
        ];
        let open = Open { id, form, head, piece, text: String::new(), input: Input::default() };
        let mut item = String::new();
        open.write_item(&mut item, "in_progress", "", "");
        self.event(out, "response.output_item.added", format_args!(",\"output_index\":{index},\"item\":{item}"));
        if let Some((event, place)) = form.part() {
            let (id, part) = (&open.id, Part(form, ""));
            let fields = format_args!(",\"item_id\":\"{id}\",\"output_index\":{index},\"{place}\":0,\"part\":{part}")
                .to_string();
            self.event(out, &format!("{event}.added"), fields);
        }
        self.open = Some(open);
    }

    pub fn piece(&mut self, text: &str, out: &mut Vec<u8>) {
        let Some(mut open) = self.open.take() else { return };
        if open.form == Form::Custom {
            let text = open.input.read(text);
            self.delta(&mut open, &text, out);
        } else {
            self.delta(&mut open, text, out);
        }
        self.open = Some(open);
    }

    fn delta(&mut self, open: &mut Open, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        open.text.push_str(text);
        if self.is_whole {
            return;
        }
        let [before, between] = &open.piece;
        let after = if open.form == Form::Text { "\",\"logprobs\":[]}\n\n" } else { "\"}\n\n" };
        // Most of a stream is this: written out, it takes a third of what formatting does.
        out.extend_from_slice(before.as_bytes());
        let _ = write!(out, "{}", self.sequence);
        for part in [between, text, after] {
            out.extend_from_slice(part.as_bytes());
        }
        self.sequence += 1;
    }

    pub fn close(&mut self, out: &mut Vec<u8>) {
        let Some(mut open) = self.open.take() else { return };
        let rest = match open.form {
            Form::Custom => open.input.rest(),
            // Programs parse it.
            Form::Function if open.text.is_empty() => "{}".to_owned(),
            _ => String::new(),
        };
        self.delta(&mut open, &rest, out);
        let (form, index, id, text) = (open.form, self.count, &open.id, &open.text);
        let field = form.field();
        let place = form.part().map_or(String::new(), |(_, place)| format!(",\"{place}\":0"));
        let more = match form {
            Form::Text => ",\"logprobs\":[]".to_owned(),
            Form::Function | Form::Custom => format!(",{}", open.head),
            _ => String::new(),
        };
        let here = format!(",\"item_id\":\"{id}\",\"output_index\":{index}{place}");
        self.event(out, &format!("{}.done", form.events()), format_args!("{here},\"{field}\":\"{text}\"{more}"));
        if let Some((event, _)) = form.part() {
            self.event(out, &format!("{event}.done"), format_args!("{here},\"part\":{}", Part(form, text)));
        }
        let mut items = std::mem::take(&mut self.items);
        items.push_str(if index == 0 { "" } else { "," });
        let at = items.len();
        open.write_item(&mut items, "completed", Part(form, text), text);
        let item = items.get(at..).unwrap_or_default();
        self.event(out, "response.output_item.done", format_args!(",\"output_index\":{index},\"item\":{item}"));
        self.items = items;
        self.count += 1;
    }

    /// The status, and why it is incomplete, if it is.
    const fn status(finish: &Finish) -> (&'static str, &'static str) {
        match finish {
            Finish::Length => ("incomplete", "{\"reason\":\"max_output_tokens\"}"),
            Finish::Filter => ("incomplete", "{\"reason\":\"content_filter\"}"),
            Finish::Stop | Finish::StoppedBy(_) | Finish::Calls => ("completed", "null"),
        }
    }

    pub fn finish(&mut self, finish: &Finish, counts: &Counts, out: &mut Vec<u8>) {
        let whole = self.whole(finish, counts);
        let kind = format!("response.{}", Self::status(finish).0);
        self.event(out, &kind, format_args!(",\"response\":{whole}"));
    }

    pub fn fail(&mut self, code: &str, message: &str, out: &mut Vec<u8>) {
        let error = format!("{{\"code\":\"{}\",\"message\":{}}}", escaped(code), quoted(message));
        let response = self.response("failed", &error, "null", "null");
        self.event(out, "response.failed", format_args!(",\"response\":{response}"));
    }

    pub fn whole(&self, finish: &Finish, counts: &Counts) -> String {
        let (status, details) = Self::status(finish);
        self.response(status, "null", details, &counts.in_responses())
    }

    pub fn kept(&self) -> usize {
        self.items.len() + self.open.as_ref().map_or(0, |open| open.text.len())
    }
}
