//! The server loop: accepts connections, bounds them, ends those that are quiet for too long, and drains them at the end.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::http::request_info::Peer;
use crate::http::server::idle_timeout::{ConnectionActivity, Counted, IdleLimits};
use crate::http::server::malformed::Malformed;
use crate::http::server::request_metrics::RequestMetrics;
use crate::http::server::upgrade::Upgrade;
use crate::http::tls::Tls;

/// The maximum number of concurrent connections. Further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 10_000;

/// The maximum number of concurrent HTTP/2 streams of one connection.
const MAX_STREAMS: u32 = 250;

/// The size of the read and write buffers of a connection in bytes, which also limits the head of a request. With hyper's default of
/// 400 kB, a few dozen uploads would use more memory than everything else.
const CONNECTION_BUFFER: usize = 64 * 1024;

/// The idle limit of an upgraded connection. Protocols for longer pauses, such as WebSocket, have messages that keep them alive.
const UPGRADED_IDLE_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The first bytes of a connection with HTTP/2 (RFC 9113, 3.4). No method of HTTP/1.1 begins so.
const HTTP2_BEGINNING: &[u8] = b"PRI";

/// The time limit for the TLS handshake of a client.
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time after the notice of the drain for HTTP/2 requests that were sent before the client received it.
const HTTP2_GRACE_PERIOD: Duration = Duration::from_secs(1);

/// The time limit for connections to be closed when they are cut.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

/// The interval of checks whether a draining connection has become idle.
const DRAIN_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The pause after a failed accept, in which file descriptors may become free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The time limits of connections.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    /// The time for a client to send the head of a request, also between requests of one connection.
    pub head: Duration,
    /// The time in which a client must read a piece of a response; longer for long pieces.
    pub stall: Duration,
    /// The idle limit of a connection that was upgraded to another protocol; it may take up to a quarter longer.
    pub upgraded: Duration,
    /// The time for requests under way to end after the shutdown.
    pub drain: Duration,
}

impl TimeLimits {
    /// The default limits with this time to drain.
    pub fn draining(drain: Duration) -> Self {
        Self { head: Duration::from_secs(75), stall: Duration::from_secs(60), upgraded: UPGRADED_IDLE_TIMEOUT, drain }
    }
}

/// The source of connections.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<Arc<Tls>>,
}

impl Listener {
    /// Uses TLS if there is a certificate, otherwise plain HTTP.
    pub fn new(tcp: TcpListener, tls: Option<Arc<Tls>>) -> Self {
        Self { tcp, tls }
    }
}

impl From<TcpListener> for Listener {
    fn from(tcp: TcpListener) -> Self {
        Self { tcp, tls: None }
    }
}

/// The router that answers now. Each request is answered by the one that is the newest when its head has come.
#[derive(Clone)]
pub struct Routes(watch::Receiver<Router>);

impl From<watch::Receiver<Router>> for Routes {
    fn from(current: watch::Receiver<Router>) -> Self {
        Self(current)
    }
}

impl From<Router> for Routes {
    fn from(router: Router) -> Self {
        Self(watch::channel(router).1)
    }
}

/// How a server has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServeOutcome {
    /// Every request was answered.
    Completed,
    /// Requests were still under way after the drain time, and were cut.
    Cut,
}

/// Serves until `shutdown`, and counts in `request_metrics`; then requests under way have their time to end, and are cut after that.
pub async fn serve(
    listener: impl Into<Listener>,
    routes: impl Into<Routes>,
    request_metrics: Arc<RequestMetrics>,
    shutdown: CancellationToken,
    limits: TimeLimits,
) -> ServeOutcome {
    let (Listener { tcp: listener, tls }, Routes(routes)) = (listener.into(), routes.into());
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    let is_cut = Arc::new(AtomicBool::new(false));
    let server = Server { routes, tls, request_metrics, limits, draining: shutdown.clone(), cut: cut.clone(), is_cut: Arc::clone(&is_cut) };
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                connections.spawn(server.clone().connection(stream, peer, place));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    let is_drained = tokio::time::timeout(limits.drain, connections.wait()).await.is_ok();
    cut.cancel();
    let is_closed = is_drained || tokio::time::timeout(CUT_TIMEOUT, connections.wait()).await.is_ok();
    if is_closed && !is_cut.load(Ordering::Relaxed) {
        return ServeOutcome::Completed;
    }
    tracing::warn!(seconds = limits.drain.as_secs(), "requests were still under way after the drain time and were cut");
    ServeOutcome::Cut
}

/// The state that the connections of a listener share.
#[derive(Clone)]
struct Server {
    routes: watch::Receiver<Router>,
    tls: Option<Arc<Tls>>,
    request_metrics: Arc<RequestMetrics>,
    limits: TimeLimits,
    draining: CancellationToken,
    cut: CancellationToken,
    /// Whether a connection with a request under way was cut.
    is_cut: Arc<AtomicBool>,
}

impl Server {
    /// Serves one connection until it is closed, also after it was upgraded. It has its place until then.
    async fn connection(self, stream: TcpStream, peer: Peer, _place: OwnedSemaphorePermit) {
        let _connected = self.request_metrics.connected();
        let idle_limits = IdleLimits { idle: self.limits.head, stall: self.limits.stall };
        let activity = ConnectionActivity::new(idle_limits, Arc::clone(&self.request_metrics));
        let upgrade = Upgrade::default();
        let malformed = Malformed::new(activity.clone(), peer.0);
        let service = hyper::service::service_fn(|mut request: Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer);
            upgrade.prepare(&mut request, &self.draining);
            malformed.was_read();
            let (exchange, upgrade, malformed) = (activity.begin(), upgrade.clone(), malformed.clone());
            let content = |body| Body::new(Counted::new(body, Arc::clone(&self.request_metrics)));
            let answer = self.routes.borrow().clone().oneshot(request.map(content));
            async move {
                let mut answer = answer.await?;
                upgrade.hold(&mut answer);
                malformed.answered(answer.status());
                Ok::<_, Infallible>(answer.map(|body| exchange.watch(body)))
            }
        });
        let http = async {
            let begun = async {
                let stream = secured(stream, self.tls.as_deref()).await?;
                Some((is_http1(&stream).await, stream))
            };
            // Where the server drains, nothing that is a request was sent yet.
            let Some(Some((is_http1, stream))) = self.draining.run_until_cancelled(begun).await else { return false };
            let stream = upgrade.stream(stream);
            // A client that breaks off, or sends what is not HTTP, ends its connection and nothing else.
            if is_http1 {
                let stream = TokioIo::new(malformed.stream(stream));
                let connection = http1(self.limits).serve_connection(stream, service).with_upgrades();
                let is_idle = || activity.is_idle() && !upgrade.is_sending();
                drained(connection, http1::UpgradeableConnection::graceful_shutdown, &self.draining, Duration::ZERO, is_idle).await;
            } else {
                let builder = any_version(self.limits);
                let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
                let is_idle = || activity.is_idle_and_read() && !upgrade.is_sending();
                drained(connection, auto::UpgradeableConnection::graceful_shutdown, &self.draining, HTTP2_GRACE_PERIOD, is_idle).await;
            }
            true
        };
        tokio::select! {
            is_secured = http => {
                if is_secured && upgrade.run(self.limits.upgraded, &self.cut).await {
                    self.is_cut.store(true, Ordering::Relaxed);
                }
            }
            () = activity.exhausted() => tracing::debug!("a connection was quiet for too long and is closed"),
            // In here, the requests under way are not dropped yet.
            () = async {
                self.cut.cancelled().await;
                if !activity.is_idle() || upgrade.is_sending() {
                    self.is_cut.store(true, Ordering::Relaxed);
                }
            } => {}
        }
    }
}

/// Serves a connection to its end. When the server drains, it ends after the requests under way, and after the `grace` period if it `is_idle`:
/// hyper would wait for the rest of a request of which only a part has arrived.
async fn drained<C: Future>(
    connection: C,
    end: impl FnOnce(Pin<&mut C>),
    draining: &CancellationToken,
    grace: Duration,
    is_idle: impl Fn() -> bool,
) {
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = draining.cancelled() => end(connection.as_mut()),
    }
    // Without a grace period too, the connection is polled once: a request that has arrived whole is read, and the client is notified.
    let mut interval = grace;
    while tokio::time::timeout(interval, connection.as_mut()).await.is_err() && !is_idle() {
        interval = DRAIN_CHECK_INTERVAL;
    }
}

/// HTTP/1.1 with its bounds.
fn http1(limits: TimeLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(CONNECTION_BUFFER);
    builder
}

/// HTTP/1.1 and HTTP/2 with their bounds.
fn any_version(limits: TimeLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(CONNECTION_BUFFER);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS).keep_alive_interval(Some(Duration::from_secs(30)));
    builder
}

/// Whether a connection begins with HTTP/1.1. hyper can find that out too, but reads the first bytes apart, which doubles the memory of a
/// connection.
async fn is_http1(stream: &Either<TcpStream, TlsStream<TcpStream>>) -> bool {
    match stream {
        Either::Left(stream) => {
            let mut first = [0; HTTP2_BEGINNING.len()];
            let length = stream.peek(&mut first).await.unwrap_or(0);
            !HTTP2_BEGINNING.starts_with(&first[..length])
        }
        Either::Right(stream) => stream.get_ref().1.alpn_protocol() != Some(b"h2"),
    }
}

/// The stream for HTTP, after TLS if used; nothing if the handshake failed.
async fn secured(stream: TcpStream, tls: Option<&Tls>) -> Option<Either<TcpStream, TlsStream<TcpStream>>> {
    let Some(tls) = tls else { return Some(Either::Left(stream)) };
    match tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(Either::Right(stream)),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the TLS handshake with a client failed");
            None
        }
        Err(_) => None,
    }
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> io::Result<(TcpStream, Peer, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // A response is written whole; waiting for more would only delay it.
    stream.set_nodelay(true)?;
    Ok((stream, Peer(peer.ip()), place))
}
