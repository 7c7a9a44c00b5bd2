//! A transport that passes the bytes of sessions on: slowly, or not as they were.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use goldcrest::domain::Principal;
use goldcrest::ssh::{ByteStream, CommandLine, Exec, LaneKind, RawOutput, Transport, TransportError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::files::transport::{Local, Subsystem};

/// What a corrupting relay replaces, in content on its way to the server.
pub const MARK: &[u8; 16] = b"GOLDCREST-MARK-1";

/// The transport.
pub struct Relay {
    pub inner: Arc<Local>,
    /// The pause after each piece that the server sends.
    pub pause: Duration,
    pub corrupts: bool,
    pub needs_token: bool,
    /// The bytes that servers have sent.
    pub received: Arc<AtomicU64>,
}

impl Relay {
    /// One that lets about 6 MB pass in a second.
    pub fn slow() -> Self {
        Self {
            inner: Arc::new(Local::new(Subsystem::Own)),
            pause: Duration::from_millis(5),
            corrupts: false,
            needs_token: false,
            received: Arc::default(),
        }
    }

    pub fn corrupting() -> Self {
        Self { pause: Duration::ZERO, corrupts: true, ..Self::slow() }
    }
}

async fn pass(
    mut from: ReadHalf<impl tokio::io::AsyncRead>,
    mut to: WriteHalf<impl tokio::io::AsyncWrite>,
    pause: Duration,
    corrupts: bool,
    passed: Arc<AtomicU64>,
) {
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let piece = &mut buffer[..length];
        passed.fetch_add(length as u64, Ordering::Relaxed);
        if corrupts && let Some(at) = piece.windows(MARK.len()).position(|bytes| bytes == MARK) {
            piece[at] = b'X';
        }
        if to.write_all(piece).await.is_err() {
            break;
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    let _ = to.shutdown().await;
}

#[async_trait]
impl Transport for Relay {
    fn needs_token(&self) -> bool {
        self.needs_token
    }

    async fn exec(&self, by: &Principal, exec: Exec) -> Result<RawOutput, TransportError> {
        self.inner.exec(by, exec).await
    }

    async fn subsystem(&self, by: &Principal, lane: LaneKind, name: &'static str) -> Result<ByteStream, TransportError> {
        let server = self.inner.subsystem(by, lane, name).await?;
        let (ours, theirs) = tokio::io::duplex(256 * 1024);
        let ((from_server, to_server), (from_client, to_client)) = (tokio::io::split(server), tokio::io::split(theirs));
        tokio::spawn(pass(from_server, to_client, self.pause, false, Arc::clone(&self.received)));
        tokio::spawn(pass(from_client, to_server, Duration::ZERO, self.corrupts, Arc::default()));
        Ok(ByteStream::new(ours))
    }

    async fn stream(&self, by: &Principal, line: &CommandLine) -> Result<ByteStream, TransportError> {
        self.inner.stream(by, line).await
    }
}
