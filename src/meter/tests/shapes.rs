//! Events of one shape are not read one by one; all they bring is the same as if they were.

use super::*;
use Endpoint::{ChatCompletions as Chat, Completions, Messages, Responses};

/// Events with a text in them. No two events with different marks have the same shape.
#[rustfmt::skip]
const PLAIN: [(Endpoint, &str); 7] = [
    (Chat, r#"data: {"id":"x","choices":[{"index":0,"delta":{"content":"TEXT"},"finish_reason":null}],"usage":null,"MARK":0}"#),
    (Chat, r#"data: {"choices":[{"delta":{"reasoning":"TEXT","content":null}}],"MARK":0}"#),
    (Chat, r#"data: {"choices": [{"delta": {"tool_calls": [{"function": {"arguments": "TEXT"}}]}}], "MARK": 0}"#),
    (Completions, r#"data: {"choices":[{"text":"TEXT","index":0,"finish_reason":null}],"MARK":0}"#),
    (Responses, "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":5,\"delta\":\"TEXT\",\"MARK\":0}"),
    (Responses, r#"data: {"type":"response.output_text.delta","MARK":0,"delta":"TEXT","sequence_number":5}"#),
    (Messages, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"TEXT\"},\"MARK\":0}"),
];

/// What stands in such an event, or between two.
const TEXTS: [&str; 18] = [
    " word",
    "",
    r"\n",
    r#"\"usage\":{\"prompt_tokens\":5}"#,
    r#"\"usage"#,
    "usage",
    r"back\\",
    "\u{e9}",
    r"\u00e9",
    ": ping",
    r#"","usage":{"prompt_tokens":5,"completion_tokens":1},"x":""#,
    r#""},"finish_reason":"stop"},{"x":{"y":""#,
    r#"","error":"bad","x":""#,
    "\ndata: ",
    "\n\ndata: {}\n\n: ",
    "\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n: ",
    "cut\\",
    "\"",
];
const BETWEEN: [&str; 7] =
    ["", ": ping\n\n", "\n", "event: x\n\n", "event: ping\ndata: {\"type\":\"ping\"}\n\n", "id: 7\n", "data:\n\n"];

/// A stream of the same event with other texts. `alike`: all have the same mark.
fn stream(event: &str, steps: &[(usize, usize)], line_end: &str, alike: bool) -> String {
    let mut body = String::new();
    for (at, (text, between)) in steps.iter().enumerate() {
        let mark = if alike { "MARK".to_owned() } else { format!("M{at:03}") };
        body += &event.replace("MARK", &mark).replace("TEXT", TEXTS[*text]);
        body += "\n\n";
        body += BETWEEN[*between];
    }
    body.replace('\n', line_end)
}

/// What a stream brings, besides its bytes.
fn brought(seen: &Seen) -> (usize, &StreamState, Reported, u64, bool) {
    (seen.data_events, &seen.state, seen.reported, seen.estimate, seen.output_started)
}

fn same_alike_and_not(endpoint: Endpoint, event: &str, steps: &[(usize, usize)], line_end: &str, size: usize) {
    let alike = stream(event, steps, line_end, true);
    let seen = run(endpoint, true, alike.as_bytes().chunks(size));
    let unlike = stream(event, steps, line_end, false);
    assert_eq!(brought(&seen), brought(&run(endpoint, true, [unlike.as_bytes()])), "{alike}");
    assert_eq!(seen, run(endpoint, true, alike.as_bytes().chunks(1)), "{alike}");
    assert!(alike.starts_with(&seen.forward), "{alike}");
}

#[test]
fn comments_and_pings_between_events_of_one_shape_are_no_progress() {
    for (endpoint, event) in PLAIN {
        for line_end in ["\n", "\r\n", "\r"] {
            let steps = [(0, 0), (1, 1), (2, 2), (7, 3), (0, 5), (0, 6), (6, 0), (0, 1)];
            let body = stream(event, &steps, line_end, true);
            let seen = run(endpoint, true, [body.as_bytes()]);
            assert_eq!((seen.data_events, &seen.forward), (8, &body), "{line_end:?}");
            same_alike_and_not(endpoint, event, &steps, line_end, usize::MAX);
        }
    }
}

#[test]
fn no_text_hides_what_an_event_says() {
    for (endpoint, event) in PLAIN {
        for text in 0..TEXTS.len() {
            for line_end in ["\n", "\r\n"] {
                same_alike_and_not(endpoint, event, &[(0, 0), (0, 0), (text, 0), (0, 0)], line_end, usize::MAX);
            }
        }
    }
}

#[test]
fn output_of_a_known_shape_outdates_a_count() {
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"TEXT\"}}]}\n\n";
    let usage = "data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\n";
    for (text, completion) in [("x", None), ("", Some(1))] {
        let body = [event, usage, &event.replace("TEXT", text)].concat();
        let mut meter = StreamMeter::new(Chat, true);
        meter.push(Bytes::from(body));
        assert_eq!(meter.judged().believed, said(5, None, completion), "{text:?}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(16))]
    #[test]
    fn events_of_one_shape_bring_what_others_bring(
        steps in proptest::collection::vec((0..TEXTS.len(), 0..BETWEEN.len()), 0..8),
        crlf in proptest::bool::ANY,
        size in 1..200_usize,
    ) {
        for (endpoint, event) in PLAIN {
            same_alike_and_not(endpoint, event, &steps, if crlf { "\r\n" } else { "\n" }, size);
        }
    }
}
