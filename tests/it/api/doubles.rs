//! Backends that replay a script, in order, and fail when it is not used up.

use std::fmt::Debug;

use async_trait::async_trait;
use futures::stream::StreamExt;
use goldcrest::domain::{
    Account, AccountingQuery, AclEntry, ByteRange, Checksum, Content, DirectoryEntry, FileMode, FileStat, FileType, FileVersion, Identity,
    Job, JobChange, JobDescription, JobEstimate, JobId, JobLimits, JobMetadata, JobQuery, JobUsage, Node, Partition, Principal, Quota,
    RemotePath, Reported, Reservation, Space,
};
use goldcrest::filesystem::{
    ArchiveFormat, Changes, CompressOptions, Compression, ContentStream, Contents, CopyOptions, Digested, Download, Entries, EntryStream,
    FileSystem, FilesystemError, FollowFrom, FollowStream, ListOptions, Page, PageRequest, Part, PartOptions, PlaceOptions, Placed,
    Storage, UploadOptions, WalkOptions,
};
use goldcrest::scheduler::{AttachOutput, RecordPlace, Scheduler, SchedulerError, SubmissionKey, Submitted};

use crate::support::script;

/// The reply of a backend in one step.
pub enum Reply {
    Accounts(Option<Vec<Account>>),
    Acl(Vec<AclEntry>),
    Attached(AttachOutput),
    Bytes(Vec<u8>),
    Checksum(Checksum),
    Content(Content),
    Done,
    Entries(Vec<DirectoryEntry>),
    Entry(DirectoryEntry),
    FileFails(FilesystemError),
    Follow(FollowStream),
    Hangs,
    After(std::time::Duration, Box<Self>),
    Estimate(JobEstimate),
    Id(&'static str),
    /// The id of a job that was submitted before.
    Known(&'static str),
    Identity(Identity),
    Jobs(Vec<Job>),
    Limits(JobLimits),
    Metadata(Vec<JobMetadata>),
    Nodes(Vec<Node>),
    Page(Page),
    Panics,
    Partitions(Vec<Partition>),
    Path(&'static str),
    Placed(Placed),
    Quotas(Vec<Quota>),
    Reservations(Vec<Reservation>),
    SchedulerFails(SchedulerError),
    Space(Space),
    Stat(FileStat),
    Stream(ContentStream, FileVersion),
    Text(&'static str),
    Usage(Vec<JobUsage>),
    Walk(EntryStream),
}

/// The entry of a regular file.
pub fn regular_file(name: &[u8]) -> DirectoryEntry {
    DirectoryEntry {
        name: name.to_vec(),
        file_type: FileType::Regular,
        link_target: None,
        user: "alice".to_owned(),
        group: "users".to_owned(),
        permissions: 0o640,
        modified: 1_769_846_400,
        size: 1024,
    }
}

/// A file of this size that was changed a while ago.
pub fn version(size: u64) -> FileVersion {
    FileVersion { size, modified: 1_767_225_600, inode: 0 }
}

/// One step: the call expected, as `user: method arguments`, and what then happens. Where the call ends with `...` only what
/// stands before is compared.
pub type Step = (&'static str, Reply);

/// A script for one backend.
pub struct Script(script::Script<Reply>);

impl Script {
    pub fn new(name: &'static str, steps: impl IntoIterator<Item = Step>) -> Self {
        Self(script::Script::new(name, steps))
    }

    async fn next(&self, call: String) -> Reply {
        match self.0.next(&call) {
            Reply::Hangs => std::future::pending().await,
            Reply::After(time, reply) => {
                tokio::time::sleep(time).await;
                *reply
            }
            Reply::Panics => panic!("a backend panicked with hunter2"),
            reply => reply,
        }
    }
}

/// A call as scripts write it.
fn show(principal: &Principal, method: &str, arguments: &[&dyn Debug]) -> String {
    let arguments: String = arguments.iter().map(|argument| format!(" {argument:?}")).collect();
    format!("{}: {method}{arguments}", principal.username)
}

/// Takes the one reply that a method can have out of the next step.
macro_rules! reply {
    ($script:expr, $principal:expr, $method:literal, [$($argument:expr),*], $fails:ident, $pattern:pat => $value:expr) => {
        {
            let call = show($principal, $method, &[$(&$argument),*]);
            match $script.next(call).await {
                Reply::$fails(error) => Err(error),
                $pattern => Ok($value),
                _ => panic!("the script holds no answer to {}", $method),
            }
        }
    };
}

pub struct ScriptedScheduler(pub Script);

#[async_trait]
impl Scheduler for ScriptedScheduler {
    async fn submit(&self, by: &Principal, job: &JobDescription) -> Result<Reported<JobId>, SchedulerError> {
        reply!(self.0, by, "submit", [job], SchedulerFails, Reply::Id(id) => JobId::new(id).unwrap()).map(Reported::from)
    }

    async fn submit_once(&self, by: &Principal, job: &JobDescription, _: &SubmissionKey) -> Result<Reported<Submitted>, SchedulerError> {
        let call = show(by, "submit_once", &[job]);
        let (id, repeated) = match self.0.next(call).await {
            Reply::SchedulerFails(error) => return Err(error),
            Reply::Id(id) => (id, false),
            Reply::Known(id) => (id, true),
            _ => panic!("the script holds no answer to submit_once"),
        };
        Ok(Submitted { id: JobId::new(id).unwrap(), repeated, record: Some(RecordPlace::Cluster) }.into())
    }

    async fn jobs(&self, by: &Principal, query: &JobQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        reply!(self.0, by, "jobs", [query], SchedulerFails, Reply::Jobs(jobs) => jobs).map(Reported::from)
    }

    async fn accounting(&self, by: &Principal, query: &AccountingQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        reply!(self.0, by, "accounting", [query], SchedulerFails, Reply::Jobs(jobs) => jobs).map(Reported::from)
    }

    async fn job(&self, by: &Principal, id: &JobId) -> Result<Reported<Vec<Job>>, SchedulerError> {
        reply!(self.0, by, "job", [id.as_str()], SchedulerFails, Reply::Jobs(jobs) => jobs).map(Reported::from)
    }

    async fn metadata(&self, by: &Principal, id: &JobId) -> Result<Reported<Vec<JobMetadata>>, SchedulerError> {
        reply!(self.0, by, "metadata", [id.as_str()], SchedulerFails, Reply::Metadata(jobs) => jobs).map(Reported::from)
    }

    async fn cancel(&self, by: &Principal, id: &JobId) -> Result<Reported<()>, SchedulerError> {
        reply!(self.0, by, "cancel", [id.as_str()], SchedulerFails, Reply::Done => ()).map(Reported::from)
    }

    async fn alter(&self, by: &Principal, id: &JobId, change: JobChange) -> Result<Reported<()>, SchedulerError> {
        reply!(self.0, by, "alter", [id.as_str(), format_args!("{change}")], SchedulerFails, Reply::Done => ()).map(Reported::from)
    }

    async fn validate(&self, by: &Principal, job: &JobDescription) -> Result<Reported<JobEstimate>, SchedulerError> {
        reply!(self.0, by, "validate", [job], SchedulerFails, Reply::Estimate(estimate) => estimate).map(Reported::from)
    }

    async fn usage(&self, by: &Principal, query: &AccountingQuery) -> Result<Reported<Vec<JobUsage>>, SchedulerError> {
        reply!(self.0, by, "usage", [query], SchedulerFails, Reply::Usage(usage) => usage).map(Reported::from)
    }

    async fn limits(&self, by: &Principal) -> Result<Reported<JobLimits>, SchedulerError> {
        reply!(self.0, by, "limits", [], SchedulerFails, Reply::Limits(limits) => limits).map(Reported::from)
    }

    async fn attach(&self, by: &Principal, id: &JobId, command: &str) -> Result<Reported<AttachOutput>, SchedulerError> {
        reply!(self.0, by, "attach", [id.as_str(), command], SchedulerFails, Reply::Attached(output) => output).map(Reported::from)
    }

    async fn nodes(&self, by: &Principal) -> Result<Reported<Vec<Node>>, SchedulerError> {
        reply!(self.0, by, "nodes", [], SchedulerFails, Reply::Nodes(nodes) => nodes).map(Reported::from)
    }

    async fn partitions(&self, by: &Principal, hidden: bool) -> Result<Reported<Vec<Partition>>, SchedulerError> {
        reply!(self.0, by, "partitions", [hidden], SchedulerFails, Reply::Partitions(partitions) => partitions).map(Reported::from)
    }

    async fn reservations(&self, by: &Principal) -> Result<Reported<Vec<Reservation>>, SchedulerError> {
        reply!(self.0, by, "reservations", [], SchedulerFails, Reply::Reservations(reservations) => reservations).map(Reported::from)
    }

    async fn accounts(&self, by: &Principal) -> Result<Reported<Option<Vec<Account>>>, SchedulerError> {
        reply!(self.0, by, "accounts", [], SchedulerFails, Reply::Accounts(accounts) => accounts).map(Reported::from)
    }

    async fn ping(&self, by: &Principal) -> Result<(), SchedulerError> {
        reply!(self.0, by, "ping", [], SchedulerFails, Reply::Done => ())
    }
}

pub struct ScriptedFiles(pub Script);

impl FileSystem for ScriptedFiles {}

#[async_trait]
impl Entries for ScriptedFiles {
    async fn list(&self, by: &Principal, path: &RemotePath, options: ListOptions) -> Result<Vec<DirectoryEntry>, FilesystemError> {
        reply!(self.0, by, "list", [path, options], FileFails, Reply::Entries(entries) => entries)
    }

    async fn entry(&self, by: &Principal, path: &RemotePath) -> Result<DirectoryEntry, FilesystemError> {
        reply!(self.0, by, "entry", [path], FileFails, Reply::Entry(entry) => entry)
    }

    async fn stat(&self, by: &Principal, path: &RemotePath, dereference: bool) -> Result<FileStat, FilesystemError> {
        reply!(self.0, by, "stat", [path, dereference], FileFails, Reply::Stat(stat) => stat)
    }

    async fn resolve(&self, by: &Principal, path: &RemotePath) -> Result<RemotePath, FilesystemError> {
        reply!(self.0, by, "resolve", [path], FileFails, Reply::Path(path) => RemotePath::from_text(path).unwrap())
    }

    async fn real_path(&self, by: &Principal, path: &RemotePath) -> Result<RemotePath, FilesystemError> {
        self.resolve(by, path).await
    }

    async fn walk(&self, by: &Principal, path: &RemotePath, options: WalkOptions) -> Result<EntryStream, FilesystemError> {
        reply!(self.0, by, "walk", [path, options], FileFails, Reply::Walk(entries) => entries)
    }

    async fn page(&self, by: &Principal, path: &RemotePath, options: ListOptions, page: &PageRequest) -> Result<Page, FilesystemError> {
        reply!(self.0, by, "page", [path, options, page], FileFails, Reply::Page(page) => page)
    }

    async fn page_real(&self, by: &Principal, path: &RemotePath, _: u32, page: &PageRequest) -> Result<Page, FilesystemError> {
        self.page(by, path, ListOptions::default(), page).await
    }
}

#[async_trait]
impl Contents for ScriptedFiles {
    async fn file_type(&self, by: &Principal, path: &RemotePath) -> Result<String, FilesystemError> {
        reply!(self.0, by, "file_type", [path], FileFails, Reply::Text(text) => text.to_owned())
    }

    async fn head(&self, by: &Principal, path: &RemotePath, part: Part) -> Result<Content, FilesystemError> {
        reply!(self.0, by, "head", [path, part], FileFails, Reply::Content(content) => content)
    }

    async fn tail(&self, by: &Principal, path: &RemotePath, part: Part) -> Result<Content, FilesystemError> {
        reply!(self.0, by, "tail", [path, part], FileFails, Reply::Content(content) => content)
    }

    async fn view(&self, by: &Principal, path: &RemotePath, offset: u64, size: u64) -> Result<Vec<u8>, FilesystemError> {
        reply!(self.0, by, "view", [path, offset, size], FileFails, Reply::Bytes(bytes) => bytes)
    }

    async fn checksum(&self, by: &Principal, path: &RemotePath) -> Result<Checksum, FilesystemError> {
        reply!(self.0, by, "checksum", [path], FileFails, Reply::Checksum(checksum) => checksum)
    }

    async fn download(
        &self,
        by: &Principal,
        path: &RemotePath,
        range: Option<ByteRange>,
        cap: Option<u64>,
    ) -> Result<Download, FilesystemError> {
        reply!(self.0, by, "download", [path, range, cap], FileFails, Reply::Stream(content, version) => {
            let range = range.map_or(Some(0..version.size), |range| range.within(version.size));
            Download { version, mode: 0o100_600, range: range.ok_or(FilesystemError::Range(version.size))?, content }
        })
    }

    async fn download_real(
        &self,
        by: &Principal,
        path: &RemotePath,
        range: Option<ByteRange>,
        cap: Option<u64>,
    ) -> Result<Download, FilesystemError> {
        self.download(by, path, range, cap).await
    }

    async fn checksum_real(&self, by: &Principal, path: &RemotePath) -> Result<Digested, FilesystemError> {
        Ok(Digested { checksum: self.checksum(by, path).await?, mode: 0o100_600, size: 0 })
    }

    /// Reads the content first, as far as the cap, and shows it in the call.
    async fn upload(
        &self,
        by: &Principal,
        path: &RemotePath,
        mut content: ContentStream,
        options: UploadOptions,
    ) -> Result<Placed, FilesystemError> {
        let UploadOptions { cap, expected, .. } = options;
        let mut bytes = Vec::new();
        while let Some(piece) = content.next().await {
            bytes.extend_from_slice(&piece?);
            if let Some(cap) = cap.filter(|cap| bytes.len() as u64 > *cap) {
                return Err(FilesystemError::TooLarge(cap));
            }
        }
        reply!(self.0, by, "upload", [path, String::from_utf8_lossy(&bytes), cap, expected], FileFails, Reply::Placed(placed) => placed)
    }

    async fn begin_part(&self, by: &Principal, part: &RemotePath, target: &RemotePath, _: bool) -> Result<(), FilesystemError> {
        reply!(self.0, by, "begin_part", [target, part.to_text().len()], FileFails, Reply::Done => ())
    }

    async fn extend_part(
        &self,
        by: &Principal,
        _: &RemotePath,
        mut content: ContentStream,
        options: PartOptions,
    ) -> Result<u64, FilesystemError> {
        let mut bytes = Vec::new();
        while let Some(piece) = content.next().await {
            bytes.extend_from_slice(&piece?);
        }
        let end = options.offset + bytes.len() as u64;
        reply!(self.0, by, "extend_part", [String::from_utf8_lossy(&bytes), options.offset, options.length], FileFails, Reply::Done => end)
    }

    async fn place_part(
        &self,
        by: &Principal,
        _: &RemotePath,
        target: &RemotePath,
        options: PlaceOptions,
    ) -> Result<Placed, FilesystemError> {
        reply!(self.0, by, "place_part", [target, options.expected], FileFails, Reply::Placed(placed) => placed)
    }

    async fn pack(&self, by: &Principal, source: &RemotePath, format: ArchiveFormat) -> Result<ContentStream, FilesystemError> {
        reply!(self.0, by, "pack", [source, format], FileFails, Reply::Stream(content, _) => content)
    }

    async fn pack_real(&self, by: &Principal, source: &RemotePath, format: ArchiveFormat) -> Result<ContentStream, FilesystemError> {
        self.pack(by, source, format).await
    }

    async fn unpack(
        &self,
        by: &Principal,
        target: &RemotePath,
        format: ArchiveFormat,
        mut content: ContentStream,
        cap: Option<u64>,
    ) -> Result<Placed, FilesystemError> {
        let mut bytes = Vec::new();
        while let Some(piece) = content.next().await {
            bytes.extend_from_slice(&piece?);
        }
        reply!(self.0, by, "unpack", [target, format, String::from_utf8_lossy(&bytes), cap], FileFails, Reply::Placed(placed) => placed)
    }

    async fn follow(&self, by: &Principal, path: &RemotePath, from: FollowFrom) -> Result<FollowStream, FilesystemError> {
        reply!(self.0, by, "follow", [path, from], FileFails, Reply::Follow(happening) => happening)
    }
}

#[async_trait]
impl Changes for ScriptedFiles {
    async fn chmod(&self, by: &Principal, path: &RemotePath, mode: &FileMode) -> Result<(), FilesystemError> {
        reply!(self.0, by, "chmod", [path, format_args!("{mode}")], FileFails, Reply::Done => ())
    }

    async fn chown(&self, by: &Principal, path: &RemotePath, owner: Option<&str>, group: Option<&str>) -> Result<(), FilesystemError> {
        reply!(self.0, by, "chown", [path, owner, group], FileFails, Reply::Done => ())
    }

    async fn mkdir(&self, by: &Principal, path: &RemotePath, parents: bool) -> Result<(), FilesystemError> {
        reply!(self.0, by, "mkdir", [path, parents], FileFails, Reply::Done => ())
    }

    async fn mkdir_with_mode(&self, by: &Principal, path: &RemotePath, mode: u32) -> Result<(), FilesystemError> {
        reply!(self.0, by, "mkdir", [path, format_args!("{mode:o}")], FileFails, Reply::Done => ())
    }

    async fn set_directory_mode(&self, by: &Principal, path: &RemotePath, mode: u32) -> Result<(), FilesystemError> {
        reply!(self.0, by, "chmod", [path, format_args!("{mode:o}")], FileFails, Reply::Done => ())
    }

    async fn symlink(&self, by: &Principal, target: &RemotePath, link: &RemotePath) -> Result<(), FilesystemError> {
        reply!(self.0, by, "symlink", [target, link], FileFails, Reply::Done => ())
    }

    async fn remove(&self, by: &Principal, path: &RemotePath) -> Result<(), FilesystemError> {
        reply!(self.0, by, "remove", [path], FileFails, Reply::Done => ())
    }

    async fn compress(
        &self,
        by: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        options: &CompressOptions,
    ) -> Result<(), FilesystemError> {
        reply!(self.0, by, "compress", [source, target, options], FileFails, Reply::Done => ())
    }

    /// The paths of scripts are always apart.
    async fn check_archive_target(
        &self,
        _: &Principal,
        _: &RemotePath,
        _: &RemotePath,
        _: &CompressOptions,
    ) -> Result<(), FilesystemError> {
        Ok(())
    }

    async fn extract(
        &self,
        by: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        compression: Compression,
    ) -> Result<(), FilesystemError> {
        reply!(self.0, by, "extract", [source, target, compression], FileFails, Reply::Done => ())
    }

    async fn copy(&self, by: &Principal, source: &RemotePath, target: &RemotePath, options: CopyOptions) -> Result<(), FilesystemError> {
        reply!(self.0, by, "copy", [source, target, options], FileFails, Reply::Done => ())
    }

    async fn rename(&self, by: &Principal, source: &RemotePath, target: &RemotePath, overwrite: bool) -> Result<(), FilesystemError> {
        reply!(self.0, by, "rename", [source, target, overwrite], FileFails, Reply::Done => ())
    }

    async fn touch(&self, by: &Principal, path: &RemotePath) -> Result<(), FilesystemError> {
        reply!(self.0, by, "touch", [path], FileFails, Reply::Done => ())
    }
}

#[async_trait]
impl Storage for ScriptedFiles {
    async fn space(&self, by: &Principal, path: &RemotePath) -> Result<Space, FilesystemError> {
        reply!(self.0, by, "space", [path], FileFails, Reply::Space(space) => space)
    }

    async fn quota(&self, by: &Principal, path: &RemotePath) -> Result<Vec<Quota>, FilesystemError> {
        reply!(self.0, by, "quota", [path], FileFails, Reply::Quotas(quotas) => quotas)
    }

    async fn acl(&self, by: &Principal, path: &RemotePath) -> Result<Vec<AclEntry>, FilesystemError> {
        reply!(self.0, by, "acl", [path], FileFails, Reply::Acl(entries) => entries)
    }

    async fn identity(&self, by: &Principal) -> Result<Identity, FilesystemError> {
        reply!(self.0, by, "identity", [], FileFails, Reply::Identity(identity) => identity)
    }
}
