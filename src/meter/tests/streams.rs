//! Streams of real servers: what they report, what is held back, what the client gets.

use super::*;
use crate::dialect::failure::StreamFailure;
use Endpoint::{ChatCompletions as Chat, Completions, Messages, Responses};

/// The provider's numbers: prompt, cached, completion.
pub(super) type Numbers = (Option<u64>, Option<u64>, Option<u64>);

/// Streams that end well: endpoint, the provider's numbers, events with data, the estimate's range.
#[rustfmt::skip]
pub(super) const GOOD: &[(&str, Endpoint, Numbers, usize, std::ops::RangeInclusive<u64>)] = &[
    ("llama-server/chat-stream.txt", Chat, (Some(22), Some(21), Some(6)), 9, 4..=12),
    ("llama-server/chat-stream-usage.txt", Chat, (Some(22), Some(21), Some(6)), 10, 4..=12),
    ("llama-server/chat-stream-timings.txt", Chat, (Some(22), Some(21), Some(3)), 8, 2..=8),
    ("llama-server/chat-stream-tools.txt", Chat, (Some(142), Some(141), Some(34)), 11, 5..=15),
    ("llama-server/chat-stream-n2-usage.txt", Chat, (Some(22), Some(21), Some(4)), 15, 6..=20),
    ("llama-server/chat-stream-logprobs.txt", Chat, (Some(22), Some(21), Some(2)), 5, 1..=5),
    ("llama-server/chat-stream-natural-stop.txt", Chat, (Some(22), Some(21), Some(25)), 28, 15..=60),
    ("llama-server/completion-stream.txt", Completions, (Some(5), Some(4), Some(4)), 6, 3..=10),
    ("llama-server/completion-stream-usage.txt", Completions, (Some(5), Some(4), Some(4)), 6, 3..=10),
    ("llama-server/responses-stream.txt", Responses, (Some(14), Some(13), Some(6)), 14, 4..=12),
    ("llama-server/responses-tools-stream.txt", Responses, (Some(134), Some(1), Some(83)), 23, 10..=30),
    ("llama-server/messages-stream.txt", Messages, (Some(14), Some(13), Some(6)), 11, 4..=14),
    ("llama-server/messages-tools-stream.txt", Messages, (Some(134), Some(133), Some(600)), 605, 500..=1500),
    ("vllm/chat-stream-usage.sse", Chat, (Some(17), Some(16), Some(6)), 9, 5..=5),
    ("vllm/chat-stream-continuous.sse", Chat, (Some(17), None, Some(6)), 9, 5..=5),
    ("vllm/chat-stream-reasoning.sse", Chat, (None, None, None), 11, 8..=8),
    ("vllm/completion-stream-usage.sse", Completions, (Some(4), None, Some(5)), 7, 5..=5),
    ("ollama/chat-stream-usage.sse", Chat, (Some(14), None, Some(6)), 8, 5..=5),
    ("ollama/chat-stream.sse", Chat, (None, None, None), 7, 5..=5),
    ("lmstudio/chat-stream-usage.sse", Chat, (Some(12), None, Some(5)), 8, 5..=5),
    ("sglang/chat-stream-usage.sse", Chat, (Some(11), Some(8), Some(10)), 12, 8..=8),
    ("mlx/chat-stream-usage.sse", Chat, (Some(22), Some(21), Some(5)), 8, 5..=5),
    ("mlx/chat-stream.sse", Chat, (None, None, None), 7, 5..=5),
    ("llama-cpp-python/chat-stream.sse", Chat, (None, None, None), 8, 5..=5),
    ("openai/responses-stream.sse", Responses, (Some(36), Some(30), Some(9)), 11, 5..=5),
    ("openai/responses-stream-incomplete.sse", Responses, (Some(36), Some(30), Some(9)), 10, 5..=5),
    ("anthropic/messages-stream.sse", Messages, (Some(135), Some(100), Some(89)), 11, 10..=20),
];

#[test]
fn every_stream_reports_the_same_wherever_it_is_cut() {
    for (name, endpoint, (prompt, cached, completion), data_events, estimate) in GOOD {
        let body = fixture(name);
        let seen = check(*endpoint, false, &body);
        assert_eq!(seen.state, StreamState::Ended, "{name}");
        let cache_writes = if name.starts_with("anthropic/") { wrote(10) } else { None };
        assert_eq!(seen.reported, Reported { cache_writes, ..said(*prompt, *cached, *completion) }, "{name}");
        assert_eq!(seen.data_events, *data_events, "{name}");
        assert!(estimate.contains(&seen.estimate), "{name}: {}", seen.estimate);
        assert!(seen.output_started, "{name}");
        if matches!(endpoint, Chat | Completions) && body.len() < 3000 {
            assert_eq!(check(*endpoint, true, &body).reported, seen.reported, "{name}");
        }
    }
}

#[test]
fn what_is_forwarded_is_what_came_and_the_end_is_held_back() {
    for (name, endpoint, ..) in GOOD {
        let body = String::from_utf8(fixture(name)).expect("text");
        for wants in [true, false] {
            let seen = run(*endpoint, wants, [body.as_bytes()]);
            // But for usage that is none, or was not asked for.
            let body = if wants { body.replace(ZEROS, "\"usage\":null") } else { unasked(*endpoint, &body) };
            assert!(body.starts_with(&seen.forward), "{name}");
            let ends = [
                "[DONE]",
                "\"choices\":[]",
                "\"choices\": []",
                "\"response.completed\"",
                "message_delta",
                "message_stop",
            ];
            for end in ends {
                assert!(!seen.forward.contains(end), "{name}: {end} was not held back");
            }
        }
    }
}

#[test]
fn a_client_that_asked_gets_the_cost_and_every_other_byte() {
    for (name, endpoint, ..) in GOOD {
        let body = String::from_utf8(fixture(name)).expect("text");
        let seen = run(*endpoint, true, [body.as_bytes()]);
        let whole = seen.forward + &seen.last;
        assert_eq!(whole.matches("cost_micro_usd").count(), 1, "{name}");
        let body = body.replace(ZEROS, "\"usage\":null");
        let made_up = whole.find("\"choices\":[],\"usage\":{\"prompt_tokens\":");
        let as_it_came = match made_up {
            // A usage chunk that the provider did not send stands between its last event and `[DONE]`.
            Some(at) => {
                let start = whole[..at].rfind("data:").expect("an event");
                let end = at + whole[at..].find("\n\n").expect("its end") + 2;
                [&whole[..start], &whole[end..]].concat()
            }
            None => whole.replace(COST, ""),
        };
        assert_eq!(as_it_came, body, "{name}");
        assert_eq!(
            made_up.is_some(),
            matches!(*endpoint, Chat)
                && !name.contains("usage")
                && !name.contains("tools")
                && !name.contains("continuous")
                && !name.contains("natural"),
            "{name}"
        );
    }
}

/// What Ollama says in every chunk but the last.
const ZEROS: &str = "\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0}";

/// A stream without the usage in it, where that has to be asked for.
fn unasked(endpoint: Endpoint, body: &str) -> String {
    if !matches!(endpoint, Chat | Completions) {
        return body.to_owned();
    }
    let mut parts = body.split("\"usage\":{");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut depth = 1;
        let end = part.find(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0
        });
        out += "\"usage\":null";
        out += &part[end.expect("the end of an object") + 1..];
    }
    out
}

#[test]
fn a_client_that_did_not_ask_gets_no_usage_chunk() {
    for (name, endpoint, ..) in GOOD.iter().filter(|(_, endpoint, ..)| matches!(endpoint, Chat | Completions)) {
        let body = fixture(name);
        let seen = run(*endpoint, false, [&body[..]]);
        let body = unasked(*endpoint, &text(&body)).into_bytes();
        let alone = |block: &Vec<u8>| {
            let text = String::from_utf8_lossy(block);
            text.contains("\"choices\":[]") || text.contains("\"choices\": []")
        };
        let expected: Vec<u8> = blocks(&body).into_iter().filter(|block| !alone(block)).flatten().collect();
        assert_eq!(seen.forward + &seen.last, String::from_utf8_lossy(&expected), "{name}");
    }
}

#[test]
fn a_usage_chunk_is_made_up_where_it_is_owed() {
    let seen = check(Chat, true, &fixture("llama-cpp-python/chat-stream.sse"));
    let expected = "data: {\"id\":\"chatcmpl-py\",\"created\":1760000000,\"model\":\"tiny\",\
        \"object\":\"chat.completion.chunk\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\
        \"completion_tokens\":2,\"total_tokens\":11,\"prompt_tokens_details\":{\"cached_tokens\":4},\
        \"cost_micro_usd\":7}}\n\ndata: [DONE]\r\n\r\n";
    assert_eq!(seen.last, expected);
}

#[test]
fn a_server_that_was_interrupted_and_says_done_has_answered() {
    let body = fixture("llama-cpp-python/chat-stream-interrupted.sse");
    let seen = check(Chat, false, &body);
    assert_eq!((seen.state, seen.reported, seen.estimate), (StreamState::Ended, said(None, None, None), 5));
    assert_eq!(seen.forward + &seen.last, text(&body));
}

#[test]
fn a_provider_failure_is_told_and_not_passed_on() {
    let error = |text: &str| StreamFailure::ErrorEvent(text.to_owned());
    let rows = [
        ("vllm/chat-stream-error.sse", Chat, error("EngineCore encountered an issue.")),
        (
            "lmstudio/chat-stream-error.sse",
            Chat,
            error("The model has crashed without additional information. (Exit code: null)"),
        ),
        (
            "openai/responses-stream-failed.sse",
            Responses,
            StreamFailure::ResponseFailed("The model failed to generate a response.".to_owned()),
        ),
        ("openai/responses-stream-error.sse", Responses, error("Something went wrong")),
        ("anthropic/messages-stream-overloaded.sse", Messages, error("Overloaded")),
    ];
    for (name, endpoint, failure) in rows {
        let seen = check(endpoint, true, &fixture(name));
        assert_eq!(seen.state, StreamState::Failed(failure), "{name}");
        for word in ["error\":{", "[DONE]", "response.failed", "event: error"] {
            assert!(!seen.forward.contains(word), "{name}: {word} was passed on");
        }
        assert!(seen.output_started, "{name}");
    }
}

#[test]
fn a_stream_cut_after_any_event_ends_only_if_it_was_finished() {
    for (name, endpoint, ..) in GOOD.iter().filter(|(name, ..)| !name.contains("tools-stream")) {
        let blocks = blocks(&fixture(name));
        let mut cut = Vec::new();
        let mut finished = false;
        for block in std::iter::once(&Vec::new()).chain(&blocks) {
            cut.extend_from_slice(block);
            let text = String::from_utf8_lossy(block).replace(": ", ":");
            finished |= (text.contains("\"finish_reason\":\"") || text.contains("\"stop_reason\":\""))
                || ["\"type\":\"response.completed\"", "\"type\":\"response.incomplete\""]
                    .iter()
                    .any(|end| text.contains(end));
            let seen = run(*endpoint, true, [&cut[..]]);
            match (finished, seen.data_events) {
                (true, _) => assert_eq!(seen.state, StreamState::Ended, "{name} at {}", cut.len()),
                (false, 0) => {
                    assert_eq!(seen.state, StreamState::Failed(StreamFailure::Empty), "{name} at {}", cut.len())
                }
                (false, _) => {
                    assert_eq!(seen.state, StreamState::Failed(StreamFailure::Truncated), "{name} at {}", cut.len())
                }
            }
            if finished && matches!(endpoint, Chat | Completions) {
                assert!(seen.last.replace('\r', "").ends_with("data: [DONE]\n\n"), "{name}: {}", seen.last);
            }
            if finished && *endpoint == Messages {
                assert!(seen.last.ends_with("data: {\"type\":\"message_stop\"}\n\n"), "{name}: {}", seen.last);
            }
        }
    }
}
