//! Any bytes as a request of both dialects: refused, or a chat request that can be read.
#![no_main]

use coordinator::dialect::translate::{ClientDialect, LARGEST_GROWTH, request};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    for dialect in [ClientDialect::Responses, ClientDialect::Messages] {
        let most = LARGEST_GROWTH * body.len() + 4_096;
        if let Ok(made) = request(dialect, body, most) {
            assert!(made.body.len() <= most);
            let chat: Result<Value, _> = serde_json::from_slice(&made.body);
            match chat {
                Ok(chat) => assert!(chat["messages"].as_array().is_some_and(|messages| !messages.is_empty())),
                // What serde reads into nothing but raw bytes: half a pair, a number beyond all bounds.
                Err(e) => assert!(!e.is_syntax() || is_odd(body), "{e}"),
            }
        }
    }
});

/// The request itself cannot be read into values.
fn is_odd(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_err()
}
