//! Archives by GNU tar.
//!
//! Names go to the scripts as positional parameters, so that the scripts are constants; the shell functions are those of the jobs too
//! (`place.sh`). An archive is written beside its target and renamed when all of it could be read, so that a command that fails or runs out of
//! time leaves none that looks whole. `--force-local` is there because tar takes a colon in a file's name for that of a remote host,
//! `--no-unquote` because it reads backslashes.

use super::errors::classify;
use super::rights::with_functions;
use super::script;
use crate::domain::RemotePath;
use crate::filesystem::{CompressOptions, Compression, FilesystemError, SOME_PLACED};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Parameters: temporary directory, target, directory, name in it, `-L` or `-P`, option of tar for the compression.
const PACK: &str = r#"with_cleanup "$1" pack "$@""#;

/// The same, and then the expression.
const PACK_MATCHING: &str = r#"with_cleanup "$1" pack_matching "$@""#;

/// Parameters: archive, temporary directory, target, option of tar for the compression. Prints what [`placement`] reads.
const UNPACK: &str = r#"with_cleanup "$2" unpack "$@" || { e=$?; printf "%s\0" "${unplaced-}"; exit $e; }"#;

/// Parameters: directory, target, when the directory was made. Prints what [`placement`] reads.
const MERGE: &str = r#"start=$3; merge "$1" "$2" || { e=$?; printf "%s\0" "$unplaced"; exit $e; }"#;

/// The exit statuses where a member could not be put in its place: when others had been, and when nothing was changed.
const PARTLY: u32 = 11;
const UNCHANGED: u32 = 12;

/// Packs an archive.
pub struct Pack<'a> {
    pub seconds: u64,
    pub source: &'a RemotePath,
    pub target: &'a RemotePath,
    /// The directory beside the target where it is until it is complete.
    pub temporary: &'a RemotePath,
    pub options: &'a CompressOptions,
}

impl RemoteCommand for Pack<'_> {
    type Output = ();

    fn idempotent(&self) -> bool {
        false
    }

    fn command_line(&self) -> CommandLine {
        let program = if self.options.match_pattern.is_some() { PACK_MATCHING } else { PACK };
        let line = script(self.seconds, with_functions(program));
        let (directory, name) = self.source.in_directory();
        let line = line.arg(self.temporary.as_bytes()).arg(self.target.as_bytes()).arg(directory.as_bytes()).arg(name);
        let line = line.flag(if self.options.dereference { "-L" } else { "-P" }).arg(self.options.compression.tar_option());
        match &self.options.match_pattern {
            Some(pattern) => line.arg(pattern),
            None => line,
        }
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        raw.success()
    }
}

/// Checks that an archive would not replace its own source, and, if the source is packed whole, that it would not lie inside it.
pub struct CheckArchiveTarget<'a> {
    pub seconds: u64,
    pub source: &'a RemotePath,
    pub target: &'a RemotePath,
    pub options: &'a CompressOptions,
}

impl RemoteCommand for CheckArchiveTarget<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        let line = script(self.seconds, with_functions(r#"refuse_archive_in_source "$@""#));
        let (directory, name) = self.source.in_directory();
        let line = line.arg(directory.as_bytes()).arg(name).arg(self.target.as_bytes());
        let line = line.flag(if self.options.dereference { "-L" } else { "-P" });
        if self.options.match_pattern.is_some() { line.flag("matching") } else { line }
    }

    fn idempotent(&self) -> bool {
        true
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
    type Output = Result<(), PlacementError>;

    fn command_line(&self) -> CommandLine {
        let line = script(self.seconds, with_functions(UNPACK));
        let line = line.arg(self.source.as_bytes()).arg(self.temporary.as_bytes()).arg(self.target.as_bytes());
        line.arg(self.compression.tar_option())
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        placement(&raw)
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
    type Output = Result<(), PlacementError>;

    fn command_line(&self) -> CommandLine {
        let line = script(self.seconds, with_functions(MERGE));
        line.arg(self.unpacked.as_bytes()).arg(self.target.as_bytes()).arg(self.begun.to_string())
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        placement(&raw)
    }
}

/// The member of an archive that could not be put in its place.
pub struct PlacementError {
    /// Its place.
    place: RemotePath,
    /// Whether others are in their places.
    is_partial: bool,
    reason: CommandError,
}

impl PlacementError {
    /// The trait's error.
    pub fn error(self) -> FilesystemError {
        let reason = classify(self.reason, &[&self.place]);
        if self.is_partial { reason.partly(SOME_PLACED) } else { reason }
    }
}

/// The result of a script that puts members in their places: the place of the one that cannot get there ends with NUL.
fn placement(raw: &RawOutput) -> Result<Result<(), PlacementError>, CommandError> {
    let place = raw.stdout.strip_suffix(b"\0").and_then(|place| RemotePath::from_bytes(place).ok());
    match (raw.exit, place) {
        (0, _) => Ok(Ok(())),
        (exit @ (PARTLY | UNCHANGED), Some(place)) => {
            Ok(Err(PlacementError { place, is_partial: exit == PARTLY, reason: CommandError::exit(raw) }))
        }
        _ => Err(CommandError::exit(raw)),
    }
}
