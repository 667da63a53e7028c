//! What a server says is wrong, in any of the shapes that servers use, made fit to be shown.

use serde_json::{Map, Value};

use super::places::without_places;

/// A server's error in its own words.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reason {
    /// For people; without control characters, shortened.
    pub message: String,
    /// A word that programs branch on.
    pub code: Option<String>,
    /// OpenAI's `type`.
    pub kind: Option<String>,
    /// The field at fault.
    pub param: Option<String>,
    /// What stands beside these: `n_ctx`, `n_prompt_tokens` and the like.
    pub numbers: Map<String, Value>,
}

/// What of a server's text is shown, in characters.
const LONGEST_MESSAGE: usize = 2_000;
/// What of it is in the log.
pub const LONGEST_LOGGED: usize = 8_192;
/// A code, a type, a name of a number.
const LONGEST_WORD: usize = 200;
/// Numbers beside a message, and entries of a list of errors.
const MOST_NUMBERS: usize = 16;
const MOST_DETAILS: usize = 5;

/// Reads the body of an error; it may have been cut off. `None` if it says nothing.
pub fn read(body: &[u8]) -> Option<Reason> {
    let reason = match serde_json::from_slice::<Value>(body) {
        Ok(json) => of_json(&json)?,
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            let text = text.trim_start_matches('\u{feff}').trim();
            let message = if text.starts_with(['{', '[']) { cut_off(text)? } else { plain(text)? };
            Reason { message, ..Reason::default() }
        }
    };
    (!reason.message.trim().is_empty()).then_some(reason)
}

/// A text without control characters, of at most `most` characters.
pub fn shortened(text: &str, most: usize) -> String {
    let mut shown: String = text
        .chars()
        .map(|c| if c == '\n' || c == '\t' { ' ' } else { c })
        .filter(|c| !c.is_control() && !is_invisible(*c))
        .take(most + 1)
        .collect();
    if shown.chars().count() > most {
        shown = shown.chars().take(most.saturating_sub(1)).collect();
        shown.push('…');
    }
    shown.trim().to_owned()
}

/// The text with the public name of a model where the server's own stands.
pub fn named(text: String, theirs: &str, ours: &str) -> String {
    // A shorter name may stand in any word.
    if theirs != ours && theirs.len() >= 3 { text.replace(theirs, ours) } else { text }
}

/// Marks that turn the direction of what stands beside them, and the like.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

impl Reason {
    /// With the public name of the model where the server has its own, which is often a path.
    pub fn renamed(mut self, theirs: &str, ours: &str) -> Self {
        self.message = named(self.message, theirs, ours);
        self
    }

    /// Without the provider's key, which servers that repeat a request's headers repeat too.
    pub fn without(mut self, key: Option<&str>) -> Self {
        self.message = without_key(&self.message, key);
        let word = |word: Option<String>| word.map(|word| without_key(&word, key));
        (self.code, self.kind, self.param) = (word(self.code), word(self.kind), word(self.param));
        self.numbers.retain(|name, _| without_key(name, key) == *name);
        self
    }

    /// For the caller, where the request is at fault: shortened.
    pub fn shown(mut self) -> Self {
        self.message = shortened(&self.message, LONGEST_MESSAGE);
        self
    }

    /// Does it say that it does not take the field, whatever its value?
    pub fn refuses_field(&self, field: &str) -> bool {
        let text = self.message.to_lowercase();
        let refused = ["unsupported", "not supported", "unrecognized", "not permitted", "unexpected", "unknown"];
        let is_named = self.param.as_deref() == Some(field) || text.contains(field);
        let by_code =
            self.code.as_deref().is_some_and(|code| code.starts_with("unsupported_") || code == "unknown_parameter");
        is_named && (by_code || refused.iter().any(|word| text.contains(word)))
    }

    /// Does it say that it has no such model?
    pub fn is_unknown_model(&self, upstream_model: &str) -> bool {
        if self.code.as_deref() == Some("model_not_found") {
            return true;
        }
        let (text, name) = (self.message.to_lowercase(), upstream_model.to_lowercase());
        text.match_indices(&name).take(MOST_LOOKED_AT).any(|(at, _)| says_missing(&text, at, at + name.len()))
    }
}

/// How far from a model's name it is said that there is none, in characters; and how many mentions are inspected. A
/// message repeats what callers wrote.
const NEAR: usize = 48;
const MOST_LOOKED_AT: usize = 16;

/// Does what stands around the name of a model say that there is no such model?
fn says_missing(text: &str, from: usize, to: usize) -> bool {
    let (before, after) = (text.get(..from).unwrap_or_default(), text.get(to..).unwrap_or_default());
    let begins = before.char_indices().rev().nth(NEAR).map_or(0, |(at, _)| at);
    let before = before.get(begins..).unwrap_or_default();
    let after = after.get(..after.char_indices().nth(NEAR).map_or(after.len(), |(at, _)| at)).unwrap_or_default();
    let part_of_a_word = before.ends_with(char::is_alphanumeric) || after.starts_with(char::is_alphanumeric);
    let missing = ["not found", "not exist", "no such", "unknown", "not loaded", "not available"];
    let around = [before, after].join("\n");
    !part_of_a_word && around.contains("model") && missing.iter().any(|words| around.contains(words))
}

fn of_json(json: &Value) -> Option<Reason> {
    let error = match json.get("error") {
        Some(error) if error.is_object() => error,
        _ => json,
    };
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let message = match json {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => list.first().and_then(of_json).map(|reason| reason.message),
        _ => text(error.get("message")).or_else(|| text(error.get("error"))).or_else(|| text(error.get("msg"))),
    };
    let details = error.get("detail").or_else(|| error.get("errors")).or_else(|| json.get("detail"));
    let (detail, place) = details.map_or((None, None), detail);
    let word = |name: &str| text(error.get(name)).filter(|word| word.len() <= LONGEST_WORD);
    let kind = word("type").or_else(|| word("error_type"));
    let numbers = error.as_object().into_iter().flatten();
    let numbers = numbers.filter(|(name, value)| value.is_number() && *name != "code" && name.len() <= LONGEST_WORD);
    Some(Reason {
        message: message.filter(|message| !message.trim().is_empty()).or(detail)?,
        code: code(error.get("code"))
            .or_else(|| (kind.as_deref() == Some(TOO_LONG)).then(|| "context_length_exceeded".into())),
        kind,
        param: word("param").or(place),
        numbers: numbers.take(MOST_NUMBERS).map(|(name, value)| (name.clone(), value.clone())).collect(),
    })
}

/// llama.cpp's type of what everybody else has a code for.
const TOO_LONG: &str = "exceed_context_size_error";

/// OpenAI's codes are words. A number is another server's, and where it is the status over again, no code.
fn code(code: Option<&Value>) -> Option<String> {
    match code? {
        Value::String(word) => Some(word.clone()).filter(|word| word.len() <= LONGEST_WORD),
        Value::Number(number) => {
            Some(number.to_string()).filter(|_| !number.as_u64().is_some_and(|code| (100..=599).contains(&code)))
        }
        _ => None,
    }
}

/// FastAPI's `detail`: a text, or a list of places and what is wrong there.
fn detail(detail: &Value) -> (Option<String>, Option<String>) {
    let Value::Array(list) = detail else {
        let text = detail.as_str().map(str::to_owned);
        return (text.or_else(|| of_json_once(detail)), None);
    };
    let mut texts = Vec::new();
    let mut first = None;
    for entry in list.iter().take(MOST_DETAILS) {
        let place = entry.get("loc").and_then(Value::as_array).map(|loc| place(loc)).filter(|place| !place.is_empty());
        let said = ["msg", "message"].iter().find_map(|name| entry.get(name).and_then(Value::as_str));
        let Some(said) = said.or_else(|| entry.as_str()) else { continue };
        texts.push(place.as_ref().map_or_else(|| said.to_owned(), |place| format!("{place}: {said}")));
        first = first.or(place);
    }
    if list.len() > MOST_DETAILS {
        texts.push("…".to_owned());
    }
    ((!texts.is_empty()).then(|| texts.join("; ")), first.filter(|place| place.len() <= LONGEST_WORD))
}

fn of_json_once(value: &Value) -> Option<String> {
    let inner = value.get("error").unwrap_or(value);
    inner.get("message").or_else(|| inner.get("msg")).unwrap_or(inner).as_str().map(str::to_owned)
}

/// `["body", "messages", 0, "role"]` → `messages.0.role`
fn place(loc: &[Value]) -> String {
    let parts = loc.iter().filter_map(|part| match part {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    parts.skip_while(|part| part == "body").collect::<Vec<_>>().join(".")
}

/// The message of JSON that ends in the middle, or is none after all.
fn cut_off(text: &str) -> Option<String> {
    for key in ["\"message\"", "\"detail\"", "\"msg\"", "\"error\""] {
        for (at, _) in text.match_indices(key).take(MOST_DETAILS) {
            let rest = text.get(at + key.len()..)?.trim_start();
            let Some(said) = rest.strip_prefix(':').map(str::trim_start).and_then(|rest| rest.strip_prefix('"')) else {
                continue;
            };
            // To the quote that ends it, or to where it was cut; a half escape is left out.
            let mut escaped = false;
            let end = said.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            let said = said.get(..end.unwrap_or(said.len()))?;
            let unquoted = (0..=6).find_map(|left_out| {
                let kept = said.char_indices().rev().nth(left_out).map_or(0, |(at, c)| at + c.len_utf8());
                serde_json::from_str::<String>(&format!("\"{}\"", said.get(..kept)?)).ok()
            });
            if let Some(message) = unquoted.filter(|message| !message.trim().is_empty()) {
                return Some(message);
            }
        }
    }
    None
}

/// A page for a browser says nothing to a program.
fn plain(text: &str) -> Option<String> {
    let is_text = !text.is_empty() && !text.starts_with('<') && !text.contains('\u{fffd}');
    is_text.then(|| text.to_owned())
}

/// The text without a provider's key.
pub fn without_key(text: &str, key: Option<&str>) -> String {
    // What is shorter is no secret: `none`, `EMPTY`.
    match key.filter(|key| key.len() >= 8) {
        Some(key) => text.replace(key, "(key)"),
        None => text.to_owned(),
    }
}

/// What a server says of itself when it fails (5xx): only what stands in JSON, and neither the provider's `key` nor
/// paths and addresses of its machine.
pub fn of_failure(body: &[u8], key: Option<&str>) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    if !text.trim_start().starts_with(['{', '[', '"']) {
        return None;
    }
    read(body).map(|reason| fit_to_show(&reason.without(key).message))
}

/// What a failing server says, as the caller may see it: no paths, addresses and secrets of its machine, shortened.
pub fn fit_to_show(text: &str) -> String {
    shortened(&without_places(text), LONGEST_MESSAGE)
}

#[cfg(test)]
mod tests;
