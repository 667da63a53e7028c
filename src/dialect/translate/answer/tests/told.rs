//! What a client is told: events are read as its libraries read them, and their order is checked.

use serde_json::{Value, json};

use crate::dialect::translate::ClientDialect;

/// What a client knows at the end of an answer.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Told {
    pub reasoning: String,
    pub text: String,
    pub refusal: String,
    /// The id, the name and the arguments of each.
    pub calls: Vec<(String, String, String)>,
    /// `completed`, `tool_use`, `failed`, …
    pub end: String,
    pub usage: Value,
    /// The kinds of the blocks, in their order.
    pub blocks: Vec<String>,
}

/// The events of a stream: name and data.
pub fn events(out: &[u8]) -> Vec<(String, Value)> {
    let text = std::str::from_utf8(out).unwrap();
    let blocks = text.split("\n\n").filter(|block| !block.is_empty() && !block.starts_with(':'));
    let read = |block: &str| {
        let (name, data) = block.split_once('\n').unwrap();
        let name = name.strip_prefix("event: ").unwrap();
        let data: Value =
            serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap_or_else(|e| panic!("{data}: {e}"));
        assert_eq!(data["type"], name);
        (name.to_owned(), data)
    };
    blocks.map(read).collect()
}

/// Reads a whole stream, of which every event must be where it may.
pub fn read(dialect: ClientDialect, out: &[u8]) -> Told {
    match dialect {
        ClientDialect::Responses => read_responses(out),
        ClientDialect::Messages => read_messages(out),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn read_messages(out: &[u8]) -> Told {
    let (mut told, mut open, mut index) = (Told::default(), None::<String>, 0);
    let events = events(out);
    let (mut started, mut ended) = (false, false);
    for (name, data) in &events {
        assert!(!ended, "{name} after the end");
        match name.as_str() {
            "message_start" => {
                assert!(!std::mem::replace(&mut started, true));
                assert_eq!(data["message"]["content"], json!([]));
                assert_eq!(data["message"]["role"], "assistant");
                continue;
            }
            "error" => {
                assert!(started && data["error"]["message"].is_string());
                told.end = "failed".into();
                return told;
            }
            _ => assert!(started, "{name} before the start"),
        }
        match name.as_str() {
            "content_block_start" => {
                assert!(open.is_none() && data["index"] == index && told.end.is_empty());
                let block = &data["content_block"];
                let kind = text(&block["type"]).to_owned();
                if kind == "tool_use" {
                    assert_eq!(block["input"], json!({}));
                    told.calls.push((text(&block["id"]).into(), text(&block["name"]).into(), String::new()));
                }
                told.blocks.push(kind.clone());
                open = Some(kind);
            }
            "content_block_delta" => {
                assert_eq!(data["index"], index);
                let delta = &data["delta"];
                match (open.as_deref(), text(&delta["type"])) {
                    (Some("text"), "text_delta") => told.text += text(&delta["text"]),
                    (Some("thinking"), "thinking_delta") => told.reasoning += text(&delta["thinking"]),
                    (Some("thinking"), "signature_delta") => assert!(delta["signature"].is_string()),
                    (Some("tool_use"), "input_json_delta") => {
                        told.calls.last_mut().unwrap().2 += text(&delta["partial_json"]);
                    }
                    other => panic!("{other:?}"),
                }
            }
            "content_block_stop" => {
                assert!(open.take().is_some() && data["index"] == index);
                index += 1;
            }
            "message_delta" => {
                assert!(open.is_none());
                told.end = text(&data["delta"]["stop_reason"]).into();
                told.usage = data["usage"].clone();
                for count in ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens"]
                {
                    assert!(told.usage[count].is_u64(), "{count}");
                }
            }
            "message_stop" => {
                assert!(!told.end.is_empty());
                ended = true;
            }
            other => panic!("{other}"),
        }
    }
    assert!(ended, "no end");
    told
}

/// The item that is open, as its events have told it so far.
#[derive(Default)]
struct Item {
    id: String,
    kind: String,
    /// What its next event may be.
    stage: u8,
    text: String,
}

fn read_responses(out: &[u8]) -> Told {
    let events = events(out);
    let (mut told, mut items) = (Told::default(), Vec::new());
    let mut open = None::<Item>;
    for (place, (name, data)) in events.iter().enumerate() {
        assert_eq!(data["sequence_number"], place);
        assert!(told.end.is_empty(), "{name} after the end");
        match (place, name.strip_prefix("response.").unwrap()) {
            (0, "created") | (1, "in_progress") => {
                assert_eq!(data["response"]["status"], "in_progress");
                assert_eq!(data["response"]["output"], json!([]));
            }
            (2.., "output_item.added") => {
                assert!(open.is_none() && data["output_index"] == items.len());
                let item = &data["item"];
                assert_eq!(item["status"], "in_progress");
                open = Some(Item { id: text(&item["id"]).into(), kind: text(&item["type"]).into(), ..Item::default() });
            }
            (2.., "output_item.done") => {
                let item = open.take().unwrap();
                assert_eq!(
                    (item.stage, &data["item"]["id"], &data["output_index"]),
                    (4, &json!(item.id), &json!(items.len()))
                );
                close(&mut told, &item, &data["item"]);
                items.push(data["item"].clone());
            }
            (2.., "completed" | "incomplete") => {
                assert!(open.is_none());
                let response = &data["response"];
                assert_eq!(response["output"], json!(items));
                assert_eq!(format!("response.{}", text(&response["status"])), *name);
                told.end = match response["incomplete_details"]["reason"].as_str() {
                    Some(reason) => reason.into(),
                    None => text(&response["status"]).into(),
                };
                told.usage = response["usage"].clone();
            }
            (2.., "failed") => {
                assert!(data["response"]["error"]["message"].is_string());
                told.end = "failed".into();
            }
            (2.., event) => {
                let item = open.as_mut().unwrap_or_else(|| panic!("{event} without an item"));
                assert_eq!((&data["item_id"], &data["output_index"]), (&json!(item.id), &json!(items.len())));
                go_on(item, event, data);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(!told.end.is_empty(), "no end");
    told
}

/// The events of an item: its part is added, its text comes, is told whole, and its part after it.
fn go_on(item: &mut Item, event: &str, data: &Value) {
    let is_call = matches!(item.kind.as_str(), "function_call" | "custom_tool_call");
    let (of, what) = event.rsplit_once('.').unwrap();
    let allowed: &[&str] = match item.kind.as_str() {
        "message" => &["content_part", "output_text", "refusal"],
        "reasoning" => &["content_part", "reasoning_text", "reasoning_summary_part", "reasoning_summary_text"],
        "function_call" => &["function_call_arguments"],
        "custom_tool_call" => &["custom_tool_call_input"],
        other => panic!("{other}"),
    };
    assert!(allowed.contains(&of), "{event} in {}", item.kind);
    let place = if of.contains("summary") { "summary_index" } else { "content_index" };
    assert!(is_call || data[place] == 0, "{data}");
    let field = |data: &Value| {
        ["text", "refusal", "arguments", "input"].iter().find_map(|f| data[f].as_str().map(str::to_owned))
    };
    item.stage = match (item.stage, what, of.ends_with("part")) {
        (0, "added", true) => {
            assert_eq!(field(&data["part"]).as_deref(), Some(""));
            1
        }
        (0, "delta", false) if is_call => {
            item.text += text(&data["delta"]);
            1
        }
        (1, "delta", false) => {
            item.text += text(&data["delta"]);
            1
        }
        (stage, "done", false) if stage == 1 || (stage == 0 && is_call) => {
            assert_eq!(field(data).as_ref(), Some(&item.text));
            if is_call { 4 } else { 3 }
        }
        (3, "done", true) => {
            assert_eq!(field(&data["part"]).as_ref(), Some(&item.text));
            4
        }
        other => panic!("{event} at {other:?}"),
    };
}

fn close(told: &mut Told, item: &Item, whole: &Value) {
    let (kind, text) = (item.kind.as_str(), &item.text);
    match kind {
        "message" if whole["content"][0]["type"] == "refusal" => {
            assert_eq!(whole["content"][0]["refusal"], *text);
            told.refusal += text;
        }
        "message" => {
            assert_eq!(whole["content"][0]["text"], *text);
            told.text += text;
        }
        "reasoning" => {
            let part = if whole["summary"] == json!([]) { &whole["content"][0] } else { &whole["summary"][0] };
            assert_eq!(part["text"], *text);
            told.reasoning += text;
        }
        _ => {
            let field = if kind == "function_call" { "arguments" } else { "input" };
            assert_eq!(whole[field], *text);
            let name = match whole["namespace"].as_str() {
                Some(space) => format!("{space}.{}", self::text(&whole["name"])),
                None => self::text(&whole["name"]).to_owned(),
            };
            told.calls.push((self::text(&whole["call_id"]).into(), name, text.clone()));
        }
    }
    told.blocks.push(kind.to_owned());
}
