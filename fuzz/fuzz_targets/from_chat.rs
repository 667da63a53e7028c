//! Any bytes as a chat stream and as a whole chat answer: told as events that can be read, or broken off; the same
//! however they are cut.
#![no_main]

use std::sync::Arc;

use coordinator::dialect::translate::{Answering, ClientDialect, Context, StreamTranslator, WholeTranslation, request};
use libfuzzer_sys::fuzz_target;

/// With a custom tool and a namespace, whose calls are told otherwise.
const REQUESTS: [(ClientDialect, &[u8]); 2] = [
    (
        ClientDialect::Responses,
        br#"{"model":"m","input":"x","tools":[{"type":"custom","name":"f"},{"type":"namespace","name":"n","tools":[{"type":"function","name":"g"}]}]}"#,
    ),
    (ClientDialect::Messages, br#"{"model":"m","messages":[{"role":"user","content":"x"}],"stop_sequences":["x"]}"#),
];

fn told(context: &Arc<Context>, answering: &Answering<'_>, stream: &[u8], step: usize) -> Vec<u8> {
    let (mut translator, mut out) = (StreamTranslator::new(context, answering), Vec::new());
    let pushed = stream.chunks(step).try_for_each(|piece| translator.push(piece, &mut out));
    if pushed.map(|()| translator.end(&mut out)).is_err() {
        translator.fail("server_error", "it broke off", &mut out);
    }
    out
}

fuzz_target!(|stream: &[u8]| {
    for (dialect, body) in REQUESTS {
        let context = request(dialect, body, usize::MAX).expect("a good request").context;
        for think_tags in [false, true] {
            let answering = Answering { id: "1", model: "m", think_tags };
            let out = told(&context, &answering, stream, stream.len().max(1));
            assert_eq!(out, told(&context, &answering, stream, 1));
            let text = String::from_utf8(out).expect("events are UTF-8");
            for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
                serde_json::from_str::<&serde_json::value::RawValue>(data).expect("an event is JSON");
            }
            if let Ok(answer) = WholeTranslation::read(&context, &answering, stream) {
                let answer = answer.told(Some("{}"));
                serde_json::from_slice::<&serde_json::value::RawValue>(&answer).expect("an answer is JSON");
            }
        }
    }
});
