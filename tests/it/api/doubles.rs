//! Backends that replay a script, in order, and fail when it is not used up.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::StreamExt;
use goldcrest::authn::{Authenticator, AuthnError, PrincipalSource};
use goldcrest::authz::{Authorizer, AuthzError, Decision, Relation};
use goldcrest::domain::{
    Account, Checksum, Content, DirectoryEntry, FileStat, Identity, Job, JobDescription, JobId, JobMetadata, JobQuery, Node, Partition,
    Principal, RemotePath, Reservation, Secret, SystemName,
};
use goldcrest::filesystem::{CompressOptions, Compression, ContentStream, Download, FileSystem, FilesystemError, ListOptions, Part};
use goldcrest::scheduler::{AttachOutput, Scheduler, SchedulerError};

use crate::support::principal;

/// What a backend does in one step.
pub enum Reply {
    Accounts(Option<Vec<Account>>),
    Attached(AttachOutput),
    Bytes(Vec<u8>),
    Checksum(Checksum),
    Content(Content),
    Done,
    Entries(Vec<DirectoryEntry>),
    Entry(DirectoryEntry),
    FileFails(FilesystemError),
    Hangs,
    Id(&'static str),
    Identity(Identity),
    Jobs(Vec<Job>),
    Metadata(Vec<JobMetadata>),
    Nodes(Vec<Node>),
    Panics,
    Partitions(Vec<Partition>),
    Reservations(Vec<Reservation>),
    SchedulerFails(SchedulerError),
    Stat(FileStat),
    Stream(ContentStream, u64),
    Text(&'static str),
}

/// One step: the call expected, as `user: method arguments`, and what then happens.
pub type Step = (&'static str, Reply);

/// A script for one backend.
pub struct Script {
    name: &'static str,
    steps: Mutex<VecDeque<Step>>,
}

impl Script {
    pub fn new(name: &'static str, steps: impl IntoIterator<Item = Step>) -> Self {
        Self { name, steps: Mutex::new(steps.into_iter().collect()) }
    }

    async fn next(&self, call: String) -> Reply {
        let step = self.steps.lock().unwrap().pop_front();
        let Some((expected, reply)) = step else { panic!("{} is not in the script: {call}", self.name) };
        assert_eq!(call, expected, "the {} was called otherwise", self.name);
        match reply {
            Reply::Hangs => std::future::pending().await,
            Reply::Panics => panic!("a backend panicked with hunter2"),
            reply => reply,
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let left: Vec<&str> = self.steps.get_mut().unwrap().drain(..).map(|(call, _)| call).collect();
            assert!(left.is_empty(), "the script of the {} was not used up: {left:#?}", self.name);
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
    async fn submit(&self, by: &Principal, job: &JobDescription) -> Result<JobId, SchedulerError> {
        reply!(self.0, by, "submit", [job], SchedulerFails, Reply::Id(id) => JobId::new(id).unwrap())
    }

    async fn jobs(&self, by: &Principal, query: &JobQuery) -> Result<Vec<Job>, SchedulerError> {
        reply!(self.0, by, "jobs", [query], SchedulerFails, Reply::Jobs(jobs) => jobs)
    }

    async fn job(&self, by: &Principal, id: &JobId) -> Result<Vec<Job>, SchedulerError> {
        reply!(self.0, by, "job", [id.as_str()], SchedulerFails, Reply::Jobs(jobs) => jobs)
    }

    async fn metadata(&self, by: &Principal, id: &JobId) -> Result<Vec<JobMetadata>, SchedulerError> {
        reply!(self.0, by, "metadata", [id.as_str()], SchedulerFails, Reply::Metadata(jobs) => jobs)
    }

    async fn cancel(&self, by: &Principal, id: &JobId) -> Result<(), SchedulerError> {
        reply!(self.0, by, "cancel", [id.as_str()], SchedulerFails, Reply::Done => ())
    }

    async fn attach(&self, by: &Principal, id: &JobId, command: &str) -> Result<AttachOutput, SchedulerError> {
        reply!(self.0, by, "attach", [id.as_str(), command], SchedulerFails, Reply::Attached(output) => output)
    }

    async fn nodes(&self, by: &Principal) -> Result<Vec<Node>, SchedulerError> {
        reply!(self.0, by, "nodes", [], SchedulerFails, Reply::Nodes(nodes) => nodes)
    }

    async fn partitions(&self, by: &Principal, hidden: bool) -> Result<Vec<Partition>, SchedulerError> {
        reply!(self.0, by, "partitions", [hidden], SchedulerFails, Reply::Partitions(partitions) => partitions)
    }

    async fn reservations(&self, by: &Principal) -> Result<Vec<Reservation>, SchedulerError> {
        reply!(self.0, by, "reservations", [], SchedulerFails, Reply::Reservations(reservations) => reservations)
    }

    async fn accounts(&self, by: &Principal) -> Result<Option<Vec<Account>>, SchedulerError> {
        reply!(self.0, by, "accounts", [], SchedulerFails, Reply::Accounts(accounts) => accounts)
    }

    fn unsupported(&self) -> Option<&'static str> {
        None
    }

    async fn ping(&self, by: &Principal) -> Result<(), SchedulerError> {
        reply!(self.0, by, "ping", [], SchedulerFails, Reply::Done => ())
    }
}

pub struct ScriptedFiles(pub Script);

#[async_trait]
impl FileSystem for ScriptedFiles {
    async fn list(&self, by: &Principal, path: &RemotePath, options: ListOptions) -> Result<Vec<DirectoryEntry>, FilesystemError> {
        reply!(self.0, by, "list", [path, options], FileFails, Reply::Entries(entries) => entries)
    }

    async fn entry(&self, by: &Principal, path: &RemotePath) -> Result<DirectoryEntry, FilesystemError> {
        reply!(self.0, by, "entry", [path], FileFails, Reply::Entry(entry) => entry)
    }

    async fn stat(&self, by: &Principal, path: &RemotePath, dereference: bool) -> Result<FileStat, FilesystemError> {
        reply!(self.0, by, "stat", [path, dereference], FileFails, Reply::Stat(stat) => stat)
    }

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

    async fn chmod(&self, by: &Principal, path: &RemotePath, mode: u32) -> Result<(), FilesystemError> {
        reply!(self.0, by, "chmod", [path, format_args!("{mode:o}")], FileFails, Reply::Done => ())
    }

    async fn chown(&self, by: &Principal, path: &RemotePath, owner: Option<&str>, group: Option<&str>) -> Result<(), FilesystemError> {
        reply!(self.0, by, "chown", [path, owner, group], FileFails, Reply::Done => ())
    }

    async fn mkdir(&self, by: &Principal, path: &RemotePath, parents: bool) -> Result<(), FilesystemError> {
        reply!(self.0, by, "mkdir", [path, parents], FileFails, Reply::Done => ())
    }

    async fn symlink(&self, by: &Principal, target: &RemotePath, link: &RemotePath) -> Result<(), FilesystemError> {
        reply!(self.0, by, "symlink", [target, link], FileFails, Reply::Done => ())
    }

    async fn remove(&self, by: &Principal, path: &RemotePath) -> Result<(), FilesystemError> {
        reply!(self.0, by, "remove", [path], FileFails, Reply::Done => ())
    }

    async fn download(&self, by: &Principal, path: &RemotePath, cap: Option<u64>) -> Result<Download, FilesystemError> {
        reply!(self.0, by, "download", [path, cap], FileFails, Reply::Stream(content, size) => Download { size, content })
    }

    /// Reads the content first, as far as the cap, and shows it in the call.
    async fn upload(&self, by: &Principal, path: &RemotePath, mut content: ContentStream, cap: Option<u64>) -> Result<(), FilesystemError> {
        let mut bytes = Vec::new();
        while let Some(piece) = content.next().await {
            bytes.extend_from_slice(&piece?);
            if let Some(cap) = cap.filter(|cap| bytes.len() as u64 > *cap) {
                return Err(FilesystemError::TooLarge(cap));
            }
        }
        reply!(self.0, by, "upload", [path, String::from_utf8_lossy(&bytes), cap], FileFails, Reply::Done => ())
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

    async fn extract(
        &self,
        by: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        compression: Compression,
    ) -> Result<(), FilesystemError> {
        reply!(self.0, by, "extract", [source, target, compression], FileFails, Reply::Done => ())
    }

    async fn identity(&self, by: &Principal) -> Result<Identity, FilesystemError> {
        reply!(self.0, by, "identity", [], FileFails, Reply::Identity(identity) => identity)
    }
}

/// The token `token-of-<user>` is that user's; `expiring` ends too soon; `no-keys` cannot be checked; others do not hold.
pub struct Tokens;

#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, token: &Secret) -> Result<Arc<Principal>, AuthnError> {
        match token.expose() {
            "expiring" => Err(AuthnError::EndsTooSoon { remaining: 3, required: 30 }),
            "no-keys" => Err(AuthnError::KeysUnavailable("connection to 10.0.0.1 refused".into())),
            token => match token.strip_prefix("token-of-") {
                Some(user) => Ok(Arc::new(principal(user))),
                None => Err(AuthnError::Invalid("its signature does not match")),
            },
        }
    }
}

/// Everyone but `mallory` may use every cluster; about `nobody` there is no decision.
pub struct Relations;

#[async_trait]
impl Authorizer for Relations {
    async fn check(&self, by: &Principal, relation: Relation, _: &SystemName) -> Result<Decision, AuthzError> {
        assert_eq!(relation, Relation::Access);
        match by.username.as_str() {
            "mallory" => Ok(Decision::Denied),
            "nobody" => Err(AuthzError::Unavailable("connection to 10.0.0.2 refused".into())),
            _ => Ok(Decision::Allowed),
        }
    }
}

/// The service account, or an identity provider that is down.
pub struct Source(pub bool);

#[async_trait]
impl PrincipalSource for Source {
    async fn principal(&self) -> Result<Principal, AuthnError> {
        if self.0 { Ok(principal("checker")) } else { Err(AuthnError::ServiceAccount("connection to 10.0.0.3 refused".into())) }
    }
}
