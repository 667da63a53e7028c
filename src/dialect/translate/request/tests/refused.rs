//! What is refused, by its name.

use serde_json::{Value, json};

use super::asked;
use crate::dialect::translate::ClientDialect::{self, Messages, Responses};

fn refused(dialect: ClientDialect, rows: &[(Value, &str)]) {
    for (fields, param) in rows {
        match asked(dialect, fields.clone()) {
            Err(e) => assert_eq!(e.param.as_deref(), Some(*param), "{fields}: {e}"),
            Ok(made) => panic!("{fields}: {made}"),
        }
    }
}

#[test]
fn what_no_chat_server_does_is_refused_in_responses() {
    let part = |part: Value| json!({"input": [{"role": "user", "content": [part]}]});
    let hosted = json!([{"type": "web_search"}]);
    refused(
        Responses,
        &[
            (json!({"previous_response_id": "resp_1"}), "previous_response_id"),
            (json!({"conversation": "conv_1"}), "conversation"),
            (json!({"background": true}), "background"),
            (json!({"prompt": {"id": "pmpt_1"}}), "prompt"),
            (json!({"top_logprobs": 2}), "top_logprobs"),
            (json!({"include": ["message.output_text.logprobs"]}), "include[0]"),
            (json!({"input": [{"type": "item_reference", "id": "msg_1"}]}), "input[0].type"),
            (json!({"input": [{"id": "msg_1"}]}), "input[0].id"),
            (json!({"input": [{"type": "computer_call_output", "call_id": "c", "output": {}}]}), "input[0].type"),
            (json!({"input": [{"type": "compaction", "encrypted_content": "x"}]}), "input[0].type"),
            (json!({"input": [{"type": "mcp_approval_response", "approve": true}]}), "input[0].type"),
            (json!({"tools": hosted, "tool_choice": "required"}), "tool_choice"),
            (json!({"tools": hosted, "tool_choice": {"type": "web_search"}}), "tool_choice"),
            (json!({"tools": hosted, "tool_choice": {"type": "function", "name": "f"}}), "tool_choice"),
            (json!({"tool_choice": "required"}), "tool_choice"),
            (json!({"text": {"format": {"type": "grammar"}}}), "text.format.type"),
            (
                part(json!({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}})),
                "input[0].content[0].type",
            ),
            (part(json!({"type": "input_image", "file_id": "file_1"})), "input[0].content[0].file_id"),
            (part(json!({"type": "input_file", "file_id": "file_1"})), "input[0].content[0].file_id"),
            (part(json!({"type": "input_file", "file_url": "https://x"})), "input[0].content[0].file_url"),
            (
                part(
                    json!({"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}),
                ),
                "input[0].content[0].file_data",
            ),
        ],
    );
}

#[test]
fn what_no_chat_server_does_is_refused_in_messages() {
    let block = |block: Value| json!({"messages": [{"role": "user", "content": [block]}]});
    let hosted = json!([{"type": "web_search_20250305", "name": "web_search"}]);
    refused(
        Messages,
        &[
            (json!({"container": "c_1"}), "container"),
            (json!({"mcp_servers": [{"url": "https://x"}]}), "mcp_servers"),
            (json!({"fallbacks": [{"model": "x"}]}), "fallbacks"),
            (json!({"tools": hosted, "tool_choice": {"type": "any"}}), "tool_choice"),
            (json!({"tools": hosted, "tool_choice": {"type": "tool", "name": "web_search"}}), "tool_choice"),
            (json!({"tools": [{"type": "bash_20250124", "name": "bash"}]}), "tools[0].type"),
            (json!({"output_config": {"format": {"type": "grammar"}}}), "output_config.format.type"),
            (block(json!({"type": "container_upload", "file_id": "file_1"})), "messages[0].content[0].type"),
            (
                block(json!({"type": "image", "source": {"type": "file", "file_id": "f"}})),
                "messages[0].content[0].source",
            ),
            (
                block(json!({"type": "document", "source": {"type": "url", "url": "x"}})),
                "messages[0].content[0].source",
            ),
            (
                block(
                    json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}}),
                ),
                "messages[0].content[0].source",
            ),
            (block(json!({"type": "audio"})), "messages[0].content[0].type"),
        ],
    );
}

#[test]
fn what_is_malformed_is_refused_where_it_is() {
    refused(
        Responses,
        &[
            (json!({"input": 7}), "input"),
            (json!({"input": []}), "input"),
            (json!({"input": [7]}), "input[0]"),
            (json!({"input": [{"role": "user", "content": 7}]}), "input[0].content"),
            (json!({"input": [{"role": "tool", "content": "x"}]}), "input[0].role"),
            (json!({"input": [{"role": "user", "content": [{"text": "x"}]}]}), "input[0].content[0].type"),
            (json!({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}), "input[0].content[0].text"),
            (
                json!({"input": [{"role": "system", "content": [{"type": "input_image", "image_url": "x"}]}]}),
                "input[0].content",
            ),
            (json!({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}), "input[0].call_id"),
            (json!({"input": [{"type": "function_call", "call_id": "c", "arguments": "{}"}]}), "input[0].name"),
            (
                json!({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]}),
                "input[0].arguments",
            ),
            (json!({"input": [{"type": "function_call_output", "call_id": "c"}]}), "input[0].output"),
            (json!({"input": [{}]}), "input[0].type"),
            (json!({"instructions": 7}), "instructions"),
            (json!({"tools": {}}), "tools"),
            (json!({"tools": [{"type": "function"}]}), "tools[0].name"),
            (json!({"tools": [{"name": "f"}]}), "tools[0].type"),
            (json!({"tool_choice": "maybe"}), "tool_choice"),
            (json!({"reasoning": "high"}), "reasoning"),
            (json!({"reasoning": {"effort": 7}}), "reasoning.effort"),
            (json!({"text": {"format": {"type": "json_schema"}}}), "text.format.schema"),
        ],
    );
    refused(
        Messages,
        &[
            (json!({"messages": "x"}), "messages"),
            (json!({"messages": []}), "messages"),
            (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
            (json!({"messages": [{"role": "tool", "content": "x"}]}), "messages[0].role"),
            (json!({"messages": [{"role": "user", "content": [{"type": "text"}]}]}), "messages[0].content[0].text"),
            (
                json!({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}),
                "messages[0].content[0].tool_use_id",
            ),
            (
                json!({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "name": "f"}]}]}),
                "messages[0].content[0].id",
            ),
            (
                json!({"messages": [{"role": "assistant",
                    "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}]}),
                "messages[0].content",
            ),
            (json!({"system": [{"type": "image", "source": {"type": "url", "url": "x"}}]}), "system"),
            (json!({"tools": [{"input_schema": {}}]}), "tools[0].name"),
            (json!({"tool_choice": {"type": "maybe"}}), "tool_choice.type"),
            (json!({"tool_choice": {"type": "tool"}}), "tool_choice.name"),
            (json!({"thinking": {"type": "maybe"}}), "thinking.type"),
            (json!({"stop_sequences": [7]}), "stop_sequences[0]"),
        ],
    );
    let nested = (0..9)
        .fold(json!("x"), |inner, _| json!([{"type": "document", "source": {"type": "content", "content": inner}}]));
    let e = asked(Messages, json!({"messages": [{"role": "user", "content": nested}]})).unwrap_err();
    assert!(e.message.ends_with("is nested too deep"), "{e}");
    for body in [&b""[..], b"[]", b"{\"model\":\"m\",\"model\":\"m\"}", b"\xff"] {
        for dialect in [Responses, Messages] {
            assert!(super::request(dialect, body).is_err());
        }
    }
}
