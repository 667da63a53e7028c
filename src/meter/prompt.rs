//! A prompt taken apart: its messages, its texts, its media. A medium is one where a content part says so, not where a
//! schema or the arguments of a tool have a key of that name.

use std::ops::ControlFlow;

use super::media::{self, Medium};
use super::walk::{Value, decoded, entries, values};
use crate::dialect::request::InferenceRequest;
use crate::domain::endpoint::Endpoint;

/// A piece of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptPiece<'a> {
    /// A message begins: its template puts marks around it.
    Message,
    /// A text, its JSON escapes as they stand.
    Text(&'a str),
    /// A value that a template writes as JSON.
    Json(&'a str),
    /// A token, given by its number.
    Token,
    /// A medium.
    Medium {
        /// Of what kind.
        medium: Medium,
        /// The bytes that stand for it; none if nothing does, or only text that is a piece of its own.
        size: Option<usize>,
        /// What stands for it is a text in base64.
        is_text: bool,
    },
}

/// Enough was seen if it breaks.
pub type Flow = ControlFlow<()>;

/// Deeper lists of parts are in no dialect: a message, its parts, a tool's result, its parts, a document, its parts.
const MOST_NESTED: u8 = 6;

/// Takes the prompt of `request` apart, until `each` breaks.
pub fn take_apart<'a>(request: &InferenceRequest<'a>, each: &mut impl FnMut(PromptPiece<'a>) -> Flow) -> Flow {
    for (name, raw) in request.prompt_fields() {
        field(request.endpoint, name, raw, each)?;
    }
    Flow::Continue(())
}

/// The media of a prompt, each by its kind. Where no name of one stands in the text, nothing is walked.
pub fn media(request: &InferenceRequest<'_>) -> Vec<Medium> {
    let mut found = Vec::new();
    for (name, raw) in request.prompt_fields().filter(|(name, _)| holds_parts(name)) {
        if media::may_hold_media(raw) {
            let _ = field(request.endpoint, name, raw, &mut |piece| {
                if let PromptPiece::Medium { medium, .. } = piece {
                    found.push(medium);
                }
                Flow::Continue(())
            });
        }
    }
    found
}

/// The fields whose parts are read as parts; all others are text, whatever their keys are called.
pub(super) fn holds_parts(name: &str) -> bool {
    matches!(name, "messages" | "input" | "prompt" | "system" | "instructions")
}

fn field<'a>(endpoint: Endpoint, name: &str, raw: &'a str, each: &mut impl FnMut(PromptPiece<'a>) -> Flow) -> Flow {
    let value = Value::of(raw);
    if !holds_parts(name) {
        return plain(value, each);
    }
    let has_messages = matches!((endpoint.has_messages(), name), (true, "messages" | "input"));
    match value {
        // A text alone is one message.
        Value::Text(_) if endpoint.has_messages() => each(PromptPiece::Message)?,
        Value::List(_) if endpoint.has_messages() && !has_messages => each(PromptPiece::Message)?,
        _ => {}
    }
    match value {
        Value::List(list) if has_messages => values(list).try_for_each(|item| match item {
            Value::Object(object) => {
                each(PromptPiece::Message)?;
                part(object, Says::by_type(object), 1, each)
            }
            other => items(other, 1, each),
        }),
        value => items(value, 0, each),
    }
}

/// A value that is no part: a text, or what a template writes as JSON.
fn plain<'a>(value: Value<'a>, each: &mut impl FnMut(PromptPiece<'a>) -> Flow) -> Flow {
    match value {
        Value::Text(text) => each(PromptPiece::Text(text)),
        Value::List(json) | Value::Object(json) => each(PromptPiece::Json(json)),
        Value::Bare(_) => Flow::Continue(()),
    }
}

/// What stands where parts do: a text, a part, a token's number, or a list of those.
fn items<'a>(value: Value<'a>, level: u8, each: &mut impl FnMut(PromptPiece<'a>) -> Flow) -> Flow {
    match value {
        Value::Object(_) | Value::List(_) if level >= MOST_NESTED => plain(value, each),
        Value::Object(object) => part(object, Says::of(object), level + 1, each),
        Value::List(list) => values(list).try_for_each(|item| items(item, level + 1, each)),
        Value::Text(text) => each(PromptPiece::Text(text)),
        Value::Bare(bare) if bare.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => each(PromptPiece::Token),
        Value::Bare(_) => Flow::Continue(()),
    }
}

/// A message, or a part of one.
fn part<'a>(object: &'a str, says: Says, level: u8, each: &mut impl FnMut(PromptPiece<'a>) -> Flow) -> Flow {
    let mut payload = Payload::default();
    for (key, value) in entries(object) {
        match &*key {
            "content" | "output" | "Content" | "Output" => items(value, level, each)?,
            // What a template does not write. A tool's result names its call, though, and templates write that.
            "type" | "signature" | "cache_control" | "status" => {}
            key if media::LISTS.iter().any(|list| key.eq_ignore_ascii_case(list)) => list_of_media(value, each)?,
            key if says.is_medium && (Medium::named(key).is_some() || matches!(key, "source" | "data" | "url")) => {
                payload.take(value, level, each)?;
            }
            _ => plain(value, each)?,
        }
    }
    for medium in says.media() {
        each(PromptPiece::Medium { medium, size: payload.size, is_text: payload.is_text })?;
    }
    Flow::Continue(())
}

fn list_of_media<'a>(value: Value<'a>, each: &mut impl FnMut(PromptPiece<'a>) -> Flow) -> Flow {
    let Value::List(list) = value else { return plain(value, each) };
    values(list).try_for_each(|one| {
        let mut payload = Payload::default();
        payload.take(one, MOST_NESTED, each)?;
        // A picture or a sound: the dearer of the two.
        each(PromptPiece::Medium { medium: Medium::Sound, size: payload.size, is_text: false })
    })
}

/// What an object says that it is.
#[derive(Debug, Default)]
struct Says {
    /// A medium, by its type, or by a key where it has no type. Its payload is no text then.
    is_medium: bool,
    kinds: [bool; 4],
}

impl Says {
    /// Of a message: only its type says so.
    fn by_type(object: &str) -> Self {
        let kind = entries(object).find(|(key, _)| key.eq_ignore_ascii_case("type"));
        let Some((_, Value::Text(kind))) = kind else { return Self::default() };
        let medium = Medium::named(&decoded(kind));
        let mut says = Self { is_medium: medium.is_some(), ..Self::default() };
        says.add(medium);
        says
    }

    /// Of a part. Some servers look at the keys of one without a type, some templates at those of any.
    fn of(object: &str) -> Self {
        let mut says = Self::by_type(object);
        let has_type = entries(object).any(|(key, value)| &*key == "type" && matches!(value, Value::Text(_)));
        for (key, value) in entries(object) {
            let medium = Medium::named(&key).filter(|_| value != Value::Bare("null"));
            says.is_medium |= medium.is_some() && !has_type;
            says.add(medium.filter(|medium| says.is_medium || *medium != Medium::File));
        }
        says
    }

    fn add(&mut self, medium: Option<Medium>) {
        for (kind, said) in Medium::ALL.into_iter().zip(&mut self.kinds) {
            *said |= medium == Some(kind);
        }
    }

    fn media(&self) -> impl Iterator<Item = Medium> {
        Medium::ALL.into_iter().zip(self.kinds).filter_map(|(kind, said)| said.then_some(kind))
    }
}

/// What stands for a medium.
#[derive(Debug, Default)]
struct Payload {
    size: Option<usize>,
    is_text: bool,
}

impl Payload {
    fn take<'a>(&mut self, value: Value<'a>, level: u8, each: &mut impl FnMut(PromptPiece<'a>) -> Flow) -> Flow {
        match value {
            Value::Text(text) if media::is_payload(text) => {
                self.size = Some(self.size.unwrap_or(0).saturating_add(text.len()));
                self.is_text |= media::is_text_url(text);
                Flow::Continue(())
            }
            Value::Object(object) => entries(object).try_for_each(|(key, value)| match &*key {
                "type" | "detail" | "format" | "filename" => Flow::Continue(()),
                "media_type" | "mime_type" => {
                    self.is_text |= matches!(value, Value::Text(kind) if kind.starts_with("text/"));
                    Flow::Continue(())
                }
                // A document may be made of parts.
                "content" => items(value, level, each),
                _ if level < MOST_NESTED => self.take(value, level + 1, each),
                _ => plain(value, each),
            }),
            value => plain(value, each),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(endpoint: Endpoint, body: &str) -> String {
        let request = InferenceRequest::read(endpoint, body.as_bytes()).map_err(|e| e.to_string());
        let mut all = Vec::new();
        if let Ok(request) = &request {
            let _ = take_apart(request, &mut |piece| {
                all.push(match piece {
                    PromptPiece::Message => "M".to_owned(),
                    PromptPiece::Text(text) => format!("<{text}>"),
                    PromptPiece::Json(json) => json.to_owned(),
                    PromptPiece::Token => "#".to_owned(),
                    PromptPiece::Medium { medium, size, .. } => {
                        format!("{medium:?}{}", size.map_or("-".into(), |n| n.to_string()))
                    }
                });
                Flow::Continue(())
            });
        }
        request.map_or_else(|e| e, |_| all.join(" "))
    }

    #[test]
    fn a_prompt_is_taken_apart() {
        use Endpoint::{ChatCompletions as Chat, Completions, Embeddings, Messages, Responses};
        let rows = [
            (Chat, r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#, "M <user> <hi>"),
            (
                Chat,
                r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"image_url":{"url":"data:image/png;base64,QUJD","detail":"low"},"type":"image_url"}]}]}"#,
                "M <user> <a> Picture26",
            ),
            (
                Chat,
                r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"two words"},"text":"more"}]}]}"#,
                "M <user> <two words> <more> Picture-",
            ),
            (
                Chat,
                r#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"function":{"arguments":{"file":"x"}}}],"audio":null}]}"#,
                r#"M <assistant> [{"function":{"arguments":{"file":"x"}}}]"#,
            ),
            (
                Chat,
                r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"parameters":{"properties":{"image_url":{}}}}],"top_k":3,"user":"x","documents":["d"],"prefix":"p","x":7}"#,
                r#"M <user> <hi> [{"parameters":{"properties":{"image_url":{}}}}] ["d"] <p>"#,
            ),
            (Completions, r#"{"model":"m","prompt":[1,2],"suffix":"s"}"#, "# # <s>"),
            (
                Completions,
                r#"{"model":"m","prompt":{"prompt_string":"a","multimodal_data":["QUJD","QUJD"]}}"#,
                "<a> Sound4 Sound4",
            ),
            (Embeddings, r#"{"model":"m","input":["a",[1,2],{"image":"https://x/y"}]}"#, "<a> # # Picture11"),
            (Responses, r#"{"model":"m","input":"a","instructions":"b"}"#, "M <a> M <b>"),
            (
                Responses,
                r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_file","file_id":"file-1"}]},{"type":"function_call_output","call_id":"c","output":[{"type":"input_image","image_url":"https://x/y"}]}]}"#,
                "M <user> File6 M <c> Picture11",
            ),
            (
                Messages,
                r#"{"model":"m","system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"QUJD"}}]},{"type":"tool_use","name":"n","input":{"image_url":"a","type":"image"}}]}]}"#,
                r#"M <s> M <user> <t> Picture4 <n> {"image_url":"a","type":"image"}"#,
            ),
            (
                Messages,
                r#"{"model":"m","messages":[{"role":"user","content":[{"type":"document","title":"t","source":{"type":"text","media_type":"text/plain","data":"a b"}},{"type":"document","source":{"type":"content","content":[{"type":"image","source":{"type":"url","url":"https://x/y"}}]}}]}]}"#,
                "M <user> <t> <a b> File- Picture11 File-",
            ),
        ];
        for (endpoint, body, expected) in rows {
            assert_eq!(spelled(endpoint, body), expected, "{body}");
        }
    }

    #[test]
    fn media_are_found_where_a_part_says_so_and_nowhere_else() {
        let part = |part: &str| format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}"#);
        let deep = "[".repeat(1_000) + r#"{"type":"image_url"}"# + &"]".repeat(1_000);
        let rows = [
            (part(r#"{"type":"text","text":"\"image_url\": an image"}"#), 0),
            (part(r#"{"type":"text","text":"a","file":"main.rs"}"#), 0),
            (part(r#"{"type":"text","text":"a","image":"x"}"#), 1),
            (part(r#"{"type":"image_url","image_url":{"url":"http://x"}}"#), 1),
            (part(r#"{"type":"im\u0061ge\u005furl"}"#), 1),
            (part(r#"{"IMAGE_URL":{"url":"x"}}"#), 1),
            (part(r#"{"image_url":{"url":"x"}}"#), 1),
            (part(r#"{"image_url":null,"type":"text"}"#), 0),
            (part(&[r#"{"type":"input_image","image_url":"http://x"}"#; 200].join(",")), 200),
            (part(r#"{"type":"tool_result","content":[{"type":"image"}]}"#), 1),
            (part(r#"{"type":"tool_use","input":{"file":{"type":"image"}}}"#), 0),
            (part(&deep), 0),
            (r#"{"model":"m","messages":[{"role":"user","content":"a","images":["QUJD","QUJD"]}]}"#.to_owned(), 2),
            (
                r#"{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[{"file":{"type":"file"}}]}"#
                    .to_owned(),
                0,
            ),
            (r#"{"model":"m","messages":[{"role":"user","content":"a"}],"metadata":{"image":"x"}}"#.to_owned(), 0),
        ];
        for (body, expected) in rows {
            let found = InferenceRequest::read(Endpoint::ChatCompletions, body.as_bytes()).map(|r| media(&r).len());
            assert_eq!(found, Ok(expected), "{:.200}", body);
        }
    }
}
