//! Rules of a stream that no recording shows.

use super::super::Pushed;
use super::*;
use crate::dialect::failure::StreamFailure;
use Endpoint::{ChatCompletions as Chat, Messages, Responses};

const TEXT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hello world\"},\"finish_reason\":null}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn chat(events: &[&str]) -> Seen {
    check(Chat, true, events.concat().as_bytes())
}

#[test]
fn nothing_ends_without_a_reason() {
    let running = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\n";
    let zeros = "data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0}}\n\n";
    let failed = |failure| StreamState::Failed(failure);
    let rows: [(&[&str], StreamState); 18] = [
        (&[], failed(StreamFailure::Empty)),
        (&["\n", ": ping\n\n"], failed(StreamFailure::Empty)),
        (&["data:\n\n"], failed(StreamFailure::Empty)),
        (&[DONE], failed(StreamFailure::Empty)),
        (&[TEXT], failed(StreamFailure::Truncated)),
        (&[TEXT, DONE], StreamState::Ended),
        (&[zeros, DONE], StreamState::Ended),
        (&[running], failed(StreamFailure::Truncated)),
        (&[running, DONE], StreamState::Ended),
        (&[TEXT, STOP], StreamState::Ended),
        (&[TEXT, USAGE], StreamState::Ended),
        (&[TEXT, STOP, DONE], StreamState::Ended),
        (&[TEXT, USAGE, DONE], StreamState::Ended),
        (&[TEXT, STOP, "data: {\"choices\":[],\"usa"], StreamState::Ended),
        (&[TEXT, STOP, USAGE.trim_ascii_end()], StreamState::Ended),
        (&[TEXT, STOP, "data: [DONE]"], StreamState::Ended),
        (&[TEXT, "data: {\"error\":{\"message\":\"m\"}}"], failed(StreamFailure::ErrorEvent("m".to_owned()))),
        (&[TEXT, STOP, "data: {\"error\":\"m\"}\n\n"], failed(StreamFailure::ErrorEvent("m".to_owned()))),
    ];
    for (events, state) in rows {
        assert_eq!(chat(events).state, state, "{events:?}");
    }
    let stop = "data: {\"type\":\"message_stop\"}\n\n";
    let rows = [
        (Responses, TEXT.to_owned() + DONE, StreamState::Ended),
        (Messages, "data: {\"type\":\"content_block_stop\"}\n\n".to_owned() + stop, StreamState::Ended),
        (Messages, stop.to_owned(), failed(StreamFailure::Empty)),
        (Responses, DONE.to_owned(), failed(StreamFailure::Empty)),
    ];
    for (endpoint, body, state) in rows {
        assert_eq!(check(endpoint, true, body.as_bytes()).state, state, "{body}");
    }
}

#[test]
fn usage_may_follow_the_last_word() {
    for wants in [true, false] {
        for events in [&[TEXT, STOP, DONE, USAGE][..], &[TEXT, DONE, ": ping\n\n", USAGE.trim_ascii_end()]] {
            let seen = check(Chat, wants, events.concat().as_bytes());
            assert_eq!((seen.state, seen.reported), (StreamState::Ended, said(5, None, 2)), "{events:?}");
            let shown = seen.last.contains("\"prompt_tokens\":5,\"completion_tokens\":2,");
            assert!(seen.last.ends_with(DONE) && shown == wants, "{}", seen.last);
        }
    }
    // What is no usage ends the wait, and changes nothing.
    for behind in ["data: {\"error\":1}\n\n", "data: x\n\n", DONE] {
        let mut meter = StreamMeter::new(Chat, true);
        assert_eq!(meter.push(Bytes::from([TEXT, DONE].concat())).state, StreamState::More);
        assert!(meter.is_done());
        assert_eq!(meter.push(Bytes::from(behind)).state, StreamState::Ended, "{behind}");
    }
}

#[test]
fn usage_is_found_wherever_servers_put_it() {
    let counts = "{\"prompt_tokens\":5,\"completion_tokens\":2}";
    let finish = "\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]";
    let rows = [
        format!("{{{finish},\"usage\":{counts}}}"),
        format!("{{{finish},\"usage\":null,\"x_groq\":{{\"id\":\"x\",\"usage\":{counts}}}}}"),
        format!("{{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"stop\",\"usage\":{counts}}}]}}"),
        format!("{{{finish},\"usageMetadata\":{{\"promptTokenCount\":5,\"candidatesTokenCount\":2}}}}"),
        format!("{{{finish},\"usage_metadata\":{{\"promptTokenCount\":5,\"candidatesTokenCount\":2}}}}"),
        format!("{{{finish},\"meta\":{{\"billed_units\":{{\"input_tokens\":5,\"output_tokens\":2}}}}}}"),
        format!("{{{finish},\"metadata\":{{\"usage\":{{\"inputTokens\":5,\"outputTokens\":2}}}}}}"),
        format!("{{{finish},\"amazon-bedrock-invocationMetrics\":{{\"inputTokenCount\":5,\"outputTokenCount\":2}}}}"),
        r#"{"choices":[],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":2}}"#.to_owned(),
    ];
    for last in rows {
        let event = format!("data: {last}\n\n");
        let seen = chat(&[TEXT, TEXT, &event, DONE]);
        assert_eq!((seen.state, seen.reported), (StreamState::Ended, said(5, None, 2)), "{last}");
        assert_eq!(seen.last.matches(COST.trim_end_matches(',')).count(), 1, "{}", seen.last);
        let whole = last.replace("delta", "message");
        let answer = super::super::WholeAnswer::read(Chat, whole.into_bytes().into());
        assert_eq!(answer.map(|a| a.judged().believed), Ok(said(5, None, 2)), "{last}");
    }
}

#[test]
fn a_missing_end_is_added() {
    for events in [&[TEXT, STOP, USAGE][..], &[TEXT, STOP, USAGE.trim_ascii_end()]] {
        let seen = chat(events);
        assert_eq!(seen.forward, [TEXT, STOP].concat());
        assert!(seen.last.contains(COST) && seen.last.ends_with(&format!("}}}}\n\n{DONE}")), "{}", seen.last);
    }
    // An event of plain output that lacks its blank line is delivered with the rest.
    let seen = chat(&[STOP, TEXT.trim_ascii_end()]);
    assert!(seen.last.starts_with(TEXT), "{}", seen.last);
}

#[test]
fn line_ends_and_comments_change_nothing() {
    let body = [TEXT, ": ping\n\n", "id: 7\nretry: 3\n", TEXT, "\n\n", STOP, USAGE, ": bye\n\n", DONE].concat();
    let plain = check(Chat, false, body.as_bytes());
    assert_eq!(plain.forward + &plain.last, body.replace(USAGE, ""));
    for end in ["\r\n", "\r"] {
        let seen = check(Chat, true, body.replace('\n', end).as_bytes());
        assert_eq!((seen.state, seen.reported, seen.data_events), (StreamState::Ended, said(5, None, 2), 5));
        assert_eq!((seen.forward + &seen.last).replace(COST, ""), body.replace('\n', end));
    }
}

#[test]
fn data_over_several_lines_is_one_event() {
    let usage = "event: message\ndata: {\"choices\":[],\ndata: \"usage\":{\"prompt_tokens\":5}}\n\n";
    let seen = chat(&[TEXT, STOP, usage, DONE]);
    assert_eq!(seen.reported, said(5, None, None));
    let expected = "event: message\ndata: {\"choices\":[],\ndata:  \"usage\":{\"cost_micro_usd\":7,\
        \"completion_tokens\":2,\"total_tokens\":7,\"prompt_tokens\":5}}\n\n";
    assert_eq!(seen.last, [expected, DONE].concat());
}

#[test]
fn comments_and_pings_are_no_progress() {
    let rows = [
        (Chat, TEXT, 1),
        (Chat, ": ping\n\n", 0),
        (Chat, "event: x\n\n", 0),
        (Chat, "data:\n\n", 0),
        (Messages, "event: ping\ndata: {\"type\":\"ping\"}\n\n", 0),
        (Messages, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\"}\n\n", 1),
    ];
    for (endpoint, block, progress) in rows {
        assert_eq!(run(endpoint, true, [block.as_bytes()]).data_events, progress, "{block}");
    }
}

#[test]
fn usage_after_the_finish_is_the_last_even_with_choices() {
    let usage = "data: {\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":null}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":0}}\n\n";
    let seen = chat(&[TEXT, STOP, usage, DONE]);
    assert_eq!(seen.reported, said(5, None, None), "a zero for what was delivered says nothing");
    assert_eq!(seen.forward, [TEXT, STOP].concat());
    assert!(seen.last.contains(COST));
    let unasked = check(Chat, false, [TEXT, STOP, usage, DONE].concat().as_bytes());
    let without = "data: {\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n";
    assert_eq!(unasked.last, [without, DONE].concat(), "what carries choices is passed on, the usage is not");
}

#[test]
fn a_count_that_output_has_overtaken_is_none() {
    let first = "data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\n";
    let mut meter = StreamMeter::new(Chat, true);
    let mut push = |events: &str| {
        meter.push(Bytes::copy_from_slice(events.as_bytes()));
        meter.judged().believed
    };
    assert_eq!(push(first), said(5, None, 1));
    assert_eq!(push(TEXT), said(5, None, None));
    assert_eq!(push(STOP), said(5, None, None));
    assert_eq!(meter.estimate_completion(), 2);

    let mut meter = StreamMeter::new(Messages, true);
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n";
    meter.push(Bytes::from_static(start.as_bytes()));
    assert_eq!(meter.judged().believed, said(5, None, None), "its output_tokens is a placeholder");
}

#[test]
fn a_failed_response_with_usage_is_an_answer() {
    let body = "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"message\":\"m\"},\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n";
    let seen = check(Responses, false, body.as_bytes());
    assert_eq!((seen.state, seen.reported), (StreamState::Ended, said(3, None, 1)));
    assert_eq!(seen.last.replace(COST, ""), body);
}

#[test]
fn usage_is_added_where_the_last_event_has_none() {
    let response = "data: {\"type\":\"response.completed\",\"response\":{\"usage\":null}}\n\n";
    let seen = check(Responses, false, response.as_bytes());
    assert!(
        seen.last.contains("\"usage\":{\"input_tokens\":9,") && seen.last.contains("\"cost_micro_usd\":7}"),
        "{}",
        seen.last
    );
    let delta = "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n";
    let seen = check(Messages, false, delta.as_bytes());
    assert!(
        seen.last.contains("\"usage\":{\"input_tokens\":5,") && seen.last.contains("\"cost_micro_usd\":7}"),
        "{}",
        seen.last
    );
}

#[test]
fn malformed_events_are_failures_and_stay_here() {
    let rows =
        ["data: ping\n\n", "data: {\"usage\":{}\n\n", "data: [1]\n\n", "data: {\"usage\":{\"a\"},\"choices\":[]}\n\n"];
    for bad in rows {
        let seen = chat(&[TEXT, bad, TEXT]);
        assert!(matches!(seen.state, StreamState::Failed(StreamFailure::Malformed(_))), "{bad}: {:?}", seen.state);
        assert_eq!(seen.forward, TEXT);
    }
    // Duplicate keys are the provider's business: the last counts.
    let seen = chat(&[
        STOP,
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"prompt_tokens\":2},\"id\":1,\"id\":2}\n\n",
        DONE,
    ]);
    assert_eq!((seen.state, seen.reported), (StreamState::Ended, said(2, None, None)));
}

#[test]
fn long_events_pass_and_endless_lines_do_not() {
    let long = TEXT.replace("hello world", &"word ".repeat(200_000));
    let body = [&long, STOP, USAGE, DONE].concat();
    let seen = run(Chat, false, body.as_bytes().chunks(16 << 10));
    assert_eq!((seen.state, seen.reported), (StreamState::Ended, said(5, None, 2)));
    assert!((200_000..200_100).contains(&seen.estimate), "{}", seen.estimate);
    assert_eq!(seen.forward + &seen.last, [&long, STOP, DONE].concat());

    for endless in ["data: ", "data: \"", "x", ": "] {
        let body = [endless, &"x".repeat(1 << 20)].concat();
        let seen = run(Chat, false, body.as_bytes().chunks(16 << 10));
        assert_eq!((seen.state, seen.forward.len()), (StreamState::Failed(StreamFailure::TooLong), 0), "{endless}");
    }
    // What cannot be held back goes out, and the receipt still comes at the end.
    let held = [TEXT, USAGE, &TEXT.repeat(12_000)].concat();
    for wants in [false, true] {
        let seen = run(Chat, wants, [held.as_bytes()]);
        assert_eq!(seen.state, StreamState::Ended);
        assert!(seen.last.len() < 600 << 10 && seen.last.ends_with(DONE), "{}", seen.last.len());
        let whole = (seen.forward + &seen.last).replace(DONE, "");
        assert_eq!(whole.matches("cost_micro_usd").count(), usize::from(wants));
        assert!(whole.starts_with(&if wants { held.clone() } else { held.replace(USAGE, "") }));
    }
}

#[test]
fn the_bytes_are_not_copied_and_an_end_is_final() {
    let body = Bytes::from([TEXT, TEXT, STOP].concat());
    let mut meter = StreamMeter::new(Chat, true);
    let pushed = meter.push(body.clone());
    assert_eq!((pushed.forward.as_ptr(), pushed.forward.len()), (body.as_ptr(), body.len()));
    let ended = meter.push(Bytes::from([USAGE, DONE].concat()));
    assert_eq!(ended, Pushed { forward: Bytes::new(), data_events: 2, state: StreamState::Ended });
    let after = meter.push(Bytes::from([TEXT, "data: {\"error\":1}\n\n"].concat()));
    assert_eq!(after, Pushed { forward: Bytes::new(), data_events: 0, state: StreamState::Ended });
    assert_eq!(meter.end_of_input(), StreamState::Ended);
    assert!(meter.last_bytes(&RECEIPT).ends_with(DONE.as_bytes()));

    let mut meter = StreamMeter::new(Chat, true);
    let failed = meter.push(Bytes::from_static(DONE.as_bytes()));
    assert_eq!(meter.push(body).state, failed.state);
    assert_eq!(meter.end_of_input(), failed.state);
    assert!(!meter.output_started());
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_invent(
        pieces in proptest::collection::vec(
            proptest::sample::select(vec![
                "data: ", "{\"usage\":{", "}", "\"choices\":[", "]", "\n", "\r", "\n\n", "[DONE]", "event: ", "error", ":", ",",
                "\"", "\\", "\"delta\":{\"content\":\"x", "\"finish_reason\":\"stop\"", "message_stop", "\u{e9}", "7", "{",
            ]),
            0..40,
        ),
    ) {
        let body = pieces.concat();
        for endpoint in Endpoint::ALL {
            let seen = run(endpoint, true, body.as_bytes().chunks(3));
            proptest::prop_assert!(body.starts_with(&seen.forward));
            proptest::prop_assert_eq!(&run(endpoint, true, [body.as_bytes()]).state, &seen.state);
            let _ = super::super::WholeAnswer::read(endpoint, body.clone().into()).map(|a| (a.estimate_completion(), a.with_receipt(&RECEIPT)));
        }
    }
}
