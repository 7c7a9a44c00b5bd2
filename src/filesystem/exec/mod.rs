//! Files by commands of GNU coreutils, findutils and tar: for sites without SFTP, and for what SFTP cannot do.
//!
//! Every command is a value with a pure parser; paths are absolute and quoted, names are separated by NUL, messages are those
//! of the C locale. The locale is set by `env`, which every login shell understands, and after `timeout N`, which command
//! wrappers of sites look for. It must not know SFTP or HTTP. A new command is a value in one of the files here.

mod archive;
mod archive_head;
mod change;
mod changes;
mod content;
mod contents;
mod copy;
mod entries;
mod errors;
mod follow;
mod listing;
mod rights;
mod scripts;
mod storage;
mod streamed;
mod sweep;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::placing::PlacingLocks;
use super::rights::{Acl, Rights};
use super::temporary::Temporaries;
use super::{Entries, FileSystem, FilesystemError, Settings, regular};
use crate::domain::{Alternative, Principal, RemotePath};
use crate::ssh::{self, CommandError, CommandLimits, CommandLine, RemoteCommand, Transport, TransportError};

use change::{ChangeCommand, What};
use content::{Range, Read};
use errors::{classify, over_cap};
use rights::{IsOwn, KeepAcl, Narrow};
use sweep::Sweep;

/// The files of a cluster by commands.
#[derive(Clone)]
pub struct CommandFiles {
    transport: Arc<dyn Transport>,
    settings: Settings,
    /// The hidden files under way, also those of SFTP, which delegates what it cannot do.
    pub(super) temporaries: Temporaries,
    pub(super) placing: Arc<PlacingLocks>,
}

/// The start of every command: limited in time where it runs, and in the C locale. It stays in the process group that sshd sends signals to, so
/// that it ends when its caller leaves.
fn command(seconds: u64) -> CommandLine {
    limited("timeout --foreground", seconds)
}

/// A program for `sh`, as [`command`]; its parameters follow. `timeout` takes the place of the shell, and so leads that process group: at the limit
/// it ends all that the program has started.
fn script(seconds: u64, program: impl AsRef<[u8]>) -> CommandLine {
    limited("exec timeout", seconds).flag("sh -c").arg(program).flag("sh")
}

fn limited(timeout: &'static str, seconds: u64) -> CommandLine {
    CommandLine::new(timeout).number(seconds).flag("env LC_ALL=C")
}

impl CommandFiles {
    /// Nothing is run before the first operation.
    pub fn new(transport: Arc<dyn Transport>, settings: Settings) -> Self {
        Self { transport, settings, temporaries: Temporaries::new(), placing: Arc::default() }
    }

    fn seconds(&self) -> u64 {
        self.settings.command_timeout.as_secs().max(1)
    }

    async fn run<C: RemoteCommand>(&self, principal: &Principal, paths: &[&RemotePath], command: &C) -> Result<C::Output, FilesystemError> {
        ssh::run(self.transport.as_ref(), principal, command).await.map_err(|error| classify(error, paths))
    }

    async fn change(&self, principal: &Principal, path: &RemotePath, what: What<'_>) -> Result<(), FilesystemError> {
        self.run(principal, &[path], &ChangeCommand { seconds: self.seconds(), path, what }).await
    }

    /// Compares the access control list of a temporary file, with this size and owner, with that of a file with these rights, and makes
    /// it the same if possible.
    pub async fn keep_acl(
        &self,
        principal: &Principal,
        target: &RemotePath,
        temporary: &RemotePath,
        rights: &Rights,
        (size, owner): (u64, Option<(u32, u32)>),
    ) -> Acl {
        let Some((user, group)) = owner else { return Acl::Unknown };
        let has_group = group == rights.owner.1;
        let keep = KeepAcl { seconds: self.seconds(), target, temporary, size, user, has_group };
        self.run(principal, &[target], &keep).await.unwrap_or(Acl::Unknown)
    }

    /// Takes rights away from a temporary file with this size and owner, so that it has `mode`.
    pub async fn narrow(
        &self,
        principal: &Principal,
        temporary: &RemotePath,
        (size, user): (u64, u32),
        mode: u32,
    ) -> Result<(), FilesystemError> {
        self.run(principal, &[temporary], &Narrow { seconds: self.seconds(), temporary, size, user, mode }).await
    }

    /// Whether a name is the only one of its file, and the file the user's own; `owner` is who owns the file that it is to be of, where that is
    /// known.
    pub async fn is_own(&self, principal: &Principal, path: &RemotePath, owner: Option<u32>) -> Result<bool, FilesystemError> {
        self.run(principal, &[path], &IsOwn { seconds: self.seconds(), path, owner }).await
    }

    /// Removes, in the background, the user's temporary files that a killed Goldcrest has left in the directory of `target`.
    pub fn sweep(&self, principal: &Principal, target: &RemotePath) {
        self.sweep_directories(principal, target.parent().into_iter().collect());
    }

    /// The same in the directory `target` too, into which something was unpacked.
    fn sweep_into(&self, principal: &Principal, target: &RemotePath) {
        self.sweep_directories(principal, std::iter::once(target.clone()).chain(target.parent()).collect());
    }

    fn sweep_directories(&self, principal: &Principal, directories: Vec<RemotePath>) {
        let (exec, principal) = (self.clone(), principal.clone());
        self.temporaries.spawn(async move {
            let Some(first) = directories.first() else { return };
            if !exec.temporaries.is_due(&principal.username, first).await {
                return;
            }
            let sweep = Sweep { seconds: exec.seconds(), directories: &directories, abandoned: exec.settings.abandoned };
            if let Err(error) = exec.run(&principal, &[first], &sweep).await {
                tracing::debug!(%error, "a directory was not searched for abandoned temporary files");
            }
        });
    }

    /// The seconds of a command that may take long.
    fn long_seconds(&self) -> u64 {
        self.settings.copy_timeout.as_secs().max(1)
    }

    /// Runs a command whose duration grows with the file. `instead` is the alternative with a longer time limit.
    async fn run_sized<C: RemoteCommand>(
        &self,
        principal: &Principal,
        paths: &[&RemotePath],
        command: &C,
        instead: Alternative,
    ) -> Result<C::Output, FilesystemError> {
        self.run_long(principal, paths, command).await.map_err(|error| match error {
            FilesystemError::Transport(TransportError::Execution(_)) | FilesystemError::Command(CommandError::Exit { exit: 124, .. }) => {
                FilesystemError::TooSlow { seconds: self.long_seconds(), instead }
            }
            error => error,
        })
    }

    /// Rejects everything except regular files before anything is opened: opening a named pipe waits for its other end.
    async fn regular(&self, principal: &Principal, path: &RemotePath) -> Result<(), FilesystemError> {
        regular(path, self.stat(principal, path, true).await?.mode)
    }

    /// Runs a command that may take long.
    async fn run_long<C: RemoteCommand>(
        &self,
        principal: &Principal,
        paths: &[&RemotePath],
        command: &C,
    ) -> Result<C::Output, FilesystemError> {
        let limits = CommandLimits { execution: self.settings.copy_timeout + Duration::from_secs(1), output: 64 * 1024 };
        let raw = self.transport.exec(principal, ssh::Exec::of(command, Some(limits))).await?;
        command.parse(raw).map_err(|error| classify(error, paths))
    }

    /// Runs a command whose output is the answer, up to the cap.
    async fn read(&self, principal: &Principal, path: &RemotePath, range: Range) -> Result<Vec<u8>, FilesystemError> {
        self.regular(principal, path).await?;
        let cap = self.settings.max_ops_file_size;
        let command = Read { seconds: self.seconds(), path, range };
        // Room for the messages, and for the remote limit to strike first.
        let output = usize::try_from(cap).unwrap_or(usize::MAX).saturating_add(64 * 1024);
        let limits = CommandLimits { execution: self.settings.command_timeout + Duration::from_secs(1), output };
        let result = self
            .transport
            .exec(principal, ssh::Exec::of(&command, Some(limits)))
            .await
            .map_err(Into::into)
            .and_then(|raw| command.parse(raw));
        let data = result.map_err(|error| over_cap(classify(error, &[path]), cap))?;
        if data.len() as u64 > cap { Err(FilesystemError::TooLarge(cap)) } else { Ok(data) }
    }
}

#[async_trait]
impl FileSystem for CommandFiles {
    async fn settle(&self) {
        self.temporaries.settle().await;
    }
}
