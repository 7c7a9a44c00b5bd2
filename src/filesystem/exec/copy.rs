//! Copies, moves and touches files.
//!
//! Names go to the scripts as positional parameters, so that the scripts are constants. A copy is made beside its target and renamed,
//! so that a command that fails or runs out of time leaves none that looks whole.

use super::rights::with_functions;
use super::script;
use crate::domain::RemotePath;
use crate::filesystem::CopyOptions;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Parameters: source, temporary name, target, whether to overwrite, `-P` or `-L`. A file keeps the group and rights of its source, or
/// has fewer.
const COPY: &str = r#"refuse_existing cp "$3" "$4" || exit; if [ -d "$3" ] && [ ! -L "$3" ]; then echo "cp: $3: Is a directory" >&2; exit 1; fi; refuse_same_file cp "$1" "$3" "$5" || exit; with_cleanup "$2" copy_to "$1" "$2" "$3" "$5" "$4""#;

/// Parameters: source, temporary name, target, whether to overwrite.
const MOVE: &str = r#"refuse_existing mv "$3" "$4" || exit; with_cleanup "$2" move_to "$1" "$2" "$3" "$4""#;

/// Copies a file, a link or a tree.
pub struct Copy<'a> {
    pub seconds: u64,
    pub source: &'a RemotePath,
    pub target: &'a RemotePath,
    /// Its name until it is complete.
    pub temporary: &'a RemotePath,
    pub options: CopyOptions,
}

impl RemoteCommand for Copy<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        let line = script(self.seconds, with_functions(COPY));
        let line = line.arg(self.source.as_bytes()).arg(self.temporary.as_bytes()).arg(self.target.as_bytes());
        line.number(self.options.overwrite.into()).flag(if self.options.dereference { "-L" } else { "-P" })
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        raw.success()
    }
}

/// Moves a file, a link or a tree.
pub struct Move<'a> {
    pub seconds: u64,
    pub source: &'a RemotePath,
    pub target: &'a RemotePath,
    /// Its name until it is complete, if it goes to another file system.
    pub temporary: &'a RemotePath,
    pub overwrite: bool,
}

impl RemoteCommand for Move<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        let line = script(self.seconds, with_functions(MOVE));
        let line = line.arg(self.source.as_bytes()).arg(self.temporary.as_bytes()).arg(self.target.as_bytes());
        line.number(self.overwrite.into())
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        raw.success()
    }
}
