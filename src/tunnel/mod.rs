//! The wire between the coordinator and a machine that joined it from behind a NAT.
//!
//! ```text
//!   clients ── coordinator ══════════ WebSocket (wss, out of the NAT) ══════════ agent ── local server
//!              hyper client ─────── HTTP/2, its roles reversed ─────── hyper server
//! ```
//!
//! 1. *Register.* The agent posts a [`Hello`] to [`MACHINES`] with a key of the scope `provide`: which versions it
//!    speaks, its name, its models, how many requests at once. The [`Welcome`] names the machine's row and a session.
//!    Plain HTTP, so that a refusal is an error like any other: a status and a sentence.
//! 2. *Connect.* It opens [`LANES`] WebSockets at [`TUNNEL`] with that session; nothing has to be open towards it.
//!    Binary frames, because every proxy and CDN passes those on; what they carry is one stream of bytes ([`WebSocketBytes`]).
//! 3. *Serve.* In the stream is HTTP/2 (RFC 9113), the coordinator being the client. So a cancelled request is
//!    RST_STREAM, a drain GOAWAY, back-pressure flow control, a sign of life PING, and nothing is framed by hand: what
//!    those before us had to write twice. Two lanes, because TCP delivers in order: long prompts go on the second, and
//!    no stream of tokens waits behind them.
//! 4. *End.* Whoever ends it says why: the coordinator with a request to [`BYE`], the agent with GOAWAY. There is no
//!    resumption. A stream that was cut is a provider that broke off, and the relay knows what to do with those.
//!
//! To the relay such a machine is a provider with another connector (`upstream::joined`). It may ask nothing of the
//! coordinator, and the coordinator only for the paths of [`may_be_asked`]: whatever a coordinator asks, an agent
//! reaches one local address and no other path, and credentials are its own. All that either end may make the other
//! keep has a bound, here.

mod bye;
mod frames;
mod hello;
mod handshake;

use std::time::Duration;

pub use bye::Bye;
pub use frames::{Cut, WebSocketBytes};
pub use handshake::{accept, new_key};
pub use hello::{Hello, HelloModel, NotUnderstood, Welcome};

/// Where an agent registers.
pub const MACHINES: &str = "/v1/provider/machines";
/// Where it connects.
pub const TUNNEL: &str = "/v1/provider/tunnel";
/// Names the session that a WebSocket belongs to.
pub const SESSION: &str = "coordinator-session";
/// Where the coordinator says why it ends a connection.
pub const BYE: &str = "/coordinator/bye";
/// The code of a refusal: another process serves under the name. It may be the agent's own from before, of which the
/// coordinator has not heard yet that it is gone.
pub const OCCUPIED: &str = "machine_occupied";
/// Of an answer that the agent gives in the local server's place: what is wrong with that one.
pub const LOCAL_FAILURE: &str = "coordinator-local-failure";

/// How many WebSockets a machine has.
pub const LANES: usize = 2;
/// The most requests that a machine gets at once, whatever it says.
pub const MOST_AT_ONCE: u32 = 1_024;
/// A prompt from this size on is sent on the second lane, in bytes.
pub const LONG_PROMPT: usize = 64 << 10;

/// What of one answer may be on its way unread, in bytes: also the most that a client that does not keep up makes the
/// coordinator keep.
pub const ANSWER_WINDOW: u32 = 128 << 10;
/// What of one prompt may be on its way unread, in bytes.
pub const PROMPT_WINDOW: u32 = 256 << 10;
/// The same of all prompts of a lane.
pub const PROMPTS_WINDOW: u32 = 4 << 20;
/// The largest header list, in bytes.
pub const MOST_HEADERS: u32 = 16 << 10;
/// How often the other end is asked whether it is there.
pub const PING_EVERY: Duration = Duration::from_secs(20);
/// How long it may take to say so: after both times together without a byte the connection is over.
pub const PONG_WITHIN: Duration = Duration::from_secs(10);

/// What may be asked of a machine: the endpoints that run models, which models there are, and how many places.
pub fn may_be_asked(method: &str, path: &str) -> bool {
    match method {
        "POST" => matches!(
            path,
            "/v1/chat/completions"
                | "/v1/completions"
                | "/v1/embeddings"
                | "/v1/responses"
                | "/v1/responses/compact"
                | "/v1/messages"
                | "/v1/messages/count_tokens"
        ),
        "GET" => matches!(path, "/v1/models" | "/props" | "/slots" | "/get_server_info" | "/info"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::endpoint::Endpoint;

    #[test]
    fn a_machine_is_asked_for_inference_and_nothing_else() {
        for endpoint in Endpoint::ALL {
            assert!(may_be_asked("POST", &format!("/v1{}", endpoint.upstream_path())), "{endpoint:?}");
        }
        let others = [
            ("GET", "/v1/chat/completions"),
            ("POST", "/v1/models"),
            ("POST", "/v1/chat/completions/"),
            ("POST", "/v1/../admin"),
            ("POST", "/api/pull"),
            ("DELETE", "/v1/models"),
            ("GET", "/"),
            ("GET", "/metrics"),
            ("CONNECT", ""),
        ];
        for (method, path) in others {
            assert!(!may_be_asked(method, path), "{method} {path}");
        }
    }
}
