//! The body of a request on its way to a provider: a few pieces, most of them slices of what the client sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// Pieces that are sent one after the other. Their length is known, so nothing is chunked.
#[derive(Debug)]
pub struct Outgoing {
    pieces: std::vec::IntoIter<Bytes>,
    left: usize,
}

impl From<Vec<Bytes>> for Outgoing {
    fn from(pieces: Vec<Bytes>) -> Self {
        Self { left: pieces.iter().map(Bytes::len).sum(), pieces: pieces.into_iter() }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.find(|piece| !piece.is_empty());
        self.left -= piece.as_ref().map_or(0, Bytes::len);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.left).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn pieces_are_one_body_whose_length_is_known() {
        let bytes = |text: &&'static str| Bytes::from_static(text.as_bytes());
        for texts in [&[][..], &[""], &["a"], &["", "ab", "", "c", ""]] {
            let whole = texts.concat();
            let body = Outgoing::from(texts.iter().map(bytes).collect::<Vec<_>>());
            assert_eq!(body.size_hint().exact(), u64::try_from(whole.len()).ok());
            assert_eq!(body.is_end_stream(), whole.is_empty());
            let mut again = Outgoing::from(texts.iter().map(bytes).collect::<Vec<_>>());
            while let Some(Ok(frame)) = again.frame().await {
                assert!(frame.data_ref().is_some_and(|piece| !piece.is_empty()), "an empty chunk would end the body");
            }
            assert_eq!(body.collect().await.map(|all| all.to_bytes()), Ok(Bytes::from(whole)));
        }
    }
}
