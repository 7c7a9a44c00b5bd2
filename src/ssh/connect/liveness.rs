//! Watches the byte stream under an SSH connection: when the last bytes arrived, and a way to cut it at any moment.
//!
//! russh's session loop can be busy for a long time (a full send buffer, a bulk reader that does not read), and then none of
//! its own timers runs. What is observed here does not depend on that loop. It must not know SSH.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The number of bytes that are kept of what arrives first.
const MAX_BEGINNING: usize = 512;

/// The state of a stream, as seen from outside.
pub(crate) struct Liveness {
    born: Instant,
    /// The first bytes that arrived.
    beginning: Mutex<Vec<u8>>,
    /// Nanoseconds after `born` when bytes last arrived.
    heard: AtomicU64,
    /// The start of the oldest waiting write, in nanoseconds after `born`; 0 if none is waiting.
    stuck: AtomicU64,
    cut: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Liveness {
    /// The state of a stream that starts now.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            born: Instant::now(),
            beginning: Mutex::default(),
            heard: AtomicU64::new(0),
            stuck: AtomicU64::new(0),
            cut: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
        })
    }

    /// Whether any byte has arrived at or after `instant`.
    pub(crate) fn heard_since(&self, instant: Instant) -> bool {
        self.born + Duration::from_nanos(self.heard.load(Ordering::Acquire)) >= instant
    }

    /// The first bytes that arrived.
    pub(crate) fn beginning(&self) -> Vec<u8> {
        self.beginning.lock().clone()
    }

    /// The time that the oldest write has been waiting for the peer.
    pub(crate) fn stuck_for(&self) -> Duration {
        match self.stuck.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => self.born.elapsed().saturating_sub(Duration::from_nanos(since)),
        }
    }

    /// Makes every read and write fail from now on.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
    }

    /// Whether [`Liveness::cut`] was called.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    fn check(&self) -> io::Result<()> {
        if self.is_cut() { Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was closed by us")) } else { Ok(()) }
    }

    fn written<T>(&self, poll: Poll<T>) -> Poll<T> {
        match poll {
            Poll::Ready(_) => self.stuck.store(0, Ordering::Release),
            Poll::Pending => {
                let _ = self.stuck.compare_exchange(0, self.now(), Ordering::AcqRel, Ordering::Acquire);
            }
        }
        poll
    }
}

/// A stream that keeps its [`Liveness`] up to date.
pub(crate) struct WatchedStream<S> {
    stream: S,
    liveness: Arc<Liveness>,
    /// Whether enough of what arrives first is kept.
    has_begun: bool,
}

impl<S> WatchedStream<S> {
    /// Watches `stream`.
    pub(crate) fn new(stream: S, liveness: Arc<Liveness>) -> Self {
        Self { stream, liveness, has_begun: false }
    }

    /// The state of the stream.
    pub(crate) fn liveness(&self) -> &Arc<Liveness> {
        &self.liveness
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.liveness.reader.register(cx.waker());
        self.liveness.check()?;
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.liveness.heard.store(self.liveness.now(), Ordering::Release);
            if !self.has_begun {
                let mut beginning = self.liveness.beginning.lock();
                let room = MAX_BEGINNING - beginning.len();
                beginning.extend(buf.filled()[before..].iter().take(room));
                let is_full = beginning.len() == MAX_BEGINNING;
                drop(beginning);
                self.has_begun = is_full;
            }
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.liveness.writer.register(cx.waker());
        self.liveness.check()?;
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.liveness.written(poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.liveness.writer.register(cx.waker());
        self.liveness.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
