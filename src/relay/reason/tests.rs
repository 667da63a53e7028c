//! What servers say, in the shapes in which they say it.

use super::*;
use serde_json::json;

#[test]
fn every_shape_gives_its_reason() {
    let rows = [
        (r#"{"error":{"message":"no","type":"t","code":"c","param":"p"}}"#, "no"),
        (r#"{"error":"no"}"#, "no"),
        (r#"{"object":"error","message":"no","type":"BadRequestError","code":400}"#, "no"),
        (r#"{"type":"error","error":{"type":"invalid_request_error","message":"no"}}"#, "no"),
        (r#"{"detail":"no"}"#, "no"),
        (
            r#"{"detail":[{"loc":["body","messages",0,"role"],"msg":"no","type":"x"},{"msg":"nor this"}]}"#,
            "messages.0.role: no; nor this",
        ),
        (r#"{"detail":{"error":{"message":"no"}}}"#, "no"),
        (r#"{"errors":[{"message":"no"}]}"#, "no"),
        (r#"{"errors":["no"]}"#, "no"),
        (r#"[{"error":{"message":"no"}}]"#, "no"),
        (r#""no""#, "no"),
        ("no\n", "no"),
        ("\u{feff}{\"error\":{\"message\":\"no\"}}", "no"),
        (r#"{"error":{"code":"c","message":"no \"is\" cut of"#, "no \"is\" cut of"),
        (r#"{"error":{"message":"no \u00"#, "no "),
        (r#"{"error": {"message": "n\u0000o"}}"#, "n\u{0}o"),
    ];
    for (body, message) in rows {
        assert_eq!(read(body.as_bytes()).map(|reason| reason.message).as_deref(), Some(message), "{body}");
    }
    for body in [
        "",
        "{}",
        "[]",
        "null",
        "<html>",
        "{\"error\":{}}",
        "{\"error\":{\"message\":\"\"}}",
        "{\"detail\":[]}",
        "{\"detail\":7}",
    ] {
        assert_eq!(read(body.as_bytes()), None, "{body}");
    }
}

#[test]
fn what_programs_branch_on_is_kept() {
    let body = json!({"error": {"message": "too long", "type": "exceed_context_size_error", "code": 400,
        "n_prompt_tokens": 9_000, "n_ctx": 4_096, "deep": {"x": 1}, "word": "w"}});
    let reason = read(body.to_string().as_bytes()).unwrap_or_default();
    assert_eq!(reason.code.as_deref(), Some("context_length_exceeded"));
    assert_eq!(reason.kind.as_deref(), Some("exceed_context_size_error"));
    assert_eq!(Value::from(reason.numbers), json!({"n_prompt_tokens": 9_000, "n_ctx": 4_096}));
    let body = r#"{"detail":[{"loc":["body","messages",0,"role"],"msg":"no"}]}"#;
    assert_eq!(read(body.as_bytes()).and_then(|reason| reason.param).as_deref(), Some("messages.0.role"));
    assert!(Reason { message: "The model `q` does not exist.".into(), ..Reason::default() }.is_unknown_model("q"));
    for other in [
        "file f-1 not found",
        "the model requires that no such field is there",
        "the model q takes no images. Please see the documentation: the field `foo` is unknown",
    ] {
        assert!(!Reason { message: other.into(), ..Reason::default() }.is_unknown_model("q"), "{other}");
    }
    for model in ["model \"q\" not found, try pulling it first", "unknown model: q", "No such model as q is served"] {
        assert!(Reason { message: model.into(), ..Reason::default() }.is_unknown_model("q"), "{model}");
    }
    assert_eq!(named("some message".into(), "m", "public"), "some message");
}

#[test]
fn a_long_message_is_shortened_and_a_strange_one_made_plain() {
    let long = json!({"error": {"message": "x".repeat(40_000)}}).to_string();
    for body in [long.clone(), long.chars().take(30_000).collect()] {
        let shown = read(body.as_bytes()).unwrap_or_default().shown().message;
        assert_eq!((shown.chars().count(), shown.ends_with('…')), (2_000, true));
    }
    assert_eq!(shortened("a\u{1b}[31mb\r\nc\u{202e}\0", 99), "a[31mb c");
    let reason = Reason { message: "no /models/q4.gguf here".into(), ..Reason::default() };
    assert_eq!(reason.renamed("/models/q4.gguf", "public").message, "no public here");
}

#[test]
fn a_failing_server_does_not_tell_where_it_lives() {
    let rows = [
        (
            "roles must alternate user/assistant/user/assistant/...",
            "roles must alternate user/assistant/user/assistant/...",
        ),
        ("Qwen/Qwen2.5-7B is busy", "Qwen/Qwen2.5-7B is busy"),
        ("cannot open /models/q4.gguf: 5 of 7", "cannot open (path): 5 of 7"),
        ("File \"/opt/x/site-packages/y.py\", line 7", "File \"(path)\", line 7"),
        ("at C:\\models\\q.gguf", "at (path)"),
        ("in models/q.gguf and ../x", "in (path) and (path)"),
        ("connect to 10.0.0.7:8000 failed", "connect to (address) failed"),
        ("connect to http://u:p@gpu:1/x failed", "connect to (address) failed"),
        ("gpu-7:8000, [::1]:80, fe80::1, node.local.", "(address), [(address)]:80, (address), (address)."),
        ("host=10.1.2.3 port=5", "host=(address) port=5"),
        ("localhost is down", "(address) is down"),
        ("at:/opt/x error:10.0.0.7:80 gpu/10.0.0.7:80 file:/etc/x", "(path) (address) (address) (path)"),
        ("x10.0.0.9y and v1.2.3 of 3:4/5", "(address) and v1.2.3 of 3:4/5"),
        ("Incorrect API key provided: sk-proj-ab*****yz.", "Incorrect API key provided: (secret)."),
        ("token=0123456789abcdef0123456789abcdef is gone", "token=(secret) is gone"),
        ("Bearer eyJhbGciOi.eyJzdWIi.c2ln, no", "Bearer (secret), no"),
        (
            "sk- is how it begins; Qwen2.5-Coder-32B-Instruct-GGUF-Q4",
            "sk- is how it begins; Qwen2.5-Coder-32B-Instruct-GGUF-Q4",
        ),
        ("ratio 1/2, 3.5 and/or 12:30", "ratio 1/2, 3.5 and/or 12:30"),
        ("expected application/json", "expected application/json"),
    ];
    for (text, clean) in rows {
        assert_eq!(without_places(text), clean);
    }
    assert_eq!(of_failure(b"Internal Server Error", None), None);
    assert_eq!(of_failure(br#"{"error":{"message":"at /x/y"}}"#, None).as_deref(), Some("at (path)"));
}

#[test]
fn the_key_of_a_provider_is_not_in_what_is_told() {
    const KEY: &str = "sk-canary/77:x";
    let escaped: String = KEY.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let long = format!("{}{KEY}{KEY}", "x".repeat(LONGEST_MESSAGE - KEY.len() - 3));
    for said in [format!("Authorization: Bearer {KEY}"), escaped, long, format!("sk-canary\\/77:x{KEY}")] {
        let body =
            format!(r#"{{"error":{{"message":"{said}","code":"{KEY}","type":"{KEY}","param":"{KEY}","{KEY}":1}}}}"#);
        let reason = read(body.as_bytes()).unwrap_or_default().without(Some(KEY)).shown();
        let told = format!("{reason:?} {:?}", of_failure(body.as_bytes(), Some(KEY)));
        assert!(told.contains("(key)") && !told.contains("canary"), "{told}");
    }
    // What everybody puts where no key is wanted is a word like any other.
    assert_eq!(without_key("none of these", Some("none")), "none of these");
}
