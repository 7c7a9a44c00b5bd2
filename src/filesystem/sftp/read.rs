//! Reading files: ranges with many requests in flight, and whole files as streams of constant memory.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, FuturesOrdered, Stream};
use futures::{FutureExt, StreamExt, TryStreamExt};

use super::budget::Share;
use super::errors::{attributes, bytes, filesystem_error};
use super::proof::{Links, prove};
use super::protocol::{Attributes, OpenFlags, Request, Response, Status};
use super::session::{Failure, Handle, Session};
use crate::domain::{FileType, FileVersion, RemotePath};
use crate::filesystem::{ContentStream, FilesystemError, regular};

/// The maximum number of bytes read or written over the control session; more goes over a separate session on the bulk lane.
pub const SMALL: u64 = 256 * 1024;

/// The maximum number of requests of a transfer in flight, if the size of the blocks allows it.
pub const MAX_REQUESTS: usize = 128;

/// A regular file that is open for reading.
#[derive(Clone)]
pub struct Source {
    session: Arc<Session>,
    handle: Arc<Handle>,
    path: RemotePath,
    /// The file when it was opened.
    pub version: FileVersion,
    /// Its attributes then.
    pub attributes: Attributes,
}

/// A regular file that was looked at, to be opened.
#[derive(Clone, Copy)]
pub struct Found {
    attributes: Attributes,
    links: Links,
}

impl Found {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.attributes.size.unwrap_or_default()
    }
}

impl Source {
    /// The state of a regular file. It is asked for before the file is opened, since opening a named pipe would block the server.
    ///
    /// # Errors
    /// If it does not exist, or is something else; [`FilesystemError::Changed`] for a link that is not followed.
    pub async fn look(session: &Session, path: &RemotePath, links: Links) -> Result<Found, FilesystemError> {
        let request = match links {
            Links::Followed => Request::Stat { path: bytes(path) },
            Links::OnTheWay | Links::None => Request::Lstat { path: bytes(path) },
        };
        let attributes = attributes(session, path, &request).await?;
        if attributes.file_type() == FileType::Symlink {
            return Err(FilesystemError::Changed(path.clone()));
        }
        regular(path, attributes.mode.unwrap_or_default())?;
        Ok(Found { attributes, links })
    }

    /// Opens a file that was found regular, and in this state; where not all links are followed, the state is that of the open file.
    ///
    /// # Errors
    /// If it may not be read; [`FilesystemError::Changed`] as [`prove`] has it.
    pub async fn open(session: &Arc<Session>, path: &RemotePath, found: Found) -> Result<Self, FilesystemError> {
        let request = Request::Open { path: bytes(path), flags: OpenFlags::READ, attributes: Attributes::default() };
        let handle = session.handle(&request).await.map_err(|failure| filesystem_error(path, failure))?;
        let attributes = match found.links {
            Links::Followed => found.attributes,
            links => prove(session, &handle, path, links).await?,
        };
        let version = version(&attributes);
        Ok(Self { session: session.clone(), handle: Arc::new(handle), path: path.clone(), version, attributes })
    }

    /// Its size in bytes when it was opened.
    pub fn size(&self) -> u64 {
        self.version.size
    }

    /// Reads `length` bytes from `offset`, in pieces and in order; fewer at the end of the file. `first` is read alone before
    /// the window opens, for readers that mostly need no more.
    pub fn range(&self, offset: u64, length: u64, first: Option<u32>) -> impl Stream<Item = Result<Bytes, FilesystemError>> + Send + use<> {
        let head = u64::from(first.unwrap_or(0)).min(length);
        let lone = (head > 0).then(|| self.clone().step(Step::Block(offset, u32::try_from(head).unwrap_or(u32::MAX))));
        flatten(stream::iter(lone).then(|lone| lone).chain(self.steps(offset + head, offset.saturating_add(length), false)))
    }

    /// The blocks from `offset` to `end`, and behind them the question whether the file is still the one that was opened. As many
    /// are requested at once as there is memory for.
    fn steps(&self, offset: u64, end: u64, check: bool) -> impl Stream<Item = Result<Vec<Bytes>, FilesystemError>> + Send + use<> {
        let block = self.session.read_block();
        let blocks = (offset..end).step_by(block as usize);
        let blocks = blocks.map(move |at| Step::Block(at, u32::try_from(end - at).unwrap_or(u32::MAX).min(block)));
        let steps = blocks.chain(check.then_some(Step::Check)).peekable();
        let ahead = (self.clone(), steps, FuturesOrdered::new(), Share::new());
        stream::unfold(ahead, |(source, mut steps, mut under_way, mut share)| async move {
            while under_way.len() < MAX_REQUESTS
                && let Some(grant) = steps.peek().and_then(|step| share.grant(step.length()))
                && let Some(step) = steps.next()
            {
                under_way.push_back(source.clone().step(step).map(|pieces| (pieces, grant)));
            }
            let (pieces, grant) = under_way.next().await?;
            share.release(Some(grant));
            Some((pieces, (source, steps, under_way, share)))
        })
    }

    /// Reads a range whole.
    ///
    /// # Errors
    /// If a read fails.
    pub async fn bytes(&self, offset: u64, length: u64) -> Result<Vec<u8>, FilesystemError> {
        let mut data = Vec::with_capacity(usize::try_from(length.min(SMALL)).unwrap_or_default());
        let mut pieces = std::pin::pin!(self.range(offset, length, None));
        while let Some(piece) = pieces.next().await {
            data.extend_from_slice(&piece?);
        }
        Ok(data)
    }

    /// The whole content, as long as the file was when it was opened.
    pub fn whole(self) -> ContentStream {
        let size = self.size();
        self.stream(0..size)
    }

    /// The bytes of a range that lies within the file. Fails where the file has become shorter, and where it was written over
    /// while it was read: the last piece is held back until the server has told that, which it is asked right behind the last
    /// read.
    pub fn stream(self, range: Range<u64>) -> ContentStream {
        let left = range.end.saturating_sub(range.start);
        let pieces = flatten(self.steps(range.start, range.end, left > 0)).boxed().fuse();
        let path = self.path;
        stream::try_unfold((pieces, left, None), move |(mut pieces, mut left, mut held)| {
            let path = path.clone();
            async move {
                while let Some(piece) = pieces.next().await.transpose()? {
                    left = left.saturating_sub(piece.len() as u64);
                    if let Some(ready) = held.replace(piece) {
                        return Ok(Some((ready, (pieces, left, held))));
                    }
                }
                if left > 0 {
                    return Err(FilesystemError::shortened(&path));
                }
                Ok(held.take().map(|last| (last, (pieces, left, None))))
            }
        })
        .boxed()
    }

    /// The error for a file that has become shorter since it was opened.
    pub fn shortened(&self) -> FilesystemError {
        FilesystemError::shortened(&self.path)
    }

    async fn step(self, step: Step) -> Result<Vec<Bytes>, FilesystemError> {
        match step {
            Step::Block(offset, length) => self.block(offset, length).await.map_err(|failure| filesystem_error(&self.path, failure)),
            Step::Check => {
                let found = attributes(&self.session, &self.path, &Request::Fstat { handle: self.handle.bytes() }).await?;
                if self.version.is_kept_by(&version(&found)) { Ok(Vec::new()) } else { Err(FilesystemError::Changed(self.path.clone())) }
            }
        }
    }

    /// Reads one block, which a server may answer in parts. An empty piece at the end means the end of the file.
    async fn block(&self, offset: u64, length: u32) -> Result<Vec<Bytes>, Failure> {
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

/// The requests for reading a file.
enum Step {
    /// This many bytes from an offset.
    Block(u64, u32),
    /// Whether the file is unchanged.
    Check,
}

impl Step {
    /// The maximum size of the reply, in bytes.
    fn length(&self) -> usize {
        match self {
            Self::Block(_, length) => *length as usize,
            Self::Check => 0,
        }
    }
}

/// The pieces of the blocks, in order, up to the end of the file.
fn flatten(
    blocks: impl Stream<Item = Result<Vec<Bytes>, FilesystemError>> + Send,
) -> impl Stream<Item = Result<Bytes, FilesystemError>> + Send {
    blocks
        .map_ok(|pieces| stream::iter(pieces.into_iter().map(Ok)))
        .try_flatten()
        // An empty piece means the end of the file; blocks beyond it are not awaited.
        .take_while(|piece| futures::future::ready(!matches!(piece, Ok(bytes) if bytes.is_empty())))
}

/// The file that these attributes are of.
pub fn version(attributes: &Attributes) -> FileVersion {
    let modified = attributes.times.map_or(0, |(_, modified)| modified.into());
    FileVersion { size: attributes.size.unwrap_or_default(), modified, inode: 0 }
}
