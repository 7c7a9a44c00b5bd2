//! One SFTP session on one channel, shared by any number of concurrent requests.
//!
//! A writer task and a reader task own the channel's two halves; requests meet their replies by id. It knows packets and
//! waiting, and must not know what files are used for.

mod capabilities;
mod handle;
mod incoming;
mod tasks;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::protocol::{Malformed, Request, Response, ServerLimits, Status, encode_request};
use crate::domain::bytes_to_text;
use crate::ssh::ByteStream;

pub use handle::Handle;

use capabilities::{DEFAULT_BLOCK, Limits, MAX_HANDLES, ServerCapabilities};

/// The maximum number of requests of one session that wait for a reply.
const MAX_IN_FLIGHT: usize = 256;

/// The number of replies that may still be outstanding when a transfer has ended, such as those to its CLOSE requests.
const MAX_LEFT_OVER_REPLIES: usize = 4;

/// The maximum amount of file contents that is queued for the channel, in bytes, or one block: just enough to keep the writer busy. What
/// the channel has taken is held by its window.
const QUEUE_BYTES: u32 = 128 * 1024;

/// The time limits of a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionTimeouts {
    /// The time limit of a request.
    pub request: Duration,
    /// Whether that time starts anew whenever any byte moves: for bulk data on slow lines.
    pub while_stalled: bool,
    /// After how long without requests the session closes itself; never if absent.
    pub idle: Option<Duration>,
}

/// Why a request has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The channel broke; `sent` is false when provably nothing of the request was sent.
    Broken {
        /// Whether the request may have been executed.
        sent: bool,
    },
    /// No reply in time.
    Stalled(Duration),
    /// The other side does not speak SFTP, or not as it should.
    Protocol(String),
    /// The server refused, or reports the end.
    Status(Status, Bytes),
}

impl From<Malformed> for Failure {
    fn from(error: Malformed) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl Failure {
    /// The failure for a reply that does not belong to the request.
    pub fn unexpected() -> Self {
        Self::Protocol("the reply does not belong to the request".to_owned())
    }
}

/// An SFTP session. Dropping it closes its channel.
pub struct Session {
    shared: Arc<SessionState>,
    permits: Arc<Semaphore>,
    /// One for each file that may still be opened.
    handles: Arc<Semaphore>,
    /// [`QUEUE_BYTES`] bytes.
    room: Arc<Semaphore>,
    timeouts: SessionTimeouts,
    capabilities: ServerCapabilities,
    limits: Arc<OnceLock<Limits>>,
    retired: CancellationToken,
    _limits: Option<AbortOnDropHandle<()>>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Session {
    /// Greets the server on a fresh channel and learns what it can do. Its limits are asked for, and not waited for: nothing is opened before they
    /// are there.
    ///
    /// # Errors
    /// If the channel breaks, the other side does not answer in time, or does not speak SFTP version 3.
    pub async fn open(mut stream: ByteStream, timeouts: SessionTimeouts) -> Result<Arc<Self>, Failure> {
        let (extensions, rest) =
            timeout(timeouts.request, tasks::greet(&mut stream)).await.map_err(|_| Failure::Stalled(timeouts.request))??;
        // Its bound is never reached: a request holds one of as many permits.
        let (queue, outgoing) = mpsc::channel(MAX_IN_FLIGHT);
        let shared = Arc::new(SessionState {
            state: Mutex::new(PendingRequests { pending: HashMap::new(), next: 0, ended: None, abandoned: false }),
            queue,
            started: AtomicU64::new(0),
            origin: Instant::now(),
            progress: AtomicU64::new(0),
            over: CancellationToken::new(),
        });
        let retired = stream.retired();
        let (reader, writer) = tokio::io::split(stream);
        let mut session = Self {
            permits: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            handles: Arc::new(Semaphore::new(0)),
            room: Arc::new(Semaphore::new(QUEUE_BYTES as usize)),
            timeouts,
            capabilities: ServerCapabilities::read_from(&extensions),
            limits: Arc::default(),
            retired,
            _limits: None,
            _tasks: [
                AbortOnDropHandle::new(tokio::spawn(tasks::read(reader, rest, shared.clone(), timeouts.idle))),
                AbortOnDropHandle::new(tokio::spawn(tasks::write(writer, outgoing, shared.clone()))),
            ],
            shared,
        };
        match session.capabilities.limits {
            true => session.learn_limits().await?,
            false => session.handles.add_permits(MAX_HANDLES),
        }
        Ok(Arc::new(session))
    }

    /// Asks for the server's limits. Until they are known, nothing is opened.
    async fn learn_limits(&mut self) -> Result<(), Failure> {
        let permit = self.turn(&self.permits, 1).await?;
        let (sender, receiver) = oneshot::channel();
        SessionState::send(&self.shared, Packet::of(&Request::Limits), Some(sender), permit)?;
        let (limits, handles, shared) = (Arc::clone(&self.limits), Arc::clone(&self.handles), Arc::clone(&self.shared));
        self._limits = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let said = match receiver.await.map(Reply::into_response) {
                Ok(Response::ExtendedReply { data }) => ServerLimits::decode(data).map_err(Failure::from),
                Ok(Response::Status { status, message }) => Err(Failure::Status(status, message)),
                Ok(_) => Err(Failure::unexpected()),
                Err(_) => Err(Failure::Broken { sent: false }),
            };
            match said {
                Ok(said) => handles.add_permits(limits.get_or_init(|| Limits::of(said)).handles),
                Err(failure) => {
                    shared.end(failure);
                    // Those that wait for one try another session.
                    handles.close();
                }
            }
        })));
        Ok(())
    }

    /// The server's extensions.
    pub fn capabilities(&self) -> &ServerCapabilities {
        &self.capabilities
    }

    /// The maximum number of bytes in one READ.
    pub fn read_block(&self) -> u32 {
        self.limits.get().map_or(DEFAULT_BLOCK, |limits| limits.read)
    }

    /// The maximum number of bytes in one WRITE.
    pub fn write_block(&self) -> u32 {
        self.limits.get().map_or(DEFAULT_BLOCK, |limits| limits.write)
    }

    /// False when no new work should begin on it: it has ended, or its connection is retired. Requests under way continue.
    pub fn is_usable(&self) -> bool {
        !self.retired.is_cancelled() && self.shared.state.lock().ended.is_none()
    }

    /// Cancelled when its connection is retired: then it should be released after the current requests.
    pub fn retired(&self) -> CancellationToken {
        self.retired.clone()
    }

    /// True when a further user would find it free: it takes requests, and next to nothing is still to come of earlier ones.
    pub fn is_settled(&self) -> bool {
        let state = self.shared.state.lock();
        !self.retired.is_cancelled() && state.ended.is_none() && state.pending.len() <= MAX_LEFT_OVER_REPLIES
    }

    /// Cancelled when it has ended.
    pub fn over(&self) -> CancellationToken {
        self.shared.over.clone()
    }

    /// Its age.
    pub fn age(&self) -> Duration {
        self.shared.origin.elapsed()
    }

    /// Makes a request and waits for its reply. Dropping the future gives the reply up; it is then taken off quietly.
    ///
    /// # Errors
    /// If the server answers with a status other than OK, or does not answer.
    pub async fn request(&self, request: &Request) -> Result<Response, Failure> {
        self.exchange(Packet::of(request)).await
    }

    /// Makes a request that succeeds with no more than a status.
    ///
    /// # Errors
    /// As [`Session::request`].
    pub async fn command(&self, request: &Request) -> Result<(), Failure> {
        done(&self.request(request).await?)
    }

    /// Waits for room in the queue for contents of this length.
    pub async fn room(&self, bytes: usize) -> Room {
        let bytes = u32::try_from(bytes).unwrap_or(QUEUE_BYTES).min(QUEUE_BYTES);
        // It is never closed.
        Room { _permit: Arc::clone(&self.room).acquire_many_owned(bytes).await.ok() }
    }

    /// As [`Session::command`], for a request that carries contents: they are not kept while it waits for the reply.
    pub fn carry<'a>(&'a self, request: &Request, room: Room) -> impl Future<Output = Result<(), Failure>> + Send + use<'a> {
        let packet = Packet { room: Some(room), ..Packet::of(request) };
        async move { done(&self.exchange(packet).await?) }
    }

    async fn exchange(&self, packet: Packet) -> Result<Response, Failure> {
        let permit = self.turn(&self.permits, 1).await?;
        let (sender, receiver) = oneshot::channel();
        let sequence = SessionState::send(&self.shared, packet, Some(sender), permit)?;
        match self.reply(sequence, receiver).await?.into_response() {
            Response::Status { status, message } if status != Status::Ok => Err(Failure::Status(status, message)),
            response => Ok(response),
        }
    }

    async fn turn(&self, permits: &Arc<Semaphore>, number: u32) -> Result<OwnedSemaphorePermit, Failure> {
        let permit = timeout(self.timeouts.request, Arc::clone(permits).acquire_many_owned(number)).await;
        permit.map_err(|_| Failure::Stalled(self.timeouts.request))?.map_err(|_| Failure::Broken { sent: false })
    }

    async fn reply(&self, sequence: u64, mut receiver: oneshot::Receiver<Reply>) -> Result<Reply, Failure> {
        let mut allowed = self.timeouts.request;
        loop {
            match timeout(allowed, &mut receiver).await {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(_)) => return Err(self.shared.failure(sequence)),
                Err(_) => {}
            }
            let quiet = self.shared.quiet_for();
            if !self.timeouts.while_stalled || quiet >= self.timeouts.request {
                // The server handles its requests one by one: if this one stalls, so do all behind it.
                self.shared.end(Failure::Broken { sent: false });
                return Err(Failure::Stalled(self.timeouts.request));
            }
            allowed = self.timeouts.request.saturating_sub(quiet);
        }
    }
}

fn done(response: &Response) -> Result<(), Failure> {
    match response {
        Response::Status { .. } => Ok(()),
        _ => Err(Failure::unexpected()),
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.over.cancel();
    }
}

/// The state that the session's users and its two tasks share.
struct SessionState {
    state: Mutex<PendingRequests>,
    queue: mpsc::Sender<Outgoing>,
    /// One more than the sequence number of the last request whose first byte may have been written.
    started: AtomicU64,
    origin: Instant,
    /// When bytes last moved in either direction, in milliseconds after `origin`.
    progress: AtomicU64,
    /// Set when the channel is to be closed.
    over: CancellationToken,
}

struct PendingRequests {
    pending: HashMap<u32, Pending>,
    next: u64,
    /// Why no new request is taken.
    ended: Option<Failure>,
    /// Whether the waiters were notified; replies that arrive nevertheless belong to them.
    abandoned: bool,
}

struct Pending {
    reply: Option<oneshot::Sender<Reply>>,
    permit: OwnedSemaphorePermit,
}

struct Outgoing {
    sequence: u64,
    packet: Bytes,
    /// Given back when the channel has taken the packet.
    _room: Option<Room>,
}

/// Room in the queue for contents.
pub struct Room {
    _permit: Option<OwnedSemaphorePermit>,
}

/// A request as it is sent, but for its id.
struct Packet {
    bytes: BytesMut,
    room: Option<Room>,
}

impl Packet {
    fn of(request: &Request) -> Self {
        let mut bytes = BytesMut::new();
        encode_request(0, request, &mut bytes);
        Self { bytes, room: None }
    }
}

impl SessionState {
    /// Queues a request. Sequence numbers grow in the order of the queue, so that the writer's progress tells what was sent.
    fn send(
        shared: &Arc<Self>,
        packet: Packet,
        reply: Option<oneshot::Sender<Reply>>,
        permit: OwnedSemaphorePermit,
    ) -> Result<u64, Failure> {
        let Packet { bytes: mut packet, room } = packet;
        let mut state = shared.state.lock();
        match &state.ended {
            None => {}
            Some(Failure::Protocol(reason)) => return Err(Failure::Protocol(reason.clone())),
            Some(_) => return Err(Failure::Broken { sent: false }),
        }
        let sequence = state.next;
        let id = wire_id(sequence);
        if let Some(field) = packet.get_mut(5..9) {
            field.copy_from_slice(&id.to_be_bytes());
        }
        if shared.queue.try_send(Outgoing { sequence, packet: packet.freeze(), _room: room }).is_err() {
            return Err(Failure::Broken { sent: false });
        }
        state.next += 1;
        state.pending.insert(id, Pending { reply, permit });
        Ok(sequence)
    }

    /// Passes a reply to its waiter.
    fn deliver(self: &Arc<Self>, id: u32, response: Response) -> Result<(), Failure> {
        let (found, abandoned) = {
            let mut state = self.state.lock();
            (state.pending.remove(&id), state.abandoned)
        };
        let Some(Pending { reply, permit }) = found else {
            return Err(match abandoned {
                true => Failure::Broken { sent: true },
                false => Failure::Protocol(format!("a reply has the id {id}, which no request has")),
            });
        };
        let unused = Reply { response: Some(response), shared: Arc::downgrade(self), permit: Some(permit) };
        if let Some(waiter) = reply {
            // A waiter that has gone gives the reply back, and dropping it closes a handle that it holds.
            drop(waiter.send(unused));
        }
        Ok(())
    }

    /// Takes no new requests.
    fn end(&self, why: Failure) {
        self.state.lock().ended.get_or_insert(why);
    }

    /// Ends the session: both tasks let go of the channel, and those that wait for a reply learn of it.
    fn fail(&self, why: Failure) {
        let abandoned = {
            let mut state = self.state.lock();
            state.abandoned = true;
            let _ = state.ended.get_or_insert(why);
            std::mem::take(&mut state.pending)
        };
        drop(abandoned);
        self.over.cancel();
    }

    fn failure(&self, sequence: u64) -> Failure {
        match &self.state.lock().ended {
            Some(Failure::Protocol(reason)) => Failure::Protocol(reason.clone()),
            _ => Failure::Broken { sent: sequence < self.started.load(Ordering::Acquire) },
        }
    }

    fn moved(&self) {
        self.progress.store(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn quiet_for(&self) -> Duration {
        self.origin.elapsed().saturating_sub(Duration::from_millis(self.progress.load(Ordering::Relaxed)))
    }
}

fn wire_id(sequence: u64) -> u32 {
    let [_, _, _, _, a, b, c, d] = sequence.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// A reply on its way to the caller. If the caller has gone, a handle in it is closed.
struct Reply {
    response: Option<Response>,
    shared: Weak<SessionState>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Reply {
    fn into_response(mut self) -> Response {
        self.response.take().unwrap_or(Response::Status { status: Status::ConnectionLost, message: Bytes::new() })
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let (Some(Response::Handle { handle }), Some(shared), Some(permit)) =
            (self.response.take(), self.shared.upgrade(), self.permit.take())
        {
            let _ = SessionState::send(&shared, Packet::of(&Request::Close { handle }), None, permit);
        }
    }
}

/// The server's words for a failure, kept short.
pub fn words(message: &[u8]) -> String {
    bytes_to_text(&message[..message.len().min(200)])
}
