//! Finds and removes the temporary files of a Goldcrest that was killed.

use std::time::Duration;

use super::command;
use crate::domain::RemotePath;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Parameters: directory, minutes for a temporary file, minutes for anything. Only names that nothing but
/// [`temporary_beside`](crate::filesystem::temporary::temporary_beside) and resumable uploads make, only the caller's own, and only where nothing was
/// changed for so long: a request under way changes what it writes.
const SWEEP: &str = concat!(
    r#"cd -- "$1" && exec find . -mindepth 1 -maxdepth 1 -regextype posix-extended -user "$(id -u)" "(" "#,
    r#"-not -type d -cmin "+$2" -regex "[.]/[.].*[.]goldcrest-[0-9a-f]{32}" -o "#,
    r#"-cmin "+$3" -regex "[.]/[.].*[.]goldcrest-(upload-)?[0-9a-f]{32}(-[0-9a-f]{16})?" ")" -exec rm -rf -- {} +"#,
);

/// Removes abandoned temporary files in a directory.
pub struct Sweep<'a> {
    pub seconds: u64,
    pub directory: &'a RemotePath,
    /// The time without a change after which a temporary file is removed; for a part of an upload, or a directory, it is seven times that.
    pub abandoned: Duration,
}

impl RemoteCommand for Sweep<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        let minutes = self.abandoned.as_secs() / 60;
        let line = command(self.seconds).flag("sh -c").arg(SWEEP).flag("sh").arg(self.directory.as_bytes());
        line.arg(minutes.to_string()).arg((7 * minutes).to_string())
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        if raw.exit == 0 { Ok(()) } else { Err(CommandError::exit(&raw)) }
    }
}
