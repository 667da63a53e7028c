//! Answers of real servers, recorded and written, cut everywhere.

mod streams;
mod rules;
mod shapes;
mod wholes;
mod long;
mod bounds;
mod names;

use bytes::Bytes;

use super::{StreamMeter, StreamState};
use crate::dialect::receipt::Receipt;
use crate::domain::endpoint::Endpoint;
use crate::domain::money::MicroUsd;
use crate::domain::usage::{CacheWrites, MeteredBy, Reported, Usage};

const NO_WRITES: CacheWrites = CacheWrites { short: 0, hour: 0 };
const RECEIPT: Receipt = Receipt {
    usage: Usage { prompt_tokens: 9, cached_tokens: 4, completion_tokens: 2, cache_writes: NO_WRITES },
    cost: MicroUsd::new(7),
    metered_by: MeteredBy::Provider,
};

/// The receipt for what was reported, and what [`RECEIPT`] says for the rest.
fn receipt(said: Reported) -> Receipt {
    if said == Reported::default() {
        return RECEIPT;
    }
    let usage = Usage {
        prompt_tokens: said.prompt_tokens.unwrap_or(RECEIPT.usage.prompt_tokens),
        cached_tokens: said.cached_tokens.unwrap_or(0),
        cache_writes: said.cache_writes.unwrap_or_default(),
        completion_tokens: said.completion_tokens.unwrap_or(RECEIPT.usage.completion_tokens),
    };
    Receipt { usage, ..RECEIPT }
}

/// The cost, as it is put in front of a usage object's fields.
const COST: &str = "\"cost_micro_usd\":7,";

fn said(
    prompt: impl Into<Option<u64>>,
    cached: impl Into<Option<u64>>,
    completion: impl Into<Option<u64>>,
) -> Reported {
    Reported {
        prompt_tokens: prompt.into(),
        cached_tokens: cached.into(),
        completion_tokens: completion.into(),
        ..Reported::default()
    }
}

/// Tokens written to a cache, for no hour.
fn wrote(short: u64) -> Option<CacheWrites> {
    Some(CacheWrites { short, hour: 0 })
}

/// The body of a recorded or written answer.
fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/wire/{name}", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    if !file.starts_with(b"HTTP/") {
        return file;
    }
    let head_end = memchr::memmem::find(&file, b"\r\n\r\n").expect("an HTTP head") + 4;
    let (head, body) = file.split_at(head_end);
    if memchr::memmem::find(head, b"chunked").is_some() { dechunked(body) } else { body.to_vec() }
}

fn dechunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line_end = memchr::memmem::find(rest, b"\r\n").expect("a chunk size");
        let size = std::str::from_utf8(&rest[..line_end]).expect("text");
        let size = usize::from_str_radix(size, 16).expect("a hexadecimal size");
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&rest[line_end + 2..line_end + 2 + size]);
        rest = &rest[line_end + 2 + size + 2..];
    }
}

/// All that a relay sees of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    forward: String,
    last: String,
    data_events: usize,
    state: StreamState,
    reported: Reported,
    estimate: u64,
    output_started: bool,
}

/// Runs a stream that comes in pieces and is then closed.
fn run<'a>(endpoint: Endpoint, wants_usage: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let (mut seen, mut meter) = run_unestimated(endpoint, wants_usage, pieces);
    seen.estimate = meter.estimate_completion();
    if seen.state == StreamState::Ended {
        seen.last = text(&meter.last_bytes(&receipt(seen.reported)));
    }
    seen
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn run_unestimated<'a>(
    endpoint: Endpoint,
    wants_usage: bool,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Seen, StreamMeter) {
    let mut meter = StreamMeter::new(endpoint, wants_usage);
    let (mut forward, mut data_events, mut state) = (Vec::new(), 0, StreamState::More);
    for piece in pieces {
        let pushed = meter.push(Bytes::copy_from_slice(piece));
        forward.extend_from_slice(&pushed.forward);
        data_events += pushed.data_events;
        state = pushed.state;
    }
    if state == StreamState::More {
        state = meter.end_of_input();
    }
    let seen = Seen {
        forward: text(&forward),
        last: String::new(),
        data_events,
        state,
        reported: meter.judged().believed,
        estimate: 0,
        output_started: meter.output_started(),
    };
    (seen, meter)
}

/// Runs a stream whole, byte by byte, and in two pieces wherever it can be cut: all the same.
fn check(endpoint: Endpoint, wants_usage: bool, body: &[u8]) -> Seen {
    let seen = run(endpoint, wants_usage, [body]);
    assert_eq!(run(endpoint, wants_usage, body.chunks(1)), seen, "byte by byte");
    // Long streams are cut everywhere near their ends, and here and there between.
    let (every, ends) = match body.len() {
        0..4_096 => (1, 0),
        4_096..16_384 => (5, 300),
        _ => (1_999, 100),
    };
    for cut in 0..=body.len() {
        if cut % every == 0 || cut < ends || body.len() - cut < ends {
            let (a, b) = body.split_at(cut);
            let (mut in_two, meter) = run_unestimated(endpoint, wants_usage, [a, b]);
            // Tokenising it thousands of times would prove nothing more.
            in_two.estimate = seen.estimate;
            if in_two.state == StreamState::Ended {
                in_two.last = text(&meter.last_bytes(&receipt(in_two.reported)));
            }
            assert!(in_two == seen, "cut at {cut}: {in_two:#?}\nwhole: {seen:#?}");
        }
    }
    seen
}

/// The blocks of a stream.
fn blocks(body: &[u8]) -> Vec<Vec<u8>> {
    let mut ends = Vec::new();
    let whole = crate::domain::sse::Framer::default().feed(Bytes::copy_from_slice(body), &mut ends);
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(&ends).map(|(start, &end)| whole[start..end].to_vec()).collect()
}
