//! Tracks the activity of a connection, so that an idle one, and one whose client does not read its response, can be closed.
//!
//! Both count as open connections, and the second one occupies a channel to a cluster too, for as long as the client
//! likes. HTTP/2 has no such limit: a client that answers pings may leave a stream unread for ever.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::http::server::request_metrics::RequestMetrics;

/// The minimum speed of a client after the initial time limit.
pub(crate) const MIN_BYTES_PER_SECOND: u64 = 4096;

/// The time in which a client at that speed reads this many bytes.
pub(crate) fn at_slowest(bytes: u64) -> Duration {
    Duration::from_secs(bytes / MIN_BYTES_PER_SECOND)
}

/// The limits on the idle time of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdleLimits {
    /// The time without a request under way; one whose head is still arriving counts as none.
    pub(crate) idle: Duration,
    /// The time in which the client must take a piece of a response; longer for long pieces, by [`MIN_BYTES_PER_SECOND`].
    pub(crate) stall: Duration,
}

/// The activity of one connection.
#[derive(Clone)]
pub(crate) struct ConnectionActivity(Arc<Connection>);

struct Connection {
    limits: IdleLimits,
    request_metrics: Arc<RequestMetrics>,
    state: Mutex<ConnectionState>,
}

struct ConnectionState {
    next: u64,
    /// The exchanges under way, each with the deadline for the client to read the last piece that was offered; without one
    /// while the exchange waits for something else.
    exchanges: BTreeMap<u64, Option<Instant>>,
    /// When the last exchange ended, and at the slowest its last piece was read; before that, when the connection was accepted.
    last_sent: Instant,
}

impl ConnectionActivity {
    /// The activity of a connection that was just accepted.
    pub(crate) fn new(limits: IdleLimits, request_metrics: Arc<RequestMetrics>) -> Self {
        let state = ConnectionState { next: 0, exchanges: BTreeMap::new(), last_sent: Instant::now() };
        Self(Arc::new(Connection { limits, request_metrics, state: Mutex::new(state) }))
    }

    /// A request has come in. It is under way until the exchange, or the answer that it watches, is dropped.
    pub(crate) fn begin(&self) -> Exchange {
        let mut state = self.0.state.lock();
        let id = state.next;
        state.next += 1;
        state.exchanges.insert(id, None);
        drop(state);
        self.0.request_metrics.entered();
        Exchange { shared: Arc::clone(&self.0), id, left: 0 }
    }

    /// Whether no request is under way; one whose head is still arriving counts as none.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.state.lock().exchanges.is_empty()
    }

    /// The same, when the client has had the time to read every response too: HTTP/2 keeps those for which the client gives no room yet.
    pub(crate) fn is_idle_and_read(&self) -> bool {
        let state = self.0.state.lock();
        state.exchanges.is_empty() && (state.next == 0 || state.last_sent + self.0.limits.stall <= Instant::now())
    }

    /// Waits until the connection was quiet for too long.
    pub(crate) async fn exhausted(&self) {
        loop {
            let now = Instant::now();
            let due = self.0.due(now);
            if due <= now {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

impl Connection {
    /// The time of the next check: the end of the current limit, or earlier, because a request that arrives meanwhile may have a
    /// shorter one. It is not later than `now` exactly if the limit is reached.
    fn due(&self, now: Instant) -> Instant {
        let state = self.state.lock();
        let soonest = now + self.limits.stall.min(self.limits.idle);
        if state.exchanges.is_empty() {
            return (state.last_sent + self.limits.idle).min(soonest);
        }
        state.exchanges.values().flatten().copied().min().unwrap_or(soonest).min(soonest)
    }
}

/// A request and its answer.
pub(crate) struct Exchange {
    shared: Arc<Connection>,
    id: u64,
    /// The bytes of the piece that was offered last, which may still wait to be sent.
    left: u64,
}

impl Exchange {
    /// The response's content, which is watched from now on.
    pub(crate) fn watch(self, body: Body) -> Watched {
        self.offered(0);
        Watched { body, exchange: self }
    }

    fn offered(&self, bytes: u64) {
        let until = Instant::now() + self.shared.limits.stall + at_slowest(bytes);
        self.shared.state.lock().exchanges.insert(self.id, Some(until));
    }

    fn wanted(&self) {
        self.shared.state.lock().exchanges.insert(self.id, None);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.shared.request_metrics.left();
        let sent = Instant::now() + at_slowest(self.left);
        let mut state = self.shared.state.lock();
        state.exchanges.remove(&self.id);
        state.last_sent = state.last_sent.max(sent);
    }
}

/// The watched content of a response.
pub(crate) struct Watched {
    body: Body,
    exchange: Exchange,
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.exchange.wanted();
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.exchange.shared.request_metrics.add_sent(bytes);
            self.exchange.left = bytes as u64;
            self.exchange.offered(self.exchange.left);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The content of a request, which is counted as it is read.
pub(crate) struct Counted {
    body: Incoming,
    request_metrics: Arc<RequestMetrics>,
}

impl Counted {
    /// This content.
    pub(crate) fn new(body: Incoming, request_metrics: Arc<RequestMetrics>) -> Self {
        Self { body, request_metrics }
    }
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(data)) = frame.as_ref().map(|frame| frame.as_ref().map(Frame::data_ref)) {
            self.request_metrics.add_received(data.map_or(0, Bytes::len));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
