//! Directories and their entries, by commands.

use async_trait::async_trait;
use futures::TryStreamExt;

use super::listing::{Find, Resolve, Stat};
use super::{CommandFiles, walk};
use crate::domain::{DirectoryEntry, FileStat, FileType, Principal, RemotePath};
use crate::filesystem::page::Top;
use crate::filesystem::{Entries, EntryStream, FilesystemError, ListOptions, MAX_ENTRIES, Page, PageRequest, WalkOptions};
use crate::ssh::TransportError;

#[async_trait]
impl Entries for CommandFiles {
    async fn list(&self, principal: &Principal, path: &RemotePath, options: ListOptions) -> Result<Vec<DirectoryEntry>, FilesystemError> {
        let find = Find { seconds: self.seconds(), path, options, itself: false };
        let mut entries = self.run(principal, &[path], &find).await.map_err(|error| match error {
            FilesystemError::Transport(TransportError::Output(_)) => FilesystemError::too_many_entries(path),
            error => error,
        })?;
        if entries.len() > MAX_ENTRIES {
            return Err(FilesystemError::too_many_entries(path));
        }
        if let [only] = entries.as_mut_slice()
            && only.name.is_empty()
            && only.file_type != FileType::Directory
        {
            only.name = path.as_bytes().to_vec();
            return Ok(entries);
        }
        entries.retain(|entry| {
            let is_hidden = entry.name.split(|byte| *byte == b'/').any(|part| part.starts_with(b"."));
            !entry.name.is_empty() && (options.hidden || !is_hidden)
        });
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    async fn entry(&self, principal: &Principal, path: &RemotePath) -> Result<DirectoryEntry, FilesystemError> {
        let find = Find { seconds: self.seconds(), path, options: ListOptions::default(), itself: true };
        let mut entry = self.run(principal, &[path], &find).await?.pop().ok_or_else(|| FilesystemError::NotFound(path.clone()))?;
        entry.name = path.as_bytes().to_vec();
        Ok(entry)
    }

    async fn stat(&self, principal: &Principal, path: &RemotePath, dereference: bool) -> Result<FileStat, FilesystemError> {
        self.run(principal, &[path], &Stat { seconds: self.seconds(), path, dereference }).await
    }

    async fn resolve(&self, principal: &Principal, path: &RemotePath) -> Result<RemotePath, FilesystemError> {
        self.run(principal, &[path], &Resolve { seconds: self.seconds(), path }).await
    }

    async fn real_path(&self, principal: &Principal, path: &RemotePath) -> Result<RemotePath, FilesystemError> {
        self.resolve(principal, path).await
    }

    async fn walk(&self, principal: &Principal, path: &RemotePath, options: WalkOptions) -> Result<EntryStream, FilesystemError> {
        let stream = self.transport.output_stream(principal, &walk::command(path, &options)).await?;
        walk::entries(stream, path, options, self.settings.stall).await
    }

    async fn page(
        &self,
        principal: &Principal,
        path: &RemotePath,
        options: ListOptions,
        request: &PageRequest,
    ) -> Result<Page, FilesystemError> {
        let options = WalkOptions { list: ListOptions { recursive: false, ..options }, ..WalkOptions::default() };
        first_of(self.walk(principal, path, options).await?, request).await
    }

    async fn page_real(&self, principal: &Principal, path: &RemotePath, mode: u32, request: &PageRequest) -> Result<Page, FilesystemError> {
        let list = ListOptions { hidden: true, numeric_ids: true, ..ListOptions::default() };
        let stream = self.transport.output_stream(principal, &walk::command_real(path, mode)).await?;
        let options = WalkOptions { list, ..WalkOptions::default() };
        first_of(walk::entries(stream, path, options, self.settings.stall).await?, request).await
    }
}

async fn first_of(mut entries: EntryStream, request: &PageRequest) -> Result<Page, FilesystemError> {
    let mut top = Top::new(request);
    while let Some(found) = entries.try_next().await? {
        for entry in found {
            top.offer(&entry.name, entry.size, entry.modified, || entry.clone());
        }
    }
    let (entries, next) = top.finish();
    Ok(Page { entries, next })
}
