//! The commands that move whole files: `dd`, `cat` and their kin, as byte streams.

use std::io::ErrorKind;
use std::ops::Range;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::listing::not_understood;
use super::rights::with_functions;
use super::{command, script};
use crate::domain::{FileStat, FileVersion, RemotePath};
use crate::filesystem::{ContentStream, Expected, FilesystemError, PlaceOptions};
use crate::ssh::{ByteStream, CommandError, CommandLine, RawOutput, RemoteCommand, TransportError};

/// The time limit for a script to end when its content has failed.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum number of bytes read from a stream at once.
const PIECE: usize = 256 * 1024;

/// The maximum length of the receiving script's answer.
const MAX_ANSWER: u64 = 4096;

/// Fails unless the open file is the one at the path `$1`, in which no link was followed.
macro_rules! is_real {
    ($descriptor:literal) => {
        concat!(r#"p=$(readlink -n -- /proc/self/fd/"#, $descriptor, r#" && echo .) && [ "${p%.}" = "$1" ]"#)
    };
}
pub(super) use is_real;

/// Prints the range `$4 $5`, and fails at the end as [`send`] says.
macro_rules! send_range {
    () => {
        concat!(
            r#"dd status=none bs=1M iflag=skip_bytes,count_bytes,fullblock skip="$4" count="$5" || exit; "#,
            r#"set -- "$2" "$3" $(stat --format="%s %Y" -); [ "$1 $2" = "$3 $4" ] || [ "$3" -gt "$1" ]"#
        )
    };
}

/// Prints a range of a file, and fails at the end where the file is then not the one of that version, unless it has only
/// grown. A replacement under the same name does not matter: the open file is read and checked.
pub fn send(path: &RemotePath, version: &FileVersion, range: &Range<u64>) -> CommandLine {
    let line = CommandLine::new("env LC_ALL=C sh -c").flag(concat!(r#"'exec < "$1" || exit; "#, send_range!(), "' sh"));
    with_range(line, path, version, range)
}

/// The same, if the file at the path, in which no link is followed, is the one that was `found`. Else nothing is printed.
pub fn send_real(path: &RemotePath, found: &FileStat, range: &Range<u64>) -> CommandLine {
    let line = CommandLine::new("env LC_ALL=C sh -c").flag(concat!(
        r#"'[ -f "$1" ] && exec < "$1" && "#,
        is_real!("0"),
        r#" && [ "$(stat --format="%f %d %i" -)" = "$6" ] || exit 8; "#,
        send_range!(),
        "' sh"
    ));
    let line = with_range(line, path, &FileVersion::from(found), range);
    line.arg(format!("{:x} {} {}", found.mode, found.dev, found.ino))
}

fn with_range(line: CommandLine, path: &RemotePath, version: &FileVersion, range: &Range<u64>) -> CommandLine {
    line.arg(path.as_bytes())
        .arg(version.size.to_string())
        .arg(version.modified.to_string())
        .arg(range.start.to_string())
        .arg((range.end - range.start).to_string())
}

/// Takes standard input into a file that must not exist, then prints its size, or what went wrong. A private file is open to
/// its owner alone.
pub fn receive(temporary: &RemotePath, is_private: bool) -> CommandLine {
    let line = CommandLine::new("env LC_ALL=C sh -c");
    let line = match is_private {
        true => line.flag(r#"'umask 077; { set -C; { chmod 600 /dev/fd/1 && cat; } > "$1" && stat --format=%s -- "$1"; } 2>&1'"#),
        false => line.flag(r#"'{ set -C; cat > "$1" && stat --format=%s -- "$1"; } 2>&1'"#),
    };
    line.flag("sh").arg(temporary.as_bytes())
}

/// Whether the file that is open as descriptor 3 has the one name `$1` and is the caller's own: in a directory of many, the name may be that of
/// another user's file by now.
macro_rules! is_own {
    () => {
        r#"[ "$(stat -L --format=%u /dev/fd/3)" = "$(id -u)" ] && is_only_name "$1""#
    };
}

/// Parameters: file, the size that it has to have.
const EXTEND: &str = concat!(
    r#"{ [ -f "$1" ] || { stat -- "$1" >/dev/null && echo "$1: it changed meanwhile"; exit 0; }; { { "#,
    is_own!(),
    r#"; } || { echo "$1: it changed meanwhile"; exit 0; }; "#,
    r#"s=$(stat -L --format=%s /dev/fd/3) || exit 0; [ "$s" = "$2" ] || { echo "ends at $s"; exit 0; }; "#,
    r#"cat >&3 && stat -L --format=%s /dev/fd/3; } 3>>"$1"; } 2>&1"#
);

/// Adds standard input to a file that has to end at `offset`, then prints its size; what went wrong, or where it ends, otherwise.
pub fn extend(part: &RemotePath, offset: u64) -> CommandLine {
    let line = CommandLine::new("env LC_ALL=C sh -c").arg(with_functions(EXTEND)).flag("sh");
    line.arg(part.as_bytes()).arg(offset.to_string())
}

/// Parameters: file, size.
const CUT: &str = concat!(
    r#"[ -f "$1" ] && { { "#,
    is_own!(),
    r#"; } || { echo "$1: it changed meanwhile" >&2; exit 1; }; truncate --size="$2" /dev/fd/3; } 3>>"$1""#
);

/// Makes an empty file that must not exist, or cuts one to a size.
pub struct Resize<'a> {
    pub seconds: u64,
    pub part: &'a RemotePath,
    /// The size to cut it to; to be made if absent.
    pub to: Option<u64>,
    /// Open to its owner alone.
    pub private: bool,
}

impl RemoteCommand for Resize<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        let program = match (self.to, self.private) {
            (Some(size), _) => return script(self.seconds, with_functions(CUT)).arg(self.part.as_bytes()).arg(size.to_string()),
            (None, true) => r#"umask 077; set -C; chmod 600 /dev/fd/1 > "$1""#,
            (None, false) => r#"set -C; : > "$1""#,
        };
        script(self.seconds, program).arg(self.part.as_bytes())
    }

    fn idempotent(&self) -> bool {
        self.to.is_some()
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        raw.success()
    }
}

/// The content of a stream that is to hold `size` bytes. It fails where there are fewer, and where the command did: the last
/// piece is held back until it has ended.
pub fn content(stream: ByteStream, path: RemotePath, size: u64, stall: Duration) -> ContentStream {
    stream::try_unfold((stream, size, None), move |(mut stream, mut left, mut held)| {
        let path = path.clone();
        async move {
            loop {
                let mut buffer = BytesMut::with_capacity(PIECE);
                match timeout(stall, stream.read_buf(&mut buffer)).await {
                    Err(_) => return Err(TransportError::Execution(stall).into()),
                    // The command says no by its exit status alone.
                    Ok(Err(error)) if error.kind() == ErrorKind::Other && left == 0 => return Err(FilesystemError::Changed(path)),
                    Ok(Err(error)) if error.kind() == ErrorKind::Other => return Err(FilesystemError::shortened(&path)),
                    Ok(Err(_)) => return Err(TransportError::Broken { sent: true }.into()),
                    Ok(Ok(0)) if left > 0 => return Err(FilesystemError::shortened(&path)),
                    Ok(Ok(0)) => return Ok(held.take().map(|last| (last, (stream, left, None)))),
                    Ok(Ok(_)) => {}
                }
                left = left.saturating_sub(buffer.len() as u64);
                if let Some(piece) = held.replace(buffer.freeze()) {
                    return Ok(Some((piece, (stream, left, held))));
                }
            }
        }
    })
    .boxed()
}

/// Writes the content to the stream of [`receive`]. Returns how much was sent and what the script answered. Its answer is read meanwhile: a script that
/// fails early takes no more content. If the content fails, the script is given the time to end, so that what it has made can be removed.
pub async fn feed(
    stream: &mut ByteStream,
    mut content: ContentStream,
    cap: Option<u64>,
    stall: Duration,
) -> Result<(u64, String), FilesystemError> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reading = pin!(async move {
        let mut answer = Vec::new();
        let read = reader.take(MAX_ANSWER).read_to_end(&mut answer).await;
        (answer, read)
    });
    let mut sent = 0;
    let writing = async {
        while let Some(piece) = content.next().await {
            let piece: Bytes = piece?;
            sent += piece.len() as u64;
            if let Some(cap) = cap.filter(|cap| sent > *cap) {
                return Err(FilesystemError::TooLarge(cap));
            }
            match timeout(stall, writer.write_all(&piece)).await {
                Ok(Ok(())) => {}
                // The script has ended early and says why.
                Ok(Err(_)) => break,
                Err(_) => return Err(TransportError::Execution(stall).into()),
            }
        }
        Ok(())
    };
    let early = tokio::select! {
        written = writing => Err(written),
        answer = reading.as_mut() => Ok(answer),
    };
    let (answer, read) = match early {
        Ok(answer) => answer,
        Err(written) => {
            let finish = async {
                // An error here shows in the answer, which then is not the size.
                let _ = writer.shutdown().await;
                reading.await
            };
            let limit = if written.is_ok() { stall } else { stall.min(END_TIMEOUT) };
            let finished = timeout(limit, finish).await;
            written?;
            finished.map_err(|_| TransportError::Execution(stall))?
        }
    };
    let text = || String::from_utf8_lossy(&answer).trim().to_owned();
    match read {
        Ok(_) => Ok((sent, text())),
        // The script failed, and has said why.
        Err(error) if error.kind() == ErrorKind::Other && !answer.is_empty() => Ok((sent, text())),
        Err(_) => Err(TransportError::Broken { sent: true }.into()),
    }
}

/// The reason for this unknown answer of the script that received `sent` bytes.
pub fn not_written(path: &RemotePath, sent: u64, answer: String) -> FilesystemError {
    if answer.parse::<u64>().is_err() {
        return FilesystemError::Sftp { path: path.clone(), message: answer };
    }
    let reason = format!(
        "{sent} bytes were sent, and the file has {answer}; does something else write to it, or do start-up files of the login shell read or \
         close standard input?"
    );
    FilesystemError::NotWritten { path: path.clone(), reason }
}

/// The target of an upload, with links followed, and the existing file there.
pub struct Resolve<'a> {
    pub seconds: u64,
    pub path: &'a RemotePath,
    /// Nothing may be there: neither a file nor a link, wherever it leads.
    pub is_new: bool,
}

/// Ends the script, with an error, where its first parameter is a link, or leads to one, of another user than root, to where there is nothing: through
/// it, a file would be created. The same if there is a file, and the link is in a directory in which all users may create links and only their owners
/// remove them.
macro_rules! own_links {
    () => {
        concat!(
            r#"l=$1 n=0; while [ -L "$l" ] && [ $n -lt 40 ]; do o=$(stat --format=%u -- "$l"); case $o in 0 | "$(id -u)") ;; "#,
            r#"*) d=; [ ! -e "$1" ] || d=$(stat --format="%A %u" -- "${l%/*}/."); case $d in ????????w[tT]" $o") ;; "" | ????????w[tT]*) "#,
            r#"echo "$1: Permission denied" >&2; exit 1;; esac;; esac; t=$(readlink -n -- "$l" && echo .) || exit; t=${t%.} n=$((n + 1)); "#,
            r#"case $t in /*) l=$t;; *) l=${l%/*}/$t;; esac; done; "#
        )
    };
}

/// Parameter: path.
pub const TOUCH: &str = concat!(own_links!(), r#"exec touch -- "$1""#);

/// Parameters: path, 1 where nothing may be there.
const RESOLVE: &str = concat!(
    r#"if [ "$2" = 1 ] && [ -L "$1" ]; then echo "$1: File exists" >&2; exit 1; fi; "#,
    own_links!(),
    r#"readlink -v -z -f -- "$1" || exit; stat --dereference --format="%f %s %Y %i" -- "$1" 2>/dev/null; exit 0"#
);

/// A file that is there: its mode and its version.
pub type Found = (u32, FileVersion);

impl RemoteCommand for Resolve<'_> {
    type Output = (RemotePath, Option<Found>);

    fn command_line(&self) -> CommandLine {
        script(self.seconds, RESOLVE).arg(self.path.as_bytes()).number(self.is_new.into())
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        raw.success()?;
        let wrong = || not_understood("readlink", "there is no path");
        let end = raw.stdout.iter().position(|byte| *byte == 0).ok_or_else(wrong)?;
        let path = RemotePath::from_bytes(&raw.stdout[..end]).map_err(|_| wrong())?;
        Ok((path, found(&String::from_utf8_lossy(&raw.stdout[end + 1..]))))
    }
}

fn found(line: &str) -> Option<Found> {
    let mut fields = line.split_whitespace();
    let mode = u32::from_str_radix(fields.next()?, 16).ok()?;
    let (size, modified, inode) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((mode, FileVersion { size, modified, inode }))
}

/// Parameters: file, target, its size, what has to be at the target: `new`, or `SIZE MTIME INODE`, or nothing; the mode where nothing is there, or
/// nothing; and `own` where the file may be another user's by now. Exit statuses: 8 when the name is no longer that of the file, 9 when the target is not what it was, 10 when the size is another.
const PLACE: &str = concat!(
    r#"[ -f "$1" ] || { stat -- "$1" >/dev/null && exit 8 || exit 1; }; { is_only_name "$1" || exit 8; [ -z "$6" ] || { "#,
    is_own!(),
    r#"; } || exit 8; [ "$(stat -L --format=%s /dev/fd/3)" = "$3" ] || exit 10; "#,
    r#"if [ "$4" != new ] && [ -e "$2" ]; then copy_rights /dev/fd/3 "$2" || exit; elif [ -n "$5" ]; then chmod -- "$5" /dev/fd/3 || exit; fi; is_only_name "$1" || exit; "#,
    // A second name for a file is refused where that name is taken, by whomever it was taken meanwhile.
    r#"case $4 in new) ln -T -- "$1" "$2" && rm -f -- "$1"; exit;; ?*) [ "$(stat --format="%s %Y %i" -- "$2")" = "$4" ] || exit 9;; esac; "#,
    r#"mv -f -T -- "$1" "$2"; } 3<"$1""#
);

/// Puts a received file in its place, with the permissions of the file that it replaces, if both are as expected.
pub struct PlaceFile<'a> {
    pub seconds: u64,
    pub temporary: &'a RemotePath,
    pub target: &'a RemotePath,
    pub options: PlaceOptions,
    /// Whether it was made by an earlier request, so that its owner is looked at.
    pub is_part: bool,
}

impl RemoteCommand for PlaceFile<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        let line = script(self.seconds, with_functions(PLACE));
        let line = line.arg(self.temporary.as_bytes()).arg(self.target.as_bytes()).arg(self.options.size.to_string());
        let line = match self.options.expected {
            Expected::Nothing => line.arg("new"),
            Expected::Version(version) => line.arg(format!("{} {} {}", version.size, version.modified, version.inode)),
            Expected::Anything => line.arg(""),
        };
        let line = line.arg(self.options.mode.map(|mode| format!("{:05o}", mode & 0o777)).unwrap_or_default());
        line.arg(if self.is_part { "own" } else { "" })
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        raw.success()
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

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        raw.success()
    }
}
