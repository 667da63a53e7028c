//! What is carried, and how.

use serde_json::{Value, json};

use super::{beside, messages, responses};

const PNG: &str = "data:image/png;base64,aGk=";

/// Each row: what is in the input → the messages of the chat request.
#[test]
fn what_is_said_in_responses_is_said_in_chat() {
    let user = |text: &str| json!({"role": "user", "content": text});
    let rows = [
        (json!("hi \"é\"\n"), json!([user("hi \"é\"\n")])),
        (json!([{"role": "user", "content": "hi"}]), json!([user("hi")])),
        (
            json!([{"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]}]),
            json!([user("a\nb")]),
        ),
        // Instructions of the beginning are one message, wherever they stand in it.
        (
            json!([{"role": "developer", "content": "d"}, {"role": "user", "content": "u"},
                {"role": "system", "content": [{"type": "input_text", "text": "s"}]}]),
            json!([{"role": "system", "content": "d\n\ns"}, user("u")]),
        ),
        // Later they stand where they came.
        (
            json!([{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"},
                {"role": "developer", "content": "d"}, {"role": "user", "content": "v"}]),
            json!([user("u"), {"role": "assistant", "content": "a"}, user("<system>\nd\n</system>\nv")]),
        ),
        // Neighbours of one role are one message.
        (
            json!([{"role": "user", "content": "u"}, {"role": "user", "content": "v"},
                {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
                 "content": [{"type": "output_text", "text": "a", "annotations": []}, {"type": "output_text", "text": "b"}]},
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}]),
            json!([user("u\nv"), {"role": "assistant", "content": "ab\n\nno"}]),
        ),
        // Pictures, and files of text.
        (
            json!([{"role": "user", "content": [{"type": "input_text", "text": "a"},
                {"type": "input_image", "image_url": PNG, "detail": "low"},
                {"type": "input_image", "image_url": "https://x/y.png", "detail": "original"}]}]),
            json!([{"role": "user", "content": [{"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]),
        ),
        (
            json!([{"role": "user", "content": [
                {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aGkK"}]}]),
            json!([user("a.txt:\nhi\n")]),
        ),
        // Items of what a server did on its own, and of what means nothing to another one.
        (
            json!([{"role": "user", "content": "u"}, {"type": "web_search_call", "id": "ws_1", "status": "completed"},
                {"type": "reasoning", "id": "rs_1", "summary": [], "content": null, "encrypted_content": "x"},
                {"type": "agent_message", "author": "x", "content": [{"type": "input_text", "text": "v"}]}]),
            json!([user("u\nv")]),
        ),
    ];
    for (input, expected) in rows {
        assert_eq!(responses(json!({"input": input}))["messages"], expected, "{input}");
    }
    let with_instructions =
        responses(json!({"input": [{"role": "system", "content": "b"}, {"role": "user", "content": "u"}],
        "instructions": "a"}));
    assert_eq!(with_instructions["messages"], json!([{"role": "system", "content": "a\n\nb"}, user("u")]));
}

#[test]
fn calls_of_responses_are_calls_of_chat() {
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let tool = |id: &str, text: &str| json!({"role": "tool", "tool_call_id": id, "content": text});
    let input = json!([
        {"role": "user", "content": "u"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "s"}],
         "content": [{"type": "reasoning_text", "text": "r"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "t"}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{\"a\": 1}", "status": "completed"},
        {"type": "function_call", "call_id": "c2", "name": "g", "namespace": "n", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c3", "name": "patch", "input": "x \"y\"\n"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"},
            {"type": "input_image", "image_url": PNG}]},
        {"type": "custom_tool_call_output", "call_id": "c3", "output": "three"},
        {"type": "reasoning", "id": "rs_2", "summary": [{"type": "summary_text", "text": "s"}], "content": null},
        {"type": "function_call", "call_id": "c4", "name": "f", "arguments": ""},
    ]);
    let expected = json!([
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "t", "reasoning_content": "r", "tool_calls": [
            call("c1", "f", "{\"a\": 1}"), call("c2", "n__g", "{}"), call("c3", "patch", "{\"input\":\"x \\\"y\\\"\\n\"}")]},
        tool("c1", "one"),
        tool("c2", "two\n(The pictures follow in the next message.)"),
        tool("c3", "three"),
        {"role": "user", "content": [{"type": "text", "text": "Pictures from the tool call c2:"},
            {"type": "image_url", "image_url": {"url": PNG}}]},
        {"role": "assistant", "content": "", "reasoning_content": "s", "tool_calls": [call("c4", "f", "")]},
    ]);
    assert_eq!(responses(json!({"input": input}))["messages"], expected);
}

fn function(name: &str, schema: Value) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": schema}})
}

#[test]
fn tools_of_responses_are_functions() {
    let f = json!({"type": "function", "name": "f", "parameters": {"type": "object"}});
    let chat_f = function("f", json!({"type": "object"}));
    let rows = [
        (json!({"tools": [f], "tool_choice": "auto"}), json!({"tools": [chat_f], "tool_choice": "auto"})),
        (json!({"tools": [f], "tool_choice": "none"}), json!({"tools": [chat_f], "tool_choice": "none"})),
        (json!({"tools": [f], "tool_choice": "required"}), json!({"tools": [chat_f], "tool_choice": "required"})),
        (
            json!({"tools": [f], "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": false}),
            json!({"tools": [chat_f], "tool_choice": {"type": "function", "function": {"name": "f"}},
                "parallel_tool_calls": false}),
        ),
        (
            json!({"tools": [{"type": "function", "name": "g", "description": "d", "strict": true, "parameters": null}]}),
            json!({"tools": [{"type": "function", "function": {"name": "g", "description": "d",
                "parameters": {"type": "object", "properties": {}}, "strict": true}}]}),
        ),
        // A choice among some leaves no others.
        (
            json!({"tools": [f, {"type": "function", "name": "g"}],
                "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}}),
            json!({"tools": [chat_f], "tool_choice": "required"}),
        ),
        // What no chat server runs is left out where nothing requires it; without tools there is no choice.
        (json!({"tools": [{"type": "web_search"}, f, {"type": "local_shell"}]}), json!({"tools": [chat_f]})),
        (json!({"tools": [{"type": "web_search"}], "tool_choice": "auto", "parallel_tool_calls": true}), json!({})),
        (
            json!({"tools": [{"type": "namespace", "name": "n", "tools": [f]}],
                "tool_choice": {"type": "function", "name": "f", "namespace": "n"}}),
            json!({"tools": [function("n__f", json!({"type": "object"}))],
                "tool_choice": {"type": "function", "function": {"name": "n__f"}}}),
        ),
        // Of a name given twice the last counts.
        (json!({"tools": [{"type": "function", "name": "f"}, f]}), json!({"tools": [chat_f]})),
        (
            json!({"input": [{"role": "user", "content": "u"}, {"type": "additional_tools", "tools": [f]}]}),
            json!({"tools": [chat_f]}),
        ),
    ];
    for (fields, expected) in rows {
        assert_eq!(beside(responses(fields.clone())), expected, "{fields}");
    }
}

#[test]
fn a_custom_tool_is_a_function_of_one_text() {
    let format = json!({"type": "grammar", "syntax": "lark", "definition": "start: x"});
    let tool = json!({"type": "custom", "name": "patch", "description": "d", "format": format});
    let chat = responses(json!({"tools": [tool], "tool_choice": {"type": "custom", "name": "patch"}}));
    let function = &chat["tools"][0]["function"];
    assert_eq!(function["description"], "d\n\nThe input is a text that follows this lark grammar:\nstart: x");
    assert_eq!(function["parameters"]["required"], json!(["input"]));
    assert_eq!(chat["tool_choice"]["function"]["name"], "patch");
    let plain = responses(json!({"tools": [{"type": "custom", "name": "p", "format": {"type": "text"}}]}));
    assert_eq!(plain["tools"][0]["function"]["description"], "");
}

#[test]
fn fields_of_responses_are_carried() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let format = |more: Value| {
        let mut format = json!({"type": "json_schema", "name": "n", "schema": schema});
        format.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"text": {"format": format}})
    };
    let with_usage = json!({"stream": true, "stream_options": {"include_usage": true}});
    let rows = [
        (json!({"temperature": 0.5, "top_p": 1, "user": "u"}), json!({"temperature": 0.5, "top_p": 1, "user": "u"})),
        (json!({"max_output_tokens": 7}), json!({"max_tokens": 7})),
        (json!({"stream": true, "stream_options": {"include_obfuscation": false}}), with_usage),
        (json!({"stream": false}), json!({"stream": false})),
        (json!({"reasoning": {"effort": "minimal", "summary": "auto"}}), json!({"reasoning_effort": "low"})),
        (json!({"reasoning": {"effort": "medium"}}), json!({"reasoning_effort": "medium"})),
        (json!({"reasoning": {"effort": "xhigh"}}), json!({"reasoning_effort": "high"})),
        (json!({"reasoning": {"effort": "none"}}), json!({"chat_template_kwargs": {"enable_thinking": false}})),
        (json!({"text": {"format": {"type": "text"}, "verbosity": "low"}}), json!({"verbosity": "low"})),
        (json!({"text": {"format": {"type": "json_object"}}}), json!({"response_format": {"type": "json_object"}})),
        (
            format(json!({"strict": true, "description": "d"})),
            json!({"response_format": {"type": "json_schema",
                "json_schema": {"name": "n", "description": "d", "schema": schema, "strict": true}}}),
        ),
        // What is no field of the dialect is the server's.
        (json!({"seed": 7, "logit_bias": {"1": 2}, "min_p": null}), json!({"seed": 7, "logit_bias": {"1": 2}})),
        (json!({"max_output_tokens": 7, "max_tokens": 8, "messages": []}), json!({"max_tokens": 7})),
    ];
    for (fields, expected) in rows {
        assert_eq!(beside(responses(fields.clone())), expected, "{fields}");
    }
}

#[test]
fn what_changes_nothing_in_a_response_is_left_out() {
    let rows = json!({
        "store": false, "metadata": {"a": "b"}, "service_tier": "auto", "truncation": "auto", "prompt_cache_key": "k",
        "prompt_cache_retention": "24h", "safety_identifier": "s", "client_metadata": {"a": "b"}, "max_tool_calls": 3,
        "context_management": [{"type": "compaction"}], "include": ["reasoning.encrypted_content"], "background": false,
        "previous_response_id": null, "conversation": null, "prompt": null, "top_logprobs": 0, "instructions": null,
        "tools": [], "tool_choice": "auto", "parallel_tool_calls": true,
    });
    for (name, value) in rows.as_object().unwrap() {
        assert_eq!(beside(responses(json!({name: value}))), json!({}), "{name}");
    }
}

/// Each row: the messages → the messages of the chat request.
#[test]
fn what_is_said_in_messages_is_said_in_chat() {
    let user = |text: &str| json!({"role": "user", "content": text});
    let one = |block: Value| json!([{"role": "user", "content": [block]}]);
    let rows = [
        (json!([user("hi")]), json!([user("hi")])),
        (
            json!([{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "b", "citations": []}]}]),
            json!([user("a\nb")]),
        ),
        (
            json!([user("u"), {"role": "system", "content": [{"type": "text", "text": "s"}]}]),
            json!([{"role": "system", "content": "s"}, user("u")]),
        ),
        (
            json!([user("u"), {"role": "assistant", "content": "a"}, {"role": "system", "content": "s"}]),
            json!([user("u"), {"role": "assistant", "content": "a"}, user("<system>\ns\n</system>")]),
        ),
        (
            one(json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}})),
            json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}]),
        ),
        (
            one(json!({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}})),
            json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]),
        ),
        (
            one(json!({"type": "document", "title": "T", "context": "C",
                "source": {"type": "text", "media_type": "text/plain", "data": "d"}})),
            json!([user("T\nC\nd")]),
        ),
        (
            one(json!({"type": "document", "title": null,
                "source": {"type": "content", "content": [{"type": "text", "text": "d"}]}})),
            json!([user("d")]),
        ),
        (
            one(json!({"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": "aGk="}})),
            json!([user("hi")]),
        ),
        (
            one(
                json!({"type": "search_result", "title": "T", "source": "S", "content": [{"type": "text", "text": "r"}]}),
            ),
            json!([user("T (S)\nr")]),
        ),
        (one(json!({"type": "compaction", "content": "sum"})), json!([user("sum")])),
    ];
    for (said, expected) in rows {
        assert_eq!(messages(json!({"messages": said}))["messages"], expected, "{said}");
    }
    let system = |system: Value| messages(json!({"system": system}))["messages"][0].clone();
    assert_eq!(system(json!("s")), json!({"role": "system", "content": "s"}));
    let blocks = json!([{"type": "text", "text": "x-anthropic-billing-header: cc_version=1;"},
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}]);
    assert_eq!(system(blocks), json!({"role": "system", "content": "a\n\nb"}));
}

#[test]
fn calls_of_messages_are_calls_of_chat() {
    let tool = |id: &str, text: &str| json!({"role": "tool", "tool_call_id": id, "content": text});
    let said = json!([
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "r", "signature": "s"}, {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "t"}, {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
            {"type": "tool_use", "id": "c1", "name": "f", "input": {"b": 1.50, "a": [1]}},
            {"type": "tool_use", "id": "c2", "name": "g", "input": {}}]},
        {"role": "user", "content": [
            {"type": "text", "text": "and"},
            {"type": "tool_result", "tool_use_id": "c1", "content": "one", "is_error": true},
            {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "two"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}]}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c3", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c3"}]},
    ]);
    let body = json!({"model": "m", "messages": said}).to_string();
    let made = super::request(super::ClientDialect::Messages, body.as_bytes()).unwrap();
    let chat: Value = serde_json::from_slice(&made.body).unwrap();
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let expected = json!([
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "t", "reasoning_content": "r",
         "tool_calls": [call("c1", "f", r#"{"a":[1],"b":1.5}"#), call("c2", "g", "{}")]},
        tool("c1", "Error:\none"),
        tool("c2", "two\n(The pictures follow in the next message.)"),
        {"role": "user", "content": [{"type": "text", "text": "Pictures from the tool call c2:"},
            {"type": "image_url", "image_url": {"url": PNG}}, {"type": "text", "text": "and"}]},
        {"role": "assistant", "content": "", "tool_calls": [call("c3", "f", "{}")]},
        tool("c3", ""),
    ]);
    assert_eq!(chat["messages"], expected);
}

#[test]
fn tools_of_messages_are_functions() {
    let f = json!({"name": "f", "description": "d", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}});
    let chat_f =
        json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}});
    let late = json!({"name": "late", "input_schema": {"type": "object"}, "defer_loading": true});
    let chat_late = function("late", json!({"type": "object"}));
    let found = json!([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c",
        "content": [{"type": "tool_reference", "tool_name": "late"}]}]}]);
    let change = |changes: Value| json!([{"role": "user", "content": "u"}, {"role": "system", "content": changes}]);
    let rows = [
        (json!({"tools": [f]}), json!({"tools": [chat_f]})),
        (json!({"tools": [f], "tool_choice": {"type": "auto"}}), json!({"tools": [chat_f], "tool_choice": "auto"})),
        (json!({"tools": [f], "tool_choice": {"type": "none"}}), json!({"tools": [chat_f], "tool_choice": "none"})),
        (
            json!({"tools": [f], "tool_choice": {"type": "any", "disable_parallel_tool_use": true}}),
            json!({"tools": [chat_f], "tool_choice": "required", "parallel_tool_calls": false}),
        ),
        (
            json!({"tools": [f], "tool_choice": {"type": "tool", "name": "f"}}),
            json!({"tools": [chat_f], "tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ),
        (json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}, f]}), json!({"tools": [chat_f]})),
        (json!({"tools": [f, late]}), json!({"tools": [chat_f]})),
        (json!({"tools": [f, late], "messages": found}), json!({"tools": [chat_f, chat_late]})),
        (
            json!({"tools": [f, late], "messages": change(json!([
                {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "late"}},
                {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"name": "new", "input_schema": {}}}},
                {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "f"}}]))}),
            json!({"tools": [chat_late, function("new", json!({}))]}),
        ),
    ];
    for (fields, expected) in rows {
        assert_eq!(beside(messages(fields.clone())), expected, "{fields}");
    }
}

#[test]
fn fields_of_messages_are_carried() {
    let schema = json!({"type": "object"});
    let format = json!({"type": "json_schema", "schema": schema});
    let chat_format = json!({"response_format": {"type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": true}}});
    let no_thinking = json!({"chat_template_kwargs": {"enable_thinking": false}});
    let rows = [
        (
            json!({"max_tokens": 7, "temperature": 0.5, "top_p": 1, "top_k": 3}),
            json!({"max_tokens": 7, "temperature": 0.5, "top_p": 1, "top_k": 3}),
        ),
        (json!({"stream": true}), json!({"stream": true, "stream_options": {"include_usage": true}})),
        (json!({"stop_sequences": ["a", "b"]}), json!({"stop": ["a", "b"]})),
        (json!({"stop_sequences": []}), json!({})),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}), json!({})),
        (
            json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}),
            json!({"reasoning_effort": "high"}),
        ),
        (json!({"thinking": {"type": "disabled"}, "output_config": {"effort": "max"}}), no_thinking),
        (json!({"output_config": {"format": format}}), chat_format.clone()),
        (json!({"output_format": format}), chat_format),
        (json!({"seed": 7}), json!({"seed": 7})),
    ];
    for (fields, expected) in rows {
        assert_eq!(beside(messages(fields.clone())), expected, "{fields}");
    }
}

#[test]
fn what_changes_nothing_in_a_message_is_left_out() {
    let rows = json!({
        "metadata": {"user_id": "u"}, "service_tier": "auto", "context_management": {"edits": []},
        "cache_control": {"type": "ephemeral"}, "betas": ["x"], "anthropic_beta": ["x"], "anthropic_version": "x",
        "speed": "fast", "inference_geo": "us", "diagnostics": {}, "container": null, "mcp_servers": [], "fallbacks": [],
        "system": null, "tools": [], "tool_choice": {"type": "auto"},
    });
    for (name, value) in rows.as_object().unwrap() {
        assert_eq!(beside(messages(json!({name: value}))), json!({}), "{name}");
    }
}

#[test]
fn numbers_and_the_order_of_keys_stay_as_they_were() {
    let body = br#"{"model":"m","temperature":0.10,"input":[{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}],"seed":12345678901234567890123,"tools":[{"type":"function","name":"f","parameters":{"z":1,"a":2.0}}]}"#;
    let made = super::request(super::ClientDialect::Responses, body).unwrap();
    let text = String::from_utf8(made.body).unwrap();
    for kept in ["\"temperature\":0.10", "12345678901234567890123", r#"{"z":1,"a":2.0}"#] {
        assert!(text.contains(kept), "{text}");
    }
    let body = br#"{"model":"m","max_tokens":5,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{"z":1.50,"a":"\u00e9"}}]}]}"#;
    let text = String::from_utf8(super::request(super::ClientDialect::Messages, body).unwrap().body).unwrap();
    assert!(text.contains(r#""arguments":"{\"z\":1.50,\"a\":\"\\u00e9\"}""#), "{text}");
}
