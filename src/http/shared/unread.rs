//! A chunked body that nobody reads, because its request was refused. actix would read it on to its end, however
//! long that takes, for the sake of the connection. It does not while the body is kept, and closes the connection,
//! as it does where a length was announced.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::HttpMessage;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::web::Bytes;
use futures_util::{Stream, StreamExt};

/// A body that is read by the routes and kept here.
#[derive(Clone)]
pub struct Kept(Rc<RefCell<Chunked>>);

struct Chunked {
    payload: Payload,
    ended: bool,
}

impl Kept {
    /// Keeps the body of a request if it is chunked.
    pub fn of(request: &mut ServiceRequest) -> Option<Self> {
        if !request.chunked().unwrap_or(false) {
            return None;
        }
        let kept = Self(Rc::new(RefCell::new(Chunked { payload: request.take_payload(), ended: false })));
        request.set_payload(Payload::Stream { payload: Box::pin(kept.clone()) });
        Some(kept)
    }

    /// It was read to its end.
    pub fn is_read(&self) -> bool {
        self.0.borrow().ended
    }

    /// The body of an answer that is sent while this is kept.
    pub fn behind(self, answer: BoxBody) -> BoxBody {
        BoxBody::new(Behind { answer, _kept: self })
    }
}

impl Stream for Kept {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut chunked = self.0.borrow_mut();
        let polled = chunked.payload.poll_next_unpin(cx);
        chunked.ended |= matches!(polled, Poll::Ready(None));
        polled
    }
}

struct Behind {
    answer: BoxBody,
    _kept: Kept,
}

impl MessageBody for Behind {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.answer.as_pin_mut().poll_next(cx)
    }
}
