//! Finds and removes the temporary files of a Goldcrest that was killed.

use std::time::Duration;

use super::script;
use crate::domain::RemotePath;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Parameters: minutes for a temporary file, minutes for anything, directories. Only names that nothing but
/// [`temporary_beside`](crate::filesystem::temporary::temporary_beside), [`temporary_in`](crate::filesystem::temporary::temporary_in), resumable
/// uploads and jobs make, only the caller's own, and only where nothing was changed for so long: a request under way changes what it writes.
const SWEEP: &str = concat!(
    r#"m=$1 n=$2; shift 2; for d in "$@"; do cd -- "$d" && find . -mindepth 1 -maxdepth 1 -regextype posix-extended -user "$(id -u)" "(" "#,
    r#"-not -type d -cmin "+$m" -regex "[.]/[.].*[.]goldcrest-[0-9a-f]{32}" -o "#,
    r#"-cmin "+$n" -regex "[.]/([.].*)?[.]goldcrest-(upload-)?[0-9a-f]{32}(-[0-9a-f]{16})?" -o "#,
    r#"-type d -cmin "+$n" -regex "[.]/[.]goldcrest-[0-9A-Za-z]{16}" ")" "#,
    // In a directory that its owner may not write to, nothing can be removed.
    r#""(" -not -type d -o -exec chmod -R u+rwx -- {} ";" -o -true ")" -exec rm -rf -- {} + || exit; done"#,
);

/// Removes abandoned temporary files in directories.
pub struct Sweep<'a> {
    pub seconds: u64,
    pub directories: &'a [RemotePath],
    /// The time without a change after which a temporary file is removed; for a part of an upload, or a directory, it is seven times that.
    pub abandoned: Duration,
}

impl RemoteCommand for Sweep<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        let minutes = self.abandoned.as_secs() / 60;
        let line = script(self.seconds, SWEEP).arg(minutes.to_string()).arg((7 * minutes).to_string());
        self.directories.iter().fold(line, |line, directory| line.arg(directory.as_bytes()))
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        raw.success()
    }
}
