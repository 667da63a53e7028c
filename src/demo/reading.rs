//! Reads a conversation and what is wanted of it, whatever the dialect: their shapes differ little.

use serde_json::{Map, Value, json};

use super::ask::Unanswerable;
use super::generate::Want;
use super::prompt::{Prompt, Said};

/// A user who says this has a tool called without `tool_choice`: the one whose name follows, else the first; with
/// the JSON object behind the name as its arguments, if there is one.
const CALL_PHRASE: &str = "call the tool";

/// A conversation: what stands before it in `system_field`, and its messages in `field` (for the
/// Responses dialect also a bare string).
///
/// # Errors
/// No messages, or something that is none.
pub fn turns(body: &Map<String, Value>, system_field: Option<&str>, field: &str) -> Result<Vec<Said>, Unanswerable> {
    let mut turns = Vec::new();
    if let Some(system) = system_field.and_then(|f| body.get(f)).filter(|v| !v.is_null()) {
        turns.push(Said { role: "system".into(), text: text_of(system) });
    }
    let items = match body.get(field) {
        Some(Value::String(text)) if field == "input" => {
            turns.push(Said { role: "user".into(), text: text.clone() });
            return Ok(turns);
        }
        Some(Value::Array(items)) if !items.is_empty() => items,
        _ => return Err(Unanswerable::field(field, format!("{field} must hold at least one message"))),
    };
    for item in items {
        let Value::Object(fields) = item else {
            return Err(Unanswerable::field(field, format!("{field} must be a list of messages")));
        };
        let role = ["role", "type"].iter().find_map(|name| fields.get(*name)?.as_str());
        let role = role.ok_or_else(|| Unanswerable::field(field, "a message has a role"))?;
        // What a tool said comes in a user's turn in the Messages dialect.
        let role = if role == "user" && has_tool_result(fields) { "tool" } else { role };
        turns.push(Said { role: role.to_owned(), text: text_of(item) });
    }
    Ok(turns)
}

fn has_tool_result(message: &Map<String, Value>) -> bool {
    let parts = message.get("content").and_then(Value::as_array);
    parts.is_some_and(|parts| parts.iter().any(|part| part.get("type").is_some_and(|t| t == "tool_result")))
}

/// What the user asks for, if it is the user's turn. Agents put instructions (`system`, `developer`) behind it.
fn last_request(turns: &[Said]) -> Option<&str> {
    let last = turns.iter().rev().find(|t| !matches!(t.role.as_str(), "system" | "developer"))?;
    (last.role == "user").then_some(&last.text)
}

/// The tool that `text` asks to call, and the arguments if it gives them: a JSON object behind the name.
fn asked_tool<'a>(text: &str, tools: &'a [Value]) -> Option<(&'a Value, Option<Value>)> {
    let at = text.to_ascii_lowercase().find(CALL_PHRASE)?.checked_add(CALL_PHRASE.len())?;
    let rest = text.get(at..)?;
    let (before, arguments) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
    let mut words = before.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-'))).filter(|w| !w.is_empty());
    let name = words.next().map(str::to_lowercase);
    let given = words.next().is_none().then(|| serde_json::Deserializer::from_str(arguments).into_iter().next());
    let named = tools.iter().find(|tool| tool_name(tool).map(str::to_lowercase) == name);
    Some((named.or_else(|| tools.first())?, given.flatten().and_then(Result::ok)))
}

/// The conversation counted, tools included.
pub fn prompt(turns: &[Said], body: &Map<String, Value>) -> Prompt {
    let tools = body.get("tools").filter(|t| t.as_array().is_some_and(|l| !l.is_empty()));
    Prompt::of_turns(turns, &tools.map(Value::to_string).unwrap_or_default())
}

/// Every text in a message or a part of one. Pictures and sounds are not read.
fn text_of(value: &Value) -> String {
    let mut texts = Vec::new();
    collect(value, &mut texts);
    texts.join("\n")
}

fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(parts) => parts.iter().for_each(|p| collect(p, texts)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "text" | "content" | "output" | "arguments" | "tool_calls" | "function" | "name" => {
                        collect(value, texts);
                    }
                    // The arguments of an Anthropic tool call.
                    "input" => texts.push(value.to_string()),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// What kind of answer is wanted: a tool call if one must be made or was asked for, JSON if
/// `format` (a `response_format` or its like) says so, else words.
///
/// # Errors
/// A `tool_choice` that names no tool of the request.
pub fn want(body: &Map<String, Value>, format: Option<&Value>, turns: &[Said]) -> Result<Want, Unanswerable> {
    let tools = body.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let choice = body.get("tool_choice");
    let kind = choice.and_then(|c| c.as_str().or_else(|| c.get("type")?.as_str())).unwrap_or("auto");
    let named = choice.and_then(|c| c.pointer("/function/name").or_else(|| c.get("name"))?.as_str());
    let tool = match (named, kind) {
        (Some(name), _) => {
            let tool = tools.iter().find(|t| tool_name(t) == Some(name));
            Some((tool.ok_or_else(|| Unanswerable::field("tool_choice", format!("no tool is named {name}")))?, None))
        }
        (None, "required" | "any") => {
            let first = tools.first();
            Some((
                first.ok_or_else(|| Unanswerable::field("tools", "tool_choice asks for a tool, and there is none"))?,
                None,
            ))
        }
        (None, "none") => None,
        (None, _) => last_request(turns).and_then(|text| asked_tool(text, tools)),
    };
    if let Some((tool, given)) = tool
        && let Some(name) = tool_name(tool)
    {
        // A constant is a schema too.
        let schema = given.map_or_else(|| tool_schema(tool).clone(), |value| json!({"const": value}));
        return Ok(Want::Tool { name: name.to_owned(), schema });
    }
    let schema = |f: &Value| f.pointer("/json_schema/schema").or_else(|| f.get("schema")).cloned().unwrap_or_default();
    Ok(match format.and_then(|f| Some((f, f.get("type")?.as_str()?))) {
        Some((f, "json_schema")) => Want::Json(schema(f)),
        Some((_, "json_object")) => Want::Json(Value::Null),
        _ => Want::Text,
    })
}

fn tool_name(tool: &Value) -> Option<&str> {
    tool.pointer("/function/name").or_else(|| tool.get("name"))?.as_str()
}

fn tool_schema(tool: &Value) -> &Value {
    let places = ["/function/parameters", "/parameters", "/input_schema"];
    places.iter().find_map(|p| tool.pointer(p)).unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn every_dialects_conversation_is_read() {
        let cases = [
            (json!({"messages": [{"role": "user", "content": "hi"}]}), None, "messages", vec![("user", "hi")]),
            (
                json!({"system": [{"type": "text", "text": "be"}], "messages": [{"role": "user", "content":
                    [{"type": "image", "source": {"data": "AAAA"}}, {"type": "text", "text": "hi"}]}]}),
                Some("system"),
                "messages",
                vec![("system", "be"), ("user", "hi")],
            ),
            (json!({"input": "hi", "instructions": null}), Some("instructions"), "input", vec![("user", "hi")]),
            (
                json!({"input": [{"type": "function_call_output", "call_id": "c", "output": "7"}]}),
                None,
                "input",
                vec![("function_call_output", "7")],
            ),
        ];
        for (body, system, field, wanted) in cases {
            let got = turns(&map(body.clone()), system, field).unwrap();
            let got: Vec<_> = got.iter().map(|t| (t.role.as_str(), t.text.as_str())).collect();
            assert_eq!(got, wanted, "{body}");
        }
        for bad in [json!({}), json!({"messages": []}), json!({"messages": [1]}), json!({"messages": [{}]})] {
            assert_eq!(turns(&map(bad), None, "messages").unwrap_err().status, 400);
        }
    }

    #[test]
    fn a_tool_is_called_when_it_must_be() {
        let chat = json!([{"type": "function", "function": {"name": "a", "parameters": {"x": 1}}},
            {"type": "function", "function": {"name": "b"}}]);
        let flat = json!([{"type": "function", "name": "a", "parameters": {"x": 1}}]);
        let messages = json!([{"name": "a", "input_schema": {"x": 1}}]);
        let a = Want::Tool { name: "a".into(), schema: json!({"x": 1}) };
        let b = Want::Tool { name: "b".into(), schema: Value::Null };
        let cases = [
            (json!({"tools": chat, "tool_choice": "required"}), "hi", Some(&a)),
            (json!({"tools": chat, "tool_choice": {"type": "function", "function": {"name": "b"}}}), "hi", Some(&b)),
            (json!({"tools": flat, "tool_choice": {"type": "function", "name": "a"}}), "hi", Some(&a)),
            (json!({"tools": messages, "tool_choice": {"type": "any"}}), "hi", Some(&a)),
            (json!({"tools": messages, "tool_choice": {"type": "tool", "name": "a"}}), "hi", Some(&a)),
            (json!({"tools": messages}), "please Call the tool", Some(&a)),
            (json!({"tools": messages, "tool_choice": {"type": "none"}}), "call the tool", Some(&Want::Text)),
            (json!({"tools": messages}), "hi", Some(&Want::Text)),
            (json!({"tools": messages, "tool_choice": {"type": "tool", "name": "z"}}), "hi", None),
            (json!({"tool_choice": "required"}), "hi", None),
        ];
        for (body, said, wanted) in cases {
            let said = [Said { role: "user".into(), text: said.into() }];
            assert_eq!(want(&map(body.clone()), None, &said).ok().as_ref(), wanted, "{body}");
        }
    }

    #[test]
    fn the_last_turn_of_the_user_decides_whether_a_tool_is_called() {
        let tools = json!([{"name": "Agent", "input_schema": {}}, {"name": "Read", "input_schema": {}}]);
        let ask = "Please call the tool";
        let result = json!([{"type": "tool_result", "tool_use_id": "t", "content": "call the tool"},
            {"type": "text", "text": "call the tool"}]);
        let user = |content: &str| json!({"role": "user", "content": content});
        let cases = [
            (json!([user(ask)]), Some("Agent")),
            (json!([user(ask), {"role": "system", "content": "Be brief."}]), Some("Agent")),
            (
                json!([user(ask), {"role": "developer", "content": "a"}, {"role": "system", "content": "b"}]),
                Some("Agent"),
            ),
            (json!([user("Call the tool `read`, then stop."), {"role": "system", "content": "x"}]), Some("Read")),
            (json!([user("Call the tool Write.")]), Some("Agent")),
            (json!([user("hi"), {"role": "system", "content": ask}]), None),
            (json!([user(ask), {"role": "assistant", "content": "done"}, user("thanks")]), None),
            (json!([user(ask), {"role": "assistant", "content": "done"}, {"role": "system", "content": "x"}]), None),
            (json!([user(ask), {"role": "user", "content": result}, {"role": "system", "content": "x"}]), None),
            (json!([{"role": "system", "content": ask}]), None),
        ];
        for (messages, wanted) in cases {
            let body = map(json!({"messages": messages, "tools": tools}));
            let got = want(&body, None, &turns(&body, None, "messages").unwrap()).unwrap();
            let got = if let Want::Tool { name, .. } = &got { Some(name.as_str()) } else { None };
            assert_eq!(got, wanted, "{messages}");
        }
    }

    #[test]
    fn the_arguments_of_a_call_can_be_given() {
        let tools = json!([{"name": "Agent"}, {"name": "Bash", "input_schema": {"type": "object", "required": ["x"]}}]);
        let given = json!({"const": {"command": "touch {a}"}});
        let schema = &tools[1]["input_schema"];
        let cases = [
            (r#"İ: Call the TOOL Bash {"command": "touch {a}"} now {"b": 1}"#, "Bash", &given),
            ("call the tool `bash`: {\"command\":\"touch {a}\"}", "Bash", &given),
            ("call the tool {\"command\":\"touch {a}\"}", "Agent", &given),
            (r#"Call the tool Bash, as in {"command": "touch {a}"}"#, "Bash", schema),
            (r#"Call the tool Bash {"command": "#, "Bash", schema),
        ];
        for (said, wanted, arguments) in cases {
            let body = map(json!({"messages": [{"role": "user", "content": said}], "tools": tools}));
            let got = want(&body, None, &turns(&body, None, "messages").unwrap()).unwrap();
            assert_eq!(got, Want::Tool { name: wanted.into(), schema: arguments.clone() }, "{said}");
        }
    }
}
