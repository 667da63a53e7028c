//! A chunk of a chat stream, or a whole chat answer, as far as it is translated. Texts stay as they are written.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::dialect::translate::raw::{Entries, inner};

type Raw<'a> = Option<&'a RawValue>;

/// A chunk, or a whole answer.
#[derive(Debug, Deserialize)]
pub(super) struct Chunk<'a> {
    #[serde(borrow, default)]
    pub choices: Choices<'a>,
    #[serde(borrow)]
    pub usage: Raw<'a>,
    #[serde(borrow)]
    pub error: Raw<'a>,
    #[serde(borrow)]
    pub created: Raw<'a>,
}

/// The choices: one is asked for. A server may write millions of them into little, so that one is kept.
#[derive(Debug, Default)]
pub(super) struct Choices<'a> {
    /// The first of number 0.
    pub asked: Option<Choice<'a>>,
    /// There are others, of whichever number.
    pub others: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Choices<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Asked;
        impl<'de> Visitor<'de> for Asked {
            type Value = Choices<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut choices = Choices::default();
                while let Some(choice) = list.next_element::<Choice<'de>>()? {
                    if choices.asked.is_none() && number(choice.index).unwrap_or(0) == 0 {
                        choices.asked = Some(choice);
                    } else {
                        choices.others = true;
                    }
                }
                Ok(choices)
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Choices::default())
            }
        }
        from.deserialize_any(Asked)
    }
}

/// An answer.
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
    tool_calls: Raw<'a>,
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

    /// Shows the content, piece by piece: whether it is reasoning, and its text. It is a text, or a list of parts
    /// (Mistral).
    pub fn said(&self, mut see: impl FnMut(bool, &'a str)) {
        let Some(raw) = self.content else { return };
        if let Some(text) = inner(raw.get()) {
            return see(false, text);
        }
        for part in parts(raw.get()) {
            if written(part.kind) != "thinking" {
                see(false, written(part.text));
            } else if let Some(thinking) = part.thinking {
                match inner(thinking.get()) {
                    Some(text) => see(true, text),
                    None => parts(thinking.get()).for_each(|part| see(true, written(part.text))),
                }
            }
        }
    }

    /// The pieces of calls, read one after the other; `None`: it is no such piece, or no list of them.
    pub fn calls(&self) -> impl Iterator<Item = Option<ToolCall<'a>>> + use<'a> {
        let raw = self.tool_calls.filter(|raw| raw.get() != "null").map(RawValue::get);
        let calls = raw.map(Entries::of);
        let is_no_list = matches!(calls, Some(None)).then_some(None);
        let calls = calls.flatten().unwrap_or_default();
        calls.map(|call| serde_json::from_str(call).ok()).chain(is_no_list)
    }
}

fn parts<'a>(list: &'a str) -> impl Iterator<Item = Part<'a>> {
    let list = Entries::of(list).unwrap_or_default();
    list.filter_map(|part| serde_json::from_str(part).ok())
}
