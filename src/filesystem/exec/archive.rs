//! Archives by GNU tar.
//!
//! Names go to the scripts as positional parameters, so that the scripts are constants. An archive is written beside its
//! target and renamed, so that a command that fails or runs out of time leaves none that looks whole. `--force-local` is
//! there because tar takes a colon in a file's name for that of a remote host, `--no-unquote` because it reads backslashes.

use super::command;
use super::errors::classify;
use super::rights::with_functions;
use crate::domain::RemotePath;
use crate::filesystem::{CompressOptions, Compression, FilesystemError};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Parameters: temporary file, target, directory, name in it, `-L` or `-P`; then options of tar.
const PACK: &str = r#"t=$1 o=$2 d=$3 n=$4 l=$5; shift 5; apart "$d" "$n" "$o" "$l" || exit; [ -f "$o" ] && umask 077; trap 'rm -f -- "$t"; exit 143' HUP INT TERM; tar --create --force-local --no-unquote --file="$t" "$@" --directory="$d" --add-file="$n" && put "$t" "$o" || { s=$?; rm -f -- "$t"; exit $s; }"#;

/// Parameters: temporary file, target, directory, name in it, `-L` or `-P`, expression; then options of tar. The archive may lie in the
/// directory, and does not hold itself. The first find tells whether the expression is one, since a pipe has the exit status of its last command
/// only; the second one whether anything matches.
const PACK_MATCHING: &str = r#"t=$1 o=$2 d=$3 n=$4 l=$5 p=$6; shift 6; apart "$d" "$n" "$o" "$l" matching || exit; [ -f "$o" ] && umask 077; trap 'rm -f -- "$t"; exit 143' HUP INT TERM; if [ -e "$o" ]; then a=$o; else a=$t; fi; matching() { find "$l" "./$n" -type f -regex "$p" ! -samefile "$t" ! -samefile "$a" "$@"; }; touch -- "$t" && cd "$d" && find "$l" "./$n" -maxdepth 0 -regex "$p" >/dev/null && { [ -n "$(matching -print -quit)" ] || { printf "tar: %s: nothing matches the pattern\n" "${d%/}/$n" >&2; false; }; } && matching -print0 | tar --create --force-local --no-unquote --file="$t" "$@" --null --no-recursion --files-from=- && put "$t" "$o" || { s=$?; rm -f -- "$t"; exit $s; }"#;

/// Parameters: archive, target, temporary directory in it, option of tar for the compression. Prints what [`misplaced`] reads.
const UNPACK: &str = r#"unpacked() { mkdir -m 700 -- "$2" && began "$2" && tar --extract --ignore-zeros --force-local --no-unquote --file="$1" --directory="$2" $4 || return; placed "$2" "$3" || { e=$?; printf "%s\0" "$unplaced"; return $e; }; }; guarded "$3" unpacked "$1" "$3" "$2" "$4""#;

/// Parameters: directory, target, when the directory was made. Prints what [`misplaced`] reads.
const MERGE: &str = r#"begun=$3; placed "$1" "$2" || { e=$?; printf "%s\0" "$unplaced"; exit $e; }"#;

/// The exit statuses where a member could not be put in its place: when others had been, and when nothing was changed.
const PARTLY: u32 = 11;
const UNCHANGED: u32 = 12;

/// Packs an archive.
pub struct Pack<'a> {
    pub seconds: u64,
    pub source: &'a RemotePath,
    pub target: &'a RemotePath,
    /// Its name until it is complete.
    pub temporary: &'a RemotePath,
    pub options: &'a CompressOptions,
}

impl RemoteCommand for Pack<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        let script = if self.options.match_pattern.is_some() { PACK_MATCHING } else { PACK };
        let line = command(self.seconds).flag("sh -c").arg(with_functions(script)).flag("sh");
        let (directory, name) = self.source.in_directory();
        let line = line.arg(self.temporary.as_bytes()).arg(self.target.as_bytes()).arg(directory.as_bytes()).arg(name);
        let line = line.flag(if self.options.dereference { "-L" } else { "-P" });
        let line = match &self.options.match_pattern {
            Some(pattern) => line.arg(pattern),
            None => line,
        };
        let line = if self.options.dereference { line.flag("--dereference") } else { line };
        compression(line, self.options.compression)
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        // What find could not read is missing from the archive, although tar reports success.
        let incomplete = raw.stderr.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"find: "));
        match raw.exit {
            0 if incomplete => Err(CommandError::exit(&RawOutput { exit: 1, ..raw })),
            0 => Ok(()),
            _ => Err(CommandError::exit(&raw)),
        }
    }
}

/// Checks that an archive would neither take the place of what it is to hold nor, where that is packed whole, lie in it.
pub struct Apart<'a> {
    pub seconds: u64,
    pub source: &'a RemotePath,
    pub target: &'a RemotePath,
    pub options: &'a CompressOptions,
}

impl RemoteCommand for Apart<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        let line = command(self.seconds).flag("sh -c").arg(with_functions(r#"apart "$@""#)).flag("sh");
        let (directory, name) = self.source.in_directory();
        let line = line.arg(directory.as_bytes()).arg(name).arg(self.target.as_bytes());
        let line = line.flag(if self.options.dereference { "-L" } else { "-P" });
        if self.options.match_pattern.is_some() { line.flag("matching") } else { line }
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        raw.success()
    }
}

/// Unpacks an archive. Members with `..` or an absolute path stay below the target, as GNU tar has it. They are moved to their places
/// when all are there, and nothing is replaced where one cannot get to its place, as far as that shows beforehand.
pub struct Unpack<'a> {
    pub seconds: u64,
    pub source: &'a RemotePath,
    pub target: &'a RemotePath,
    /// The directory in it where the members are until all have arrived.
    pub temporary: &'a RemotePath,
    pub compression: Compression,
}

impl RemoteCommand for Unpack<'_> {
    type Output = Result<(), Misplaced>;

    fn command_line(&self) -> CommandLine {
        let line = command(self.seconds).flag("sh -c").arg(with_functions(UNPACK)).flag("sh");
        let line = line.arg(self.source.as_bytes()).arg(self.target.as_bytes()).arg(self.temporary.as_bytes());
        compression(line, self.compression)
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        misplaced(&raw)
    }
}

/// Moves what was unpacked in a directory to its place in another one.
pub struct Merge<'a> {
    pub seconds: u64,
    pub unpacked: &'a RemotePath,
    pub target: &'a RemotePath,
    /// The time at which the directory was made, in nanoseconds by the clock of the file system.
    pub begun: u64,
}

impl RemoteCommand for Merge<'_> {
    type Output = Result<(), Misplaced>;

    fn command_line(&self) -> CommandLine {
        let line = command(self.seconds).flag("sh -c").arg(with_functions(MERGE)).flag("sh");
        line.arg(self.unpacked.as_bytes()).arg(self.target.as_bytes()).arg(self.begun.to_string())
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        misplaced(&raw)
    }
}

/// The member of an archive that could not be put in its place.
pub struct Misplaced {
    /// Its place.
    place: RemotePath,
    /// Whether others are in their places.
    is_partial: bool,
    reason: CommandError,
}

impl Misplaced {
    /// The trait's error.
    pub fn error(self) -> FilesystemError {
        let reason = classify(self.reason, &[&self.place]);
        if self.is_partial { reason.partly_placed() } else { reason }
    }
}

/// The result of a script that puts members in their places: the place of the one that cannot get there ends with NUL.
fn misplaced(raw: &RawOutput) -> Result<Result<(), Misplaced>, CommandError> {
    let place = raw.stdout.strip_suffix(b"\0").and_then(|place| RemotePath::from_bytes(place).ok());
    match (raw.exit, place) {
        (0, _) => Ok(Ok(())),
        (exit @ (PARTLY | UNCHANGED), Some(place)) => {
            Ok(Err(Misplaced { place, is_partial: exit == PARTLY, reason: CommandError::exit(raw) }))
        }
        _ => Err(CommandError::exit(raw)),
    }
}

fn compression(line: CommandLine, compression: Compression) -> CommandLine {
    match compression {
        Compression::None => line,
        Compression::Gzip => line.flag("--gzip"),
        Compression::Bzip2 => line.flag("--bzip2"),
        Compression::Xz => line.flag("--xz"),
    }
}
