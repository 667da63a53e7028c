//! Events that are too long to be kept.

use super::*;
use crate::dialect::failure::StreamFailure;
use Endpoint::{ChatCompletions as Chat, Messages, Responses};

const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// More than is kept of one event.
fn long(word: &str) -> String {
    word.repeat((600 << 10) / word.len())
}

/// In large pieces, in small ones, and cut near what matters.
fn everywhere(endpoint: Endpoint, body: &str) -> Seen {
    let seen = run(endpoint, true, body.as_bytes().chunks(16 << 10));
    let whole = seen.forward.clone() + &seen.last;
    for size in [1, 7, 1_000, 300 << 10, body.len()] {
        let again = run(endpoint, true, body.as_bytes().chunks(size));
        assert_eq!(
            (&again.state, again.reported, again.estimate),
            (&seen.state, seen.reported, seen.estimate),
            "{size}"
        );
        assert!(again.forward + &again.last == whole, "cut into {size}");
    }
    seen
}

#[test]
fn it_passes_and_is_metered() {
    let text = format!(
        "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}},\"finish_reason\":null}}]}}\n\n",
        long("word ")
    );
    let logprobs = text.replace("\"delta\":{\"content\":", "\"delta\":{\"content\":\"a\"},\"logprobs\":{\"content\":");
    for (event, estimate) in [(&text, 122_000..124_000), (&logprobs, 1..2)] {
        for event in [event.clone(), event.replace('\n', "\r\n"), event.replace("data: {", "event: x\ndata: {\ndata: ")]
        {
            let body = [&event, STOP, DONE].concat();
            let seen = everywhere(Chat, &body);
            assert_eq!((seen.state, seen.reported), (StreamState::Ended, said(None, None, None)));
            assert!(estimate.contains(&seen.estimate), "{}", seen.estimate);
            assert!(seen.forward.starts_with(&event) && seen.last.ends_with(DONE));
            let seen = everywhere(Chat, &[&event, STOP, USAGE, DONE].concat());
            assert_eq!((seen.state, seen.reported), (StreamState::Ended, said(5, None, 2)));
        }
    }
}

#[test]
fn its_usage_is_read_and_takes_the_receipt() {
    let usage = "\"usage\":{\"input_tokens\":5,\"output_tokens\":2}";
    let output = format!("\"output\":[{{\"content\":[{{\"text\":\"{}\"}}]}}]", long("x"));
    let start = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"model\":\"m\",";
    let behind = [start, &output, ",", usage, "}}\n\n"].concat();
    let seen = everywhere(Responses, &behind);
    assert_eq!((seen.state, seen.reported, seen.estimate), (StreamState::Ended, said(5, None, 2), 0));
    assert!(seen.last.contains(COST) && seen.forward.len() > 500 << 10 && !seen.forward.contains("input_tokens"));
    assert_eq!((seen.forward + &seen.last).replace(COST, ""), behind);
    // Before the output it is read, and shown as it came.
    let before = [start, usage, ",", &output, "}}\n\n"].concat();
    let seen = everywhere(Responses, &before);
    assert_eq!((seen.state, seen.reported), (StreamState::Ended, said(5, None, 2)));
    assert!(seen.forward.len() < before.len(), "its end is held back");
    assert_eq!(seen.forward + &seen.last, before);
    // Without the blank line.
    let seen = everywhere(Responses, behind.trim_ascii_end());
    assert_eq!((seen.state, seen.reported), (StreamState::Ended, said(5, None, 2)));

    let finish = format!(
        "data: {{\"choices\":[{{\"delta\":{{\"audio\":\"{}\"}},\"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":5,\"completion_tokens\":2}}}}\n\n",
        long("QUJD")
    );
    let seen = everywhere(Chat, &[&finish, DONE].concat());
    assert_eq!((seen.state, seen.reported), (StreamState::Ended, said(5, None, 2)));
    assert!(seen.last.contains(COST), "{:.300}", seen.last);
}

#[test]
fn a_failure_in_it_and_a_break_are_told() {
    let error = format!("data: {{\"error\":{{\"message\":\"m\"}},\"x\":\"{}\"}}\n\n", long("x"));
    assert_eq!(everywhere(Chat, &error).state, StreamState::Failed(StreamFailure::ErrorEvent("m".to_owned())));
    let cut = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}", long("x"));
    assert!(matches!(everywhere(Chat, &cut).state, StreamState::Failed(StreamFailure::Malformed(_))));
    let block = format!(
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"delta\":{{\"text\":\"{}\"}}}}\n\n",
        long("word ")
    );
    assert_eq!(everywhere(Messages, &block).state, StreamState::Failed(StreamFailure::Truncated));
}

#[test]
fn forty_mebibytes_pass_with_little_kept() {
    let mut meter = StreamMeter::new(Chat, true);
    let piece = Bytes::from(vec![b'x'; 1 << 20]);
    let mut passed = 0;
    let mut push = |bytes: Bytes| {
        passed += meter.push(bytes).forward.len();
        passed
    };
    let start = b"data: {\"choices\":[{\"delta\":{\"image\":\"";
    push(Bytes::from_static(start));
    for count in 1..=40 {
        let kept = start.len() + count * piece.len() - push(piece.clone());
        assert!(kept <= 64 << 10, "{kept} bytes kept after {count} MiB");
    }
    push(Bytes::from_static(b"\"}}]}\n\n"));
    assert_eq!(meter.push(Bytes::from([STOP, USAGE, DONE].concat())).state, StreamState::Ended);
    assert_eq!(meter.judged().believed, said(5, None, 2));
}
