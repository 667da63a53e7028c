//! What grows as it becomes a chat request, and how far: what is said in a few bytes must not be a way to have a server
//! read for less, nor to fill the memory.

use serde_json::{Value, json};

use crate::dialect::translate::ClientDialect::{self, Messages, Responses};
use crate::dialect::translate::{LARGEST_GROWTH, Untranslated, request};

/// A body with so many of something.
type Body = fn(usize) -> Value;

fn responses(fields: &Value) -> Value {
    let mut body = json!({"model": "m", "input": "hi"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

fn messages(fields: &Value) -> Value {
    let mut body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

fn many(n: usize, of: impl Fn(usize) -> Value) -> Vec<Value> {
    (0..n).map(of).collect()
}

/// Names of few letters, all different.
fn name(n: usize) -> String {
    format!("{n:x}")
}

/// A construct, and how many times as long it may become.
const GROWS: &[(&str, ClientDialect, Body, usize)] = &[
    (
        "a function without a schema",
        Responses,
        |n| responses(&json!({"tools": many(n, |n| json!({"type": "function", "name": name(n)}))})),
        4,
    ),
    (
        "a custom tool",
        Responses,
        |n| responses(&json!({"tools": many(n, |n| json!({"type": "custom", "name": name(n)}))})),
        7,
    ),
    (
        "a custom tool with a form",
        Responses,
        |n| {
            responses(
                &json!({"tools": many(n, |n| json!({"type": "custom", "name": name(n), "format": {"definition": ""}}))}),
            )
        },
        6,
    ),
    (
        "a namespace of functions",
        Responses,
        |n| {
            responses(&json!({"tools": [{"type": "namespace", "name": "n".repeat(64),
        "tools": many(n, |n| json!({"type": "function", "name": name(n)}))}]}))
        },
        7,
    ),
    (
        "a namespace with a name in escapes",
        Responses,
        |n| {
            responses(&json!({"tools": [{"type": "namespace", "name": "\u{1}".repeat(64),
        "tools": many(n, |n| json!({"type": "custom", "name": name(n)}))}]}))
        },
        22,
    ),
    (
        "a namespace with a name of large letters",
        Responses,
        |n| {
            responses(&json!({"tools": [{"type": "namespace", "name": "𝟘".repeat(64),
        "tools": many(n, |n| json!({"type": "custom", "name": name(n)}))}]}))
        },
        16,
    ),
    (
        "a custom tool's input",
        Responses,
        |n| {
            responses(
                &json!({"input": many(n, |n| json!({"type": "custom_tool_call", "call_id": name(n), "name": "a", "input": "\"\\\n".repeat(99)}))}),
            )
        },
        2,
    ),
    (
        "a call",
        Responses,
        |n| {
            responses(&json!({"input": many(n, |n| json!({"type": "function_call", "call_id": name(n), "name": "a"}))}))
        },
        2,
    ),
    (
        "a call's result",
        Responses,
        |n| {
            responses(
                &json!({"input": many(n, |n| json!({"type": "function_call_output", "call_id": name(n), "output": ""}))}),
            )
        },
        1,
    ),
    (
        "a picture of a tool",
        Responses,
        |n| {
            responses(
                &json!({"input": many(n, |_| json!({"type": "function_call_output", "call_id": "", "output": [{"type": "input_image", "image_url": ""}]}))}),
            )
        },
        3,
    ),
    (
        "a picture of a call with a long id",
        Responses,
        |n| {
            responses(
                &json!({"input": many(n, |_| json!({"type": "function_call_output", "call_id": "c".repeat(999), "output": [{"type": "input_image", "image_url": ""}]}))}),
            )
        },
        3,
    ),
    (
        "a system message after an answer",
        Responses,
        |n| {
            responses(
                &json!({"input": many(2 * n, |n| json!({"role": if n % 2 == 0 { "assistant" } else { "system" }, "content": "a"}))}),
            )
        },
        2,
    ),
    (
        "turns",
        Responses,
        |n| {
            responses(
                &json!({"input": many(2 * n, |n| json!({"role": if n % 2 == 0 { "assistant" } else { "user" }, "content": "a"}))}),
            )
        },
        1,
    ),
    (
        "reasoning",
        Responses,
        |n| {
            responses(
                &json!({"input": many(2 * n, |n| if n % 2 == 0 { json!({"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}]}) } else { json!({"role": "user", "content": "a"}) })}),
            )
        },
        2,
    ),
    (
        "a file of control characters",
        Responses,
        |n| {
            responses(
                &json!({"input": [{"role": "user", "content": [{"type": "input_file", "file_data": format!("data:;base64,{}", "AQEB".repeat(n))}]}]}),
            )
        },
        5,
    ),
    (
        "a file in escapes",
        Responses,
        |n| {
            responses(
                &json!({"input": [{"role": "user", "content": [{"type": "input_file", "file_data": format!("data:,{}", "\u{7f}\u{1}\u{2028}".repeat(n))}]}]}),
            )
        },
        2,
    ),
    ("hosted tools", Responses, |n| responses(&json!({"tools": many(n, |_| json!({"type": "web_search"}))})), 1),
    (
        "empty texts",
        Responses,
        |n| {
            responses(
                &json!({"input": [{"role": "user", "content": many(n, |_| json!({"type": "input_text", "text": ""}))}]}),
            )
        },
        1,
    ),
    (
        "a huge enum",
        Responses,
        |n| {
            responses(
                &json!({"tools": [{"type": "function", "name": "a", "parameters": {"$defs": {"a": {"enum": many(n, |n| json!(n))}}}}]}),
            )
        },
        1,
    ),
    (
        "unknown fields",
        Responses,
        |n| responses(&many(n, |n| json!(n)).into_iter().map(|n| (format!("x{n}"), n)).collect::<Value>()),
        1,
    ),
    ("a tool without a schema", Messages, |n| messages(&json!({"tools": many(n, |n| json!({"name": name(n)}))})), 8),
    (
        "a call of an object",
        Messages,
        |n| {
            messages(
                &json!({"messages": [{"role": "assistant", "content": many(n, |n| json!({"type": "tool_use", "id": name(n), "name": "a", "input": {"": ""}}))}]}),
            )
        },
        2,
    ),
    (
        "a call of quotes",
        Messages,
        |n| {
            messages(
                &json!({"messages": [{"role": "assistant", "content": many(n, |n| json!({"type": "tool_use", "id": name(n), "name": "a", "input": many(99, |_| json!("\"\\"))}))}]}),
            )
        },
        2,
    ),
    (
        "a tool's error",
        Messages,
        |n| {
            messages(
                &json!({"messages": [{"role": "user", "content": many(n, |_| json!({"type": "tool_result", "tool_use_id": "", "is_error": true}))}]}),
            )
        },
        2,
    ),
    (
        "a picture of a tool",
        Messages,
        |n| {
            messages(
                &json!({"messages": [{"role": "user", "content": many(n, |_| json!({"type": "tool_result", "tool_use_id": "", "content": [{"type": "image", "source": {"type": "url", "url": ""}}]}))}]}),
            )
        },
        3,
    ),
    (
        "a search's result",
        Messages,
        |n| {
            messages(
                &json!({"messages": [{"role": "user", "content": many(n, |_| json!({"type": "search_result", "title": "\u{1}", "content": []}))}]}),
            )
        },
        1,
    ),
    (
        "a tool that was found",
        Messages,
        |n| {
            messages(
                &json!({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "", "content": many(n, |_| json!({"type": "tool_reference", "tool_name": ""}))}]}]}),
            )
        },
        1,
    ),
    (
        "a tool that is added",
        Messages,
        |n| {
            messages(
                &json!({"messages": [{"role": "user", "content": many(n, |n| json!({"type": "tool_addition", "tool": {"definition": {"name": name(n)}}}))}, {"role": "user", "content": "hi"}]}),
            )
        },
        2,
    ),
    (
        "a document of control characters",
        Messages,
        |n| {
            messages(
                &json!({"messages": [{"role": "user", "content": many(n, |_| json!({"type": "document", "source": {"type": "base64", "data": "AQEB".repeat(99)}}))}]}),
            )
        },
        5,
    ),
    (
        "documents in documents",
        Messages,
        |n| {
            messages(
                &json!({"messages": [{"role": "user", "content": many(n, |_| json!({"type": "document", "title": "a", "source": {"type": "content", "content": [{"type": "document", "title": "a", "source": {"type": "content", "content": []}}]}}))}]}),
            )
        },
        1,
    ),
    ("ends", Messages, |n| messages(&json!({"stop_sequences": many(n, |_| json!("\u{1}"))})), 1),
];

#[test]
fn what_grows_is_known_and_bounded() {
    for (what, dialect, body, times) in GROWS {
        let body = body(1_000).to_string();
        let made =
            request(*dialect, body.as_bytes(), LARGEST_GROWTH * body.len()).unwrap_or_else(|e| panic!("{what}: {e}"));
        let grown = made.body.len() * 100 / body.len();
        // Seen with `-- --nocapture`, by whoever changes this.
        println!("{grown:5} % {what} ({dialect:?}), {} bytes for its answer", made.context.size());
        assert!(made.body.len() <= (*times + 1) * body.len(), "{what} becomes {grown} %");
        assert!(
            made.context.size() <= LARGEST_GROWTH * body.len(),
            "{what}: {} of {}",
            made.context.size(),
            body.len()
        );
        // And no further than it may.
        match request(*dialect, body.as_bytes(), made.body.len() / 2) {
            Err(Untranslated::TooLong) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn what_is_kept_of_many_small_entries_counts_where_nothing_of_it_is_written() {
    let rows: [(&str, ClientDialect, Body); 4] = [
        ("ends", Messages, |n| messages(&json!({"stop_sequences": many(n, |_| json!(""))}))),
        ("parts", Messages, |n| {
            messages(
                &json!({"messages": [{"role": "user", "content": many(n, |_| json!({"type": "text", "text": ""}))}]}),
            )
        }),
        ("parts", Responses, |n| {
            responses(
                &json!({"input": [{"role": "user", "content": many(n, |_| json!({"type": "input_text", "text": ""}))}]}),
            )
        }),
        ("found tools", Messages, |n| {
            messages(
                &json!({"messages": [{"role": "user", "content": many(n, |_| json!({"type": "tool_reference"}))}]}),
            )
        }),
    ];
    for (what, dialect, body) in rows {
        let body = body(1_000).to_string();
        match request(dialect, body.as_bytes(), 2 * body.len()) {
            Err(Untranslated::TooLong) => {}
            other => panic!("{what} of {dialect:?}: {other:?}"),
        }
        assert!(request(dialect, body.as_bytes(), LARGEST_GROWTH * body.len()).is_ok(), "{what} of {dialect:?}");
    }
}

#[test]
fn a_name_that_is_written_more_than_once_is_short() {
    let (long, longer) = ("é".repeat(64), "é".repeat(65));
    let rows: [(ClientDialect, Value, Option<&str>); 7] = [
        (Responses, responses(&json!({"tools": [{"type": "function", "name": long}]})), None),
        (Responses, responses(&json!({"tools": [{"type": "function", "name": longer}]})), Some("tools[0].name")),
        (Responses, responses(&json!({"tools": [{"type": "custom", "name": longer}]})), Some("tools[0].name")),
        (
            Responses,
            responses(&json!({"tools": [{"type": "namespace", "name": longer, "tools": []}]})),
            Some("tools[0].name"),
        ),
        (
            Responses,
            responses(
                &json!({"tools": [{"type": "namespace", "name": "a", "tools": [{"type": "function", "name": longer}]}]}),
            ),
            Some("tools[0].tools[0].name"),
        ),
        (Messages, messages(&json!({"tools": [{"name": "a".repeat(128)}]})), None),
        (Messages, messages(&json!({"tools": [{"name": "a".repeat(129)}]})), Some("tools[0].name")),
    ];
    for (dialect, body, param) in rows {
        let found = match request(dialect, body.to_string().as_bytes(), usize::MAX) {
            Ok(_) => None,
            Err(Untranslated::Bad(e)) => e.param,
            Err(e) => panic!("{e}"),
        };
        assert_eq!(found.as_deref(), param, "{body}");
    }
}
