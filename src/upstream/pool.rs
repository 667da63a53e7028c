//! Connections that are kept for the next request, a way around them, and whether one of them was stale.

use std::time::{Duration, Instant};

use http::{Extensions, Request};
use hyper::body::Body;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::client::legacy::{Client as PooledClient, Error as SendError, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::guard::Used;

/// llama.cpp closes a connection after 5 s idle; a kept one should rather be closed here first.
const KEPT_IDLE: Duration = Duration::from_secs(4);
/// A connection that the other end had closed before shows it at once.
const STALE_WITHIN: Duration = Duration::from_secs(1);
/// More idle ones are not kept.
const MOST_KEPT: usize = 1_024;

/// Which connection a request may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// One that was kept, if there is one.
    Any,
    /// One of its own.
    Fresh,
}

/// Connections that are kept, and a way around them.
#[derive(Debug)]
pub struct Pool<C, B> {
    kept: PooledClient<C, B>,
    fresh: PooledClient<C, B>,
}

// As derived, but for any body.
impl<C: Clone, B> Clone for Pool<C, B> {
    fn clone(&self) -> Self {
        Self { kept: self.kept.clone(), fresh: self.fresh.clone() }
    }
}

impl<C, B> Pool<C, B>
where
    C: Connect + Clone + Send + Sync + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Makes connections with `connector`; on each `most_buffered` bytes are read ahead of whoever does not keep up.
    pub fn new(connector: C, most_buffered: usize) -> Self {
        let mut builder = PooledClient::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(KEPT_IDLE).pool_max_idle_per_host(MOST_KEPT);
        builder.http1_max_buf_size(most_buffered);
        let kept = builder.build(connector.clone());
        let fresh = builder.pool_max_idle_per_host(0).build(connector);
        Self { kept, fresh }
    }

    /// Sends, on a kept connection if that will do.
    pub fn send(&self, request: Request<B>, on: On) -> ResponseFuture {
        match on {
            On::Any => self.kept.request(request),
            On::Fresh => self.fresh.request(request),
        }
    }
}

/// An answer came: what is sent next on its connection finds one that was kept.
pub fn mark_used(extensions: &Extensions) {
    if let Some(used) = extensions.get::<Used>() {
        used.mark();
    }
}

/// Did a request that was sent at `sent` meet a connection that the other end had closed meanwhile? Then nobody has
/// seen it, and it may be sent again. On a fresh connection, or later, it may be what made the other end hang up.
pub fn is_stale(e: &SendError, sent: Instant) -> bool {
    let mut extensions = Extensions::new();
    if let Some(connected) = e.connect_info() {
        connected.get_extras(&mut extensions);
    }
    extensions.get::<Used>().is_some_and(Used::before) && sent.elapsed() < STALE_WITHIN
}
