//! A transport that does something, once, just before a certain request of SFTP, or a certain command, reaches the cluster: what another user does
//! there at that moment.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::BytesMut;
use goldcrest::domain::Principal;
use goldcrest::filesystem::sftp::protocol::{Request, decode_request, encode_request, split_packet};
use goldcrest::ssh::{ByteStream, CommandLine, Exec, LaneKind, RawOutput, Transport, TransportError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::transport::Local;

type Action = Box<dyn FnOnce() + Send>;

/// Something to do at a request, or at a command that has a text in it.
struct Step {
    request: fn(&Request) -> bool,
    command: &'static str,
    /// What the path of the request ends with, and the command has in it.
    path: String,
    action: Action,
}

/// The steps, which are done in their order.
#[derive(Clone, Default)]
pub struct Steps(Arc<Mutex<Vec<Step>>>);

impl Steps {
    /// Adds one.
    pub fn add(&self, request: fn(&Request) -> bool, command: &'static str, path: impl AsRef<str>, action: impl FnOnce() + Send + 'static) {
        let step = Step { request, command, path: path.as_ref().to_owned(), action: Box::new(action) };
        self.0.lock().unwrap().push(step);
    }

    /// Whether all of them were done.
    pub fn are_done(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }

    fn act(&self, is_meant: impl Fn(&Step) -> bool) {
        let step = {
            let mut steps = self.0.lock().unwrap();
            if steps.first().is_some_and(is_meant) { Some(steps.remove(0)) } else { None }
        };
        if let Some(step) = step {
            (step.action)();
        }
    }

    fn at_request(&self, request: &Request) {
        let path = match request {
            Request::Open { path, .. } | Request::Opendir { path } | Request::Lstat { path } | Request::Stat { path } => Some(path),
            _ => None,
        };
        self.act(|step| (step.request)(request) && path.is_none_or(|path| path.ends_with(step.path.as_bytes())));
    }

    fn at_command(&self, line: &CommandLine) {
        let line = String::from_utf8_lossy(line.as_bytes()).into_owned();
        self.act(|step| line.contains(step.command) && line.contains(&step.path));
    }
}

/// The transport.
pub struct Swapping {
    pub inner: Local,
    pub steps: Steps,
}

impl Swapping {
    pub fn new(inner: Local) -> Arc<Self> {
        Arc::new(Self { inner, steps: Steps::default() })
    }
}

async fn carry(client: DuplexStream, server: ByteStream, steps: Steps) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (tokio::io::split(client), tokio::io::split(server));
    tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
    });
    let (mut buffer, mut out) = (BytesMut::new(), BytesMut::new());
    while matches!(from_client.read_buf(&mut buffer).await, Ok(1..)) {
        while let Some(packet) = split_packet(&mut buffer).unwrap() {
            let (id, request) = decode_request(packet).unwrap();
            steps.at_request(&request);
            encode_request(id, &request, &mut out);
            if to_server.write_all(&out.split()).await.is_err() {
                return;
            }
        }
    }
}

#[async_trait]
impl Transport for Swapping {
    async fn exec(&self, by: &Principal, exec: Exec) -> Result<RawOutput, TransportError> {
        self.steps.at_command(&exec.line);
        self.inner.exec(by, exec).await
    }

    async fn subsystem(&self, by: &Principal, lane: LaneKind, name: &'static str) -> Result<ByteStream, TransportError> {
        let server = self.inner.subsystem(by, lane, name).await?;
        let (ours, theirs) = tokio::io::duplex(256 * 1024);
        tokio::spawn(carry(theirs, server, self.steps.clone()));
        Ok(ByteStream::new(ours))
    }

    async fn stream(&self, by: &Principal, line: &CommandLine) -> Result<ByteStream, TransportError> {
        self.steps.at_command(line);
        self.inner.stream(by, line).await
    }
}
