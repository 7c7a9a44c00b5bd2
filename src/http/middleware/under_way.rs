//! A request is under way until the last byte of its response, and counts against its caller's limit until then.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};

use crate::http::problem::context::RequestContext;

/// The content of a response, which keeps the request's permits until it has ended or its client has gone.
pub(crate) fn under_way(content: Body, context: Arc<RequestContext>) -> Body {
    if content.is_end_stream() || context.username().is_none() {
        return content;
    }
    Body::new(UnderWay { content, context: Some(context) })
}

struct UnderWay {
    content: Body,
    context: Option<Arc<RequestContext>>,
}

impl hyper::body::Body for UnderWay {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.content).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.context = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}
