//! Gives a body to the answers that hyper itself writes to what it cannot read as a request of HTTP/1.1: a malformed head, or one that is too large.
//!
//! hyper calls no service for them and offers no other way: it writes a head alone, and closes the connection. So the stream of the connection
//! recognises that head, which is whole in one write, at a moment at which nothing else can be written, and writes a problem document with it.
//! What the client still sends is read for a moment then, or the system would drop the answer together with it.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::IntoResponse;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::http::common_headers::add_common_headers;
use crate::http::problem::Problem;
use crate::http::problem::context::RequestContext;
use crate::http::server::idle_timeout::ConnectionActivity;

/// The longest head that hyper writes by itself, in bytes.
const MAX_HEAD: usize = 512;

/// The member of that head that says that there is no body.
const NO_BODY: &str = "content-length: 0\r\n";

/// How long, and how much, is read of what the client still sends after such an answer.
const READING_TIME: Duration = Duration::from_secs(2);
const READING_LIMIT: usize = 8 << 20;

/// The head of a request is awaited, and all earlier answers are written: what is written now is hyper's own answer.
const AWAITED: u8 = 0;
/// A request is under way, or its answer.
const UNDER_WAY: u8 = 1;
/// The connection speaks another protocol.
const UPGRADED: u8 = 2;

/// What a connection is at, for its stream and its service.
#[derive(Clone)]
pub(crate) struct Malformed {
    state: Arc<AtomicU8>,
    activity: ConnectionActivity,
    client: IpAddr,
}

impl Malformed {
    /// For a new connection of this client.
    pub(crate) fn new(activity: ConnectionActivity, client: IpAddr) -> Self {
        Self { state: Arc::new(AtomicU8::new(AWAITED)), activity, client }
    }

    /// A request was read.
    pub(crate) fn was_read(&self) {
        self.state.store(UNDER_WAY, Ordering::Relaxed);
    }

    /// It is answered with this status.
    pub(crate) fn answered(&self, status: StatusCode) {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            self.state.store(UPGRADED, Ordering::Relaxed);
        }
    }

    /// Everything was written.
    fn flushed(&self) {
        if self.activity.is_idle() {
            let _is_under_way = self.state.compare_exchange(UNDER_WAY, AWAITED, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// The stream of the connection.
    pub(crate) fn stream<S>(&self, stream: S) -> AnsweringStream<S> {
        AnsweringStream { stream, malformed: self.clone(), answer: Bytes::new(), reading: None }
    }

    /// The whole answer instead of what hyper writes, where that is its answer to what it could not read.
    fn answer(&self, written: &[IoSlice<'_>]) -> Option<Bytes> {
        if self.state.load(Ordering::Relaxed) != AWAITED || written.iter().map(|part| part.len()).sum::<usize>() > MAX_HEAD {
            return None;
        }
        let head = String::from_utf8(written.iter().flat_map(|part| part.iter().copied()).collect()).ok()?;
        let status = StatusCode::from_bytes(head.strip_prefix("HTTP/1.1 ")?.get(..3)?.as_bytes()).ok()?;
        let (before, after) = head.split_once(NO_BODY).filter(|_| head.ends_with("\r\n\r\n"))?;
        let problem = Problem::malformed(status)?;
        let context = RequestContext::new(&Method::GET, String::new(), &HeaderMap::new(), Some(self.client));
        tracing::debug!(client = %self.client, status = status.as_u16(), request_id = &**context.id(), "what is no request was refused");
        let body = problem.body(&context, context.path(), true);
        let mut response = problem.into_response();
        add_common_headers(&mut response, &context);
        let mut answer = before.as_bytes().to_vec();
        for (name, value) in response.headers() {
            answer.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        answer.extend(format!("content-length: {}\r\n{after}", body.len()).into_bytes());
        answer.extend(body);
        Some(answer.into())
    }
}

/// A connection whose answers to what is no request have a body.
pub(crate) struct AnsweringStream<S> {
    stream: S,
    malformed: Malformed,
    /// What is left to write of such an answer.
    answer: Bytes,
    /// After such an answer: until when what the client still sends is read, and how much.
    reading: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S: AsyncWrite + Unpin> AnsweringStream<S> {
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.answer.has_remaining() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.answer))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.answer.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for AnsweringStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for AnsweringStream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.poll_answer(context))?;
        match self.malformed.answer(bytes) {
            Some(answer) => {
                self.answer = answer;
                self.reading = Some((Box::pin(sleep(READING_TIME)), READING_LIMIT));
                Poll::Ready(Ok(bytes.iter().map(|part| part.len()).sum()))
            }
            None => Pin::new(&mut self.stream).poll_write_vectored(context, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(context))?;
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.malformed.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(context))?;
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        let this = &mut *self;
        let Some((time, left)) = &mut this.reading else { return Poll::Ready(Ok(())) };
        let mut bytes = [0; 4096];
        while *left > 0 && time.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut this.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => *left = left.saturating_sub(buffer.filled().len()),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
