//! Follows a file as it grows, by polling: each poll is a command that ends.
//!
//! A `tail -F` that stays would hold a channel while the file is followed. Each poll reads the inode of the file, so that a replacement
//! is always noticed; the last bytes written before a file is replaced may be missed.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use tokio::time::sleep;

use super::listing::not_understood;
use super::{CommandFiles, script};
use crate::domain::{Principal, RemotePath, bytes_to_text};
use crate::filesystem::{FilesystemError, FollowFrom, FollowStream, Followed, regular};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand, TransportError};

/// The pause before the next poll: after a change, and at most.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(250);
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(3);

/// The maximum size of one read, in bytes.
const MAX_READ: u64 = 256 * 1024;

/// The number of consecutive broken connections after which following ends.
const MAX_BROKEN_POLLS: u32 = 3;

/// Looks at a file and reads on. Not opened before it is known to be a regular file: to open a named pipe waits for its other end.
const LOOK: &str = concat!(
    r#"[ -f "$1" ] || { stat -L -c %f -- "$1"; exit; }; dd status=none count=0 if="$1" && exec 3<"$1" && "#,
    r#"stat -L -c "%f %d:%i %s" /dev/fd/3 && { dd status=none bs=64K iflag=skip_bytes,count_bytes,fullblock "#,
    r#"skip="$2" count="$3" <&3 2>/dev/null || :; }"#
);

/// A poll of a file: its identity, and up to `size` bytes from `offset`.
struct Look<'a> {
    seconds: u64,
    path: &'a RemotePath,
    offset: u64,
    size: u64,
}

/// The result of a poll.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    mode: u32,
    /// The identity of the file; empty if it is not a regular file.
    identity: String,
    size: u64,
    data: Bytes,
}

impl RemoteCommand for Look<'_> {
    type Output = Seen;

    fn command_line(&self) -> CommandLine {
        let line = script(self.seconds, LOOK).arg(self.path.as_bytes());
        line.arg(self.offset.to_string()).arg(self.size.to_string())
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Seen, CommandError> {
        raw.success()?;
        let output = Bytes::from(raw.stdout);
        let end = output.iter().position(|byte| *byte == b'\n').ok_or_else(|| not_understood("stat", "there is no line"))?;
        let line = bytes_to_text(&output[..end]);
        let mut words = line.split(' ');
        let mode = words.next().and_then(|mode| u32::from_str_radix(mode, 16).ok());
        let mode = mode.ok_or_else(|| not_understood("stat", "there is no mode"))?;
        let (identity, size) = (words.next().unwrap_or_default().to_owned(), words.next().and_then(|size| size.parse().ok()));
        match size {
            Some(size) => Ok(Seen { mode, identity, size, data: output.slice(end + 1..) }),
            None if identity.is_empty() => Ok(Seen { mode, identity, size: 0, data: Bytes::new() }),
            None => Err(not_understood("stat", "there is no size")),
        }
    }
}

/// A file that is followed.
pub(super) struct Follower {
    files: CommandFiles,
    principal: Principal,
    path: RemotePath,
    /// The end of the part that was read.
    offset: u64,
    identity: String,
    /// Whether the name was missing at the last poll.
    removed: bool,
    pause: Duration,
    broken: u32,
    failed: bool,
}

impl Follower {
    /// Follows a regular file.
    ///
    /// # Errors
    /// If it is not a regular file, or cannot be read.
    pub(super) async fn start(
        files: &CommandFiles,
        principal: &Principal,
        path: &RemotePath,
        from: FollowFrom,
    ) -> Result<FollowStream, FilesystemError> {
        let mut follower = Self {
            files: files.clone(),
            principal: principal.clone(),
            path: path.clone(),
            offset: 0,
            identity: String::new(),
            removed: false,
            pause: MIN_POLL_INTERVAL,
            broken: 0,
            failed: false,
        };
        let seen = follower.look(0).await?;
        follower.identity = seen.identity;
        follower.offset = match from {
            FollowFrom::Start(offset) => offset,
            FollowFrom::End(back) => seen.size.saturating_sub(back),
        };
        Ok(stream::unfold(follower, |mut follower| async move { follower.next().await.map(|item| (item, follower)) }).boxed())
    }

    async fn next(&mut self) -> Option<Result<Followed, FilesystemError>> {
        while !self.failed {
            match self.look(MAX_READ.min(self.files.settings.max_ops_file_size)).await {
                Ok(seen) => {
                    self.broken = 0;
                    if let Some(followed) = self.compare(seen) {
                        self.pause = MIN_POLL_INTERVAL;
                        return Some(Ok(followed));
                    }
                }
                Err(FilesystemError::NotFound(_)) if self.removed => {}
                Err(FilesystemError::NotFound(_)) => {
                    self.removed = true;
                    return Some(Ok(Followed::Removed));
                }
                Err(FilesystemError::Transport(TransportError::Broken { .. })) if self.broken < MAX_BROKEN_POLLS => self.broken += 1,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
            sleep(self.pause).await;
            self.pause = self.pause.mul_f32(1.5).min(MAX_POLL_INTERVAL);
        }
        None
    }

    async fn look(&self, size: u64) -> Result<Seen, FilesystemError> {
        let look = Look { seconds: self.files.seconds(), path: &self.path, offset: self.offset, size };
        let seen = self.files.run(&self.principal, &[&self.path], &look).await?;
        regular(&self.path, seen.mode)?;
        Ok(seen)
    }

    /// The events since the last poll. If the file was replaced or truncated, the data that was read is dropped, and reading starts anew.
    fn compare(&mut self, seen: Seen) -> Option<Followed> {
        let was_removed = std::mem::replace(&mut self.removed, false);
        if was_removed || seen.identity != self.identity {
            (self.identity, self.offset) = (seen.identity, 0);
            return Some(Followed::Replaced);
        }
        if seen.size < self.offset {
            self.offset = 0;
            return Some(Followed::Truncated);
        }
        if seen.data.is_empty() {
            return None;
        }
        self.offset += seen.data.len() as u64;
        Some(Followed::Data { data: seen.data, end: self.offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(stdout: &[u8]) -> Result<Seen, CommandError> {
        let path = RemotePath::from_text("/f").unwrap();
        Look { seconds: 5, path: &path, offset: 0, size: 9 }.parse(RawOutput { stdout: stdout.to_vec(), ..RawOutput::default() })
    }

    #[test]
    fn a_look_tells_the_file_and_what_is_new() {
        let seen = parse(b"81a4 2049:77 12\nline\n\xFF").unwrap();
        assert_eq!(seen, Seen { mode: 0o100_644, identity: "2049:77".to_owned(), size: 12, data: Bytes::from_static(b"line\n\xFF") });
        assert_eq!(parse(b"41ed\n").unwrap().mode, 0o040_755);
    }

    #[test]
    fn other_output_is_no_look() {
        for stdout in [&b""[..], b"81a4 2049:77 12", b"regular file\n", b"81a4 2049:77\n"] {
            assert!(parse(stdout).is_err(), "{stdout:?}");
        }
    }
}
