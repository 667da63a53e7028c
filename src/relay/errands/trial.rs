//! Trials of a server's fields for the output bound: each alone, with a small bound and a question that asks for a
//! long text.
//!
//! Streamed, so that a server which ignores the field can be stopped: the connection is dropped once it went beyond
//! the bound.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::dialect::request::output_fields::{OutputFields, Trial};
use crate::domain::endpoint::Endpoint;
use crate::upstream::{Client, On, Target};

/// Tokens; a server that counts in another way may give a few more.
const BOUND: usize = 4;
/// How long one may take.
const TRIAL_TIME: Duration = Duration::from_secs(20);
/// A longer answer is not read on, in bytes. Its events are within the bound.
const MOST_READ: usize = 256 << 10;

/// What a server takes at an endpoint.
pub async fn output_fields(client: &Client, target: &Target, endpoint: Endpoint) -> OutputFields {
    let mut trials = Vec::new();
    for field in OutputFields::candidates(endpoint) {
        let trial = tokio::time::timeout(TRIAL_TIME, one(client, target, endpoint, field)).await;
        trials.push((*field, trial.unwrap_or(Trial::Unclear)));
    }
    OutputFields::found(&trials)
}

async fn one(client: &Client, target: &Target, endpoint: Endpoint, field: &str) -> Trial {
    let messages = json!([{"role": "user", "content": "Count from 1 to 100, with a comma after each number."}]);
    let mut body = json!({"model": target.upstream_model, "messages": messages, "stream": true});
    if let Some(body) = body.as_object_mut() {
        body.insert(field.to_owned(), json!(BOUND));
    }
    let sent = vec![Bytes::from(body.to_string())];
    let Ok(answer) = client.post(target, endpoint.upstream_path(), &[], sent, On::Fresh).await else {
        return Trial::Unclear;
    };
    match answer.status {
        200..=299 if answer.media_type == "text/event-stream" => {}
        400 | 422 => return Trial::Refused,
        _ => return Trial::Unclear,
    }
    let (mut text, mut stream) = (Vec::new(), answer.body);
    loop {
        match stream.next(Instant::now() + TRIAL_TIME).await {
            Ok(Some(bytes)) => text.extend_from_slice(&bytes),
            Ok(None) => return judge(&text),
            Err(_) => return Trial::Unclear,
        }
        if judge(&text) == Trial::Exceeded || text.len() > MOST_READ {
            return judge(&text);
        }
    }
}

/// What of an event tells.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Value,
    #[serde(default)]
    finish_reason: Option<String>,
}

/// Did the answer keep within the bound? An event with text is one token at least, a word beyond the first another
/// one.
fn judge(text: &[u8]) -> Trial {
    let text = String::from_utf8_lossy(text);
    let events = text.lines().filter_map(|line| line.strip_prefix("data:"));
    let (mut pieces, mut written, mut cut_off) = (0_usize, String::new(), false);
    for event in events.filter_map(|data| serde_json::from_str::<Event>(data.trim()).ok()) {
        if event.error.is_some() {
            return Trial::Unclear;
        }
        for choice in event.choices {
            let said = ["content", "reasoning_content", "reasoning"].map(|name| choice.delta.get(name));
            let said: String = said.into_iter().flatten().filter_map(Value::as_str).collect();
            pieces += usize::from(!said.is_empty());
            written.push_str(&said);
            cut_off |= choice.finish_reason.as_deref() == Some("length");
        }
    }
    let words = written.split_whitespace().count();
    match () {
        // A word may be cut at each end.
        () if pieces > BOUND || words > BOUND + 1 => Trial::Exceeded,
        () if cut_off => Trial::Kept,
        () if pieces > 0 => Trial::Short,
        () => Trial::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(pieces: &[&str], finish: &str) -> Vec<u8> {
        let event = |delta: Value, finish: Value| {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
            format!("data: {}\n\n", json!({"choices": [choice], "usage": null}))
        };
        let pieces: String = pieces.iter().map(|text| event(json!({"content": text}), Value::Null)).collect();
        let (first, last) =
            (event(json!({"role": "assistant", "content": ""}), Value::Null), event(json!({}), json!(finish)));
        format!(": hello\n\n{first}{pieces}{last}data: [DONE]\n\n").into_bytes()
    }

    #[test]
    fn an_answer_within_the_bound_is_told_from_a_short_one_and_a_long_one() {
        assert_eq!(judge(&stream(&["1", ",", " 2", ","], "length")), Trial::Kept);
        assert_eq!(judge(&stream(&[], "length")), Trial::Kept, "all of it was thought");
        assert_eq!(judge(&stream(&["1,", " 2"], "stop")), Trial::Short);
        assert_eq!(judge(&stream(&["1", ",", " 2", ",", " 3"], "length")), Trial::Exceeded);
        assert_eq!(judge(&stream(&["1, 2, 3, 4, 5, 6"], "length")), Trial::Exceeded);
        assert_eq!(judge(&stream(&[], "stop")), Trial::Unclear);
        assert_eq!(judge(b"data: {\"error\":{\"message\":\"no\"}}\n\n"), Trial::Unclear);
        assert_eq!(judge(b""), Trial::Unclear);
    }
}
