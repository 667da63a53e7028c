//! Answers that go beyond what was bought.

use super::*;
use Endpoint::{ChatCompletions as Chat, Completions, Messages, Responses};

fn word(endpoint: Endpoint, text: &str, number: usize) -> String {
    match endpoint {
        Endpoint::Completions => format!("data: {{\"choices\":[{{\"text\":\"{text}\"}}]}}\n\n"),
        Endpoint::Responses => format!(
            "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"sequence_number\":{number},\"delta\":\"{text}\"}}\n\n"
        ),
        Endpoint::Messages => format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"delta\":{{\"text\":\"{text}\"}}}}\n\n"
        ),
        _ => format!(
            "data: {{\"id\":\"c\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"
        ),
    }
}

#[test]
fn an_answer_is_stopped_where_it_cannot_be_within_its_bound() {
    let endings = [
        (Chat, "\"finish_reason\":\"length\""),
        (Completions, "\"finish_reason\":\"length\""),
        (Responses, "event: response.incomplete\ndata: "),
        (Messages, "\"stop_reason\":\"max_tokens\""),
    ];
    for (endpoint, ending) in endings {
        let mut meter = StreamMeter::new(endpoint, true);
        meter.bound_output(10);
        let (mut state, mut passed) = (StreamState::More, 0);
        while state == StreamState::More && passed < 20_000 {
            state = meter.push(Bytes::from(word(endpoint, " word", passed))).state;
            passed += 1;
        }
        assert_eq!((&state, passed), (&StreamState::Ended, 418), "{endpoint}");
        let judged = meter.judged();
        assert_eq!((judged.believed.completion_tokens, judged.is_stopped()), (Some(10), true));
        assert!(judged.denies(Usage::default()), "the provider is flagged");
        assert!(meter.push(Bytes::from(word(endpoint, " word", 0))).forward.is_empty());
        let last = text(&meter.last_bytes(&RECEIPT));
        assert!(last.contains(ending) && last.contains("\"cost_micro_usd\":7"), "{endpoint}: {last}");
        if endpoint == Responses {
            assert!(last.contains("\"sequence_number\":418,"), "{last}");
        }
        for event in last.split("\n\n").filter(|event| !event.is_empty() && !event.ends_with("[DONE]")) {
            let data = event.split_once("data: ").expect("data").1;
            assert!(serde_json::from_str::<serde_json::Value>(data).is_ok(), "{data}");
        }
    }
}

#[test]
fn an_event_is_not_cut_but_nothing_may_follow() {
    for size in [10_000, 600_000] {
        let mut meter = StreamMeter::new(Chat, true);
        meter.bound_output(10);
        let crossing = word(Chat, &"x".repeat(size), 0);
        let mut passed = 0;
        for piece in crossing.as_bytes().chunks(16 << 10) {
            let pushed = meter.push(Bytes::copy_from_slice(piece));
            assert_eq!(pushed.state, StreamState::More);
            passed += pushed.forward.len();
        }
        assert_eq!(passed, crossing.len());
        assert_eq!(meter.push(Bytes::from_static(b": ping\n\n")).state, StreamState::More);
        assert_eq!(meter.push(Bytes::from(word(Chat, "", 0))).state, StreamState::More);
        assert_eq!(meter.push(Bytes::from(word(Chat, "x", 0))).state, StreamState::Ended);
        assert!(meter.judged().is_stopped());
    }
    // One that never ends is cut all the same.
    let mut meter = StreamMeter::new(Chat, true);
    meter.bound_output(10);
    meter.push(Bytes::from_static(b"data: {\"choices\":[{\"delta\":{\"content\":\""));
    let piece = Bytes::from("x ".repeat(1 << 19));
    let pushes = (0..100).take_while(|_| meter.push(piece.clone()).state == StreamState::More).count();
    assert!((60..70).contains(&pushes) && meter.judged().is_stopped(), "{pushes}");
}

#[test]
fn an_answer_within_its_bound_is_not_touched() {
    for endpoint in [Chat, Completions, Responses, Messages] {
        let body: String = (0..200).map(|n| word(endpoint, " word", n)).collect();
        let mut meter = StreamMeter::new(endpoint, true);
        meter.bound_output(10);
        let pushed = meter.push(Bytes::from(body.clone()));
        assert_eq!((pushed.state, text(&pushed.forward)), (StreamState::More, body));
    }
}
