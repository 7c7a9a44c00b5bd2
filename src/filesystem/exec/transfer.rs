//! Whole files through `cat` and its kin, as byte streams.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::command;
use super::listing::not_understood;
use crate::domain::RemotePath;
use crate::filesystem::{ContentStream, FilesystemError};
use crate::ssh::{ByteStream, CommandError, CommandLine, RawOutput, RemoteCommand, TransportError};

/// What is read from a stream at once, at most.
const PIECE: usize = 256 * 1024;

/// The longest answer of the receiving script that is looked at.
const ANSWER: u64 = 4096;

/// Prints the first `size` bytes of a file, so that one that grows meanwhile is not sent longer than announced.
pub fn send(path: &RemotePath, size: u64) -> CommandLine {
    CommandLine::new("env LC_ALL=C head").option("--bytes", size.to_string()).flag("--").arg(path.as_bytes())
}

/// Takes standard input into a file that must not exist, then prints its size, or what went wrong. A private file is open to
/// its owner alone.
pub fn receive(temporary: &RemotePath, is_private: bool) -> CommandLine {
    let line = CommandLine::new("env LC_ALL=C sh -c");
    let line = match is_private {
        true => line.flag(r#"'umask 077; { set -C; cat > "$1" && stat --format=%s -- "$1"; } 2>&1'"#),
        false => line.flag(r#"'{ set -C; cat > "$1" && stat --format=%s -- "$1"; } 2>&1'"#),
    };
    line.flag("sh").arg(temporary.as_bytes())
}

/// The content of a stream that is to hold `size` bytes. It fails where there are fewer.
pub fn content(stream: ByteStream, path: RemotePath, size: u64, stall: Duration) -> ContentStream {
    stream::try_unfold((stream, size), move |(mut stream, left)| {
        let path = path.clone();
        async move {
            if left == 0 {
                return Ok(None);
            }
            let mut buffer = BytesMut::with_capacity(PIECE.min(usize::try_from(left).unwrap_or(PIECE)));
            match timeout(stall, stream.read_buf(&mut buffer)).await {
                Err(_) => Err(TransportError::Execution(stall).into()),
                Ok(Err(_)) => Err(TransportError::Broken { sent: true }.into()),
                Ok(Ok(0)) => Err(FilesystemError::shortened(&path)),
                Ok(Ok(_)) => {
                    buffer.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    let left = left - buffer.len() as u64;
                    Ok(Some((buffer.freeze(), (stream, left))))
                }
            }
        }
    })
    .boxed()
}

/// Writes the content to the stream of [`receive`]. Returns how much was sent and what the script answered.
pub async fn feed(
    stream: &mut ByteStream,
    mut content: ContentStream,
    cap: Option<u64>,
    stall: Duration,
) -> Result<(u64, String), FilesystemError> {
    let mut sent = 0;
    while let Some(piece) = content.next().await {
        let piece: Bytes = piece?;
        sent += piece.len() as u64;
        if let Some(cap) = cap.filter(|cap| sent > *cap) {
            return Err(FilesystemError::TooLarge(cap));
        }
        match timeout(stall, stream.write_all(&piece)).await {
            Ok(Ok(())) => {}
            // The script has ended early and says why below.
            Ok(Err(_)) => break,
            Err(_) => return Err(TransportError::Execution(stall).into()),
        }
    }
    let mut answer = Vec::new();
    let finish = async {
        // An error here shows in the answer, which then is not the size.
        let _ = stream.shutdown().await;
        stream.take(ANSWER).read_to_end(&mut answer).await
    };
    match timeout(stall, finish).await {
        Ok(Ok(_)) => Ok((sent, String::from_utf8_lossy(&answer).trim().to_owned())),
        Ok(Err(_)) => Err(TransportError::Broken { sent: true }.into()),
        Err(_) => Err(TransportError::Execution(stall).into()),
    }
}

/// Where an upload goes, links followed, and the mode of the file that is there.
pub struct Resolve<'a> {
    pub seconds: u64,
    pub path: &'a RemotePath,
}

impl RemoteCommand for Resolve<'_> {
    type Output = (RemotePath, Option<u32>);

    fn command_line(&self) -> CommandLine {
        command(self.seconds)
            .flag(r#"sh -c 'readlink -v -z -f -- "$1" || exit; stat --dereference --format=%f -- "$1" 2>/dev/null; exit 0' sh"#)
            .arg(self.path.as_bytes())
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        if raw.exit != 0 {
            return Err(CommandError::exit(&raw));
        }
        let wrong = || not_understood("readlink", "there is no path");
        let end = raw.stdout.iter().position(|byte| *byte == 0).ok_or_else(wrong)?;
        let path = RemotePath::from_bytes(&raw.stdout[..end]).map_err(|_| wrong())?;
        let mode = String::from_utf8_lossy(&raw.stdout[end + 1..]);
        Ok((path, u32::from_str_radix(mode.trim(), 16).ok()))
    }
}

/// Puts a received file in its place.
pub struct Place<'a> {
    pub seconds: u64,
    pub temporary: &'a RemotePath,
    pub target: &'a RemotePath,
    pub mode: Option<u32>,
}

impl RemoteCommand for Place<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        command(self.seconds)
            .flag(r#"sh -c '[ -z "$3" ] || chmod -- "$3" "$1" && mv -f -T -- "$1" "$2"' sh"#)
            .arg(self.temporary.as_bytes())
            .arg(self.target.as_bytes())
            .arg(self.mode.map(|mode| format!("{:05o}", mode & 0o7777)).unwrap_or_default())
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        if raw.exit == 0 { Ok(()) } else { Err(CommandError::exit(&raw)) }
    }
}

/// Removes the temporary file of an upload that failed.
pub struct Discard<'a> {
    pub seconds: u64,
    pub temporary: &'a RemotePath,
}

impl RemoteCommand for Discard<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        command(self.seconds).flag("rm -f --").arg(self.temporary.as_bytes())
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        if raw.exit == 0 { Ok(()) } else { Err(CommandError::exit(&raw)) }
    }
}
