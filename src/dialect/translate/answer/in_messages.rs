//! An answer in the Messages dialect.

use std::fmt::{Display, Write as _};
use std::io::Write as _;

use serde_json::value::RawValue;

use super::block::{Finish, Kind, Target};
use super::counts::Counts;
use crate::dialect::translate::raw::{decoded, quoted};

/// An answer in the Messages dialect. A stream keeps nothing of it.
#[derive(Debug, Default)]
pub(super) struct InMessages {
    /// As written between quotes.
    id: String,
    /// As a JSON string.
    model: String,
    /// The place of the next block.
    index: usize,
    open: Option<Target>,
    /// The answer is not streamed: its blocks are kept.
    keeps: bool,
    content: String,
    head: String,
    text: String,
    refused: bool,
    /// The next piece's event, up to its text.
    piece: String,
}

impl InMessages {
    /// An answer of this id, of the model that the client asked for. `keeps`: it is not streamed.
    pub fn new(id: &str, model: &str, keeps: bool) -> Self {
        Self { id: id.to_owned(), model: quoted(model), keeps, ..Self::default() }
    }

    fn event(&self, out: &mut Vec<u8>, kind: &str, fields: impl Display) {
        if !self.keeps {
            // Writing to memory does not fail.
            let _ = write!(out, "event: {kind}\ndata: {{\"type\":\"{kind}\"{fields}}}\n\n");
        }
    }

    fn message(&self, content: &str, stop: &str, usage: &str) -> String {
        let Self { id, model, .. } = self;
        format!(
            "{{\"id\":\"msg_{id}\",\"type\":\"message\",\"role\":\"assistant\",\"model\":{model},\"content\":[{content}],\
             {stop},\"usage\":{usage}}}"
        )
    }

    /// The counts are not known yet: the last event tells them.
    pub fn start(&self, out: &mut Vec<u8>) {
        let message = self.message("", "\"stop_reason\":null,\"stop_sequence\":null", &Counts::default().in_messages());
        self.event(out, "message_start", format_args!(",\"message\":{message}"));
    }

    pub fn open(&mut self, Kind { target, id, name }: Kind<'_>, out: &mut Vec<u8>) {
        self.open = Some(target);
        self.refused |= target == Target::Refusal;
        let index = self.index;
        let name = quoted(name);
        let block = match target {
            Target::Reasoning => "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}".to_owned(),
            Target::Text | Target::Refusal => "{\"type\":\"text\",\"text\":\"\"}".to_owned(),
            Target::Call(_) => format!("{{\"type\":\"tool_use\",\"id\":\"{id}\",\"name\":{name},\"input\":{{}}}}"),
        };
        if self.keeps {
            self.head = format!("\"id\":\"{id}\",\"name\":{name}");
        }
        let (kind, field) = match target {
            Target::Reasoning => ("thinking_delta", "thinking"),
            Target::Call(_) => ("input_json_delta", "partial_json"),
            Target::Text | Target::Refusal => ("text_delta", "text"),
        };
        self.piece = format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":{index},\
             \"delta\":{{\"type\":\"{kind}\",\"{field}\":\""
        );
        self.event(out, "content_block_start", format_args!(",\"index\":{index},\"content_block\":{block}"));
    }

    pub fn piece(&mut self, text: &str, out: &mut Vec<u8>) {
        if self.keeps {
            self.text.push_str(text);
        } else {
            // Most of a stream is this: written out, it takes a third of what formatting does.
            for part in [&self.piece, text, "\"}}\n\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
    }

    pub fn close(&mut self, out: &mut Vec<u8>) {
        let Some(target) = self.open.take() else { return };
        let index = self.index;
        if target == Target::Reasoning {
            // Clients wait for one, and send it back.
            let delta = ",\"delta\":{\"type\":\"signature_delta\",\"signature\":\"\"}";
            self.event(out, "content_block_delta", format_args!(",\"index\":{index}{delta}"));
        }
        self.event(out, "content_block_stop", format_args!(",\"index\":{index}"));
        if self.keeps {
            // Its room is given back, which may be much.
            let (head, text, to) = (&self.head, std::mem::take(&mut self.text), &mut self.content);
            to.push_str(if index == 0 { "" } else { "," });
            // Writing to memory does not fail.
            let _ = match target {
                Target::Reasoning => {
                    write!(to, "{{\"type\":\"thinking\",\"thinking\":\"{text}\",\"signature\":\"\"}}")
                }
                Target::Text | Target::Refusal => write!(to, "{{\"type\":\"text\",\"text\":\"{text}\"}}"),
                Target::Call(_) => write!(to, "{{\"type\":\"tool_use\",{head},\"input\":{}}}", input(&text)),
            };
        }
        self.index += 1;
    }

    fn stop(&self, finish: &Finish) -> String {
        let reason = match finish {
            Finish::StoppedBy(text) => {
                return format!("\"stop_reason\":\"stop_sequence\",\"stop_sequence\":{}", quoted(text));
            }
            Finish::Calls => "tool_use",
            Finish::Length => "max_tokens",
            Finish::Filter => "refusal",
            Finish::Stop if self.refused => "refusal",
            Finish::Stop => "end_turn",
        };
        format!("\"stop_reason\":\"{reason}\",\"stop_sequence\":null")
    }

    /// The counts stand together here: of the first event, clients know zeros.
    pub fn finish(&self, finish: &Finish, counts: &Counts, out: &mut Vec<u8>) {
        let (stop, usage) = (self.stop(finish), counts.in_messages());
        self.event(out, "message_delta", format_args!(",\"delta\":{{{stop}}},\"usage\":{usage}"));
        self.event(out, "message_stop", "");
    }

    pub fn fail(&self, message: &str, out: &mut Vec<u8>) {
        let message = quoted(message);
        self.event(out, "error", format_args!(",\"error\":{{\"type\":\"api_error\",\"message\":{message}}}"));
    }

    pub fn whole(&self, finish: &Finish, counts: &Counts) -> String {
        self.message(&self.content, &self.stop(finish), &counts.in_messages())
    }

    pub fn kept(&self) -> usize {
        self.content.len() + self.text.len()
    }
}

/// The object that a tool is called with. What is none is shown in one.
fn input(arguments: &str) -> String {
    let text = decoded(arguments).unwrap_or_default();
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(raw) if raw.get().starts_with('{') => raw.get().to_owned(),
        _ if text.trim().is_empty() => "{}".to_owned(),
        _ => format!("{{\"arguments\":\"{arguments}\"}}"),
    }
}
