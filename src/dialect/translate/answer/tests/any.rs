//! Any answer keeps what its dialect can say, however its stream is cut; and nothing that is sent makes a panic.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::recorded::told_whole;
use super::told::events;
use super::{
    ANSWERING, Answering, BOTH, ClientDialect, Messages, Responses, StreamTranslator, context, read, translated, usage,
    whole,
};
use crate::dialect::translate::request;

/// What a chat server may say.
#[derive(Debug, Clone)]
struct Said {
    reasoning: String,
    text: String,
    /// Names and arguments.
    calls: Vec<(String, Value)>,
    finish: &'static str,
    /// How long the pieces of its texts are, in characters.
    step: usize,
    /// The calls come in turn.
    in_turn: bool,
}

/// Words of all dialects, and what may stand in a text.
fn word() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "type",
        "role",
        "content",
        "text",
        "input",
        "messages",
        "user",
        "assistant",
        "system",
        "tool_use",
        "tool_result",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "id",
        "index",
        "call_id",
        "function_call",
        "function_call_output",
        "output",
        "image",
        "source",
        "base64",
        "media_type",
        "data",
        "tools",
        "tool_choice",
        "thinking",
        "reasoning",
        "summary",
        "delta",
        "message",
        "choices",
        "finish_reason",
        "usage",
        "prompt_tokens",
        "stop",
        "length",
        "error",
        "input_text",
        "input_image",
        "image_url",
        "custom",
        "namespace",
        "format",
        "json_schema",
        "schema",
        "stream",
        "document",
        "file_data",
        "data:text/plain;base64,aGk",
        "document",
        "allowed_tools",
        "defer_loading",
        "<think>",
    ];
    prop_oneof![4 => proptest::sample::select(WORDS).prop_map(str::to_owned), 1 => any::<String>()]
}

/// Any JSON, of words that mean something.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2_i64..9).prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((word(), inner), 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A text with something in it, or none.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), ("[ -~\n\"\\\\é😀]{0,12}", "[a-zé😀\"\\\\]").prop_map(|(text, end)| text + &end)]
}

fn said() -> impl Strategy<Value = Said> {
    let call = ("[a-z]{1,3}", vec((word(), json()), 0..3))
        .prop_map(|(name, fields)| (name, Value::Object(fields.into_iter().collect())));
    let finish = proptest::sample::select(&["stop", "length", "tool_calls"][..]);
    (text(), text(), vec(call, 0..4), finish, 1..9_usize, any::<bool>()).prop_map(
        |(reasoning, text, calls, finish, step, in_turn)| Said { reasoning, text, calls, finish, step, in_turn },
    )
}

/// The text in pieces.
fn pieces(text: &str, step: usize) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(step).map(|piece| piece.iter().collect()).collect()
}

impl Said {
    fn deltas(&self) -> Vec<Value> {
        let mut deltas = vec![json!({"role": "assistant", "content": null})];
        deltas.extend(pieces(&self.reasoning, self.step).iter().map(|piece| json!({"reasoning_content": piece})));
        deltas.extend(pieces(&self.text, self.step).iter().map(|piece| json!({"content": piece})));
        let mut calls = Vec::new();
        for (index, (name, arguments)) in self.calls.iter().enumerate() {
            let delta = |more: Value| json!({"tool_calls": [more]});
            let mut all = vec![delta(
                json!({"index": index, "id": format!("c{index}"), "function": {"name": name, "arguments": ""}}),
            )];
            for piece in pieces(&arguments.to_string(), self.step) {
                all.push(delta(json!({"index": index, "function": {"arguments": piece}})));
            }
            calls.push(all);
        }
        if self.in_turn {
            for turn in 0..calls.iter().map(Vec::len).max().unwrap_or(0) {
                deltas.extend(calls.iter().filter_map(|call| call.get(turn).cloned()));
            }
        } else {
            deltas.extend(calls.concat());
        }
        deltas
    }

    fn stream(&self) -> Vec<u8> {
        super::stream_of(&self.deltas(), self.finish, usage())
    }

    fn whole(&self) -> String {
        let calls = self.calls.iter().enumerate().map(|(index, (name, arguments))| {
            json!({"id": format!("c{index}"), "type": "function", "function": {"name": name, "arguments": arguments.to_string()}})
        });
        let calls = calls.collect::<Vec<_>>();
        json!({"choices": [{"message": {"content": self.text, "reasoning_content": self.reasoning, "tool_calls": calls},
            "finish_reason": self.finish}], "usage": usage()})
        .to_string()
    }

    fn expected_calls(&self) -> Vec<(String, String, Value)> {
        let calls = self.calls.iter().enumerate();
        calls.map(|(index, (name, arguments))| (format!("c{index}"), name.clone(), arguments.clone())).collect()
    }

    fn end(&self, dialect: ClientDialect) -> &'static str {
        match (dialect, self.finish, self.calls.is_empty()) {
            (Responses, "length", _) => "max_output_tokens",
            (Messages, "length", _) => "max_tokens",
            (Responses, _, _) => "completed",
            (Messages, "stop", true) => "end_turn",
            (Messages, _, _) => "tool_use",
        }
    }
}

fn parsed(calls: &[(String, String, String)]) -> Vec<(String, String, Value)> {
    let read =
        |(id, name, text): &(String, String, String)| (id.clone(), name.clone(), serde_json::from_str(text).unwrap());
    calls.iter().map(read).collect()
}

/// The answer as the client sends it back in its next request.
fn sent_back(dialect: ClientDialect, answer: &Value) -> Value {
    match dialect {
        Responses => json!({"model": "m", "input": answer["output"]}),
        Messages => json!({"model": "m", "messages": [{"role": "assistant", "content": answer["content"]}]}),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_keeps_what_its_dialect_can_say(said in said(), cut in 1..80_usize) {
        for dialect in BOTH {
            let context = context(dialect, json!({}));
            let out = translated(&context, &ANSWERING, &said.stream(), usize::MAX).unwrap();
            prop_assert_eq!(&translated(&context, &ANSWERING, &said.stream(), cut).unwrap(), &out);
            let told = read(dialect, &out);
            prop_assert_eq!((&told.reasoning, &told.text), (&said.reasoning, &said.text));
            prop_assert_eq!(parsed(&told.calls), said.expected_calls());
            prop_assert_eq!(&told.end, said.end(dialect));

            let made = whole(&context, &ANSWERING, said.whole().as_bytes()).unwrap();
            let made: Value = serde_json::from_slice(&made).unwrap();
            let all = told_whole(&made);
            prop_assert_eq!((&all.reasoning, &all.text), (&said.reasoning, &said.text));
            prop_assert_eq!(parsed(&all.calls), said.expected_calls());
            prop_assert_eq!(&all.usage, &told.usage);
            if dialect == Responses {
                let last = events(&out).pop().unwrap().1;
                prop_assert_eq!(&last["response"]["output"], &made["output"]);
            }
            // Sent back, it is the same message again.
            if !made["output"].as_array().or(made["content"].as_array()).unwrap().is_empty() {
                let again = request(dialect, sent_back(dialect, &made).to_string().as_bytes(), usize::MAX).unwrap();
                let again: Value = serde_json::from_slice(&again.body).unwrap();
                let message = &again["messages"][0];
                prop_assert_eq!(message["content"].as_str().unwrap(), &said.text);
                prop_assert_eq!(message["reasoning_content"].as_str().unwrap_or(""), &said.reasoning);
                let calls = message["tool_calls"].as_array().into_iter().flatten().map(|call| {
                    let text = |value: &Value| value.as_str().unwrap().to_owned();
                    (text(&call["id"]), text(&call["function"]["name"]), text(&call["function"]["arguments"]))
                });
                prop_assert_eq!(parsed(&calls.collect::<Vec<_>>()), said.expected_calls());
            }
        }
    }

    #[test]
    fn any_json_is_refused_or_becomes_a_chat_request(body in json(), fields in vec((word(), json()), 0..8)) {
        let mut object: Map<String, Value> = fields.into_iter().collect();
        let given = Value::Object(object.clone());
        object.insert("input".into(), body.clone());
        object.insert("messages".into(), body.clone());
        for body in [&body, &given, &Value::Object(object)] {
            for dialect in BOTH {
                if let Ok(made) = request(dialect, body.to_string().as_bytes(), usize::MAX) {
                    let chat: Value = serde_json::from_slice(&made.body).unwrap();
                    prop_assert!(!chat["messages"].as_array().unwrap().is_empty());
                }
            }
        }
    }

    #[test]
    fn any_event_is_told_in_order_or_breaks_the_stream_off(deltas in vec(json(), 0..6), think_tags: bool) {
        let answering = Answering { think_tags, ..ANSWERING };
        for dialect in BOTH {
            let context = context(dialect, json!({"tools": [{"type": "custom", "name": "name"}]}));
            let (mut translator, mut out) = (StreamTranslator::new(&context, &answering), Vec::new());
            let chunks = deltas.iter().flat_map(|delta| [delta.clone(), json!({"choices": [{"delta": delta}]})]);
            let pushed = chunks.filter(|chunk| chunk.is_object()).map(|chunk| format!("data: {chunk}\n\n"))
                .try_for_each(|chunk| translator.push(chunk.as_bytes(), &mut out));
            if pushed.map(|()| translator.end(&mut out)).is_err() {
                translator.fail("server_error", "it broke off", &mut out);
            }
            let told = read(dialect, &out);
            prop_assert!(!told.end.is_empty());
            for delta in &deltas {
                let _ = whole(&context, &answering, json!({"choices": [{"message": delta}]}).to_string().as_bytes());
            }
        }
    }

    #[test]
    fn any_bytes_are_no_panic(pieces in vec(prop_oneof![
        vec(any::<u8>(), 0..20),
        word().prop_map(String::into_bytes),
        Just(b"data: {\"choices\":[{\"delta\":{\"content\":\"".to_vec()),
        Just(b"\\ud83d\"}}]}\r\n\r\n".to_vec()),
    ], 0..12)) {
        for dialect in BOTH {
            let context = context(dialect, json!({}));
            let (mut translator, mut out) = (StreamTranslator::new(&context, &ANSWERING), Vec::new());
            for piece in &pieces {
                if translator.push(piece, &mut out).is_err() {
                    break;
                }
            }
            let _ = request(dialect, &pieces.concat(), usize::MAX);
            let _ = whole(&context, &ANSWERING, &pieces.concat());
        }
    }
}
