//! A chunk of a chat stream, or a whole chat answer, as far as it is translated. Texts stay as they are written.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::translate::raw::inner;

type Raw<'a> = Option<&'a RawValue>;

/// A chunk, or a whole answer.
#[derive(Debug, Deserialize)]
pub(super) struct Chunk<'a> {
    #[serde(borrow)]
    pub choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    pub usage: Raw<'a>,
    #[serde(borrow)]
    pub error: Raw<'a>,
    #[serde(borrow)]
    pub created: Raw<'a>,
}

/// An answer. There is one: more are not asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(borrow)]
    pub index: Raw<'a>,
    /// In a stream.
    #[serde(borrow)]
    pub delta: Option<Delta<'a>>,
    /// In a whole answer.
    #[serde(borrow)]
    pub message: Option<Delta<'a>>,
    #[serde(borrow)]
    pub finish_reason: Raw<'a>,
    /// The text that ended it (vLLM).
    #[serde(borrow)]
    pub stop_reason: Raw<'a>,
}

/// What came of an answer.
#[derive(Debug, Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(borrow)]
    pub content: Raw<'a>,
    #[serde(borrow)]
    pub reasoning_content: Raw<'a>,
    #[serde(borrow)]
    pub reasoning: Raw<'a>,
    #[serde(borrow)]
    pub refusal: Raw<'a>,
    #[serde(borrow)]
    pub tool_calls: Option<Vec<ToolCall<'a>>>,
    /// What calls were once.
    #[serde(borrow)]
    pub function_call: Option<Function<'a>>,
}

/// A piece of a call.
#[derive(Debug, Deserialize)]
pub(super) struct ToolCall<'a> {
    #[serde(borrow)]
    pub index: Raw<'a>,
    #[serde(borrow)]
    pub id: Raw<'a>,
    #[serde(borrow)]
    pub function: Option<Function<'a>>,
}

/// What is called.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    pub name: Raw<'a>,
    #[serde(borrow)]
    pub arguments: Raw<'a>,
}

/// A part of a content that is a list.
#[derive(Debug, Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Raw<'a>,
    #[serde(borrow)]
    text: Raw<'a>,
    #[serde(borrow)]
    thinking: Raw<'a>,
}

/// What stands between the quotes of a string; empty where there is none.
pub(super) fn written<'a>(raw: Raw<'a>) -> &'a str {
    raw.and_then(|raw| inner(raw.get())).unwrap_or_default()
}

/// Nothing is given, or nothing is in it.
pub(super) fn is_nothing(raw: Raw<'_>) -> bool {
    raw.is_none_or(|raw| matches!(raw.get(), "null" | "\"\""))
}

/// A number that is no smaller than zero.
pub(super) fn number(raw: Raw<'_>) -> Option<u64> {
    raw.and_then(|raw| raw.get().parse().ok())
}

impl<'a> Delta<'a> {
    /// The reasoning: some servers write it under two names.
    pub fn thought(&self) -> &'a str {
        match written(self.reasoning_content) {
            "" => written(self.reasoning),
            text => text,
        }
    }

    /// The content: whether it is reasoning, and its text. It is a text, or a list of parts (Mistral).
    pub fn said(&self) -> Vec<(bool, &'a str)> {
        let Some(raw) = self.content else { return Vec::new() };
        if let Some(text) = inner(raw.get()) {
            return vec![(false, text)];
        }
        parts(raw.get())
    }
}

fn parts(list: &str) -> Vec<(bool, &str)> {
    let mut said = Vec::new();
    for part in serde_json::from_str::<Vec<Part<'_>>>(list).unwrap_or_default() {
        match written(part.kind) {
            "thinking" => {
                let thinking = part.thinking.map_or("", |raw| raw.get());
                let inner = inner(thinking).map_or_else(|| parts_of_text(thinking), |text| vec![text]);
                said.extend(inner.into_iter().map(|text| (true, text)));
            }
            _ => said.push((false, written(part.text))),
        }
    }
    said
}

fn parts_of_text(list: &str) -> Vec<&str> {
    let parts = serde_json::from_str::<Vec<Part<'_>>>(list).unwrap_or_default();
    parts.into_iter().map(|part| written(part.text)).collect()
}
