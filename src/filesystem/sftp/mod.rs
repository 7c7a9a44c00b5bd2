//! Files over SFTP: the fast path.
//!
//! `protocol/` is the codec, `session/` one channel, `sessions.rs` assigns sessions to users; the other files are operations. What SFTP
//! cannot do goes to [`CommandFiles`]. It must not know HTTP or the path policy. A new operation is a file here and a method below.

mod budget;
mod change;
mod changes;
mod contents;
mod copy;
mod entries;
mod errors;
mod finish;
mod follow;
mod listing;
mod missing;
mod names;
mod part;
mod proof;
pub mod protocol;
mod read;
mod resolve;
mod session;
mod sessions;
mod storage;
mod target;
mod upload;
mod waiting;
mod walk;

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest;
use futures::{FutureExt, StreamExt};
use tokio::time::timeout;

use super::exec::CommandFiles;
use super::{ContentStream, FileSystem, FilesystemError, Part, Settings};
use crate::domain::{Checksum, Principal, RemotePath, hex};
use crate::ssh::{CommandError, Transport, TransportError};

use names::Names;
use part::{PartReader, Stop};
use proof::Links;
use read::{SMALL, Source};
use session::Session;
use sessions::Sessions;

/// The files of a cluster over SFTP.
pub struct Sftp {
    sessions: Arc<Sessions>,
    names: Arc<Names>,
    exec: CommandFiles,
    settings: Settings,
}

impl Sftp {
    /// Sessions are opened when first needed. What SFTP cannot do goes to `exec`.
    pub fn new(transport: Arc<dyn Transport>, exec: CommandFiles, settings: Settings) -> Self {
        Self { sessions: Arc::new(Sessions::new(transport, settings)), names: Arc::new(Names::new()), exec, settings }
    }

    /// Opens the caller's session, to learn whether there is SFTP at all.
    ///
    /// # Errors
    /// If there is no session.
    pub async fn probe(&self, principal: &Principal) -> Result<(), FilesystemError> {
        self.sessions.control(principal).await.map(drop)
    }

    async fn part(&self, principal: &Principal, path: &RemotePath, part: Part, is_head: bool) -> Result<Vec<u8>, FilesystemError> {
        let cap = self.settings.max_ops_file_size;
        let attempt = async |session: Arc<Session>, budget| {
            let source = Source::open(&session, path, Source::look(&session, path, Links::Followed).await?).await?;
            let mut parts = PartReader { source: &source, cap, budget };
            if is_head { parts.head(part).await } else { parts.tail(part).await }
        };
        // Most answers are short and need no session of their own.
        let small = self.sessions.run(principal, true, |session| {
            attempt(session, SMALL).map(|result| match result {
                Ok(data) => Ok(Some(data)),
                Err(Stop::Budget) => Ok(None),
                Err(Stop::Error(error)) => Err(error),
            })
        });
        if let Some(data) = small.await? {
            return Ok(data);
        }
        let session = self.sessions.bulk(principal).await?;
        match attempt(Arc::clone(&session), u64::MAX).await {
            Ok(data) => Ok(data),
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::Budget) => Err(FilesystemError::TooLarge(cap)),
        }
    }

    /// A search for lines can read a whole file, so it has a command's time.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, FilesystemError>>) -> Result<T, FilesystemError> {
        let limit = self.settings.command_timeout;
        timeout(limit, work).await.map_err(|_| TransportError::Execution(limit))?
    }

    async fn digest(&self, mut content: ContentStream) -> Result<Checksum, FilesystemError> {
        let mut context = digest::Context::new(&digest::SHA256);
        while let Some(piece) = content.next().await {
            context.update(&piece?);
        }
        Ok(Checksum { algorithm: "SHA256", hex: hex(context.finish().as_ref()) })
    }
}

/// True when the site lets the caller run no such command.
fn cannot_run_commands(error: &FilesystemError) -> bool {
    matches!(
        error,
        FilesystemError::Transport(TransportError::Refused(_))
            | FilesystemError::Command(CommandError::Transport(TransportError::Refused(_)) | CommandError::Exit { exit: 126 | 127, .. })
    )
}

#[async_trait]
impl FileSystem for Sftp {
    async fn settle(&self) {
        self.exec.settle().await;
    }
}
