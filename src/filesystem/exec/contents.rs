//! Contents of files by commands.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;

use super::archive::{Merge, PlacementError};
use super::change::What;
use super::content::{FileKind, Range, RealSha256, Sha256, Unreadable};
use super::copy::Move;
use super::errors::line_error;
use super::follow::Follower;
use super::scripts::{Discard, Found, PlaceFile, Resize, Resolve};
use super::{CommandFiles, archive_head, scripts, streamed};
use crate::domain::{Alternative, ByteRange, Checksum, Content, FileStat, FileType, FileVersion, Principal, RemotePath};
use crate::filesystem::contents::wanted;
use crate::filesystem::temporary::{temporary_beside, temporary_in};
use crate::filesystem::{
    ArchiveFormat, ContentStream, Contents, Digested, Download, Entries, Expected, FilesystemError, FollowFrom, FollowStream, Part,
    PartOptions, PlaceOptions, Placed, SOME_PLACED, UploadOptions, regular,
};
use crate::ssh::{CommandError, CommandLine};

#[async_trait]
impl Contents for CommandFiles {
    async fn file_type(&self, principal: &Principal, path: &RemotePath) -> Result<String, FilesystemError> {
        self.run(principal, &[path], &FileKind { seconds: self.seconds(), path }).await
    }

    async fn head(&self, principal: &Principal, path: &RemotePath, part: Part) -> Result<Content, FilesystemError> {
        self.read(principal, path, Range::Head(part)).await.map(|data| part.head_content(data))
    }

    async fn tail(&self, principal: &Principal, path: &RemotePath, part: Part) -> Result<Content, FilesystemError> {
        self.read(principal, path, Range::Tail(part)).await.map(|data| part.tail_content(data))
    }

    async fn view(&self, principal: &Principal, path: &RemotePath, offset: u64, size: u64) -> Result<Vec<u8>, FilesystemError> {
        if size > self.settings.max_ops_file_size {
            return Err(FilesystemError::TooLarge(self.settings.max_ops_file_size));
        }
        self.read(principal, path, Range::View { offset, size }).await
    }

    async fn checksum(&self, principal: &Principal, path: &RemotePath) -> Result<Checksum, FilesystemError> {
        self.regular(principal, path).await?;
        let command = Sha256 { seconds: self.long_seconds(), path };
        let hex = self.run_sized(principal, &[path], &command, Alternative::ChecksumJob).await?;
        Ok(Checksum { algorithm: "SHA256", hex })
    }

    async fn download(
        &self,
        principal: &Principal,
        path: &RemotePath,
        range: Option<ByteRange>,
        cap: Option<u64>,
    ) -> Result<Download, FilesystemError> {
        let found = self.stat(principal, path, true).await?;
        let range = self.range_of(principal, path, &found, range, cap).await?;
        let line = scripts::send(path, &FileVersion::from(&found), &range);
        match self.opened(principal, path, &line, &found, range).await {
            Err(error) => Err(self.why_not_read(principal, path, error).await),
            opened => opened,
        }
    }

    async fn download_real(
        &self,
        principal: &Principal,
        path: &RemotePath,
        range: Option<ByteRange>,
        cap: Option<u64>,
    ) -> Result<Download, FilesystemError> {
        let found = self.stat(principal, path, false).await?;
        if FileType::from_mode(found.mode) == FileType::Symlink {
            return Err(FilesystemError::Changed(path.clone()));
        }
        let range = self.range_of(principal, path, &found, range, cap).await?;
        let line = scripts::send_real(path, &found, &range);
        match self.opened(principal, path, &line, &found, range).await {
            Err(error @ FilesystemError::Transport(_)) => Err(error),
            // Nothing of it was printed: it cannot be opened, or is not what it was.
            Err(_) => Err(self.why_not_read(principal, path, FilesystemError::Changed(path.clone())).await),
            opened => opened,
        }
    }

    async fn checksum_real(&self, principal: &Principal, path: &RemotePath) -> Result<Digested, FilesystemError> {
        let command = RealSha256 { seconds: self.long_seconds(), path };
        let (mode, size, hex) = self.run_sized(principal, &[path], &command, Alternative::ChecksumJob).await?;
        Ok(Digested { checksum: Checksum { algorithm: "SHA256", hex }, mode, size })
    }

    async fn upload(
        &self,
        principal: &Principal,
        path: &RemotePath,
        content: ContentStream,
        options: UploadOptions,
    ) -> Result<Placed, FilesystemError> {
        let (target, found) = self.target(principal, path, options.expected).await?;
        let written = self.write(principal, &target, found.is_some(), content, options).await;
        self.sweep(principal, &target);
        written?;
        Ok(if found.is_some() { Placed::Replaced } else { Placed::Created })
    }

    async fn begin_part(
        &self,
        principal: &Principal,
        part: &RemotePath,
        target: &RemotePath,
        is_private: bool,
    ) -> Result<(), FilesystemError> {
        let (_, found) = self.target(principal, target, Expected::Anything).await?;
        self.sweep(principal, target);
        self.run(principal, &[part, target], &Resize { seconds: self.seconds(), part, to: None, private: is_private || found.is_some() })
            .await
    }

    async fn extend_part(
        &self,
        principal: &Principal,
        part: &RemotePath,
        content: ContentStream,
        options: PartOptions,
    ) -> Result<u64, FilesystemError> {
        let PartOptions { offset, length, all_or_nothing } = options;
        let mut stream = self.transport.stream(principal, &scripts::extend(part, offset)).await?;
        // The command must end by itself even if the content fails, so that the number of written bytes is known.
        let failure = Arc::new(Mutex::new(None));
        let reported = Arc::clone(&failure);
        let content = content.scan((), move |(), piece| {
            let piece = piece.map_err(|error| *reported.lock() = Some(error));
            futures::future::ready(piece.ok().map(Ok))
        });
        let fed = scripts::feed(&mut stream, content.boxed(), Some(length.saturating_sub(offset)), self.settings.stall).await;
        let fed = fed.map_err(|error| if let FilesystemError::TooLarge(_) = error { FilesystemError::TooLarge(length) } else { error });
        drop(stream);
        let failure = failure.lock().take();
        let outcome = match (fed, failure) {
            (Err(error), _) | (Ok(_), Some(error)) => Err(error),
            (Ok((sent, answer)), None) if answer == (offset + sent).to_string() => return Ok(offset + sent),
            (Ok((sent, answer)), None) => {
                if let Some(size) = answer.strip_prefix("ends at ").and_then(|size| size.parse().ok()) {
                    return Err(FilesystemError::Offset(size));
                }
                let error = answer.lines().find_map(|line| line_error(line, &[part]));
                Err(error.unwrap_or_else(|| scripts::not_written(part, sent, answer)))
            }
        };
        if all_or_nothing {
            self.cut(principal, part, offset).await?;
        }
        outcome
    }

    async fn place_part(
        &self,
        principal: &Principal,
        part: &RemotePath,
        target: &RemotePath,
        options: PlaceOptions,
    ) -> Result<Placed, FilesystemError> {
        let (real, found) = self.target(principal, target, options.expected).await?;
        self.place(principal, part, &real, options, true).await?;
        Ok(if found.is_some() { Placed::Replaced } else { Placed::Created })
    }

    async fn pack(&self, principal: &Principal, source: &RemotePath, format: ArchiveFormat) -> Result<ContentStream, FilesystemError> {
        // A path that cannot be opened at all is reported as an error instead of a broken archive.
        self.stat(principal, source, true).await?;
        let stream = self.transport.output_stream(principal, &streamed::pack(source, format)).await?;
        match streamed::archive(stream, source.clone(), self.settings.stall).await {
            Err(error @ FilesystemError::Invalid(_)) => Err(self.why_not_packed(principal, source, error).await),
            outcome => outcome,
        }
    }

    async fn pack_real(&self, principal: &Principal, source: &RemotePath, format: ArchiveFormat) -> Result<ContentStream, FilesystemError> {
        let found = self.stat(principal, source, false).await?;
        if FileType::from_mode(found.mode) != FileType::Directory {
            return Err(FilesystemError::Changed(source.clone()));
        }
        let stream = self.transport.output_stream(principal, &streamed::pack_real(source, format)).await?;
        match streamed::archive(stream, source.clone(), self.settings.stall).await {
            Err(error @ FilesystemError::Invalid(_)) => Err(self.why_not_packed(principal, source, error).await),
            outcome => outcome,
        }
    }

    async fn unpack(
        &self,
        principal: &Principal,
        target: &RemotePath,
        format: ArchiveFormat,
        content: ContentStream,
        cap: Option<u64>,
    ) -> Result<Placed, FilesystemError> {
        let exists = match self.stat(principal, target, true).await {
            Ok(found) if FileType::from_mode(found.mode) == FileType::Directory => true,
            Ok(_) => return Err(FilesystemError::WrongType { path: target.clone(), reason: "Not a directory" }),
            Err(FilesystemError::NotFound(_)) => false,
            Err(error) => return Err(error),
        };
        let content = archive_head::in_format(content, target, format).await?;
        let folder = if exists { temporary_in(target) } else { temporary_beside(target) };
        let (files, user, path) = (self.clone(), principal.clone(), folder.clone());
        let temporary = self.temporaries.add(move || files.clone().discard_folder(user.clone(), path.clone()));
        let content = if format == ArchiveFormat::Tar { streamed::with_its_end(content, target.clone()) } else { content };
        let mut stream = self.transport.stream(principal, &streamed::unpack(&folder, format, exists)).await?;
        let fed = scripts::feed(&mut stream, content, cap, self.settings.stall).await;
        drop(stream);
        let placed = async {
            let (_, answer) = fed?;
            self.place_unpacked(principal, &folder, target, exists, &answer).await
        }
        .await;
        // Afterwards, so that the folder itself is never taken for an abandoned one.
        if exists {
            self.sweep_into(principal, target);
        } else {
            self.sweep(principal, target);
        }
        let placed = placed.map_err(|error| error.with_shown_path(&folder, target))?;
        temporary.placed();
        Ok(placed)
    }

    async fn follow(&self, principal: &Principal, path: &RemotePath, from: FollowFrom) -> Result<FollowStream, FilesystemError> {
        Follower::start(self, principal, path, from).await
    }
}

impl CommandFiles {
    /// Puts an unpacked folder in its place, or its members in theirs if the target `exists`.
    async fn place_unpacked(
        &self,
        principal: &Principal,
        folder: &RemotePath,
        target: &RemotePath,
        exists: bool,
        answer: &str,
    ) -> Result<Placed, FilesystemError> {
        let Some((warnings, begun)) = streamed::unpacked(answer) else {
            let error = answer.lines().find_map(|line| line_error(line, &[target]));
            return Err(error.unwrap_or_else(|| FilesystemError::Invalid(format!("{target}: it could not be unpacked: {answer}"))));
        };
        if !warnings.trim().is_empty() {
            tracing::debug!(%warnings, "an archive was unpacked with warnings");
        }
        if exists {
            let merge = Merge { seconds: self.long_seconds(), unpacked: folder, target, begun };
            match self.run_long(principal, &[folder, target], &merge).await {
                Ok(placed) => placed.map_err(PlacementError::error)?,
                Err(error @ FilesystemError::Command(CommandError::Exit { exit: 124, .. })) => return Err(error.partly(SOME_PLACED)),
                Err(error) => return Err(error),
            }
            Ok(Placed::Replaced)
        } else {
            let beside = temporary_beside(target);
            let place = Move { seconds: self.seconds(), source: folder, target, temporary: &beside, overwrite: false };
            self.run(principal, &[folder, target], &place).await.map_err(|error| error.with_shown_path(&beside, target))?;
            Ok(Placed::Created)
        }
    }

    /// The range to read of a regular file.
    async fn range_of(
        &self,
        principal: &Principal,
        path: &RemotePath,
        found: &FileStat,
        range: Option<ByteRange>,
        cap: Option<u64>,
    ) -> Result<std::ops::Range<u64>, FilesystemError> {
        regular(path, found.mode)?;
        if found.size == 0 && !self.view(principal, path, 0, 1).await?.is_empty() {
            return Err(FilesystemError::Sizeless(path.clone()));
        }
        wanted(found.size, range, cap)
    }

    /// Runs the command that prints a range of a file. What cannot be opened fails before the first piece, when the answer can still say so.
    async fn opened(
        &self,
        principal: &Principal,
        path: &RemotePath,
        line: &CommandLine,
        found: &FileStat,
        range: std::ops::Range<u64>,
    ) -> Result<Download, FilesystemError> {
        let stream = self.transport.output_stream(principal, line).await?;
        let mut content = scripts::content(stream, path.clone(), range.end - range.start, self.settings.stall);
        let first = content.try_next().await?;
        let content = futures::stream::iter(first.map(Ok)).chain(content).boxed();
        Ok(Download { version: FileVersion::from(found), mode: found.mode, range, content })
    }

    /// Why the command that reads a file said no, by another that says why; `error` if that one can read it.
    async fn why_not_read(&self, principal: &Principal, path: &RemotePath, error: FilesystemError) -> FilesystemError {
        if matches!(error, FilesystemError::Transport(_)) {
            return error;
        }
        match self.view(principal, path, 0, 1).await {
            Ok(_) | Err(FilesystemError::Transport(_)) => error,
            Err(reason) => reason,
        }
    }

    /// Why something could not be packed: the part that the user may not read, or `error` if there is another reason.
    async fn why_not_packed(&self, principal: &Principal, source: &RemotePath, error: FilesystemError) -> FilesystemError {
        match self.run(principal, &[source], &Unreadable { seconds: self.seconds(), path: source }).await {
            Ok(Some(path)) => FilesystemError::Denied(path),
            Err(reason @ (FilesystemError::Denied(_) | FilesystemError::NotFound(_))) => reason,
            Ok(None) | Err(_) => error,
        }
    }

    /// The target of a new file, with links followed, and the existing file there, which is as expected. Only the directory must exist.
    async fn target(
        &self,
        principal: &Principal,
        path: &RemotePath,
        expected: Expected,
    ) -> Result<(RemotePath, Option<Found>), FilesystemError> {
        let resolve = Resolve { seconds: self.seconds(), path, is_new: expected == Expected::Nothing };
        let (target, found) = self.run(principal, &[path], &resolve).await.map_err(|error| error.in_making(path))?;
        check(path, found, expected)?;
        Ok((target, found))
    }

    /// Cuts a part to a size.
    pub async fn cut(&self, principal: &Principal, part: &RemotePath, size: u64) -> Result<(), FilesystemError> {
        self.run(principal, &[part], &Resize { seconds: self.seconds(), part, to: Some(size), private: true }).await
    }

    /// Writes the content to a temporary file, and renames it to the target.
    async fn write(
        &self,
        principal: &Principal,
        target: &RemotePath,
        is_private: bool,
        content: ContentStream,
        options: UploadOptions,
    ) -> Result<(), FilesystemError> {
        let beside = temporary_beside(target);
        let (files, user, path) = (self.clone(), principal.clone(), beside.clone());
        let temporary = self.temporaries.add(move || files.clone().discard(user.clone(), path.clone()));
        let mut stream = self.transport.stream(principal, &scripts::receive(&beside, is_private)).await?;
        let (sent, answer) = scripts::feed(&mut stream, content, options.cap, self.settings.stall).await?;
        drop(stream);
        let shown = |error: FilesystemError| error.with_shown_path(&beside, target);
        if answer != sent.to_string() {
            let error = answer.lines().find_map(|line| line_error(line, &[target]));
            return Err(shown(error.unwrap_or_else(|| scripts::not_written(target, sent, answer))));
        }
        self.place(principal, &beside, target, PlaceOptions::new(sent, options.expected), false).await.map_err(shown)?;
        temporary.placed();
        Ok(())
    }

    /// Removes the temporary file of an upload, and looks again a moment later: the command that was cut may have been about to make it.
    async fn discard(self, principal: Principal, temporary: RemotePath) -> Result<(), FilesystemError> {
        let discard = Discard { seconds: self.seconds(), temporary: &temporary };
        self.run(&principal, &[&temporary], &discard).await?;
        tokio::time::sleep(streamed::REMOVAL_PAUSE).await;
        self.run(&principal, &[&temporary], &discard).await
    }

    /// Removes a folder, which the command that fills it may still be about to leave.
    pub(super) async fn discard_folder(self, principal: Principal, folder: RemotePath) -> Result<(), FilesystemError> {
        for _ in 0..streamed::REMOVAL_ATTEMPTS {
            if let error @ Err(FilesystemError::NotFound(_)) = self.change(&principal, &folder, What::RemoveHidden).await {
                return error;
            }
            tokio::time::sleep(streamed::REMOVAL_PAUSE).await;
        }
        self.change(&principal, &folder, What::RemoveHidden).await
    }

    async fn place(
        &self,
        principal: &Principal,
        temporary: &RemotePath,
        target: &RemotePath,
        options: PlaceOptions,
        is_part: bool,
    ) -> Result<(), FilesystemError> {
        let _alone = self.placing.lock(target).await;
        let place = PlaceFile { seconds: self.seconds(), temporary, target, options, is_part };
        match self.run(principal, &[target], &place).await {
            Err(FilesystemError::Command(CommandError::Exit { exit: 8, .. })) => Err(FilesystemError::Changed(temporary.clone())),
            Err(FilesystemError::Command(CommandError::Exit { exit: 9, .. })) => Err(FilesystemError::Changed(target.clone())),
            Err(FilesystemError::Command(CommandError::Exit { exit: 10, .. })) => {
                let reason = format!("it does not have the {} bytes there that were sent", options.size);
                Err(FilesystemError::NotWritten { path: target.clone(), reason })
            }
            result => result,
        }
    }
}

/// Whether the target is a file in the expected state.
fn check(path: &RemotePath, found: Option<Found>, expected: Expected) -> Result<(), FilesystemError> {
    if let Some((mode, _)) = found {
        regular(path, mode)?;
    }
    match (expected, found) {
        (Expected::Nothing, Some(_)) => Err(FilesystemError::Exists(path.clone())),
        (Expected::Version(_), None) => Err(FilesystemError::NotFound(path.clone())),
        (Expected::Version(expected), Some((_, found))) if expected != found => Err(FilesystemError::Changed(path.clone())),
        _ => Ok(()),
    }
}
