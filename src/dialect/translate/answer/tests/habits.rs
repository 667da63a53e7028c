//! Single habits of servers, and what each dialect makes of them.

use serde_json::{Value, json};

use super::recorded::told_whole;
use super::told::events;
use super::{
    ANSWERING, Answering, BOTH, ClientDialect, Messages, Responses, StreamTranslator, context, read, stream_of, told,
    translated, usage, whole,
};

fn call(index: Value, id: Value, name: Value, arguments: Value) -> Value {
    json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}]})
}

fn calls_of(dialect: ClientDialect, deltas: &[Value]) -> Vec<(String, String, String)> {
    told(dialect, deltas, "tool_calls").calls
}

#[test]
fn calls_come_whole_and_in_order_however_a_server_sends_them() {
    let first = |index: Value| call(index, json!("a"), json!("f"), json!("{\"x\":"));
    let more = |index: Value, text: &str| call(index, Value::Null, Value::Null, json!(text));
    let expected = [("a", "f", "{\"x\":1}"), ("b", "g", "{\"y\":2}")];
    let rows = [
        (
            "one after the other",
            vec![first(json!(0)), more(json!(0), "1}"), call(json!(1), json!("b"), json!("g"), json!("{\"y\":2}"))],
        ),
        (
            "in turn",
            vec![
                first(json!(0)),
                call(json!(1), json!("b"), json!("g"), json!("{\"y\":")),
                more(json!(0), "1"),
                more(json!(1), "2"),
                more(json!(0), "}"),
                more(json!(1), "}"),
            ],
        ),
        (
            "both begin, and go on",
            vec![
                call(json!(0), json!("a"), json!("f"), json!("")),
                call(json!(1), json!("b"), json!("g"), json!("")),
                more(json!(0), "{\"x\":1}"),
                more(json!(1), "{\"y\":2}"),
            ],
        ),
        (
            "the second is there first",
            vec![first(json!(0)), call(json!(1), json!("b"), json!("g"), json!("{\"y\":2}")), more(json!(0), "1}\n")],
        ),
        (
            "one number for all",
            vec![
                call(json!(0), json!("a"), json!("f"), json!("{\"x\":1}")),
                call(json!(0), json!("b"), json!("g"), json!("{\"y\":2}")),
            ],
        ),
        (
            "no numbers",
            vec![
                first(Value::Null),
                more(Value::Null, "1}"),
                call(Value::Null, json!("b"), json!("g"), json!("{\"y\":2}")),
            ],
        ),
        (
            "the id and the name again in each piece",
            vec![
                first(json!(0)),
                call(json!(0), json!("a"), json!("f"), json!("1}")),
                call(json!(1), json!("b"), json!("g"), json!("{\"y\":2}")),
            ],
        ),
        (
            "objects",
            vec![
                call(json!(0), json!("a"), json!("f"), json!({"x": 1})),
                call(json!(1), json!("b"), json!("g"), json!({"y": 2})),
            ],
        ),
        (
            "in one chunk",
            vec![json!({"tool_calls": [
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\":1}"}},
            {"index": 1, "id": "b", "function": {"name": "g", "arguments": "{\"y\":2}"}}]})],
        ),
    ];
    for (habit, deltas) in rows {
        for dialect in BOTH {
            let calls = calls_of(dialect, &deltas);
            let calls: Vec<_> =
                calls.iter().map(|(id, name, text)| (id.as_str(), name.as_str(), text.trim_end())).collect();
            assert_eq!(calls, expected, "{habit}, {dialect:?}");
        }
    }
}

#[test]
fn a_call_without_an_id_gets_one_and_one_without_arguments_an_object() {
    let bare = call(json!(0), Value::Null, json!("f"), Value::Null);
    assert_eq!(calls_of(Responses, std::slice::from_ref(&bare)), [("call_1_0".into(), "f".into(), "{}".into())]);
    // The libraries of Messages take nothing for an empty object.
    assert_eq!(calls_of(Messages, &[bare]), [("call_1_0".into(), "f".into(), String::new())]);
    let old = json!({"function_call": {"name": "f", "arguments": "{}"}});
    assert_eq!(calls_of(Messages, &[old]), [("call_1_0".into(), "f".into(), "{}".into())]);
}

#[test]
fn blocks_follow_what_the_server_says() {
    let f = call(json!(0), json!("a"), json!("f"), json!("{}"));
    let rows = [
        (
            vec![
                json!({"role": "assistant", "content": null}),
                json!({"reasoning_content": "r"}),
                json!({"content": "\n"}),
                json!({"content": "t"}),
                f.clone(),
            ],
            ["reasoning message function_call", "thinking text tool_use"],
            ("r", "\nt"),
        ),
        // Blanks between blocks are no block.
        (
            vec![json!({"content": "\n\n"}), f.clone(), json!({"content": "\n"})],
            ["function_call", "tool_use"],
            ("", ""),
        ),
        (vec![json!({"content": " "})], ["message", "text"], ("", " ")),
        (vec![json!({"content": ""})], ["", ""], ("", "")),
        // The same reasoning under two names.
        (
            vec![json!({"reasoning": "r", "reasoning_content": "r"}), json!({"content": "t"})],
            ["reasoning message", "thinking text"],
            ("r", "t"),
        ),
        (vec![json!({"reasoning": "r", "content": "t"})], ["reasoning message", "thinking text"], ("r", "t")),
        (
            vec![json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "r"}]},
            {"type": "text", "text": "t"}]})],
            ["reasoning message", "thinking text"],
            ("r", "t"),
        ),
        // What is said in the middle of a call comes after it.
        (
            vec![
                call(json!(0), json!("a"), json!("f"), json!("{")),
                json!({"content": "t"}),
                call(json!(0), Value::Null, Value::Null, json!("}")),
            ],
            ["function_call message", "tool_use text"],
            ("", "t"),
        ),
    ];
    for (deltas, blocks, (reasoning, text)) in rows {
        for (dialect, blocks) in BOTH.into_iter().zip(blocks) {
            let told = told(dialect, &deltas, "stop");
            assert_eq!(told.blocks.join(" "), blocks, "{deltas:?}");
            assert_eq!((told.reasoning.as_str(), told.text.as_str()), (reasoning, text), "{deltas:?}");
        }
    }
}

#[test]
fn every_end_has_its_word() {
    let f = call(json!(0), json!("a"), json!("f"), json!("{}"));
    let text = json!({"content": "t"});
    let rows = [
        (&text, json!("stop"), "completed", "end_turn"),
        (&text, json!("eos_token"), "completed", "end_turn"),
        (&text, Value::Null, "completed", "end_turn"),
        (&text, json!("length"), "max_output_tokens", "max_tokens"),
        (&text, json!("content_filter"), "content_filter", "refusal"),
        (&f, json!("tool_calls"), "completed", "tool_use"),
        (&f, json!("stop"), "completed", "tool_use"),
        (&f, json!("length"), "max_output_tokens", "max_tokens"),
    ];
    for (delta, finish, in_responses, in_messages) in rows {
        let stream = |dialect: ClientDialect| {
            let chunk = json!({"choices": [{"delta": delta, "finish_reason": finish}]});
            let stream = format!("data: {chunk}\n\ndata: [DONE]\n\n");
            let out = translated(&context(dialect, json!({})), &ANSWERING, stream.as_bytes(), usize::MAX).unwrap();
            read(dialect, &out).end
        };
        assert_eq!((stream(Responses).as_str(), stream(Messages).as_str()), (in_responses, in_messages), "{finish}");
    }
    assert_eq!(told(Messages, &[json!({"refusal": "no"})], "stop").end, "refusal");
    let refused = told(Responses, &[json!({"refusal": "no"})], "stop");
    assert_eq!((refused.refusal.as_str(), refused.end.as_str()), ("no", "completed"));
}

#[test]
fn the_text_that_ended_an_answer_is_named_where_the_server_says_it() {
    let context = context(Messages, json!({"stop_sequences": ["END", "\n"]}));
    for (said, reason, sequence) in [
        (json!("\n"), "stop_sequence", json!("\n")),
        (json!("x"), "end_turn", Value::Null),
        (json!(151645), "end_turn", Value::Null),
    ] {
        let chunk = json!({"choices": [{"delta": {"content": "t"}, "finish_reason": "stop", "stop_reason": said}]});
        let stream = format!("data: {chunk}\n\n");
        let out = translated(&context, &ANSWERING, stream.as_bytes(), usize::MAX).unwrap();
        let (_, delta) = events(&out).into_iter().find(|(name, _)| name == "message_delta").unwrap();
        assert_eq!(delta["delta"], json!({"stop_reason": reason, "stop_sequence": sequence}));
    }
}

#[test]
fn thoughts_in_the_content_are_reasoning_where_a_server_is_marked() {
    let deltas = [json!({"content": "<thi"}), json!({"content": "nk>r</think>"}), json!({"content": "\n\nt"})];
    let stream = stream_of(&deltas, "stop", usage());
    let marked = Answering { think_tags: true, ..ANSWERING };
    for dialect in BOTH {
        let context = context(dialect, json!({}));
        let told = |answering| read(dialect, &translated(&context, answering, &stream, usize::MAX).unwrap());
        assert_eq!((told(&marked).reasoning.as_str(), told(&marked).text.as_str()), ("r", "t"));
        assert_eq!(told(&ANSWERING).text, "<think>r</think>\n\nt");
    }
}

#[test]
fn a_client_that_asks_for_summaries_gets_the_reasoning_in_their_place() {
    let stream = stream_of(&[json!({"reasoning_content": "r"}), json!({"content": "t"})], "stop", usage());
    let context = context(Responses, json!({"reasoning": {"summary": "auto"}}));
    let out = translated(&context, &ANSWERING, &stream, usize::MAX).unwrap();
    assert_eq!(read(Responses, &out).reasoning, "r");
    let names: Vec<_> =
        events(&out).into_iter().map(|(name, _)| name).filter(|name| name.contains("reasoning")).collect();
    assert_eq!(
        names,
        [
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done"
        ]
    );
}

#[test]
fn custom_tools_and_namespaces_have_their_names_again() {
    let context = context(
        Responses,
        json!({"tools": [{"type": "custom", "name": "patch"},
            {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}]}]}),
    );
    let deltas = [
        call(json!(0), json!("a"), json!("patch"), json!("{\"input\": \"x \\\"")),
        call(json!(0), Value::Null, Value::Null, json!("y\\\"\\n\"}")),
        call(json!(1), json!("b"), json!("n__f"), json!("{}")),
        call(json!(2), json!("c"), json!("n__c"), json!("plain")),
    ];
    let stream = stream_of(&deltas, "tool_calls", usage());
    let out = translated(&context, &ANSWERING, &stream, usize::MAX).unwrap();
    let told = read(Responses, &out);
    let calls: Vec<_> = told.calls.iter().map(|(id, name, text)| (id.as_str(), name.as_str(), text.as_str())).collect();
    assert_eq!(calls, [("a", "patch", "x \"y\"\n"), ("b", "n.f", "{}"), ("c", "n.c", "plain")]);
    assert_eq!(told.blocks, ["custom_tool_call", "function_call", "custom_tool_call"]);
}

#[test]
fn a_response_says_again_what_was_asked() {
    let fields = json!({"temperature": 0.5, "max_output_tokens": 7, "metadata": {"a": "b"}, "tool_choice": "auto",
        "text": {"format": {"type": "json_object"}}, "reasoning": {"effort": "low"}, "parallel_tool_calls": false});
    let stream = stream_of(&[json!({"content": "t"})], "stop", usage());
    let out = translated(&context(Responses, fields.clone()), &ANSWERING, &stream, usize::MAX).unwrap();
    for (name, data) in events(&out).into_iter().filter(|(_, data)| data["response"].is_object()) {
        for (field, value) in fields.as_object().unwrap() {
            assert_eq!(data["response"][field], *value, "{name} {field}");
        }
        assert_eq!((&data["response"]["id"], &data["response"]["created_at"]), (&json!("resp_1"), &json!(5)));
    }
    let long = context(Responses, json!({"metadata": {"a": "x".repeat(5_000)}}));
    assert!(long.echo.contains("\"metadata\":{}"));
}

#[test]
fn the_cost_goes_along_with_the_usage() {
    let mut costing = usage();
    costing["cost_micro_usd"] = json!(7);
    let stream = stream_of(&[json!({"content": "t"})], "stop", costing.clone());
    let answer =
        json!({"choices": [{"message": {"content": "t"}, "finish_reason": "stop"}], "usage": costing}).to_string();
    for dialect in BOTH {
        let context = context(dialect, json!({}));
        let told = read(dialect, &translated(&context, &ANSWERING, &stream, usize::MAX).unwrap());
        assert_eq!(told.usage["cost_micro_usd"], 7);
        let made: Value = serde_json::from_slice(&whole(&context, &ANSWERING, answer.as_bytes()).unwrap()).unwrap();
        assert_eq!(made["usage"], told.usage);
    }
}

#[test]
fn zeros_are_no_counts_where_others_were_told() {
    let zeros = json!({"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}});
    let stream =
        [stream_of(&[json!({"content": "t"})], "stop", usage()), format!("data: {zeros}\n\n").into_bytes()].concat();
    let out = translated(&context(Messages, json!({})), &ANSWERING, &stream, usize::MAX).unwrap();
    assert_eq!(read(Messages, &out).usage["output_tokens"], 5);
}

#[test]
fn calls_of_a_whole_answer_need_neither_numbers_nor_ids() {
    let call = json!({"function": {"name": "f", "arguments": ""}});
    let answer = json!({"choices": [{"message": {"tool_calls": [call, call]}}]}).to_string();
    for dialect in BOTH {
        let made = whole(&context(dialect, json!({})), &ANSWERING, answer.as_bytes()).unwrap();
        let calls = told_whole(&serde_json::from_slice(&made).unwrap()).calls;
        assert_eq!(calls.iter().map(|(id, ..)| id.as_str()).collect::<Vec<_>>(), ["call_1_0", "call_1_1"]);
    }
}

#[test]
fn there_may_be_as_many_calls_as_there_is_room_for() {
    let calls = |count: usize| {
        // The first is whole when all others have come.
        let deltas = [json!("{"), json!("}")].map(|piece| call(json!(0), Value::Null, json!("f"), piece));
        let more = (1..count).map(|n| call(json!(n), json!(n.to_string()), json!("f"), json!("{}")));
        let deltas: Vec<_> = [deltas[0].clone()].into_iter().chain(more).chain([deltas[1].clone()]).collect();
        translated(&context(Messages, json!({})), &ANSWERING, &stream_of(&deltas, "tool_calls", usage()), usize::MAX)
    };
    let all = read(Messages, &calls(3_000).unwrap()).calls;
    assert_eq!((all.len(), &*all[0].2, &*all[2_999].0), (3_000, "{}", "2999"));
    assert!(calls(70_000).is_err_and(|e| e.is_too_long));
}

#[test]
fn the_first_event_is_out_when_the_first_is_in() {
    for dialect in BOTH {
        let context = context(dialect, json!({}));
        let (mut translator, mut out) = (StreamTranslator::new(&context, &ANSWERING), Vec::new());
        translator.push(b": keepalive 1/1\n\n", &mut out).unwrap();
        assert_eq!(out, b": keep-alive\n\n");
        out.clear();
        translator
            .push(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n", &mut out)
            .unwrap();
        assert!(!events(&out).is_empty());
        out.clear();
        translator.push(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n", &mut out).unwrap();
        assert!(String::from_utf8_lossy(&out).contains("\"a\""));
        // Half an event says nothing, and can be given up.
        out.clear();
        translator.push(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"half", &mut out).unwrap();
        assert!(out.is_empty());
        translator.forget_partial();
        translator.push(b"\n\n", &mut out).unwrap();
        translator.end(&mut out);
        assert!(!String::from_utf8_lossy(&out).contains("half"));
    }
}

#[test]
fn a_stream_keeps_what_its_end_says_again_and_nothing_else() {
    let chunk = format!("data: {}\n\n", json!({"choices": [{"delta": {"content": "é\n".repeat(50)}}]}));
    for (dialect, each) in [(Messages, 0), (Responses, 200)] {
        let context = context(dialect, json!({}));
        let (mut translator, mut out) = (StreamTranslator::new(&context, &ANSWERING), Vec::new());
        for _ in 0..1_000 {
            translator.push(chunk.as_bytes(), &mut out).unwrap();
            out.clear();
        }
        assert_eq!(translator.kept(), each * 1_000);
    }
    assert!(size_of::<StreamTranslator>() < 2 << 10, "{}", size_of::<StreamTranslator>());
}

#[test]
fn what_is_no_chat_stream_breaks_off() {
    let rows = [
        "data: {\"choices\":7}\n\n",
        "data: x\n\n",
        "data: []\n\n",
        "data: {\"error\":{\"message\":\"m\"}}\n\n",
        "event: error\ndata: {}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":7}}]}\n\n",
    ];
    for stream in rows {
        for dialect in BOTH {
            let context = context(dialect, json!({}));
            assert!(translated(&context, &ANSWERING, stream.as_bytes(), usize::MAX).is_err(), "{stream}");
            let data = stream.trim_start_matches("data: ");
            assert!(stream.starts_with("event") || whole(&context, &ANSWERING, data.as_bytes()).is_err(), "{stream}");
        }
    }
}

#[test]
fn what_is_said_again_of_a_request_over_several_lines_is_one_line() {
    let body = concat!(
        "{\"model\": \"m\", \"input\": \"hi\",\r\n \"metadata\": {\n  \"a\\n\": \"b\"\r\n },\n",
        " \"reasoning\": {\n  \"effort\": \"low\"\n }}"
    );
    let context = crate::dialect::translate::request(Responses, body.as_bytes(), usize::MAX).unwrap().context;
    let stream = stream_of(&[json!({"content": "t"})], "stop", usage());
    let out = String::from_utf8(translated(&context, &ANSWERING, &stream, usize::MAX).unwrap()).unwrap();
    let is_field = |line: &str| line.is_empty() || line.starts_with("event: ") || line.starts_with("data: ");
    assert!(!out.contains('\r') && out.lines().all(is_field), "{out}");
    assert!(out.contains(r#""a\n": "b""#), "{out}");
}

#[test]
fn what_a_model_calls_never_breaks_an_answer_off() {
    let names = |deltas: &[Value]| -> Vec<String> {
        let told = BOTH.map(|dialect| told(dialect, deltas, "tool_calls").calls);
        assert_eq!(told[0], told[1]);
        told[0].iter().map(|(_, name, arguments)| format!("{name} {arguments}")).collect()
    };
    // It goes on after its end, when another one has begun and ended.
    let on = [
        call(json!(0), json!("a"), json!("f"), json!("{}")),
        call(json!(1), json!("b"), json!("g"), json!("{}")),
        call(json!(0), Value::Null, Value::Null, json!("}")),
        json!({"content": "t"}),
    ];
    assert_eq!(names(&on), ["f {}", "g {}"]);
    let nameless = [
        json!({"tool_calls": [{"index": 3}]}),
        call(json!(0), json!("a"), json!(""), json!("{}")),
        call(json!(1), Value::Null, Value::Null, json!("{\"a\":1}")),
    ];
    assert_eq!(names(&nameless), [" {}", " {\"a\":1}"]);
    let half = br#"data: {"choices":[{"delta":{"tool_calls":[{"function":{"name":"f\ud800","arguments":"{}"}}]}}]}"#;
    for dialect in BOTH {
        let stream = [half, &b"\n\n"[..]].concat();
        let out = translated(&context(dialect, json!({})), &ANSWERING, &stream, usize::MAX).unwrap();
        assert_eq!(read(dialect, &out).calls[0].1, "f\u{fffd}ud800");
    }
}

#[test]
fn a_whole_answer_is_told_whole() {
    let message = json!({"role": "assistant", "content": "t \"é\"", "reasoning_content": "r", "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"z\": 1.50}"}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
        {"id": "c", "type": "function", "function": {"name": "g", "arguments": "no"}}]});
    let answer = json!({"created": 5, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": usage()})
    .to_string();
    for (dialect, arguments, end) in [
        (Messages, [r#"{"z":1.5}"#, "{}", r#"{"arguments":"no"}"#], "tool_use"),
        (Responses, [r#"{"z": 1.50}"#, "{}", "no"], "completed"),
    ] {
        let made = whole(&context(dialect, json!({})), &ANSWERING, answer.as_bytes()).unwrap();
        assert!(dialect == Responses || String::from_utf8_lossy(&made).contains(r#""input":{"z": 1.50}"#));
        let told = told_whole(&serde_json::from_slice(&made).unwrap());
        assert_eq!((told.text.as_str(), told.reasoning.as_str(), told.end.as_str()), ("t \"é\"", "r", end));
        let calls: Vec<_> =
            told.calls.iter().map(|(id, name, text)| (id.as_str(), name.as_str(), text.as_str())).collect();
        let [x, y, z] = arguments;
        assert_eq!(calls, [("a", "f", x), ("b", "g", y), ("c", "g", z)]);
    }
}

#[test]
fn what_is_kept_of_a_whole_answer_is_bounded() {
    let of = |count: usize, call: &str| {
        let calls = vec![call; count].join(",");
        let answer = format!(r#"{{"choices":[{{"message":{{"tool_calls":[{calls}]}}}}]}}"#);
        BOTH.map(|dialect| whole(&context(dialect, json!({})), &ANSWERING, answer.as_bytes()).err())
    };
    let usual = r#"{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}"#;
    assert_eq!(of(50_000, usual), [None; 2]);
    assert!(of(50_000, r#"{"id":"a"}"#).into_iter().all(|e| e.is_some_and(|e| e.is_too_long)));
}

#[test]
fn of_many_choices_the_one_that_was_asked_for_is_told() {
    for dialect in BOTH {
        let answer = r#"{"choices":[{"index":1,"message":{"content":"b"}},{"message":{"content":"a"}},{"message":{"content":"c"}}]}"#;
        let made = whole(&context(dialect, json!({})), &ANSWERING, answer.as_bytes()).unwrap();
        assert_eq!(told_whole(&serde_json::from_slice(&made).unwrap()).text, "a");
        for bad in [
            r#"{"choices":{}}"#,
            r#"{"choices":"x"}"#,
            r#"{"choices":[7]}"#,
            r#"{"choices":[{"message":{"tool_calls":{}}}]}"#,
        ] {
            assert!(whole(&context(dialect, json!({})), &ANSWERING, bad.as_bytes()).is_err(), "{bad}");
        }
    }
}

#[test]
fn an_end_that_cannot_be_told_is_seen_before_it_is_told() {
    let context = context(Messages, json!({}));
    let translator = StreamTranslator::new(&context, &ANSWERING);
    let check = |end: &str| translator.check(std::iter::once(end.as_bytes())).is_ok();
    for good in ["data: {\"choices\":[],\"usage\":{}}\n\ndata: [DONE]\n\n", ": hi\n\n", "", "data: not whole"] {
        assert!(check(good), "{good}");
    }
    let calls = r#"{"choices":[{"delta":{"tool_calls":"none"}}]}"#;
    for bad in ["7", r#"{"error":{}}"#, calls, r#"{"choices":[{"delta":{"tool_calls":[7]}}]}"#] {
        assert!(!check(&format!("data: {bad}\n\n")), "{bad}");
    }
}
