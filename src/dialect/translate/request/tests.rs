//! Requests of both dialects, row by row of the table in the room's documentation.

mod carried;
mod growth;
mod refused;

use serde_json::{Value, json};

use crate::dialect::request::BadRequest;
use crate::dialect::translate::{ChatRequest, ClientDialect, Untranslated};

/// A request, which may become as long as it likes.
fn request(dialect: ClientDialect, body: &[u8]) -> Result<ChatRequest, BadRequest> {
    crate::dialect::translate::request(dialect, body, usize::MAX).map_err(|e| match e {
        Untranslated::Bad(e) => e,
        Untranslated::TooLong => panic!("too long"),
    })
}

/// A request with these fields, beside a model and something to answer, as a chat request.
fn asked(dialect: ClientDialect, mut fields: Value) -> Result<Value, BadRequest> {
    let object = fields.as_object_mut().unwrap();
    object.entry("model").or_insert(json!("m"));
    match dialect {
        ClientDialect::Responses => object.entry("input").or_insert(json!("hi")),
        ClientDialect::Messages => object.entry("messages").or_insert(json!([{"role":"user","content":"hi"}])),
    };
    let made = request(dialect, fields.to_string().as_bytes())?;
    Ok(serde_json::from_slice(&made.body).unwrap())
}

fn responses(fields: Value) -> Value {
    asked(ClientDialect::Responses, fields.clone()).unwrap_or_else(|e| panic!("{fields}: {e}"))
}

fn messages(fields: Value) -> Value {
    asked(ClientDialect::Messages, fields.clone()).unwrap_or_else(|e| panic!("{fields}: {e}"))
}

/// What the chat server gets beside the model and the messages.
fn beside(mut chat: Value) -> Value {
    let object = chat.as_object_mut().unwrap();
    object.remove("model");
    object.remove("messages");
    chat
}

#[test]
fn what_codex_sends_is_carried() {
    let body = include_str!("../../../../tests/fixtures/agents/codex.json");
    let made = request(ClientDialect::Responses, body.as_bytes()).unwrap();
    let text = String::from_utf8(made.body).unwrap();
    // The order of a schema's keys is a part of the prompt.
    assert!(text.find("\"cmd\"") < text.find("\"a\""), "{text}");
    let chat: Value = serde_json::from_str(&text).unwrap();
    let roles: Vec<_> = chat["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user"]);
    assert!(chat["messages"][1]["content"].as_str().unwrap().ends_with("</environment_context>\nSay hello."));
    let names: Vec<_> = chat["tools"].as_array().unwrap().iter().map(|t| t["function"]["name"].clone()).collect();
    assert_eq!(names, ["exec_command", "multi_agent_v1__close_agent"]);
    let mut rest = beside(chat);
    rest.as_object_mut().unwrap().remove("tools");
    assert_eq!(
        rest,
        json!({"stream": true, "stream_options": {"include_usage": true}, "tool_choice": "auto",
            "parallel_tool_calls": true})
    );
    assert!(made.context.summarized);
}

#[test]
fn what_claude_code_sends_is_carried() {
    let body = include_str!("../../../../tests/fixtures/agents/claude-code.json");
    let made = request(ClientDialect::Messages, body.as_bytes()).unwrap();
    let chat: Value = serde_json::from_slice(&made.body).unwrap();
    let system = chat["messages"][0]["content"].as_str().unwrap();
    assert!(system.starts_with("You are a Claude agent") && system.contains("\n\n# Environment"), "{system}");
    assert_eq!(chat["messages"][1]["role"], "user");
    assert!(chat["messages"][1]["content"].as_str().unwrap().ends_with("\nSay hello."));
    assert_eq!(chat["messages"].as_array().map(Vec::len), Some(2));
    let names: Vec<_> = chat["tools"].as_array().unwrap().iter().map(|t| t["function"]["name"].clone()).collect();
    assert_eq!(names, ["Bash", "ToolSearch"]);
    let mut rest = beside(chat);
    rest.as_object_mut().unwrap().remove("tools");
    assert_eq!(
        rest,
        json!({"stream": true, "stream_options": {"include_usage": true}, "max_tokens": 32000,
            "reasoning_effort": "high"})
    );
}
