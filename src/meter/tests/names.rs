//! The name of the model, as the client knows it.

use super::*;

/// All that a client gets of a stream that is cut into pieces.
fn shown<'a>(endpoint: Endpoint, name: &str, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut meter = StreamMeter::new(endpoint, true).named(name);
    let mut all = Vec::new();
    for piece in pieces {
        all.extend_from_slice(&meter.push(Bytes::copy_from_slice(piece)).forward);
    }
    if meter.end_of_input() == StreamState::Ended {
        let reported = meter.judged().believed;
        all.extend_from_slice(&meter.last_bytes(&receipt(reported)));
    } else if let Some(end) = meter.broken("server_error", "m") {
        all.extend_from_slice(&end);
    }
    text(&all)
}

#[test]
fn every_recorded_stream_shows_the_public_name_and_nothing_else_changes() {
    for (name, endpoint, ..) in streams::GOOD {
        let body = fixture(name);
        let as_it_is = shown(*endpoint, "public/name", [&body[..]]);
        for line in as_it_is.lines().filter_map(|line| line.strip_prefix("data: {")) {
            let data: serde_json::Value = serde_json::from_str(&format!("{{{line}")).expect("JSON");
            for model in [&data["model"], &data["response"]["model"], &data["message"]["model"]] {
                assert!(model.is_null() || model == "public/name", "{name}: {line}");
            }
        }
        for size in [1, 100, 4_096] {
            assert_eq!(shown(*endpoint, "public/name", body.chunks(size)), as_it_is, "{name} in pieces of {size}");
        }
        // Put back, it is what came without a name.
        let unnamed = run(*endpoint, true, [&body[..]]);
        let unnamed = unnamed.forward + &unnamed.last;
        let server =
            unnamed.split_once("\"model\":").map(|(_, rest)| rest.trim_start().split('"').nth(1).unwrap_or_default());
        if let Some(server) = server {
            assert_eq!(as_it_is.replace("public/name", server), unnamed, "{name}");
            assert_eq!(shown(*endpoint, server, [&body[..]]), unnamed, "{name}: the same name");
        }
    }
}

#[test]
fn long_events_and_errors_show_it_too() {
    let long = "x".repeat(400 << 10);
    let event = format!(
        "data: {{\"type\":\"response.completed\",\"response\":{{\"model\":\"/srv/m\",\"output\":\"{long}\",\"usage\":{{}}}}}}\n\n"
    );
    for size in [1_000, 16 << 10, event.len()] {
        let shown = shown(Endpoint::Responses, "public", event.as_bytes().chunks(size));
        assert!(shown.contains("\"model\":\"public\"") && !shown.contains("/srv/m"), "{size}");
    }
    let created = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"r\",\"created_at\":1,\"model\":\"/srv/m\"}}\n\n";
    let failed = "event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":1,\"response\":{\"error\":{\"message\":\"no /srv/m\"},\"model\":\"/srv/m\"}}\n\n";
    let body = [created, failed].concat();
    assert_eq!(shown(Endpoint::Responses, "public", body.as_bytes().chunks(7)), body.replace("/srv/m", "public"));
    let error = "event: error\ndata: {\"type\":\"error\",\"message\":\"no /srv/m\",\"sequence_number\":1}\n\n";
    let end = "event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":1,\"response\":{\"id\":\"r\",\"created_at\":1,\"model\":\"public\",\"object\":\"response\",\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"m\"},\"output\":[],\"usage\":null}}\n\n";
    assert_eq!(shown(Endpoint::Responses, "public", [created.as_bytes()]), created.replace("/srv/m", "public") + end);
    let after = end.replace("number\":1", "number\":2");
    let body = [created, error].concat();
    assert_eq!(shown(Endpoint::Responses, "public", [body.as_bytes()]), body.replace("/srv/m", "public") + &after);
}
