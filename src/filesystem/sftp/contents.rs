//! Contents of files by SFTP.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::timeout;

use super::errors::{attributes, bytes, filesystem_error, making};
use super::finish::{Properties, finish};
use super::follow::Follower;
use super::missing::explained;
use super::proof::{Links, again, prove};
use super::protocol::{Attributes, OpenFlags, Request};
use super::read::{Found, SMALL, Source};
use super::session::{Failure, Handle, Session};
use super::target::Target;
use super::upload::{TargetRights, Upload, discard, write};
use super::waiting::Lease;
use super::{Sftp, cannot_run_commands};
use crate::domain::{Alternative, ByteRange, Checksum, Content, Principal, RemotePath};
use crate::filesystem::contents::wanted;
use crate::filesystem::temporary::temporary_beside;
use crate::filesystem::{
    ArchiveFormat, ContentStream, Contents, Digested, Download, Expected, FilesystemError, FollowFrom, FollowStream, Part, PartOptions,
    PlaceOptions, Placed, UploadOptions,
};
use crate::ssh::TransportError;

#[async_trait]
impl Contents for Sftp {
    async fn file_type(&self, principal: &Principal, path: &RemotePath) -> Result<String, FilesystemError> {
        self.exec.file_type(principal, path).await
    }

    async fn head(&self, principal: &Principal, path: &RemotePath, part: Part) -> Result<Content, FilesystemError> {
        let data = self.in_time(self.part(principal, path, part, true)).await?;
        Ok(part.head_content(data))
    }

    async fn tail(&self, principal: &Principal, path: &RemotePath, part: Part) -> Result<Content, FilesystemError> {
        let data = self.in_time(self.part(principal, path, part, false)).await?;
        Ok(part.tail_content(data))
    }

    async fn view(&self, principal: &Principal, path: &RemotePath, offset: u64, size: u64) -> Result<Vec<u8>, FilesystemError> {
        if size > self.settings.max_ops_file_size {
            return Err(FilesystemError::TooLarge(self.settings.max_ops_file_size));
        }
        let small = |session: Arc<Session>| async move {
            let found = Source::look(&session, path, Links::Followed).await?;
            // The size of a file such as those in /proc is 0, whatever it holds.
            let length = if found.size() == 0 { size } else { size.min(found.size().saturating_sub(offset)) };
            match length <= SMALL {
                true => Source::open(&session, path, found).await?.bytes(offset, length).await.map(Ok),
                false => Ok(Err((found, length))),
            }
        };
        match self.sessions.run(principal, true, small).await? {
            Ok(content) => Ok(content),
            Err((found, length)) => {
                let (_session, source) = self.open_large(principal, path, found).await?;
                source.bytes(offset, length).await
            }
        }
    }

    async fn checksum(&self, principal: &Principal, path: &RemotePath) -> Result<Checksum, FilesystemError> {
        let by_command = async { self.exec.checksum(principal, path).await.map(|checksum| Digested { checksum, mode: 0, size: 0 }) };
        Ok(self.digested(principal, path, Links::Followed, by_command).await?.checksum)
    }

    async fn checksum_real(&self, principal: &Principal, path: &RemotePath) -> Result<Digested, FilesystemError> {
        again(|| self.digested(principal, path, Links::None, self.exec.checksum_real(principal, path))).await
    }

    async fn download(
        &self,
        principal: &Principal,
        path: &RemotePath,
        range: Option<ByteRange>,
        cap: Option<u64>,
    ) -> Result<Download, FilesystemError> {
        self.opened(principal, path, Links::Followed, |size| wanted(size, range, cap)).await
    }

    async fn download_real(
        &self,
        principal: &Principal,
        path: &RemotePath,
        range: Option<ByteRange>,
        cap: Option<u64>,
    ) -> Result<Download, FilesystemError> {
        again(|| self.opened(principal, path, Links::None, |size| wanted(size, range, cap))).await
    }

    async fn upload(
        &self,
        principal: &Principal,
        path: &RemotePath,
        mut content: ContentStream,
        options: UploadOptions,
    ) -> Result<Placed, FilesystemError> {
        let find = |session: Arc<Session>| async move { Target::find(&session, path, options.expected).await };
        let target = self.sessions.run(principal, true, find).await?;
        let upload = Upload { sessions: &self.sessions, exec: &self.exec, principal, target: &target, options };
        // What fits goes over the session that is open already, and can be sent again where that one breaks, unless what was
        // done already would then be in the way.
        let again = options.expected == Expected::Anything;
        let (mut start, mut length) = (Vec::new(), 0);
        while length <= SMALL && options.length.is_none_or(|said| said <= SMALL) {
            match content.next().await {
                Some(piece) => {
                    let piece = piece?;
                    length += piece.len() as u64;
                    start.push(piece);
                }
                None => {
                    let (start, upload) = (&start, &upload);
                    let whole =
                        |session: Arc<Session>| async move { upload.run(&session, stream::iter(start.clone()).map(Ok).boxed()).await };
                    return self.sessions.run(principal, again, whole).await;
                }
            }
        }
        let session = self.sessions.bulk(principal).await?;
        explained(&session, upload.run(&session, stream::iter(start).map(Ok).chain(content).boxed()).await).await
    }

    async fn begin_part(
        &self,
        principal: &Principal,
        part: &RemotePath,
        target: &RemotePath,
        is_private: bool,
    ) -> Result<(), FilesystemError> {
        self.exec.sweep(principal, target);
        let begin = |session: Arc<Session>| async move {
            let found = Target::find(&session, target, Expected::Anything).await?;
            let attributes = if is_private { Attributes::with_mode(0o600) } else { found.creation(0o600) };
            let request = Request::Open { path: bytes(part), flags: OpenFlags::CREATE_NEW, attributes };
            let handle = match session.handle(&request).await {
                Ok(handle) => handle,
                Err(failure) => return Err(making(&session, part, failure).await.beside(target)),
            };
            let permitted = found.permits(&session, &handle, part).await;
            handle.close().await.map_err(|failure| filesystem_error(part, failure))?;
            if let Err(error) = permitted {
                session.command(&Request::Remove { path: bytes(part) }).await.map_err(|failure| filesystem_error(part, failure))?;
                return Err(error);
            }
            Ok(())
        };
        self.sessions.run(principal, false, begin).await
    }

    async fn extend_part(
        &self,
        principal: &Principal,
        part: &RemotePath,
        content: ContentStream,
        options: PartOptions,
    ) -> Result<u64, FilesystemError> {
        let PartOptions { offset, length, all_or_nothing } = options;
        let session = self.sessions.bulk(principal).await?;
        let failed = |failure| filesystem_error(part, failure);
        let (handle, opened) = self.open_part(principal, &session, part, OpenFlags::WRITE).await?;
        let size = opened.size.unwrap_or_default();
        if size != offset {
            return Err(FilesystemError::Offset(size));
        }
        let (end, outcome) = write(&session, &handle, part, offset, content, Some(length)).await;
        if let Err(error) = outcome {
            if let FilesystemError::Transport(TransportError::Broken { sent }) = error {
                return Err(TransportError::Broken { sent: sent || end > offset }.into());
            }
            self.cut(principal, &session, &handle, part, if all_or_nothing { offset } else { end }).await?;
            handle.close().await.map_err(failed)?;
            return Err(error);
        }
        match finish(&session, handle, part, None, end, Properties::default()).await {
            Ok(_) => Ok(end),
            Err(error) => {
                // An unknown part of what the server had accepted is lost; earlier content is not.
                let (handle, found) = part_at(&session, part, OpenFlags::WRITE).await?;
                if found.owner != opened.owner {
                    return Err(FilesystemError::Changed(part.clone()));
                }
                self.cut(principal, &session, &handle, part, offset).await?;
                handle.close().await.map_err(failed)?;
                Err(error)
            }
        }
    }

    async fn place_part(
        &self,
        principal: &Principal,
        part: &RemotePath,
        target: &RemotePath,
        options: PlaceOptions,
    ) -> Result<Placed, FilesystemError> {
        let PlaceOptions { size, expected, mode } = options;
        let place = |session: Arc<Session>| async move {
            let target = Target::find(&session, target, expected).await?;
            // An earlier attempt may have given it a mode that does not let it be written to.
            let flags = if mode.is_some() { OpenFlags::READ } else { OpenFlags::WRITE };
            let (handle, opened) = self.open_part(principal, &session, part, flags).await?;
            let target_rights = TargetRights { exec: &self.exec, principal, target: &target };
            target_rights.narrow(part, &opened).await;
            let wanted = Properties { rights: target_rights.rights(&session, &handle, part).await?, times: None, mode };
            let finished = finish(&session, handle, part, Some(part), size, wanted).await?;
            let _alone = self.exec.placing.lock(&target.path).await;
            target.take(&session, part, &finished, expected).await
        };
        self.sessions.run(principal, false, place).await
    }

    async fn pack(&self, principal: &Principal, source: &RemotePath, format: ArchiveFormat) -> Result<ContentStream, FilesystemError> {
        self.exec.pack(principal, source, format).await
    }

    async fn pack_real(&self, principal: &Principal, source: &RemotePath, format: ArchiveFormat) -> Result<ContentStream, FilesystemError> {
        self.exec.pack_real(principal, source, format).await
    }

    async fn unpack(
        &self,
        principal: &Principal,
        target: &RemotePath,
        format: ArchiveFormat,
        content: ContentStream,
        cap: Option<u64>,
    ) -> Result<Placed, FilesystemError> {
        self.exec.unpack(principal, target, format, content, cap).await
    }

    async fn follow(&self, principal: &Principal, path: &RemotePath, from: FollowFrom) -> Result<FollowStream, FilesystemError> {
        Follower::start(&self.sessions, principal, path, from).await
    }
}

impl Sftp {
    /// Opens a file, and as much of it as is `wanted` of its size.
    async fn opened(
        &self,
        principal: &Principal,
        path: &RemotePath,
        links: Links,
        wanted: impl Fn(u64) -> Result<Range<u64>, FilesystemError> + Copy + Send + Sync,
    ) -> Result<Download, FilesystemError> {
        let download = |source: &Source, range, content| {
            let mode = source.attributes.mode.unwrap_or_default();
            Download { version: source.version, mode, range, content }
        };
        let small = |session: Arc<Session>| async move {
            let found = Source::look(&session, path, links).await?;
            let range = wanted(found.size())?;
            if range.end - range.start > SMALL {
                return Ok(Err(found));
            }
            let source = Source::open(&session, path, found).await?;
            let range = wanted(source.size())?;
            if source.size() == 0 && !source.bytes(0, 1).await?.is_empty() {
                return Err(FilesystemError::Sizeless(path.clone()));
            }
            let pieces: Vec<_> = source.clone().stream(range.clone()).try_collect().await?;
            Ok(Ok(download(&source, range, stream::iter(pieces).map(Ok).boxed())))
        };
        let found = match self.sessions.run(principal, true, small).await? {
            Ok(download) => return Ok(download),
            Err(large) => large,
        };
        let (session, source) = self.open_large(principal, path, found).await?;
        let range = wanted(source.size())?;
        // The session is the transfer's until the content is dropped.
        let content = source.clone().stream(range.clone()).inspect(move |_| _ = &session).boxed();
        Ok(download(&source, range, content))
    }

    async fn open_large(&self, principal: &Principal, path: &RemotePath, found: Found) -> Result<(Lease, Source), FilesystemError> {
        self.sessions.bulk_for(principal, |session| async move { Source::open(&session, path, found).await }).await
    }

    /// The digest of a file. Small ones are read; the rest is left to the cluster's own `sha256sum`, which saves the network, and read only where no
    /// command can be run.
    async fn digested(
        &self,
        principal: &Principal,
        path: &RemotePath,
        links: Links,
        by_command: impl Future<Output = Result<Digested, FilesystemError>> + Send,
    ) -> Result<Digested, FilesystemError> {
        let read = |source: Source| async move {
            let (mode, size) = (source.attributes.mode.unwrap_or_default(), source.size());
            Ok::<_, FilesystemError>(Digested { checksum: self.digest(source.whole()).await?, mode, size })
        };
        let small = |session: Arc<Session>| async move {
            let found = Source::look(&session, path, links).await?;
            match found.size() <= SMALL {
                true => read(Source::open(&session, path, found).await?).await.map(Ok),
                false => Ok(Err(found)),
            }
        };
        let found = match self.sessions.run(principal, true, small).await? {
            Ok(digested) => return Ok(digested),
            Err(found) => found,
        };
        match by_command.await {
            Err(error) if cannot_run_commands(&error) => {}
            result => return result,
        }
        let (_session, source) = self.open_large(principal, path, found).await?;
        let limit = self.settings.copy_timeout;
        timeout(limit, read(source))
            .await
            .map_err(|_| FilesystemError::TooSlow { seconds: limit.as_secs(), instead: Alternative::ChecksumOfCopy })?
    }

    /// Opens a part, and proves that it is the user's own: in a directory of many, another user's file may have been put in its place. A command also
    /// sees whether its name is the only one of the file, since another one could be that of a file whose rights are not to be changed.
    async fn open_part(
        &self,
        principal: &Principal,
        session: &Arc<Session>,
        part: &RemotePath,
        flags: OpenFlags,
    ) -> Result<(Handle, Attributes), FilesystemError> {
        let (handle, opened) = part_at(session, part, flags).await?;
        match self.exec.is_own(principal, part, opened.owner.map(|(user, _)| user)).await {
            Ok(true) => return Ok((handle, opened)),
            Ok(false) => return Err(FilesystemError::Changed(part.clone())),
            Err(error) if cannot_run_commands(&error) => {}
            Err(error) => return Err(error),
        }
        // One open file of a request must not wait for another.
        drop(handle);
        let user = self.owner_of_new_files(principal, session, part).await?;
        let (handle, opened) = part_at(session, part, flags).await?;
        match opened.owner.map(|(user, _)| user) == user {
            true => Ok((handle, opened)),
            false => Err(FilesystemError::Changed(part.clone())),
        }
    }

    /// The owner of a file that the user makes beside `path`, as the server has it.
    async fn owner_of_new_files(
        &self,
        principal: &Principal,
        session: &Arc<Session>,
        path: &RemotePath,
    ) -> Result<Option<u32>, FilesystemError> {
        let made = temporary_beside(path);
        let temporary = self.exec.temporaries.add(discard(&self.sessions, principal, session, &made));
        let request = Request::Open { path: bytes(&made), flags: OpenFlags::CREATE_NEW, attributes: Attributes::with_mode(0o600) };
        let handle = session.handle(&request).await.map_err(|failure| filesystem_error(path, failure))?;
        let (fstat, remove) = (Request::Fstat { handle: handle.bytes() }, Request::Remove { path: bytes(&made) });
        let (found, removed) = futures::join!(attributes(session, path, &fstat), session.command(&remove));
        if removed.is_ok() {
            temporary.placed();
        }
        Ok(found?.owner.map(|(user, _)| user))
    }

    /// Cuts a part to its first `size` bytes, which are known to be the right ones; by a command, where the server sets no sizes. One that cannot
    /// be cut is removed: its size would say that what is wrong in it is right.
    async fn cut(
        &self,
        principal: &Principal,
        session: &Session,
        handle: &Handle,
        part: &RemotePath,
        size: u64,
    ) -> Result<(), FilesystemError> {
        let found = attributes(session, part, &Request::Fstat { handle: handle.bytes() }).await?;
        if found.size == Some(size) {
            return Ok(());
        }
        let attributes = Attributes { size: Some(size), ..Attributes::default() };
        match session.command(&Request::Fsetstat { handle: handle.bytes(), attributes }).await {
            Err(Failure::Status(..)) if self.exec.cut(principal, part, size).await.is_ok() => Ok(()),
            Err(Failure::Status(..)) => {
                session.command(&Request::Remove { path: bytes(part) }).await.map_err(|failure| filesystem_error(part, failure))
            }
            result => result.map_err(|failure| filesystem_error(part, failure)),
        }
    }
}

/// Opens a part, whose name must not be that of a link, which would lead to another file.
async fn part_at(session: &Arc<Session>, part: &RemotePath, flags: OpenFlags) -> Result<(Handle, Attributes), FilesystemError> {
    let request = Request::Open { path: bytes(part), flags, attributes: Attributes::default() };
    let handle = session.handle(&request).await.map_err(|failure| filesystem_error(part, failure))?;
    let opened = prove(session, &handle, part, Links::OnTheWay).await?;
    Ok((handle, opened))
}
