//! Drains request bodies that the handler did not read.
//!
//! A request may be refused while its content is still arriving. A client that is cut off while it sends sees a broken
//! connection instead of the response, and a client that reuses the connection sees its next request fail. So the rest is
//! read as far as that is reasonable; otherwise, the response announces the end of the connection, at once where more is announced than is read.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Version, header};
use axum::response::Response;
use bytes::Bytes;
use futures::future::poll_fn;
use hyper::body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

/// The limits on draining, in bytes and in time.
const DRAIN_BYTES: u64 = 64 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Has `next` answer the request, and reads what it left.
pub(super) async fn drain_body<F: Future<Output = Response>>(request: Request, next: impl FnOnce(Request) -> F) -> Response {
    if request.body().is_end_stream() {
        return next(request).await;
    }
    let is_http1 = request.version() < Version::HTTP_2;
    let expects_continue = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let drainable = Arc::new(DrainableBody { body: Mutex::new(body), was_polled: AtomicBool::new(false), ended: AtomicBool::new(false) });
    let mut response = next(Request::from_parts(parts, Body::new(SharedBody(Arc::clone(&drainable))))).await;
    // A client that waits for 100 (Continue) (RFC 9110, 10.1.1) sends nothing yet, and reading would send the 100.
    if expects_continue && !drainable.was_polled.load(Ordering::Relaxed) {
        // In HTTP/2 each request has a stream of its own, and the field must not be sent (RFC 9113, 8.2.2).
        if is_http1 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        return response;
    }
    drainable.drain().await;
    if is_http1 && !drainable.has_ended() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The content of a request, which its possible readers share.
struct DrainableBody {
    body: Mutex<Body>,
    was_polled: AtomicBool,
    ended: AtomicBool,
}

impl DrainableBody {
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.was_polled.store(true, Ordering::Relaxed);
        let mut body = self.body.lock();
        let frame = ready!(Pin::new(&mut *body).poll_frame(context));
        // A broken connection has no further content either.
        if !matches!(frame, Some(Ok(_))) || body.is_end_stream() {
            self.ended.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    async fn drain(&self) {
        if self.body.lock().size_hint().lower() > DRAIN_BYTES {
            return;
        }
        let deadline = Instant::now() + DRAIN_TIME;
        let mut taken = 0;
        while !self.has_ended() && taken < DRAIN_BYTES {
            match timeout_at(deadline, poll_fn(|context| self.poll(context))).await {
                Ok(Some(Ok(frame))) => taken += frame.data_ref().map_or(0, |data| data.len() as u64),
                _ => return,
            }
        }
    }
}

/// The content as handlers get it.
struct SharedBody(Arc<DrainableBody>);

impl hyper::body::Body for SharedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.0.poll(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.body.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.body.lock().size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_the_connection_is_announced_in_http_1_alone() {
        for (version, announced) in [(Version::HTTP_11, Some("close")), (Version::HTTP_2, None)] {
            let body = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
            let request = Request::builder().version(version).header(header::EXPECT, "100-continue").body(body).unwrap();
            let response = drain_body(request, |_| async { Response::new(Body::empty()) }).await;
            assert_eq!(response.headers().get(header::CONNECTION).map(|value| value.to_str().unwrap()), announced, "{version:?}");
        }
    }
}
