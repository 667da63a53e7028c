//! What is read of a request, what is refused, and what goes upstream.

use super::*;

fn read(body: &str) -> Result<InferenceRequest<'_>, BadRequest> {
    InferenceRequest::read(Endpoint::ChatCompletions, body.as_bytes())
}

/// What a body is refused for: the field, and the words.
fn refused(endpoint: Endpoint, body: &str) -> (Option<String>, String) {
    match InferenceRequest::read(endpoint, body.as_bytes()) {
        Ok(_) => panic!("{endpoint} accepted {body}"),
        Err(e) => (e.param, e.message),
    }
}

#[test]
fn the_fields_that_money_depends_on() {
    // body → stream, include_usage, max_output
    let rows = [
        (r#"{"model":"m","messages":[1]}"#, (false, false, None)),
        (r#"{"model":"m","messages":[1],"stream":null,"max_tokens":null,"stream_options":null}"#, (false, false, None)),
        (r#"{"model":"m","messages":[1],"stream":true,"max_tokens":5,"n":1}"#, (true, false, Some(5))),
        (r#"{"model":"m","messages":[1],"max_tokens":-1,"n":1.0}"#, (false, false, None)),
        (r#"{"model":"m","messages":[1],"max_tokens":4096.0}"#, (false, false, Some(4_096))),
        (r#"{"model":"m","messages":[1],"max_tokens":1e3,"n_predict":-1}"#, (false, false, Some(1_000))),
        (r#"{"model":"m","messages":[1],"max_length":7,"use_beam_search":false}"#, (false, false, Some(7))),
        (r#"{"model":"m","messages":[1],"max_completion_tokens":7,"max_tokens":7}"#, (false, false, Some(7))),
        (r#"{"model":"m","messages":[1],"stream":true,"stream_options":{"include_usage":true}}"#, (true, true, None)),
        (r#"{"model":"m","messages":[1],"stream":true,"stream_options":{"x":[1]}}"#, (true, false, None)),
    ];
    for (body, expected) in rows {
        match read(body) {
            Ok(r) => assert_eq!((r.stream, r.include_usage, r.max_output), expected, "{body}"),
            Err(e) => panic!("{body}: {e}"),
        }
    }
}

#[test]
fn a_bad_field_is_named() {
    let rows = [
        (r#"{}"#, Some("model")),
        (r#"{"model":7}"#, Some("model")),
        (r#"{"model":null}"#, Some("model")),
        (r#"{"model":""}"#, Some("model")),
        (r#"{"model":"\ud800"}"#, Some("model")),
        (r#"{"model":"m","messages":[1],"model":"m"}"#, Some("model")),
        (r#"{"model":"m","messages":[1],"n":2}"#, Some("n")),
        (r#"{"model":"m","messages":[1],"n":0}"#, Some("n")),
        (r#"{"model":"m","messages":[1],"best_of":3}"#, Some("best_of")),
        (r#"{"model":"m","messages":[1],"n_cmpl":8}"#, Some("n_cmpl")),
        (r#"{"model":"m","messages":[1],"max_tokens":1,"n_predict":4000}"#, Some("n_predict")),
        (r#"{"model":"m","messages":[1],"stream":"yes"}"#, Some("stream")),
        (r#"{"model":"m","messages":[1],"stream":1}"#, Some("stream")),
        (r#"{"model":"m","messages":[1],"max_tokens":0}"#, Some("max_tokens")),
        (r#"{"model":"m","messages":[1],"max_tokens":"512"}"#, Some("max_tokens")),
        (r#"{"model":"m","messages":[1],"max_tokens":6000.5}"#, Some("max_tokens")),
        (r#"{"model":"m","messages":[1],"max_tokens":-2}"#, Some("max_tokens")),
        (r#"{"model":"m","messages":[1],"max_tokens":0.0}"#, Some("max_tokens")),
        (r#"{"model":"m","messages":[1],"n":-1}"#, Some("n")),
        (r#"{"model":"m","messages":[1],"n":2.0}"#, Some("n")),
        (r#"{"model":"m","messages":[1],"n":"1"}"#, Some("n")),
        (r#"{"model":"m","messages":[1],"num_return_sequences":4}"#, Some("num_return_sequences")),
        (r#"{"model":"m","messages":[1],"use_beam_search":true}"#, Some("use_beam_search")),
        (r#"{"model":"m","messages":[1],"min_tokens":"9"}"#, Some("min_tokens")),
        (r#"{"model":"m","messages":[1],"max_tokens":18446744073709551616}"#, Some("max_tokens")),
        (r#"{"model":"m","messages":[1],"max_completion_tokens":[]}"#, Some("max_completion_tokens")),
        (r#"{"model":"m","messages":[1],"max_tokens":1,"max_completion_tokens":2}"#, Some("max_completion_tokens")),
        (r#"{"model":"m","messages":[1],"stream_options":7}"#, Some("stream_options")),
        (r#"{"model":"m","messages":[1],"stream_options":{"include_usage":1}}"#, Some("stream_options.include_usage")),
        (
            r#"{"model":"m","messages":[1],"stream_options":{"include_usage":true,"include_usage":false}}"#,
            Some("stream_options"),
        ),
        (r#"["model"]"#, None),
        (r#"{"model":"m""#, None),
    ];
    for (body, param) in rows {
        match read(body) {
            Ok(_) => panic!("accepted {body}"),
            Err(e) => assert_eq!(e.param.as_deref(), param, "{body}"),
        }
    }
}

#[test]
fn each_dialect_is_bounded_in_its_own_field() {
    // endpoint, body → max_output, what goes upstream bounded to 9 tokens
    let rows = [
        (
            Endpoint::Completions,
            r#"{"model":"m","prompt":[1,2]}"#,
            None,
            r#"{"max_tokens":9,"model":"m","prompt":[1,2]}"#,
        ),
        (Endpoint::Embeddings, r#"{"model":"m","input":["a","b"]}"#, None, r#"{"model":"m","input":["a","b"]}"#),
        (
            Endpoint::Responses,
            r#"{"model":"m","input":"x","max_output_tokens":20}"#,
            Some(20),
            r#"{"model":"m","input":"x","max_output_tokens":9}"#,
        ),
        (
            Endpoint::Messages,
            r#"{"model":"m","messages":[1],"max_tokens":20,"stream":true}"#,
            Some(20),
            r#"{"model":"m","messages":[1],"max_tokens":9,"stream":true}"#,
        ),
    ];
    for (endpoint, body, max_output, upstream) in rows {
        match InferenceRequest::read(endpoint, body.as_bytes()) {
            Ok(r) => assert_eq!(
                (r.max_output, &*r.for_upstream("m", 9, &Allow::default(), &OutputFields::default())),
                (max_output, upstream),
                "{body}"
            ),
            Err(e) => panic!("{body}: {e}"),
        }
    }
    let rows = [
        (r#"{"model":"m","input":"x","background":true}"#, "background"),
        (r#"{"model":"m","input":"x","max_output_tokens":0}"#, "max_output_tokens"),
    ];
    for (body, param) in rows {
        assert_eq!(refused(Endpoint::Responses, body).0.as_deref(), Some(param), "{body}");
    }
    for endpoint in Endpoint::ALL {
        assert_eq!(Endpoint::from_path(endpoint.path()), Some(endpoint));
    }
}

#[test]
fn an_endpoint_has_its_paths() {
    let rows = [
        (Endpoint::ChatCompletions, "/chat/completions", true),
        (Endpoint::Completions, "/completions", true),
        (Endpoint::Embeddings, "/embeddings", false),
        (Endpoint::Responses, "/responses", true),
        (Endpoint::Messages, "/messages", true),
    ];
    for (endpoint, upstream, generates) in rows {
        assert_eq!((endpoint.upstream_path(), endpoint.generates()), (upstream, generates));
        assert_eq!(endpoint.to_string(), endpoint.path());
        let body = br#"{"model":"m","stream":true,"messages":[1],"prompt":"x","input":"x"}"#;
        assert_eq!(InferenceRequest::read(endpoint, body).map(|r| r.stream), Ok(generates), "{endpoint}");
    }
}

#[test]
fn a_prompt_is_all_but_settings() {
    let body = r#"{"model":"m","messages":[1],"temperature":0.5,"documents":2,"user":"x","tools":3}"#;
    match read(body) {
        Ok(r) => {
            let fields = [("messages", "[1]"), ("documents", "2"), ("tools", "3")];
            assert_eq!((r.prompt_fields().collect::<Vec<_>>(), r.size()), (fields.to_vec(), body.len()));
        }
        Err(e) => panic!("{body}: {e}"),
    }
    let named = |length: usize| format!(r#"{{"model":"{}","messages":[1]}}"#, "m".repeat(length));
    assert!(read(&named(256)).is_ok() && read(&named(257)).is_err());
}

#[test]
fn only_three_things_are_edited() {
    // body → what a provider that calls the model "up" gets, bounded to 9 tokens
    let rows = [
        (
            r#"{"model":"m","messages":[1],"x": [1e400]}"#,
            r#"{"max_tokens":9,"model":"up","messages":[1],"x": [1e400]}"#,
        ),
        (r#"{"max_tokens":20,"messages":[1],"model":"m"}"#, r#"{"max_tokens":9,"messages":[1],"model":"up"}"#),
        (r#"{"max_tokens":9,"messages":[1],"model":"up"}"#, r#"{"max_tokens":9,"messages":[1],"model":"up"}"#),
        (
            r#"{"n_predict":20,"messages":[1],"model":"up"}"#,
            r#"{"max_tokens":9,"n_predict":9,"messages":[1],"model":"up"}"#,
        ),
        (
            r#"{"model":"up","messages":[1],"max_completion_tokens":9}"#,
            r#"{"max_tokens":9,"model":"up","messages":[1],"max_completion_tokens":9}"#,
        ),
        (
            r#"{"model":"up","messages":[1],"max_tokens":9,"max_completion_tokens":null}"#,
            r#"{"model":"up","messages":[1],"max_tokens":9,"max_completion_tokens":null}"#,
        ),
        (
            r#"{"model":"up","messages":[1],"max_tokens":9,"stream":true}"#,
            r#"{"stream_options":{"include_usage":true},"model":"up","messages":[1],"max_tokens":9,"stream":true}"#,
        ),
        (
            r#"{"model":"up","messages":[1],"max_tokens":9,"stream":true,"stream_options":{"include_obfuscation":false}}"#,
            r#"{"model":"up","messages":[1],"max_tokens":9,"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}"#,
        ),
        (
            r#"{"model":"up","messages":[1],"max_tokens":9,"stream":true,"stream_options":{"include_usage":false}}"#,
            r#"{"model":"up","messages":[1],"max_tokens":9,"stream":true,"stream_options":{"include_usage":true}}"#,
        ),
    ];
    for (body, upstream) in rows {
        match read(body) {
            Ok(request) => {
                assert_eq!(request.for_upstream("up", 9, &Allow::default(), &OutputFields::default()), upstream)
            }
            Err(e) => panic!("{body}: {e}"),
        }
    }
}

#[test]
fn a_request_has_content() {
    use Endpoint::{ChatCompletions as Chat, Completions, Embeddings, Messages, Responses};
    let refusals = [
        (Chat, r#"{"model":"m"}"#, "messages is required"),
        (Chat, r#"{"model":"m","messages":null}"#, "messages is required"),
        (Chat, r#"{"model":"m","messages":[]}"#, "messages must not be empty"),
        (Chat, r#"{"model":"m","messages":[ ]}"#, "messages must not be empty"),
        (Chat, r#"{"model":"m","messages":"hello"}"#, "messages must be a list of messages"),
        (Chat, r#"{"model":"m","prompt":"hello"}"#, "messages is required"),
        (Messages, r#"{"model":"m","system":"hello"}"#, "messages is required"),
        (Completions, r#"{"model":"m"}"#, "prompt is required"),
        (Completions, r#"{"model":"m","prompt":[]}"#, "prompt must not be empty"),
        (Completions, r#"{"model":"m","prompt":[[]]}"#, "prompt must not be empty"),
        (Completions, r#"{"model":"m","prompt":7}"#, "prompt must be a string or a list"),
        (Embeddings, r#"{"model":"m"}"#, "input is required"),
        (Embeddings, r#"{"model":"m","input":""}"#, "input must not be empty"),
        (Embeddings, r#"{"model":"m","input":[]}"#, "input must not be empty"),
        (Responses, r#"{"model":"m","instructions":"hello"}"#, "input is required"),
        (Responses, r#"{"model":"m","input":{"role":"user"}}"#, "input must be a string or a list"),
    ];
    for (endpoint, body, message) in refusals {
        let field = message.split(' ').next().map(str::to_owned);
        assert_eq!(refused(endpoint, body), (field, message.to_owned()), "{body}");
    }
    // The legacy prompt → one prompt or several.
    let prompts = [
        (r#""hello""#, true),
        (r#""""#, true),
        ("[1,2]", true),
        ("[[1,2]]", true),
        (r#"["hello"]"#, true),
        (r#"{"prompt_string":"hello"}"#, true),
        (r#"["a","b"]"#, false),
        ("[[1],[2]]", false),
        (r#"[1,"a"]"#, false),
        (r#"[["a","b"]]"#, false),
        (r#"[[1,"a"]]"#, false),
        (r#"[{"prompt_string":"a"},{"prompt_string":"b"}]"#, false),
    ];
    for (prompt, is_one) in prompts {
        let body = format!(r#"{{"model":"m","prompt":{prompt}}}"#);
        match InferenceRequest::read(Completions, body.as_bytes()) {
            Ok(_) => assert!(is_one, "{prompt}"),
            Err(e) => assert_eq!((is_one, e.param.as_deref()), (false, Some("prompt")), "{prompt}: {e}"),
        }
    }
    for input in [r#"["a","b"]"#, "[[1],[2]]", "[1]", r#""a""#] {
        let body = format!(r#"{{"model":"m","input":{input}}}"#);
        assert!(InferenceRequest::read(Embeddings, body.as_bytes()).is_ok(), "{input}");
    }
}

#[test]
fn a_field_of_ours_has_one_spelling_and_one_place() {
    use Endpoint::{ChatCompletions as Chat, Completions, Embeddings, Messages, Responses};
    // endpoint, what stands beside the content → the field at fault
    let refusals = [
        (Chat, r#""Max_Tokens":4000"#, "Max_Tokens"),
        (Chat, r#""max_tokens":5,"MAX_TOKENS":4000"#, "MAX_TOKENS"),
        (Chat, r#""max_to\u212aens":4000"#, "max_to\u{212a}ens"),
        (Chat, r#""max_token\u017f":4000"#, "max_token\u{17f}"),
        (Chat, r#""\u004dodel":"dear""#, "Model"),
        (Chat, r#""Model":"dear""#, "Model"),
        (Chat, r#""Stream":true"#, "Stream"),
        (Chat, r#""Stream_Options":{}"#, "Stream_Options"),
        (Chat, r#""Messages":[2]"#, "Messages"),
        (Chat, r#""N":5"#, "N"),
        (Chat, r#""maxTokens":5"#, "maxTokens"),
        (Chat, r#""Num_Predict":5"#, "Num_Predict"),
        (Completions, r#""Prompt":"more""#, "Prompt"),
        (Embeddings, r#""Input":"more""#, "Input"),
        (Responses, r#""Input":"more""#, "Input"),
        (Responses, r#""Max_Output_Tokens":5"#, "Max_Output_Tokens"),
        (Responses, r#""Previous_Response_Id":"r""#, "Previous_Response_Id"),
        (Messages, r#""System":"more""#, "System"),
        (Chat, r#""stream_options":{"Include_Usage":false}"#, "stream_options.Include_Usage"),
        (Chat, r#""stream_options":{"include_u\u017fage":false}"#, "stream_options.include_u\u{17f}age"),
        (Chat, r#""options":{"num_predict":4000}"#, "options.num_predict"),
        (Chat, r#""Options":{"Num_Predict":4000}"#, "Options.Num_Predict"),
        (Chat, r#""parameters":{"max_new_tokens":4000}"#, "parameters.max_new_tokens"),
        (Chat, r#""extra_body":{"model":"dear"}"#, "extra_body.model"),
        (Chat, r#""extra_body":{"options":{"num_predict":4000}}"#, "extra_body.options.num_predict"),
        (Chat, r#""options":{"num_predict":1,"num_predict":4000}"#, "options.num_predict"),
        (Chat, r#""whatever":{"max_tokens":4000}"#, "whatever.max_tokens"),
        (Chat, r#""max_tokens":5,"max_length":4000"#, "max_length"),
        (Chat, r#""max_tokens":5,"max_new_tokens":4000"#, "max_new_tokens"),
        (Chat, r#""best_of":2"#, "best_of"),
        (Completions, r#""prompts":["a","b"]"#, "prompts"),
    ];
    for (endpoint, more, param) in refusals {
        let content = if matches!(endpoint, Chat | Messages) { "[1]" } else { "\"x\"" };
        let body = format!(r#"{{"model":"m","{}":{content},{more}}}"#, endpoint.content_field());
        assert_eq!(refused(endpoint, &body).0.as_deref(), Some(param), "{body}");
    }
    // What nobody takes for one of ours stays as it came.
    for more in [
        r#""options":{"num_ctx":4096,"temperature":0.5}"#,
        r#""metadata":{"max_tokens":"5"}"#,
        r#""logit_bias":{"N":1}"#,
        r#""reasoning":{"max_tokens":5}"#,
        r#""response_format":{"type":"json_schema","json_schema":{"schema":{"properties":{"max_tokens":{}}}}}"#,
        r#""tools":[{"type":"function","function":{"parameters":{"properties":{"Model":{},"max_tokens":{}}}}}]"#,
        r#""temperature":0.5,"top_k":4,"top_logprobs":2,"user":"n""#,
        r#""min_tokens":3,"ignore_eos":true"#,
    ] {
        let body = format!(r#"{{"model":"m","messages":[1],"max_tokens":9,{more}}}"#);
        match read(&body) {
            Ok(request) => assert_eq!(request.for_upstream("m", 9, &Allow::default(), &OutputFields::default()), body),
            Err(e) => panic!("{body}: {e}"),
        }
    }
}

#[test]
fn every_name_of_the_bound_is_bounded() {
    for field in OUTPUT {
        let body = format!(r#"{{"{field}":4000,"model":"m","messages":[1]}}"#);
        let bounded = match read(&body) {
            Ok(request) => request.for_upstream("m", 9, &Allow::default(), &OutputFields::default()).into_owned(),
            Err(e) => panic!("{body}: {e}"),
        };
        assert!(bounded.contains(&format!(r#""{field}":9"#)) && !bounded.contains("4000"), "{bounded}");
    }
    for field in LEAST_OUTPUT {
        let body = format!(r#"{{"model":"m","messages":[1],"max_tokens":9,"{field}":4000}}"#);
        let expected = body.replace("4000", "9");
        assert_eq!(
            read(&body).map(|r| r.for_upstream("m", 9, &Allow::default(), &OutputFields::default()).into_owned()),
            Ok(expected)
        );
    }
    let body = r#"{"model":"m","messages":[1],"max_tokens":-1}"#;
    let expected = r#"{"model":"m","messages":[1],"max_tokens":9}"#.to_owned();
    assert_eq!(
        read(body).map(|r| r.for_upstream("m", 9, &Allow::default(), &OutputFields::default()).into_owned()),
        Ok(expected)
    );
}

#[test]
fn a_body_is_utf_8_without_a_mark() {
    let body = r#"{"model":"m","messages":[1]}"#;
    let utf_16: Vec<u8> = body.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [b"\xef\xbb\xbf", body.as_bytes()].concat();
    let latin = b"{\"model\":\"m\",\"messages\":[\"\xe9\"]}".to_vec();
    for bytes in [utf_16, marked, latin] {
        assert!(InferenceRequest::read(Endpoint::ChatCompletions, &bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn hosted_work_is_left_out_or_refused_unless_it_is_allowed() {
    use Endpoint::{ChatCompletions as Chat, Messages, Responses};
    let allow = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Allow::of(&names).unwrap_or_else(|e| panic!("{e}"))
    };
    let body = |endpoint: Endpoint, more: &str| {
        let content = if endpoint == Responses { "[{\"role\":\"user\"}]" } else { "[1]" };
        let bound = endpoint.output_field().unwrap_or_default();
        format!(r#"{{"model":"m","{}":{content},"{bound}":9{more}}}"#, endpoint.content_field())
    };
    let (shell, look) =
        (r#"{"type":"function","name":"shell"}"#, r#"{"type":"web_search","external_web_access":true}"#);
    // endpoint, asked, allowed with → what is left of it without
    let left_out = [
        (Chat, r#","store":true,"service_tier":"priority""#.to_owned(), vec!["store", "service_tier"], String::new()),
        (Chat, r#","store":false"#.to_owned(), vec![], r#","store":false"#.to_owned()),
        (
            Responses,
            format!(r#","tools":[{shell},{look}],"tool_choice":"auto""#),
            vec!["web_search"],
            format!(r#","tools":[{shell}],"tool_choice":"auto""#),
        ),
        (
            Responses,
            format!(r#","tools":[{look}],"tool_choice":"auto","parallel_tool_calls":true"#),
            vec!["tools"],
            String::new(),
        ),
        (Responses, r#","tools":[{"type":"surprise"}]"#.to_owned(), vec!["tools"], String::new()),
        (
            Messages,
            r#","tools":[{"type":"web_search_20250305","name":"web_search"},{"name":"mine"},{"type":"bash_20250124"}]"#
                .to_owned(),
            vec!["web_search"],
            r#","tools":[{"name":"mine"},{"type":"bash_20250124"}]"#.to_owned(),
        ),
        (
            Messages,
            r#","service_tier":"auto","mcp_servers":[]"#.to_owned(),
            vec!["service_tier"],
            r#","mcp_servers":[]"#.to_owned(),
        ),
        (
            Responses,
            r#","tools":[{"type":"shell","environment":{"type":"local"}}]"#.to_owned(),
            vec![],
            r#","tools":[{"type":"shell","environment":{"type":"local"}}]"#.to_owned(),
        ),
    ];
    for (endpoint, asked, names, left) in left_out {
        let text = body(endpoint, &asked);
        let request = InferenceRequest::read(endpoint, text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(request.lacking(&Allow::default()), None, "{asked}");
        assert_eq!(
            request.for_upstream("m", 9, &Allow::default(), &OutputFields::default()),
            body(endpoint, &left),
            "{asked}"
        );
        assert_eq!(request.for_upstream("m", 9, &allow(&names), &OutputFields::default()), text, "{asked}");
    }
    // endpoint, asked → the field that is named, allowed with
    let refused = [
        (Responses, r#","previous_response_id":"resp_1""#, "previous_response_id", "previous_response_id"),
        (Responses, r#","conversation":{"id":"conv_1"}"#, "conversation", "conversation"),
        (Responses, r#","prompt":{"id":"pmpt_1"}"#, "prompt", "prompt"),
        (Responses, r#","tools":[{"type":"web_search"}],"tool_choice":"required""#, "tool_choice", "web_search"),
        (
            Responses,
            r#","tools":[{"type":"function","name":"f"},{"type":"web_search_preview"}],"tool_choice":{"type":"web_search_preview"}"#,
            "tool_choice",
            "web_search",
        ),
        (
            Messages,
            r#","tools":[{"type":"web_search_20250305","name":"look"}],"tool_choice":{"type":"tool","name":"look"}"#,
            "tool_choice",
            "web_search",
        ),
        (Messages, r#","container":"c""#, "container", "container"),
        (Messages, r#","mcp_servers":[{"type":"url","url":"http://x"}]"#, "mcp_servers", "mcp_servers"),
        (Chat, r#","models":["dear"]"#, "models", "models"),
        (Chat, r#","chat_template":"{{x}}""#, "chat_template", "chat_template"),
        (Chat, r#","chat_template_str":"{{x}}""#, "chat_template_str", "chat_template"),
        (Chat, r#","chat_template_kwargs":{"Chat_Template":"{{x}}"}"#, "chat_template_kwargs", "chat_template"),
        (
            Chat,
            r#","chat_template_kwargs":{"chat_template":"{{x}}","x":1,"x":2}"#,
            "chat_template_kwargs",
            "chat_template",
        ),
        (Chat, r#","web_search_options":{"search_context_size":"high"}"#, "web_search_options", "web_search_options"),
    ];
    for (endpoint, asked, param, name) in refused {
        let text = body(endpoint, asked);
        let request = InferenceRequest::read(endpoint, text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(request.lacking(&Allow::default()).and_then(|e| e.param).as_deref(), Some(param), "{asked}");
        assert_eq!(
            (request.lacking(&allow(&[name])), request.reaches_further(&allow(&[name]))),
            (None, true),
            "{asked}"
        );
    }
    let inputs = [
        (r#"[{"type":"item_reference","id":"msg_1"}]"#, true),
        (r#"[{"id":"msg_1"}]"#, true),
        (r#"[{"\u0074ype":"item_\u0072eference"}]"#, true),
        (r#"[{"role":"user","content":[{"type":"input_file","file_id":"file_1"}]}]"#, true),
        (r#"[{"role":"user","id":"msg_1","content":"item_reference"}]"#, false),
        (r#"[{"type":"function_call","id":"fc_1","arguments":"{\"file_id\":1}"}]"#, false),
    ];
    for (input, refers) in inputs {
        let text = format!(r#"{{"model":"m","input":{input}}}"#);
        let request = InferenceRequest::read(Responses, text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(request.lacking(&Allow::default()).is_some(), refers, "{input}");
    }
    for twice in [r#","tools":[{"type":"function","type":"web_search"}]"#, r#","tools":[1]"#, r#","Tools":[]"#] {
        assert!(InferenceRequest::read(Responses, body(Responses, twice).as_bytes()).is_err(), "{twice}");
    }
    assert!(Allow::of(&["stroe".to_owned()]).is_err());
    assert_eq!(Allow::from_text(&allow(&["store", "mcp", "store"]).text()), allow(&["mcp", "store"]));
}

#[test]
fn only_a_completion_says_its_prompt_again_and_only_what_is_not_asked_is_added() {
    let chat = r#"{"model":"m","messages":[{}],"echo":true,"max_tokens":9,"stream":true,"stream_options":{ "include_usage" : true }}"#;
    match InferenceRequest::read(Endpoint::ChatCompletions, chat.as_bytes()) {
        Ok(request) => {
            assert!(!request.echoes, "what a chat would pay less for was generated");
            assert_eq!(request.for_upstream("m", 9, &Allow::default(), &OutputFields::default()), chat);
        }
        Err(e) => panic!("{e}"),
    }
    let completion = br#"{"model":"m","prompt":"a","echo":true}"#;
    assert!(InferenceRequest::read(Endpoint::Completions, completion).is_ok_and(|request| request.echoes));
}
