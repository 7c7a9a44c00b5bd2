//! Reading files: ranges with many requests in flight, and whole files as streams of constant memory.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, Stream};
use futures::{StreamExt, TryStreamExt};

use super::errors::{attributes, bytes, filesystem_error};
use super::protocol::{Attributes, OpenFlags, Request, Response, Status};
use super::session::{Failure, Handle, Session};
use crate::domain::RemotePath;
use crate::filesystem::{ContentStream, FilesystemError, regular};

/// What is read or written over the control session; more goes over a session of its own on the bulk lane.
pub const SMALL: u64 = 256 * 1024;

/// Bytes that a transfer has in flight, where the block size leaves the choice.
const IN_FLIGHT_BYTES: u32 = 8 * 1024 * 1024;

/// Requests that a transfer has in flight for blocks of this size.
pub fn window(block: u32) -> usize {
    (IN_FLIGHT_BYTES / block.max(1)).clamp(32, 64) as usize
}

/// A regular file that is open for reading.
#[derive(Clone)]
pub struct Source {
    session: Arc<Session>,
    handle: Arc<Handle>,
    path: RemotePath,
    /// Its size in bytes when it was opened.
    pub size: u64,
}

impl Source {
    /// Opens a regular file.
    ///
    /// # Errors
    /// When it does not exist, is something else, or may not be read.
    pub async fn open(session: &Arc<Session>, path: &RemotePath) -> Result<Self, FilesystemError> {
        // Asked first, since opening a named pipe would block the server.
        let found = attributes(session, path, &Request::Stat { path: bytes(path) }).await?;
        regular(path, found.mode.unwrap_or_default())?;
        let request = Request::Open { path: bytes(path), flags: OpenFlags::READ, attributes: Attributes::default() };
        let handle = session.handle(&request).await.map_err(|failure| filesystem_error(path, failure))?;
        Ok(Self { session: session.clone(), handle: Arc::new(handle), path: path.clone(), size: found.size.unwrap_or_default() })
    }

    /// Reads `length` bytes from `offset`, in pieces and in order; fewer at the end of the file. `first` is read alone before
    /// the window opens, for readers that mostly need no more.
    pub fn range(&self, offset: u64, length: u64, first: Option<u32>) -> impl Stream<Item = Result<Bytes, FilesystemError>> + Send + use<> {
        let block = self.session.capabilities().read_block();
        let head = u64::from(first.unwrap_or(0)).min(length);
        let end = offset.saturating_add(length);
        let lone = (head > 0).then(|| self.clone().block(offset, u32::try_from(head).unwrap_or(block)));
        let source = self.clone();
        let rest = stream::iter((offset + head..end).step_by(block as usize))
            .map(move |at| source.clone().block(at, u32::try_from(end - at).unwrap_or(u32::MAX).min(block)))
            .buffered(window(block));
        let path = self.path.clone();
        stream::iter(lone)
            .then(|lone| lone)
            .chain(rest)
            .map_err(move |failure| filesystem_error(&path, failure))
            .map_ok(|pieces| stream::iter(pieces.into_iter().map(Ok)))
            .try_flatten()
            // An empty piece stands for the end of the file; blocks beyond it need not be waited for.
            .take_while(|piece| futures::future::ready(!matches!(piece, Ok(bytes) if bytes.is_empty())))
    }

    /// Reads a range whole.
    ///
    /// # Errors
    /// When a read fails.
    pub async fn bytes(&self, offset: u64, length: u64) -> Result<Vec<u8>, FilesystemError> {
        let mut data = Vec::with_capacity(usize::try_from(length.min(SMALL)).unwrap_or_default());
        let mut pieces = std::pin::pin!(self.range(offset, length, None));
        while let Some(piece) = pieces.next().await {
            data.extend_from_slice(&piece?);
        }
        Ok(data)
    }

    /// The whole content, as long as the file was when it was opened. Fails where the file has become shorter.
    pub fn stream(self) -> ContentStream {
        let left = self.size;
        let path = self.path.clone();
        let pieces = self.range(0, self.size, None).boxed();
        stream::try_unfold((pieces, left), move |(mut pieces, left)| {
            let path = path.clone();
            async move {
                match pieces.next().await {
                    Some(piece) => {
                        let piece = piece?;
                        let left = left.saturating_sub(piece.len() as u64);
                        Ok(Some((piece, (pieces, left))))
                    }
                    None if left == 0 => Ok(None),
                    None => Err(FilesystemError::shortened(&path)),
                }
            }
        })
        .boxed()
    }

    /// The error for a file that has become shorter since it was opened.
    pub fn shortened(&self) -> FilesystemError {
        FilesystemError::shortened(&self.path)
    }

    /// Reads one block, which a server may answer in parts. An empty piece at the end stands for the end of the file.
    async fn block(self, offset: u64, length: u32) -> Result<Vec<Bytes>, Failure> {
        let mut pieces = Vec::with_capacity(1);
        let (mut at, mut left) = (offset, length);
        while left > 0 {
            match self.session.request(&Request::Read { handle: self.handle.bytes(), offset: at, length: left }).await {
                Ok(Response::Data { data }) if !data.is_empty() && data.len() <= left as usize => {
                    at += data.len() as u64;
                    left -= u32::try_from(data.len()).unwrap_or(left);
                    pieces.push(data);
                }
                Ok(_) => return Err(Failure::unexpected()),
                Err(Failure::Status(Status::Eof, _)) => {
                    pieces.push(Bytes::new());
                    break;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(pieces)
    }
}
