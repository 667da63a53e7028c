//! Events that differ in nothing but a text, as nearly all of a stream do: read once, then compared.

use serde_json::value::RawValue;

use super::block::Target;
use super::chunk::{Chunk, written};

/// Longer ones are read each time, in bytes.
const LONGEST: usize = 1 << 10;

/// What stood before and after the text of the last event that said a text and nothing else.
#[derive(Debug, Default)]
pub(super) struct Alike {
    event: Option<(Target, String, String)>,
}

impl Alike {
    /// The text of an event like the one before, as it is written between its quotes, and what it belongs to. `None`: it
    /// has to be read.
    pub fn text<'a>(&self, data: &'a str) -> Option<(Target, &'a str)> {
        let (target, before, after) = self.event.as_ref()?;
        let text = data.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
        // Nothing that ends the text, or is written in more than one byte.
        text.bytes().all(|byte| byte >= b' ' && !matches!(byte, b'"' | b'\\')).then_some((*target, text))
    }

    /// Remembers an event that was read.
    pub fn remember(&mut self, data: &str, chunk: &Chunk<'_>) {
        if data.len() > LONGEST {
            return;
        }
        let Some((target, text)) = said_alone(chunk) else { return };
        // Where it stands: the same letters may stand before it too.
        let Some(at) = text.as_ptr().addr().checked_sub(data.as_ptr().addr()) else { return };
        let (Some(before), Some(after)) = (data.get(..at), data.get(at + text.len()..)) else { return };
        match &mut self.event {
            Some((same, b, a)) if *same == target && b == before && a == after => {}
            event => *event = Some((target, before.to_owned(), after.to_owned())),
        }
    }
}

/// The text of a chunk that says a text and nothing else.
fn said_alone<'a>(chunk: &Chunk<'a>) -> Option<(Target, &'a str)> {
    let is_nothing = |raw: Option<&RawValue>| raw.is_none_or(|raw| raw.get() == "null");
    let choice = chunk.choices.asked.as_ref().filter(|_| !chunk.choices.others)?;
    let delta = choice.delta.as_ref()?;
    let is_plain = is_nothing(chunk.usage)
        && chunk.error.is_none()
        && choice.index.is_none_or(|raw| raw.get() == "0")
        && choice.message.is_none()
        && is_nothing(choice.finish_reason)
        && is_nothing(delta.refusal)
        && delta.calls().next().is_none()
        && delta.function_call.is_none();
    let texts = [
        (Target::Text, delta.content),
        (Target::Reasoning, delta.reasoning_content),
        (Target::Reasoning, delta.reasoning),
    ];
    let mut said = texts.into_iter().filter(|(_, raw)| !is_nothing(*raw));
    match (said.next(), said.next()) {
        (Some((target, Some(raw))), None) if is_plain && raw.get().starts_with('"') => {
            Some((target, written(Some(raw))))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(first: &str, next: &str) -> Option<(Target, String)> {
        let mut alike = Alike::default();
        alike.remember(first, &serde_json::from_str(first).unwrap());
        alike.text(next).map(|(target, text)| (target, text.to_owned()))
    }

    #[test]
    fn an_event_that_differs_in_its_text_alone_is_not_read_again() {
        let event = |text: &str| {
            format!(r#"{{"id":"a","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}"#)
        };
        let text = |text: &str| Some((Target::Text, text.to_owned()));
        // The first one's text stands elsewhere too.
        assert_eq!(after(&event("a"), &event(" b é")), text(" b é"));
        assert_eq!(after(&event(""), &event("")), text(""));
        for odd in [r"\n", r#"","refusal":"x"#, "\u{1}", r#"a\"#] {
            assert_eq!(after(&event("a"), &event(odd)), None, "{odd}");
        }
        let thought = event("a").replace("content", "reasoning_content");
        assert_eq!(after(&thought, &thought), Some((Target::Reasoning, "a".to_owned())));
        assert_eq!(after(&event("a"), &event("a").replace(":null", ":\"stop\"")), None);
        assert_eq!(after(&event("a"), "\"}}"), None);
    }

    #[test]
    fn what_says_more_than_a_text_is_read_each_time() {
        let rows = [
            r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"delta":{"content":"a"}}],"usage":{}}"#,
            r#"{"choices":[{"delta":{"content":"a","reasoning":"b"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","refusal":"b"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","tool_calls":[{}]}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","function_call":{}}}]}"#,
            r#"{"choices":[{"delta":{"content":["a"]}}]}"#,
            r#"{"choices":[{"index":1,"delta":{"content":"a"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"a"}}]}"#,
            r#"{"choices":[{"message":{"content":"a"}}]}"#,
            r#"{"choices":[]}"#,
            r#"{"error":{},"choices":[{"delta":{"content":"a"}}]}"#,
        ];
        for row in rows {
            assert_eq!(after(row, row), None, "{row}");
        }
    }
}
