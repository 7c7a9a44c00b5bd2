//! The member of the PBS family.

use super::pbs_command;
use crate::domain::bytes_to_text;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// The oldest release of PBS whose qstat prints long lines unwrapped.
const OLDEST_UNWRAPPED: u32 = 18;

/// The differences between the members of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// OpenPBS or PBS Professional.
    Pbs {
        /// Whether qstat can print each attribute on a separate line, however long.
        unwrapped: bool,
    },
    /// Torque: no history, no projects, no reservations.
    Torque,
}

/// Finds out which member it is. No server is needed for it.
pub(super) struct Version;

impl RemoteCommand for Version {
    type Output = Dialect;

    fn command_line(&self) -> CommandLine {
        pbs_command("qstat").flag("--version")
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Dialect, CommandError> {
        let output = bytes_to_text(&raw.stdout) + "\n" + &bytes_to_text(&raw.stderr);
        if let Some(version) = output.lines().find_map(|line| line.trim().strip_prefix("pbs_version =")) {
            return Ok(Dialect::Pbs { unwrapped: major(version) >= OLDEST_UNWRAPPED });
        }
        if output.lines().any(|line| line.to_ascii_lowercase().starts_with("version:")) {
            return Ok(Dialect::Torque);
        }
        raw.success()?;
        Err(CommandError::Output { program: "qstat", reason: "it tells no version".to_owned() })
    }
}

/// The first number of a version such as `23.06.06` or `PBSPro_13.1.0.160576`; 0 if there is none.
fn major(version: &str) -> u32 {
    let digits = version.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::golden::recorded;
    use super::*;

    fn dialect(stdout: &str, stderr: &str) -> Result<Dialect, CommandError> {
        Version.parse(RawOutput { stdout: stdout.into(), stderr: stderr.into(), exit: 0 })
    }

    #[test]
    fn openpbs_is_known_by_its_version() {
        assert_eq!(Version.parse(recorded("openpbs.version")).unwrap(), Dialect::Pbs { unwrapped: true });
        assert_eq!(dialect("pbs_version = 2022.1.1.20220822\n", "").unwrap(), Dialect::Pbs { unwrapped: true });
    }

    #[test]
    fn older_releases_wrap_their_lines() {
        assert_eq!(dialect("pbs_version = PBSPro_13.1.0.160576\n", "").unwrap(), Dialect::Pbs { unwrapped: false });
        assert_eq!(dialect("pbs_version = 14.1.2\n", "").unwrap(), Dialect::Pbs { unwrapped: false });
        assert_eq!(dialect("pbs_version = unknown\n", "").unwrap(), Dialect::Pbs { unwrapped: false });
    }

    #[test]
    fn torque_tells_its_version_on_standard_error() {
        assert_eq!(dialect("", "Version: 6.1.2\nCommit: 661e092552de43a785c15d39a3634a541d86898e\n").unwrap(), Dialect::Torque);
    }

    #[test]
    fn what_tells_nothing_is_an_error() {
        assert!(matches!(dialect("Welcome\n", ""), Err(CommandError::Output { .. })));
        let missing = RawOutput { stderr: b"env: 'qstat': No such file or directory".to_vec(), exit: 127, ..RawOutput::default() };
        assert!(matches!(Version.parse(missing), Err(CommandError::Exit { exit: 127, .. })));
    }
}
