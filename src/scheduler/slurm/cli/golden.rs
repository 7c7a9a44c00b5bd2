//! Recorded outputs of real releases, from `testdata/<release>/`; its README says how they were made.

use super::delimiter::Delimiter;
use crate::scheduler::golden;
use crate::ssh::RawOutput;

/// The releases that were recorded.
pub(super) const RELEASES: [&str; 2] = ["22.05", "24.11"];

/// The delimiter of the recordings.
pub(super) fn delimiter() -> Delimiter {
    Delimiter::fixed("mark42")
}

/// The recorded output of a command.
pub(super) fn recorded(release: &str, name: &str) -> RawOutput {
    golden::recorded(&format!("slurm/cli/testdata/{release}/{name}"))
}
