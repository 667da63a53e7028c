//! A streamed answer: what comes before, one event a piece, what comes after, at the pace of a model.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use bytes::Bytes;
use futures_util::stream::unfold;
use serde_json::Value;

use super::tokens::Piece;

/// The end of an OpenAI stream.
pub const DONE: &str = "data: [DONE]\n\n";

/// An event without a name.
pub fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// An event with a name, which its data repeats as `type`.
pub fn event(name: &str, value: &Value) -> String {
    format!("event: {name}\ndata: {value}\n\n")
}

/// A stream to be: events are made as they are sent, so a caller who leaves costs nothing more.
pub struct Script {
    /// Sent at once.
    pub head: VecDeque<String>,
    /// The pieces of the answer.
    pub pieces: VecDeque<Piece>,
    /// Makes the event of a piece.
    pub wrap: Box<dyn FnMut(&Piece) -> String>,
    /// Sent after the last piece.
    pub tail: VecDeque<String>,
}

impl Script {
    /// The next event, and the tokens it took to make.
    pub fn next(&mut self) -> Option<(String, usize)> {
        if let Some(frame) = self.head.pop_front() {
            return Some((frame, 0));
        }
        if let Some(piece) = self.pieces.pop_front() {
            return Some(((self.wrap)(&piece), piece.tokens));
        }
        self.tail.pop_front().map(|frame| (frame, 0))
    }

    /// Sends it, `delay` a token.
    pub fn respond(self, delay: Duration) -> HttpResponse {
        let frames = unfold(self, move |mut script| async move {
            let (frame, tokens) = script.next()?;
            wait(delay, tokens).await;
            Some((Ok::<_, Infallible>(Bytes::from(frame)), script))
        });
        HttpResponse::Ok()
            .content_type("text/event-stream")
            .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-cache")))
            .streaming(Box::pin(frames))
    }

    /// All of it at once, for tests.
    #[cfg(test)]
    pub fn text(mut self) -> String {
        std::iter::from_fn(|| self.next()).map(|(frame, _)| frame).collect()
    }
}

/// Waits as long as this many tokens take.
pub async fn wait(delay: Duration, tokens: usize) {
    let time = delay.saturating_mul(u32::try_from(tokens).unwrap_or(u32::MAX));
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// The `data:` documents of a stream's text, for tests.
#[cfg(test)]
pub fn documents(text: &str) -> Vec<Value> {
    text.lines().filter_map(|l| l.strip_prefix("data: ")).filter_map(|d| serde_json::from_str(d).ok()).collect()
}
