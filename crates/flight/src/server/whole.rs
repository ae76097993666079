//! The body of a request, whose end counts only if the sender marked it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body};

/// The body of a request, whose end is an error unless the sender marked it (rule W13).
///
/// hyper ends a body without an error when its connection is shut down in the middle. The server would then publish a frame
/// without its last rows.
pub(super) struct Whole(pub(super) Body);

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match Pin::new(&mut self.0).poll_frame(context) {
            Poll::Ready(None) if !self.0.is_end_stream() => {
                Poll::Ready(Some(Err(Status::aborted("the connection ended before the stream did"))))
            }
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    /// One piece, and then the end, which the sender marked or not.
    struct Pieces {
        left: usize,
        is_marked: bool,
    }

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            let piece = (self.left > 0).then(|| Ok(Frame::data(Bytes::from_static(b"piece"))));
            self.left = self.left.saturating_sub(1);
            Poll::Ready(piece)
        }

        fn is_end_stream(&self) -> bool {
            self.left == 0 && self.is_marked
        }
    }

    #[tokio::test]
    async fn a_stream_whose_end_its_sender_did_not_mark_is_an_error() {
        let body = |is_marked| Whole(Body::new(Pieces { left: 2, is_marked }));
        assert_eq!(body(true).collect().await.unwrap().to_bytes(), "piecepiece");
        let error = body(false).collect().await.unwrap_err();
        assert!(error.message().contains("before the stream did"), "{error}");
    }
}
