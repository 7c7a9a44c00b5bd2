//! Archives by GNU tar on their way through: nothing of them is kept on the cluster.
//!
//! Members whose names are absolute, or hold `..`, stay below the target or are refused, and links that lead out of it are made last,
//! as GNU tar has it. Names go to the scripts as positional parameters, so that the scripts are constants.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::domain::RemotePath;
use crate::filesystem::{ArchiveFormat, ContentStream, FilesystemError};
use crate::ssh::{ByteStream, CommandLine, TransportError};

/// The beginning of the last line of the script that unpacks, which ends with the time at which the directory was made.
const DONE: &str = "all is unpacked since ";

/// The number of attempts to remove an incomplete folder, and the pause between them.
pub const REMOVAL_ATTEMPTS: usize = 5;
pub const REMOVAL_PAUSE: Duration = Duration::from_secs(1);

/// The maximum number of bytes read from a stream at once.
const PIECE: usize = 256 * 1024;

/// The number of zero bytes with which an archive ends: two blocks (POSIX, pax).
const END_OF_ARCHIVE: usize = 1024;

/// The size of an archive's first part that is held back, in bytes. An archive of nothing has 10240.
const HELD_BACK: usize = 64 * 1024;

/// Prints an archive. A link given as the source is followed, and what it leads to has its own name; those in it are kept.
pub fn pack(source: &RemotePath, format: ArchiveFormat) -> CommandLine {
    let (directory, name) = source.in_directory();
    CommandLine::new("env LC_ALL=C sh -c")
        .flag(concat!(
            r#"'cd -- "$1" || exit; n=$2; [ ! -L "./$n" ] || { r=$(readlink -f -- "./$n") && cd -- "${r%/*}/" && n=${r##*/} || exit; }; "#,
            r#"exec tar --create --file=- --force-local --no-unquote "$3" --add-file="$n"' sh"#
        ))
        .arg(directory.as_bytes())
        .arg(name)
        .arg(option(format))
}

/// The same of a directory at a path in which no link is followed: what is in it is reached from its directory, which is open by then.
pub fn pack_real(source: &RemotePath, format: ArchiveFormat) -> CommandLine {
    let (directory, name) = source.in_directory();
    CommandLine::new("env LC_ALL=C sh -c")
        .flag(concat!(
            r#"'cd -- "$1" && p=$(pwd -P && echo .) && [ "${p%??}" = "$1" ] && [ -d "./$2" ] && [ ! -L "./$2" ] || exit; "#,
            r#"exec tar --create --file=- --force-local --no-unquote "$3" --add-file="$2"' sh"#
        ))
        .arg(directory.as_bytes())
        .arg(name)
        .arg(option(format))
}

/// Unpacks standard input into a new directory, and says how it went. A private directory is open to its owner alone.
pub fn unpack(directory: &RemotePath, format: ArchiveFormat, is_private: bool) -> CommandLine {
    CommandLine::new("env LC_ALL=C sh -c")
        // Only the end of tar's messages is kept: there may be one per member, and they are read only at the end.
        .flag(concat!(
            r#"'r=$({ mkdir $3 -- "$1" && s=$(stat --format=%.9Y -- "$1") && tar --extract --ignore-zeros --file=- --force-local --no-unquote "$2" --directory="$1" "#,
            r#"&& echo "all is unpacked since $s"; } 2>&1 | tail -c 2000); printf "%s\\n" "$r"' sh"#
        ))
        .arg(directory.as_bytes())
        .arg(option(format))
        .arg(if is_private { "-m700" } else { "" })
}

/// The content of an archive without compression, which fails at its end if it is not that of an archive: GNU tar takes one that was cut between
/// two members for whole.
pub fn with_its_end(content: ContentStream, path: RemotePath) -> ContentStream {
    let zeros = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&zeros);
    let content = content.inspect_ok(move |piece| {
        let last = piece.iter().rev().take_while(|byte| **byte == 0).count();
        let before = if last == piece.len() { seen.load(Ordering::Relaxed) } else { 0 };
        seen.store(before + last, Ordering::Relaxed);
    });
    let end = stream::once(async move {
        let is_whole = zeros.load(Ordering::Relaxed) >= END_OF_ARCHIVE;
        is_whole
            .then(Bytes::new)
            .ok_or_else(|| FilesystemError::Invalid(format!("{path}: the archive is cut short: it ends without two blocks of zeros")))
    });
    content.chain(end).boxed()
}

/// What the answer of the script that unpacks says, if all is unpacked: the warnings, and when the directory was made, in nanoseconds.
pub fn unpacked(answer: &str) -> Option<(&str, u64)> {
    let (warnings, last) = answer.rsplit_once('\n').unwrap_or(("", answer));
    let begun = last.strip_prefix(DONE)?.replace('.', "").parse().ok()?;
    Some((warnings, begun))
}

/// An archive that is being made. Its first part is held back until more follows or the archive ends, because tar reports unreadable
/// members only at the end; so a small archive is checked before any of it is sent.
///
/// # Errors
/// If nothing comes, or a small archive is incomplete.
pub async fn archive(mut stream: ByteStream, path: RemotePath, stall: Duration) -> Result<ContentStream, FilesystemError> {
    let (mut held, mut first) = (0, Vec::new());
    while held < HELD_BACK
        && let Some(piece) = piece(&mut stream, &path, stall).await?
    {
        held += piece.len();
        first.push(Ok(piece));
    }
    let rest = stream::try_unfold((stream, path), move |(mut stream, path)| async move {
        Ok(piece(&mut stream, &path, stall).await?.map(|piece| (piece, (stream, path))))
    });
    Ok(stream::iter(first).chain(rest).boxed())
}

async fn piece(stream: &mut ByteStream, path: &RemotePath, stall: Duration) -> Result<Option<Bytes>, FilesystemError> {
    let mut buffer = BytesMut::with_capacity(PIECE);
    match timeout(stall, stream.read_buf(&mut buffer)).await {
        Err(_) => Err(TransportError::Execution(stall).into()),
        Ok(Err(error)) if error.kind() == ErrorKind::Other => {
            Err(FilesystemError::Invalid(format!("{path}: not all of it could be packed, or it changed meanwhile")))
        }
        Ok(Err(_)) => Err(TransportError::Broken { sent: true }.into()),
        Ok(Ok(0)) => Ok(None),
        Ok(Ok(_)) => Ok(Some(buffer.freeze())),
    }
}

fn option(format: ArchiveFormat) -> &'static str {
    match format {
        ArchiveFormat::Tar => "--no-auto-compress",
        ArchiveFormat::Gzip => "--gzip",
        ArchiveFormat::Zstd => "--zstd",
    }
}
