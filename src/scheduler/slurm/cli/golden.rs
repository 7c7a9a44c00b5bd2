//! Recorded outputs of real releases, from `testdata/<release>/`; its README says how they were made.

use super::delimiter::Delimiter;
use crate::ssh::RawOutput;

/// The releases that were recorded.
pub(super) const RELEASES: [&str; 2] = ["22.05", "24.11"];

/// The delimiter of the recordings.
pub(super) fn delimiter() -> Delimiter {
    Delimiter::fixed("mark42")
}

/// What a command printed. The first line of a recorded standard error is the exit status.
pub(super) fn recorded(release: &str, name: &str) -> RawOutput {
    let base = format!("{}/src/scheduler/slurm/cli/testdata/{release}/{name}", env!("CARGO_MANIFEST_DIR"));
    let stdout = std::fs::read(format!("{base}.stdout"));
    let stderr = std::fs::read_to_string(format!("{base}.stderr"));
    assert!(stdout.is_ok() || stderr.is_ok(), "nothing is recorded as {release}/{name}");
    let (exit, stderr) = match &stderr {
        Ok(text) => {
            let (status, stderr) = text.split_once('\n').unwrap();
            (status.strip_prefix("exit ").unwrap().parse().unwrap(), stderr.as_bytes().to_vec())
        }
        Err(_) => (0, Vec::new()),
    };
    RawOutput { stdout: stdout.unwrap_or_default(), stderr, exit }
}
