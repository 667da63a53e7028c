//! One connection that a machine made, from its beginning to its end.

use std::future::Future;
use std::sync::Arc;

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::machine::Machine;
use super::machines::Machines;
use crate::domain::keys::KeyId;
use crate::tunnel::{ANSWER_WINDOW, Cut, MOST_AT_ONCE, MOST_HEADERS, PING_EVERY, PONG_WITHIN, WebSocketBytes};
use crate::upstream::connect::with_causes;
use crate::upstream::outgoing::Outgoing;

/// Runs what belongs to a connection on the thread of its socket.
#[derive(Debug, Clone, Copy)]
struct ThisThread;

impl<F: Future<Output = ()> + 'static> Executor<F> for ThisThread {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// How a machine's connection ended.
#[derive(Debug)]
pub struct Ended {
    /// The machine has no other, and no other process has its place.
    pub is_gone: bool,
    /// What was wrong, if anything was.
    pub why: Option<String>,
}

/// A connection that may be made.
#[derive(Debug)]
pub struct Attached {
    /// Whose it is.
    pub machine: Arc<Machine>,
    number: usize,
}

impl Machines {
    /// The connection that a session's holder may make now. `None`: nobody waits for it.
    pub fn attached(&self, session: &[u8; 32], key: KeyId) -> Option<Attached> {
        let (machine, number) = self.attach(session, key)?;
        Some(Attached { machine, number })
    }

    /// Serves a connection until it ends. To be called on the thread that its socket is on. `came` is called if
    /// it is the machine's first: then requests can be sent.
    pub async fn serve<T>(&self, attached: Attached, io: T, came: impl FnOnce()) -> Ended
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (Attached { machine, number }, cut) = (attached, Cut::default());
        let made = handshake(WebSocketBytes::server(io, cut.clone()), machine.max_concurrent).await;
        let why = match made {
            Err(e) => Some(e),
            Ok((sender, connection)) => {
                if machine.opened(number, sender, cut.clone()) && self.seat(&machine) {
                    came();
                }
                let served = connection.await;
                machine.closed(number);
                // It takes no more; what is under way may end.
                cut.over().await.or(served.err())
            }
        };
        Ended { is_gone: machine.over(number) && self.unseat(&machine), why: machine.reason().or(why) }
    }
}

type Made<F> = (SendRequest<Outgoing>, F);

async fn handshake<T>(
    frames: WebSocketBytes<T>,
    at_once: u32,
) -> Result<Made<impl Future<Output = Result<(), String>>>, String>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut builder = Builder::new(ThisThread);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        // The silence itself is noticed first, and told.
        .keep_alive_timeout(PONG_WITHIN * 2)
        .keep_alive_while_idle(true)
        // A machine that sends more than that loses the one stream (RFC 9113, section 6.9: a stream error is enough, and
        // h2 makes it one). What comes of it afterwards is thrown away and given back to the window of all, so the other
        // answers go on. Only beyond that window, where no answer within its own gets, and after a thousand such streams
        // the connection ends.
        .initial_stream_window_size(ANSWER_WINDOW)
        // What one client leaves unread takes nothing from the others.
        .initial_connection_window_size(ANSWER_WINDOW.saturating_mul(at_once.min(MOST_AT_ONCE) + 1))
        .max_header_list_size(MOST_HEADERS)
        .max_concurrent_streams(0)
        // Until it says how many it takes.
        .initial_max_send_streams(100);
    let (sender, connection) = builder.handshake(TokioIo::new(frames)).await.map_err(|e| with_causes(&e))?;
    Ok((sender, async move { connection.await.map_err(|e| with_causes(&e)) }))
}
