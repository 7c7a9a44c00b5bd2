//! Archives by GNU tar.
//!
//! Names go to the scripts as positional parameters, so that the scripts are constants. An archive is written beside its
//! target and renamed, so that a command that fails or runs out of time leaves none that looks whole. `--force-local` is
//! there because tar takes a colon in a file's name for that of a remote host, `--no-unquote` because it reads backslashes.

use super::command;
use super::rights::with_functions;
use crate::domain::RemotePath;
use crate::filesystem::temporary::{temporary_beside, temporary_in};
use crate::filesystem::{CompressOptions, Compression};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Parameters: temporary file, target, directory, name in it; then options of tar.
const PACK: &str = r#"t=$1 o=$2 d=$3 n=$4; shift 4; [ -f "$o" ] && umask 077; trap 'rm -f -- "$t"; exit 143' HUP INT TERM; tar --create --force-local --no-unquote --file="$t" "$@" --directory="$d" --add-file="$n" && put "$t" "$o" || { s=$?; rm -f -- "$t"; exit $s; }"#;

/// Parameters: temporary file, target, directory, name in it, `-L` or `-P`, expression; then options of tar. The first find
/// tells whether the expression is one, since a pipe has the exit status of its last command only.
const PACK_MATCHING: &str = r#"t=$1 o=$2 d=$3 n=$4 l=$5 p=$6; shift 6; [ -f "$o" ] && umask 077; trap 'rm -f -- "$t"; exit 143' HUP INT TERM; cd "$d" && find "$l" "./$n" -maxdepth 0 -regex "$p" >/dev/null && find "$l" "./$n" -type f -regex "$p" -print0 | tar --create --force-local --no-unquote --file="$t" "$@" --null --no-recursion --files-from=- && put "$t" "$o" || { s=$?; rm -f -- "$t"; exit $s; }"#;

/// Parameters: archive, target, temporary directory in it, option of tar for the compression.
const UNPACK: &str = r#"unpacked() { mkdir -m 700 -- "$2" && tar --extract --force-local --no-unquote --file="$1" --directory="$2" $4 && { merged "$2" "$3" || return 11; }; }; guarded "$3" unpacked "$1" "$3" "$2" "$4""#;

/// Packs an archive.
pub struct Pack<'a> {
    pub seconds: u64,
    pub source: &'a RemotePath,
    pub target: &'a RemotePath,
    pub temporary: RemotePath,
    pub options: &'a CompressOptions,
}

impl<'a> Pack<'a> {
    pub fn new(seconds: u64, source: &'a RemotePath, target: &'a RemotePath, options: &'a CompressOptions) -> Self {
        Self { seconds, source, target, temporary: temporary_beside(target), options }
    }
}

impl RemoteCommand for Pack<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        let parent = self.source.parent();
        let directory = parent.as_ref().map_or(&b"/"[..], RemotePath::as_bytes);
        let name = match self.source.file_name() {
            b"" => b".",
            name => name,
        };
        let script = if self.options.match_pattern.is_some() { PACK_MATCHING } else { PACK };
        let line = command(self.seconds)
            .flag("sh -c")
            .arg(with_functions(script))
            .flag("sh")
            .arg(self.temporary.as_bytes())
            .arg(self.target.as_bytes())
            .arg(directory)
            .arg(name);
        let line = match &self.options.match_pattern {
            Some(pattern) => line.flag(if self.options.dereference { "-L" } else { "-P" }).arg(pattern),
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

/// Unpacks an archive. Members with `..` or an absolute path stay below the target, as GNU tar has it. They are moved to their places
/// when all are there, so that what does not fit replaces nothing.
pub struct Unpack<'a> {
    pub seconds: u64,
    pub source: &'a RemotePath,
    pub target: &'a RemotePath,
    pub compression: Compression,
}

impl RemoteCommand for Unpack<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        let line = command(self.seconds).flag("sh -c").arg(with_functions(UNPACK)).flag("sh");
        let line = line.arg(self.source.as_bytes()).arg(self.target.as_bytes()).arg(temporary_in(self.target).as_bytes());
        compression(line, self.compression)
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        if raw.exit == 0 { Ok(()) } else { Err(CommandError::exit(&raw)) }
    }
}

/// Moves what was unpacked in a directory to its place in another one.
pub struct Merge<'a> {
    pub seconds: u64,
    pub unpacked: &'a RemotePath,
    pub target: &'a RemotePath,
}

impl RemoteCommand for Merge<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        let line = command(self.seconds).flag("sh -c").arg(with_functions(r#"merged "$1" "$2" || exit 11"#)).flag("sh");
        line.arg(self.unpacked.as_bytes()).arg(self.target.as_bytes())
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        if raw.exit == 0 { Ok(()) } else { Err(CommandError::exit(&raw)) }
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
