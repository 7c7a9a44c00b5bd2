//! Connections that change to another protocol after a request (RFC 9110, 7.8): WebSockets, tunnels.
//!
//! HTTP no longer sees such a connection, so its limits are here, around the stream itself: it counts as one of the
//! connections, it ends when no bytes move for `TimeLimits::upgraded`, it counts against its user's limit until it is
//! closed, and it is notified of the drain and cut with the requests. A handler needs nothing of this module for that: it answers 101 and
//! takes the connection by `hyper::upgrade::on`, or by axum's `WebSocketUpgrade`, which does the same. [`Draining`] notifies it of the
//! drain. HTTP/2 has no upgrades here: extended CONNECT (RFC 8441) is off.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, Request, Response, StatusCode, header};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, interval_at};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use crate::http::problem::context::RequestContext;

/// The number of checks for activity within the idle limit.
const CHECKS_PER_LIMIT: u32 = 4;

/// Cancelled when the server begins to drain. Responses without an end of their own and upgraded connections are then ended by their handlers, and
/// cut at the end of the drain. It is among the extensions of every request.
#[derive(Clone, Debug, Default)]
pub struct Draining(pub CancellationToken);

impl<S: Sync> FromRequestParts<S> for Draining {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// The state of a connection, and of what it was upgraded to. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Upgrade(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Whether a request has asked for another protocol. Before that, only `is_sending` is tracked.
    is_asked: AtomicBool,
    /// Whether bytes have moved since the last check.
    has_moved: AtomicBool,
    /// Whether bytes wait for room in the connection.
    is_sending: AtomicBool,
    /// Cancelled when the connection is to end.
    over: CancellationToken,
    /// Cancelled when the connection is closed.
    closed: CancellationToken,
    /// The context of the request that upgraded the connection, with its caller's permit.
    held: Mutex<Option<Arc<RequestContext>>>,
}

impl Upgrade {
    /// Looks at a request before it is handled.
    pub(crate) fn prepare<B>(&self, request: &mut Request<B>, draining: &CancellationToken) {
        if request.headers().contains_key(header::UPGRADE) || request.method() == Method::CONNECT {
            self.0.is_asked.store(true, Ordering::Relaxed);
        }
        request.extensions_mut().insert(Draining(draining.clone()));
    }

    /// Keeps the request's context if its response upgrades the connection.
    pub(crate) fn hold(&self, response: &mut Response<Body>) {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            *self.0.held.lock() = response.extensions_mut().remove();
        }
    }

    /// Whether bytes wait until the client reads others.
    pub(crate) fn is_sending(&self) -> bool {
        self.0.is_sending.load(Ordering::Relaxed)
    }

    /// The stream of the connection, for HTTP and for what comes after it.
    pub(crate) fn stream<S>(&self, stream: S) -> ClientStream<S> {
        ClientStream { stream, upgrade: self.clone(), reading: None, writing: None, _closed: self.0.closed.clone().drop_guard() }
    }

    /// Waits, when HTTP has ended on the connection, until it is closed. One that was upgraded is ended when it was idle for so long, or
    /// at `cut`. Returns whether it was cut.
    pub(crate) async fn run(&self, idle: Duration, cut: &CancellationToken) -> bool {
        let is_cut = tokio::select! {
            biased;
            () = self.0.closed.cancelled() => return false,
            () = cut.cancelled() => true,
            () = self.idle_for(idle) => {
                tracing::debug!("an upgraded connection was idle for too long and is closed");
                false
            }
        };
        self.0.over.cancel();
        self.0.closed.cancelled().await;
        is_cut
    }

    /// Returns when no bytes have moved for `limit`, or at most a quarter of it longer.
    async fn idle_for(&self, limit: Duration) {
        let mut looks = interval_at(Instant::now() + limit / CHECKS_PER_LIMIT, limit / CHECKS_PER_LIMIT);
        let mut quiet = 0;
        while quiet < CHECKS_PER_LIMIT {
            looks.tick().await;
            quiet = if self.0.has_moved.swap(false, Ordering::Relaxed) { 0 } else { quiet + 1 };
        }
    }
}

/// A client's connection. Once a request has asked for another protocol, its reads and writes are tracked, and fail after its end.
pub(crate) struct ClientStream<S> {
    stream: S,
    upgrade: Upgrade,
    /// Two, since a reader and a writer are woken apart.
    reading: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    writing: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _closed: DropGuard,
}

impl Upgrade {
    /// Fails if the connection has ended; otherwise `waiting` is woken at its end.
    fn check(&self, waiting: &mut Option<Pin<Box<WaitForCancellationFutureOwned>>>, context: &mut Context<'_>) -> io::Result<()> {
        if !self.0.is_asked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let over = waiting.get_or_insert_with(|| Box::pin(self.0.over.clone().cancelled_owned()));
        match over.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }

    fn note(&self, bytes: usize) {
        if bytes > 0 && self.0.is_asked.load(Ordering::Relaxed) {
            self.0.has_moved.store(true, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.upgrade.check(&mut this.reading, context)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        this.upgrade.note(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.as_mut().poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.upgrade.check(&mut this.writing, context)?;
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.upgrade.0.is_sending.store(written.is_pending(), Ordering::Relaxed);
        let written = ready!(written)?;
        this.upgrade.note(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.upgrade.0.is_sending.store(flushed.is_pending(), Ordering::Relaxed);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use async_trait::async_trait;
    use axum::extract::Path;
    use axum::response::IntoResponse;
    use axum::routing::get;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinHandle;
    use tokio::time::{sleep, timeout};
    use utoipa_axum::router::OpenApiRouter;

    use super::*;
    use crate::authn::{Authenticator, AuthnError};
    use crate::authz::LocalPolicy;
    use crate::domain::{Principal, Secret, Username};
    use crate::http::server::serve::{ServeOutcome, TimeLimits, serve};
    use crate::http::{AppState, Config, Docs, Logger, RequestMetrics, assemble};
    use crate::service::{Caller, Gate, State};

    const SOON: Duration = Duration::from_secs(20);

    struct AnyToken;

    #[async_trait]
    impl Authenticator for AnyToken {
        async fn authenticate(&self, token: &Secret) -> Result<Arc<Principal>, AuthnError> {
            Ok(Arc::new(Principal {
                username: Username::new("ada").unwrap(),
                subject: "ada".to_owned(),
                client_id: None,
                email: None,
                groups: Vec::new(),
                scopes: Vec::new(),
                expires_at: jiff::Timestamp::MAX,
                token: token.clone(),
                is_service_account: false,
                validator: None,
            }))
        }
    }

    /// Gives back what comes in; says goodbye at the drain, unless it is `deaf`.
    async fn echo(_: Caller, Path(kind): Path<String>, request: axum::extract::Request) -> axum::response::Response {
        let Draining(draining) = request.extensions().get().cloned().unwrap();
        let upgrade = hyper::upgrade::on(request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut buffer = [0; 64];
            loop {
                tokio::select! {
                    () = draining.cancelled(), if kind != "deaf" => {
                        stream.write_all(b"goodbye").await.unwrap();
                        return stream.shutdown().await.unwrap();
                    }
                    read = stream.read(&mut buffer) => match read {
                        Ok(bytes @ 1..) => stream.write_all(&buffer[..bytes]).await.unwrap(),
                        _ => return,
                    },
                }
            }
        });
        (StatusCode::SWITCHING_PROTOCOLS, [(header::CONNECTION, "upgrade"), (header::UPGRADE, "echo")]).into_response()
    }

    struct Running {
        address: SocketAddr,
        metrics: Arc<RequestMetrics>,
        stop: CancellationToken,
        serving: JoinHandle<ServeOutcome>,
    }

    /// The whole stack of layers and limits around [`echo`]; one user may have one request under way.
    async fn start(limits: TimeLimits) -> Running {
        let routes = OpenApiRouter::new().route("/echo/{kind}", get(echo)).route("/who", get(async |_: Caller| "ada"));
        let state = AppState {
            gate: Gate::new(Arc::new(AnyToken), Arc::new(LocalPolicy::open()), [], State::default()),
            config: Config { max_requests_per_user: 1, ..Config::default() },
            logger: Logger::default(),
            docs: Docs { token_url: None, scopes: [].into(), servers: Vec::new(), examples: None },
            root_path: String::new(),
            kbatch: None,
        };
        let (router, _, metrics) = assemble(routes, state, None);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, router, Arc::clone(&metrics), stop.clone(), limits));
        Running { address, metrics, stop, serving }
    }

    async fn request(address: SocketAddr, path: &str, more: &str) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer t\r\n{more}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(timeout(SOON, stream.read_u8()).await.unwrap().unwrap());
        }
        (stream, String::from_utf8(answer).unwrap())
    }

    async fn upgraded(address: SocketAddr, kind: &str) -> TcpStream {
        let (stream, answer) = request(address, &format!("/echo/{kind}"), "connection: upgrade\r\nupgrade: echo\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("f7t-authusername: ada"), "{answer}");
        stream
    }

    async fn is_echoed(stream: &mut TcpStream) {
        stream.write_all(b"ping").await.unwrap();
        let mut back = [0; 4];
        timeout(SOON, stream.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(&back, b"ping");
    }

    /// What comes until the connection is closed.
    async fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        _ = timeout(SOON, stream.read_to_string(&mut text)).await.expect("it is still open");
        text
    }

    #[tokio::test]
    async fn an_upgraded_connection_counts_for_its_user_until_it_is_closed() {
        let running = start(TimeLimits::draining(SOON)).await;
        let mut stream = upgraded(running.address, "echo").await;
        is_echoed(&mut stream).await;
        assert_eq!(running.metrics.connections(), 1);
        let who = async || request(running.address, "/who", "connection: close\r\n").await.1;
        assert!(who().await.starts_with("HTTP/1.1 429 "), "{}", who().await);
        drop(stream);
        let free = async {
            while !who().await.starts_with("HTTP/1.1 200 ") {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(SOON, free).await.expect("it still counts");
    }

    #[tokio::test]
    async fn an_upgraded_connection_has_an_idle_limit_of_its_own() {
        let (head, idle) = (Duration::from_millis(300), Duration::from_secs(3));
        let running = start(TimeLimits { head, stall: head, upgraded: idle, drain: SOON }).await;
        let mut stream = upgraded(running.address, "echo").await;
        let begun = Instant::now();
        let mut last = begun;
        while begun.elapsed() < idle * 4 / 3 {
            last = Instant::now();
            is_echoed(&mut stream).await;
            sleep(head * 2).await;
        }
        assert_eq!(rest(stream).await, "");
        assert!(last.elapsed() >= idle, "it was closed too early: {:?}", last.elapsed());
    }

    #[tokio::test]
    async fn an_upgraded_connection_is_told_of_the_drain_which_waits_for_it() {
        let running = start(TimeLimits::draining(SOON * 10)).await;
        let mut stream = upgraded(running.address, "echo").await;
        is_echoed(&mut stream).await;
        running.stop.cancel();
        assert_eq!(rest(stream).await, "goodbye");
        assert_eq!(timeout(SOON, running.serving).await.expect("the drain goes on").unwrap(), ServeOutcome::Completed);
    }

    #[tokio::test]
    async fn an_upgraded_connection_that_does_not_end_is_cut_after_the_drain() {
        let running = start(TimeLimits::draining(Duration::from_millis(300))).await;
        let mut stream = upgraded(running.address, "deaf").await;
        is_echoed(&mut stream).await;
        let stopped = Instant::now();
        running.stop.cancel();
        assert_eq!(rest(stream).await, "");
        assert!(stopped.elapsed() >= Duration::from_millis(300));
        assert_eq!(timeout(SOON, running.serving).await.unwrap().unwrap(), ServeOutcome::Cut);
    }

    #[tokio::test]
    async fn a_request_for_another_protocol_that_is_not_taken_up_is_an_ordinary_one() {
        let running = start(TimeLimits::draining(SOON)).await;
        let (stream, answer) = request(running.address, "/who", "connection: upgrade\r\nupgrade: echo\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        drop(stream);
        running.stop.cancel();
        timeout(SOON, running.serving).await.expect("nothing is left open").unwrap();
    }
}
