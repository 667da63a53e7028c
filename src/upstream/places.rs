//! How many requests a server takes at once, as far as it says so itself.
//!
//! | server | where | what |
//! |---|---|---|
//! | llama.cpp | `/props` | `total_slots`; where that is switched off, how many there are in `/slots` |
//! | SGLang | `/get_server_info` | `max_running_requests` |
//! | TGI | `/info` | `max_concurrent_requests` |
//!
//! vLLM and Ollama say nothing of it: the one takes any number into a queue of its own, the other reads
//! `OLLAMA_NUM_PARALLEL` and tells nobody.

use serde_json::Value;

/// Where a server below its root says how many requests it takes at once, and what to make of that.
#[derive(Debug, Clone, Copy)]
pub struct PlacesWay {
    /// Where to ask.
    pub path: &'static str,
    read: fn(&Value) -> Option<u64>,
}

/// The longest answer that is worth reading: llama.cpp's `/slots` holds the last prompts, and its `/props` a chat
/// template.
pub const LONGEST_PLACES: usize = 256 << 10;

/// All ways, in the order to try them.
pub const PLACES_WAYS: [PlacesWay; 4] = [
    PlacesWay { path: "/props", read: |said| said["total_slots"].as_u64() },
    PlacesWay { path: "/slots", read: |said| said.as_array().and_then(|slots| u64::try_from(slots.len()).ok()) },
    PlacesWay { path: "/get_server_info", read: |said| said["max_running_requests"].as_u64() },
    PlacesWay { path: "/info", read: |said| said["max_concurrent_requests"].as_u64() },
];

impl PlacesWay {
    /// The number in what was said.
    pub fn places_in(self, said: &[u8]) -> Option<u32> {
        let places = (self.read)(&serde_json::from_slice(said).ok()?)?;
        u32::try_from(places).ok().filter(|places| *places > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_joined_can_be_asked_in_each_way() {
        assert!(PLACES_WAYS.iter().all(|way| crate::tunnel::may_be_asked("GET", way.path)));
    }

    #[test]
    fn what_servers_say_of_their_places_is_read() {
        let rows: [(usize, &str, Option<u32>); 10] = [
            (0, r#"{"default_generation_settings":{"n_ctx":4096},"total_slots":4,"model_path":"/m.gguf"}"#, Some(4)),
            (0, r#"{"error":{"code":501,"message":"This server does not support props"}}"#, None),
            (0, r#"{"total_slots":0}"#, None),
            (0, r#"{"total_slots":"4"}"#, None),
            (0, r#"{"total_slots":99999999999}"#, None),
            (0, "<html>", None),
            (1, r#"[{"id":0,"is_processing":false},{"id":1,"is_processing":true}]"#, Some(2)),
            (1, "[]", None),
            (2, r#"{"model_path":"m","max_running_requests":48}"#, Some(48)),
            (3, r#"{"model_id":"m","max_concurrent_requests":128}"#, Some(128)),
        ];
        for (way, said, places) in rows {
            assert_eq!(PLACES_WAYS[way].places_in(said.as_bytes()), places, "{said}");
        }
    }
}
