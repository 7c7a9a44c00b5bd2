//! Bodies whose length cannot be kept: an error in the middle can only cut the response.

use axum::BoxError;
use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt};

/// The body of a content that an error cuts. What came before the error is sent first, the status above all: a response that is cut before its
/// status counts as none, and clients repeat the request.
pub(crate) fn cut_by_errors<E: Into<BoxError> + Send + 'static>(content: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> Body {
    Body::from_stream(content.then(|piece| async {
        if piece.is_err() {
            // The server writes out what it has while the body makes it wait, and drops it at an error.
            tokio::task::yield_now().await;
        }
        piece
    }))
}
