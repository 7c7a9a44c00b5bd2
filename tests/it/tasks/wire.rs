//! A transport that looks at each request of an SFTP session, and can cut the session there once; and one that can be away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use goldcrest::domain::Principal;
use goldcrest::filesystem::sftp::protocol::{Request, decode_request, encode_request, split_packet};
use goldcrest::ssh::{ByteStream, CommandLine, Exec, LaneKind, RawOutput, Transport, TransportError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::files::transport::{Local, Subsystem};

/// The time in which the server carries out what it has received.
const CARRIED_OUT: Duration = Duration::from_millis(300);

/// Which requests are meant.
pub type Which = fn(&Request) -> bool;

/// Whether a session is cut before a request arrives, or after it was carried out, without the reply; or stays, and nothing else is reached from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Before,
    After,
    Away,
    Never,
}

/// The transport.
pub struct Wire {
    inner: Local,
    which: Which,
    cut: Cut,
    /// The number of such requests.
    pub seen: Arc<AtomicUsize>,
    /// Nothing is reached now.
    pub is_away: Arc<AtomicBool>,
}

impl Wire {
    pub fn new(which: Which, cut: Cut) -> Arc<Self> {
        let inner = Local::new(Subsystem::Own);
        Arc::new(Self { inner, which, cut, seen: Arc::default(), is_away: Arc::default() })
    }

    /// One that cuts nothing.
    pub fn counting(which: Which) -> Arc<Self> {
        Self::new(which, Cut::Never)
    }

    fn reached(&self) -> Result<(), TransportError> {
        if self.is_away.load(Ordering::SeqCst) { Err(TransportError::Broken { sent: false }) } else { Ok(()) }
    }
}

/// Carries a session until one side ends, or it is cut.
async fn carry(client: DuplexStream, server: ByteStream, (which, cut): (Which, Cut), seen: Arc<AtomicUsize>, is_away: Arc<AtomicBool>) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (tokio::io::split(client), tokio::io::split(server));
    let answers = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
    });
    let (mut buffer, mut out) = (BytesMut::new(), BytesMut::new());
    loop {
        while let Some(packet) = split_packet(&mut buffer).unwrap() {
            let (id, request) = decode_request(packet).unwrap();
            encode_request(id, &request, &mut out);
            let is_first = which(&request) && seen.fetch_add(1, Ordering::SeqCst) == 0;
            if is_first && cut == Cut::Away {
                is_away.store(true, Ordering::SeqCst);
            } else if is_first && cut != Cut::Never {
                answers.abort();
                if cut == Cut::After {
                    to_server.write_all(&out).await.unwrap();
                    tokio::time::sleep(CARRIED_OUT).await;
                }
                return;
            }
            if to_server.write_all(&out.split()).await.is_err() {
                return;
            }
        }
        if !matches!(from_client.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}

#[async_trait]
impl Transport for Wire {
    async fn exec(&self, by: &Principal, exec: Exec) -> Result<RawOutput, TransportError> {
        self.reached()?;
        self.inner.exec(by, exec).await
    }

    async fn subsystem(&self, by: &Principal, lane: LaneKind, name: &'static str) -> Result<ByteStream, TransportError> {
        self.reached()?;
        let server = self.inner.subsystem(by, lane, name).await?;
        let (ours, theirs) = tokio::io::duplex(256 * 1024);
        tokio::spawn(carry(theirs, server, (self.which, self.cut), Arc::clone(&self.seen), Arc::clone(&self.is_away)));
        Ok(ByteStream::new(ours))
    }

    async fn stream(&self, by: &Principal, line: &CommandLine) -> Result<ByteStream, TransportError> {
        self.reached()?;
        self.inner.stream(by, line).await
    }
}
